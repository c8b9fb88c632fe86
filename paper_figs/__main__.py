"""Redraw every figure from the committed records, in seconds: `python -m paper_figs`."""

from __future__ import annotations

from paper_figs.command import FIGURES, draw_records, scripts

for script in scripts():
    draw_records(script.name, script.draw, None, FIGURES, script.experiment)
