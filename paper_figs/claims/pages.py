"""The generated parts of README.md, docs/results.md and docs/benchmarks.md, each between its markers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import experiments
import paper_figs.claims
from odenet.training import Record
from odenet.training.files import write_atomically
from paper_figs.claims import headlines
from paper_figs.claims.claim import Claim, table
from paper_figs.support.cards import cards, preferred
from paper_figs.support.command import FIGURES, RECORDS, scripts


def claims() -> dict[str, list[Claim]]:
    """Return the claims of each experiment, those of the main experiment first."""
    asked = {module.name for module in iter_modules(experiments.__path__)}
    names = {module.name for module in iter_modules(paper_figs.claims.__path__)} & asked - {"__main__"}
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
        f"[{script.name}](../{FIGURES}/{script.name}-{path.stem}.png)"
        for path in records
        for script in scripts()
        if script.experiment == experiment
    )
    return f"## {question}\n\n{commands} → {figures}\n\n{table(recorded)}"


def benchmark_table(name: str) -> str:
    """Return the results of benchmark `name` as a Markdown table."""
    record = benchmark_record(name)
    rows = record.summary["table"]
    made_on = [f"Measured on {', '.join(names)}.", ""] if (names := cards(record)) else []
    return "\n".join([*made_on, *headlines.markdown(rows)])


def benchmark_record(name: str) -> Record:
    """Return the record of benchmark `name`, that of a GPU if there is one."""
    return Record.load(preferred(RECORDS / f"benchmarks/{name}-cpu.json"))


BENCHMARKS = (
    *("core", "fixed_steps", "adaptive", "networks", "scaling", "roofline"),
    *("gradients", "gradient_peers", "deep_net", "unet_memory", "stochastic_depth", "scenes"),
)
README, RESULTS, MEASURED = Path("README.md"), Path("docs/results.md"), Path("docs/benchmarks.md")
PAGES: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    README: {
        "picture": lambda: headlines.picture(claims()),
        "findings": lambda: headlines.findings(claims()),
        "benchmarks": lambda: headlines.benchmark_lines(benchmark_record),
    },
    RESULTS: {"claims": claims_tables},
    MEASURED: {name: partial(benchmark_table, name) for name in BENCHMARKS},
}
"""For each page, by its path relative to the repository, the functions that make what stands between its markers."""


def with_tables(page: Path) -> str:
    """Return the text of a page with what is between its markers made anew.

    Raises:
        ValueError: if a marker is missing.
    """
    text = page.read_text(encoding="utf-8")
    for name, make in PAGES[page].items():
        before, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not (begin and end):
            raise ValueError(
                f"{name} was to be written into {page}, which has no place for it: put the lines <!-- {name} --> and "
                f"<!-- end of {name} --> there."
            )
        text = f"{before}{begin}\n{make()}\n{end}{after}"
    return text


def write_pages() -> None:
    """Write every page anew from the records of the repository, which is the working directory."""
    for page in PAGES:
        write_atomically(page, with_tables(page).encode(), what="file")
