"""Experiments: one script, one question. Run one as `python -m experiments.NAME PRESET`."""
