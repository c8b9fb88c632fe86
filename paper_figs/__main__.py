"""Redraw every figure from the committed records, in seconds: `python -m paper_figs`."""

from __future__ import annotations

from paper_figs import depth_refinement, solver_swap
from paper_figs.command import FIGURES, draw_records

for script in (depth_refinement, solver_swap):
    draw_records(script.NAME, script.draw, None, FIGURES)
