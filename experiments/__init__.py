"""Experiments: each script answers one question. `python -m experiments` lists the questions and their commands."""
