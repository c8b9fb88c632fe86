"""The README's tables, made from records: the claims with what was published and measured, and the benchmark.

`python -m paper_figs.claims` writes them between their marks in README.md; a test holds that they stand there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from experiments.statistics import over_seeds, spread
from odenet.measure import observed_order
from odenet.training import Record
from paper_figs.command import RECORDS

README = Path("README.md")


@dataclass(frozen=True)
class Claim:
    """A sentence that a record supports or does not.

    Attributes:
        text: The claim.
        published: Numbers of others, with their source.
        record: Below `records/`.
        ours: The measured numbers, as text.
        holds: Whether they support the claim.
    """

    text: str
    published: str
    record: str
    ours: Callable[[Record], str]
    holds: Callable[[Record], bool]

    def row(self) -> str:
        """The claim as a row of a Markdown table."""
        record = Record.load(RECORDS / self.record)
        verdict = "yes" if self.holds(record) else "**no**"
        command = f"`python -m experiments.{record.experiment} {record.preset}`"
        return f"| {self.text} | {self.published} | {self.ours(record)} | {verdict} | {command} |"


def _percent(record: Record, key: str, entry: str) -> list[float]:
    return [100 * value for value in over_seeds(record.results, key, entry)]


def _tested(record: Record, training: str, test: str) -> list[float]:
    return [100 * tests[test]["accuracy"] for tests in over_seeds(record.results, training, "tests")]


def _accuracies(*keys: str, entry: str = "accuracy") -> Callable[[Record], str]:
    return lambda record: " → ".join(f"{spread(_percent(record, key, entry))} %" for key in keys)


def _swapped(training: str, *tests: str) -> Callable[[Record], str]:
    return lambda record: " → ".join(f"{spread(_tested(record, training, test))} %" for test in tests)


def _fall(record: Record, training: str, own: str, *tests: str) -> float:
    """The largest loss of accuracy, in percentage points, when the training's own solver is replaced by another."""
    before = fmean(_tested(record, training, own))
    return max(before - fmean(_tested(record, training, test)) for test in tests)


def _distance_order(record: Record) -> float:
    keys = ["scratch/level0", *(f"refined/level{level}" for level in (1, 2, 3))]
    steps = [2**level for level in range(4)]
    return observed_order(steps, [fmean(_percent(record, key, "distance")) for key in keys])


DEPTH = "depth_refinement/cpu-fashion-mnist.json"
SWAP = "solver_swap/cpu-fashion-mnist.json"

CLAIMS = [
    Claim(
        "Four times the layers at a quarter of the step are more accurate, trained from scratch",
        "90.25 → 92.42 % with 14 → 50 layers, CIFAR-10 (Chang et al. 2018)",
        DEPTH,
        _accuracies("scratch/level0", "scratch/level2"),
        lambda r: fmean(_percent(r, "scratch/level2", "accuracy")) > fmean(_percent(r, "scratch/level0", "accuracy")),
    ),
    Claim(
        "A deep net that starts from the trained coarser one is no worse than one trained from scratch "
        "(here with 1.9 times its work; in the paper with 0.6 times)",
        "92.90 against 92.42 % with 50 layers, CIFAR-10 (Chang et al. 2018)",
        DEPTH,
        lambda r: (
            f"{spread(_percent(r, 'refined/level3', 'accuracy'))} against "
            f"{spread(_percent(r, 'scratch/level3', 'accuracy'))} %"
        ),
        lambda r: fmean(_percent(r, "refined/level3", "accuracy")) >= fmean(_percent(r, "scratch/level3", "accuracy")),
    ),
    Claim(
        "Trained with h = 1, a ResNet is not the ODE of its weights: dopri5 changes its answers",
        "accuracy collapses (Queiruga et al. 2020)",
        DEPTH,
        lambda r: (
            f"{spread(_percent(r, 'scratch/level0', 'probe_accuracy'))} → "
            f"{spread(_percent(r, 'scratch/level0', 'ode_accuracy'))} %"
        ),
        lambda r: _lost_as_ode(r, "scratch/level0") > 5,
    ),
    Claim(
        "Refined to h = 1/8, it nearly is one",
        "–",
        DEPTH,
        lambda r: (
            f"{spread(_percent(r, 'refined/level3', 'probe_accuracy'))} → "
            f"{spread(_percent(r, 'refined/level3', 'ode_accuracy'))} %"
        ),
        lambda r: _lost_as_ode(r, "refined/level3") < 2,
    ),
    Claim(
        "The distance of a refined net from its exact flow falls like h",
        "order 1 of Euler's method",
        DEPTH,
        lambda r: f"order {_distance_order(r):.2f}",
        lambda r: 0.75 < _distance_order(r) < 1.25,
    ),
    Claim(
        "A net trained with Euler at h = 1 gets worse with 2, 4, 8 times the steps",
        "91.6 → 88.3 → 84.4 → 80.8 % (prototype)",
        SWAP,
        _swapped("euler", "euler×1", "euler×2", "euler×4", "euler×8"),
        lambda r: _fall(r, "euler", "euler×1", "euler×8") > 2,
    ),
    Claim(
        "… and under Midpoint",
        "91.6 → 58.8 % (prototype)",
        SWAP,
        _swapped("euler", "euler×1", "midpoint×1"),
        lambda r: _fall(r, "euler", "euler×1", "midpoint×1") > 2,
    ),
    Claim(
        "A net trained with RK4 stays within 2 points under every solver of order 2 or more",
        "unchanged (Queiruga et al. 2020)",
        SWAP,
        _swapped("rk4", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
        lambda r: _fall(r, "rk4", "rk4×1", "midpoint×1", "rk4×8", "dopri5") < 2,
    ),
    Claim(
        "So does a net trained with Euler at h = 1/4, under finer steps and other solvers",
        "a critical step size (Ott et al. 2021)",
        SWAP,
        _swapped("euler/4", "euler×4", "euler×8", "midpoint×1", "dopri5"),
        lambda r: _fall(r, "euler/4", "euler×4", "euler×8", "midpoint×1", "dopri5") < 2,
    ),
    Claim(
        "Most of what the Euler net loses is BatchNorm's: normalized by batches, not running statistics, the same net "
        "loses less than half as much (Euler with 8 steps, Midpoint, dopri5)",
        "–",
        SWAP,
        _swapped("euler/batch", "euler×1", "euler×8", "midpoint×1", "dopri5"),
        lambda r: (
            _fall(r, "euler/batch", "euler×1", "euler×8", "midpoint×1", "dopri5")
            < _fall(r, "euler", "euler×1", "euler×8", "midpoint×1", "dopri5") / 2
        ),
    ),
    Claim(
        "BatchNorm's running statistics do not fit a branch that is evaluated four times a pass: a net trained with "
        "RK4, normalized by batches, then by running statistics",
        "–",
        SWAP,
        lambda r: f"{spread(_tested(r, 'rk4/batch', 'rk4×1'))} → {spread(_tested(r, 'rk4', 'rk4×1'))} %",
        lambda r: fmean(_tested(r, "rk4/batch", "rk4×1")) - fmean(_tested(r, "rk4", "rk4×1")) > 2,
    ),
    Claim(
        "Normalized by batches, a net trained with RK4 stays within 2 points under Midpoint, finer steps and dopri5",
        "unchanged (Queiruga et al. 2020)",
        SWAP,
        _swapped("rk4/batch", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
        lambda r: _fall(r, "rk4/batch", "rk4×1", "midpoint×1", "rk4×8", "dopri5") < 2,
    ),
    Claim(
        "So does a net trained with Euler at h = 1/4, under finer steps, Midpoint at h = 1, and dopri5",
        "a critical step size (Ott et al. 2021)",
        SWAP,
        _swapped("euler/4/batch", "euler×4", "euler×8", "midpoint×1", "dopri5"),
        lambda r: _fall(r, "euler/4/batch", "euler×4", "euler×8", "midpoint×1", "dopri5") < 2,
    ),
    Claim(
        "Shared weights alone do not make a net of two Euler steps an ODE",
        "–",
        SWAP,
        _swapped("shared/batch", "euler×1", "euler×8", "dopri5"),
        lambda r: _fall(r, "shared/batch", "euler×1", "euler×8", "dopri5") > 2,
    ),
]


def _lost_as_ode(record: Record, key: str) -> float:
    return fmean(_percent(record, key, "probe_accuracy")) - fmean(_percent(record, key, "ode_accuracy"))


def claims_table() -> str:
    """The table of all claims, in Markdown."""
    head = ["| claim | published | ours | holds | command |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(claim.row() for claim in CLAIMS)])


def core_table() -> str:
    """The benchmark of the core, in Markdown."""
    rows = Record.load(RECORDS / "benchmarks/core-cpu.json").summary["table"]
    head = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    return "\n".join([*head, *("| " + " | ".join(row.values()) + " |" for row in rows)])


TABLES = {"claims": claims_table, "core": core_table}


def with_tables(text: str) -> str:
    """`text` with the tables between their marks made anew."""
    for name, table in TABLES.items():
        before, begin, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        text = f"{before}{begin}\n{table()}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
