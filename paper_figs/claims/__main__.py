"""Command that writes the tables into README.md: `python -m paper_figs.claims`."""

from __future__ import annotations

from pathlib import Path

from odenet.training.files import write_atomically
from paper_figs.claims.readme import with_tables

README = Path("README.md")
write_atomically(README, with_tables(README.read_text(encoding="utf-8")).encode(), what="file")
