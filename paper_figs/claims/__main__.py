"""Command that writes the tables into README.md and the pages of docs/: `python -m paper_figs.claims`."""

from __future__ import annotations

from paper_figs.claims.pages import write_pages

write_pages()
