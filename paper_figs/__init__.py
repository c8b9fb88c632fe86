"""Figures of the paper: each script draws one figure as a pure function of records, and trains nothing.

`python -m paper_figs` redraws all of them from the records in `records/`.
"""

from odenet.blocks.extras import Extra

with Extra("figures"):  # here, once for the scripts, which import it at their top
    import matplotlib as _matplotlib  # noqa: F401
