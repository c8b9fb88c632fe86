"""The generated tables of README.md, each between its markers."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pkgutil import iter_modules

import paper_figs.claims
from odenet.training import Record
from paper_figs.claims.claim import Claim, table
from paper_figs.support.cards import cards, preferred
from paper_figs.support.command import FIGURES, RECORDS, scripts


def claims() -> dict[str, list[Claim]]:
    """Return the claims of each experiment, those of the main experiment first."""
    names = {module.name for module in iter_modules(paper_figs.claims.__path__)} - {
        "__main__",
        "claim",
        "readme",
        "verdict",
    }
    order = sorted(names, key=lambda name: (name != "depth_refinement", name))
    return {name: import_module(f"paper_figs.claims.{name}").CLAIMS for name in order}


def claims_tables() -> str:
    """Return a Markdown section for each experiment with a record: question, command, figures, table of claims."""
    return "\n\n".join(section for name, made in claims().items() if (section := _section(name, made)))


def _section(experiment: str, claims: list[Claim]) -> str:
    recorded = [claim for claim in claims if claim.path.exists()]
    if not recorded:
        return ""
    question = (import_module(f"experiments.{experiment}").__doc__ or "").splitlines()[0]
    own = RECORDS / experiment
    records = list(dict.fromkeys(claim.path for claim in recorded if claim.path.parent == own))
    made_on = {Record.load(path).preset: cards(Record.load(path)) for path in records}
    commands = ", ".join(
        f"`python -m experiments.{experiment} {preset}`" + (f" ({', '.join(names)})" if names else "")
        for preset, names in made_on.items()
    )
    figures = ", ".join(
        f"[{script.name}]({FIGURES}/{script.name}-{path.stem}.png)"
        for path in records
        for script in scripts()
        if script.experiment == experiment
    )
    return f"**{question}** {commands} → {figures}\n\n{table(recorded)}"


def benchmark_table(name: str) -> str:
    """Return the results of benchmark `name` as a Markdown table."""
    record = Record.load(preferred(RECORDS / f"benchmarks/{name}-cpu.json"))
    rows = record.summary["table"]
    head = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    made_on = [f"Measured on {', '.join(names)}.", ""] if (names := cards(record)) else []
    return "\n".join([*made_on, *head, *("| " + " | ".join(row.values()) + " |" for row in rows)])


BENCHMARKS = (
    *("core", "fixed_steps", "adaptive", "networks", "scaling", "roofline"),
    *("gradients", "gradient_peers", "deep_net", "unet_memory", "stochastic_depth", "scenes"),
)
TABLES = {"claims": claims_tables, **{name: partial(benchmark_table, name) for name in BENCHMARKS}}


def with_tables(text: str) -> str:
    """Return `text` with the tables between their markers regenerated."""
    for name, make in TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text
