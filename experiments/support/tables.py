"""Tables for the terminal, which become lists where the terminal is narrow."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from odenet.blocks.extras import Extra

with Extra("experiments"):
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDTH_OF_A_LOG = 140
"""Number of columns where the output is no terminal; a wider table takes what it needs."""
SPACE = 2
"""Number of spaces between the columns of a table without a frame."""


def print_table(title: str, rows: Sequence[Mapping[str, Any]], width: int | None = None) -> None:
    """Print rows with equal keys as a table with a column for each key; text is aligned left, numbers right.

    Nothing is cut off. A table that is too wide loses its frame, and its text is broken between words, but for that of
    the first column, which names the rows. Where it does not fit even so, each row is printed as a list.

    Args:
        title: Title of the table.
        rows: Rows of the table.
        width: Number of columns of the terminal; by default that of the terminal, or in a log what the table needs.
    """
    names = list(rows[0]) if rows else []
    cells = [[f"{value:g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    whole = _widths(names, cells)
    framed = sum(whole) + 3 * len(whole) + 1
    if width is None:
        width = Console().width if sys.stdout.isatty() else max(WIDTH_OF_A_LOG, framed)
    console, widths = Console(width=width), whole if framed <= width else _fitted(names, cells, width)
    if not rows or widths is None:
        lists = [_listed(names, row) for row in cells]
        return console.print("\n\n".join([title, *lists]), markup=False, highlight=False)
    table = Table(title=title, title_justify="left")
    if framed > width:
        table.box, table.padding, table.pad_edge = None, (0, SPACE, 0, 0), False
    for name, value, most in zip(names, rows[0].values(), widths, strict=True):
        table.add_column(name, justify="left" if isinstance(value, str) else "right", width=most)
    for row in cells:
        lines = (text if cell_len(text) <= most else _broken(text) for text, most in zip(row, widths, strict=True))
        table.add_row(*map(Text, lines))  # as it is: [x] in a name is no markup
    return console.print(table)


def _widths(names: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the width of each column if no text is broken."""
    return [max(map(cell_len, [name, *(row[k] for row in cells)])) for k, name in enumerate(names)]


def _fitted(names: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Return widths of columns that fill the width of a table without a frame, or None if the words do not fit.

    Columns have the widths of their longest words, but for the first, which stays whole; columns further left get what
    is left of the width first.
    """
    whole, columns = _widths(names, cells), [[name, *(row[k] for row in cells)] for k, name in enumerate(names)]
    longest = [max(cell_len(word) for text in column for word in _words(text)) for column in columns]
    widths = [*whole[:1], *longest[1:]]
    spare = width - sum(widths) - SPACE * (len(widths) - 1)
    if spare < 0:
        return None
    for k, most in enumerate(whole):
        more = min(spare, most - widths[k])
        spare, widths[k] = spare - more, widths[k] + more
    return widths


def _words(text: str) -> list[str]:
    """Return the parts of a text that stay whole: words, and "± 0.2"."""
    return text.split(" ") if "±" not in text else _broken(text).split("\n")


def _broken(text: str) -> str:
    """Return the text with a new line before ±, so that "± 0.2" stays together."""
    return text.replace(" ± ", "\n± ")


def _listed(names: Sequence[str], cells: Sequence[str]) -> str:
    """Return a row as a list, headed by its first entry."""
    return "\n".join([cells[0], *(f"  {name}: {cell}" for name, cell in zip(names[1:], cells[1:], strict=True))])
