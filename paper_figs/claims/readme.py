"""The tables of README.md, each between its marks."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import paper_figs.claims
from odenet.training import Record
from paper_figs.claims.claim import Claim, table
from paper_figs.command import RECORDS


def claims() -> dict[str, list[Claim]]:
    """The claims of each experiment, those of the main job first."""
    names = {module.name for module in iter_modules(paper_figs.claims.__path__)} - {"__main__", "claim", "readme"}
    order = sorted(names, key=lambda name: (name != "depth_refinement", name))
    return {name: import_module(f"paper_figs.claims.{name}").CLAIMS for name in order}


def claims_table() -> str:
    """The table of all claims whose record is there, in Markdown."""
    made = [claim for of_experiment in claims().values() for claim in of_experiment]
    return table([claim for claim in made if (RECORDS / claim.record).exists()])


def core_table() -> str:
    """The benchmark of the core, in Markdown."""
    rows = Record.load(RECORDS / "benchmarks/core-cpu.json").summary["table"]
    head = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    return "\n".join([*head, *("| " + " | ".join(row.values()) + " |" for row in rows)])


TABLES = {"claims": claims_table, "core": core_table}


def with_tables(text: str) -> str:
    """`text` with the tables between their marks made anew."""
    for name, make in TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text
