"""Figures of the paper: each script draws one figure as a pure function of records, and trains nothing.

`python -m paper_figs` redraws all of them from the records in `records/`.
"""
