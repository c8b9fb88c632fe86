"""Claims on a residual network trained with Euler's method and h = 1, checked on the record of `is_it_an_ode`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import above, student, within

RECORD = "is_it_an_ode/cpu-fashion-mnist.json"


def distances(record: Record, way: str) -> list[float]:
    """Return how much the output changes under another solver, in percent: one number per seed."""
    return [100 * found[way] for found in over_seeds(record.results, "solvers", "distance")]


def roughness(record: Record) -> list[float]:
    """Return the roughness of θ, averaged over neighbouring nodes: one number per seed."""
    return over_seeds(record.results, "verdict", "roughness")


def orders(record: Record) -> list[float]:
    """Return the order with which Euler's method converges on the trained field: one number per seed."""
    return over_seeds(record.results, "order", "order")


def _lesion(record: Record, name: str) -> float:
    """Return how much the output changes on average under a kind of lesion, in percent."""
    blocks = [block for found in over_seeds(record.results, "lesions", name) for block in found]
    return 100 * fmean(value for block in blocks for value in block)


def _swapped_less(record: Record) -> list[float]:
    """Return how much more the output changes without a layer than with two exchanged, in points, for each seed."""
    means = [
        [fmean(value for block in found for value in block) for found in over_seeds(record.results, "lesions", name)]
        for name in ("dropped", "swapped")
    ]
    return [100 * (dropped - swapped) for dropped, swapped in zip(*means, strict=True)]


def _spread(values: Callable[[Record], list[float]], digits: int) -> Callable[[Record], str]:
    return lambda record: spread(values(record), digits)


CLAIMS = [
    Claim(
        "A ResNet trained with h = 1 is no ODE: its output moves by more than 10 % when its field is solved finely",
        "–",
        RECORD,
        lambda r: f"{spread(distances(r, 'rk4×8'))} %",
        above(student(lambda r: distances(r, "rk4×8")), 10, "%"),
    ),
    Claim(
        "… for training makes neighbouring θ no more alike than chance does (√2 ± 0.1)",
        "smooth only if initialized so (Sander et al. 2022)",
        RECORD,
        _spread(roughness, 2),
        within(student(roughness), 2**0.5 - 0.1, 2**0.5 + 0.1),
    ),
    Claim(
        "… yet the field itself is smooth: Euler's method converges on it with order 1 ± 0.1",
        "–",
        RECORD,
        _spread(orders, 2),
        within(student(orders), 0.9, 1.1),
    ),
    Claim(
        "Two exchanged layers move the output less than one left out",
        "–",
        RECORD,
        lambda r: f"{_lesion(r, 'swapped'):.0f} against {_lesion(r, 'dropped'):.0f} %",
        above(student(_swapped_less), 0, "points"),
    ),
]
