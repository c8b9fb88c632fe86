"""Write the tables into README.md: `python -m paper_figs.claims`."""

from __future__ import annotations

from pathlib import Path

from paper_figs.claims.readme import with_tables

README = Path("README.md")
README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
