"""Figures: one script, one figure, a pure function of records; nothing is trained here.

`python -m paper_figs` redraws all of them from the records in `records/`.
"""
