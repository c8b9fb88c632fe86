"""Claims on a trained net under other solvers, checked on the record of `solver_swap`."""

from __future__ import annotations

from collections.abc import Callable

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import Condition, above, below, student

RECORD = "solver_swap/cpu-fashion-mnist.json"


def _tested(record: Record, training: str, test: str) -> list[float]:
    return [100 * tests[test]["accuracy"] for tests in over_seeds(record.results, training, "tests")]


def _swapped(training: str, *tests: str) -> Callable[[Record], str]:
    return lambda record: " → ".join(f"{spread(_tested(record, training, test))} %" for test in tests)


def _falls(record: Record, training: str, own: str, test: str) -> list[float]:
    """Return the points of accuracy lost, for each seed, when the training's solver is replaced by another."""
    both = zip(_tested(record, training, own), _tested(record, training, test), strict=True)
    return [before - after for before, after in both]


def _stays(training: str, own: str, *tests: str) -> tuple[Condition, ...]:
    """Return the conditions that a net loses less than 2 points under each of several solvers."""
    return tuple(below(student(lambda r, t=test: _falls(r, training, own, t)), 2, "points") for test in tests)


def _leaves(training: str, own: str, test: str) -> Condition:
    """Return the condition that a net loses more than 2 points under another solver."""
    return above(student(lambda r: _falls(r, training, own, test)), 2, "points")


def _kept(record: Record) -> list[float]:
    """Return the points, for each seed, by which half of the worst fall exceeds that with statistics of the batch."""
    tests = ("euler×8", "midpoint×1", "dopri5")
    running, batch = (
        [max(falls) for falls in zip(*(_falls(record, net, "euler×1", test) for test in tests), strict=True)]
        for net in ("euler", "euler/batch")
    )
    return [a / 2 - b for a, b in zip(running, batch, strict=True)]


def _mixture(record: Record) -> list[float]:
    pairs = zip(_tested(record, "rk4/batch", "rk4×1"), _tested(record, "rk4", "rk4×1"), strict=True)
    return [batch - running for batch, running in pairs]


CLAIMS = [
    Claim(
        "A net trained with Euler at h = 1 gets worse with 2, 4, 8 times the steps",
        "91.6 → 88.3 → 84.4 → 80.8 % (prototype)",
        RECORD,
        _swapped("euler", "euler×1", "euler×2", "euler×4", "euler×8"),
        _leaves("euler", "euler×1", "euler×8"),
    ),
    Claim(
        "… and under Midpoint",
        "91.6 → 58.8 % (prototype)",
        RECORD,
        _swapped("euler", "euler×1", "midpoint×1"),
        _leaves("euler", "euler×1", "midpoint×1"),
    ),
    Claim(
        "A net trained with RK4 stays within 2 points under every solver of order 2 or more",
        "unchanged (Queiruga et al. 2020)",
        RECORD,
        _swapped("rk4", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
        _stays("rk4", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
    ),
    Claim(
        "So does a net trained with Euler at h = 1/4, under finer steps and other solvers",
        "a critical step size (Ott et al. 2021)",
        RECORD,
        _swapped("euler/4", "euler×4", "euler×8", "midpoint×1", "dopri5"),
        _stays("euler/4", "euler×4", "euler×8", "midpoint×1", "dopri5"),
    ),
    Claim(
        "Most of what the Euler net loses is BatchNorm's: normalized by batches, not running statistics, the same net "
        "loses less than half as much (Euler with 8 steps, Midpoint, dopri5)",
        "–",
        RECORD,
        _swapped("euler/batch", "euler×1", "euler×8", "midpoint×1", "dopri5"),
        above(student(_kept), 0, "points"),
    ),
    Claim(
        "BatchNorm's running statistics do not fit a branch that is evaluated four times a pass: a net trained with "
        "RK4, normalized by batches, then by running statistics",
        "–",
        RECORD,
        lambda r: f"{spread(_tested(r, 'rk4/batch', 'rk4×1'))} → {spread(_tested(r, 'rk4', 'rk4×1'))} %",
        above(student(_mixture), 2, "points"),
    ),
    Claim(
        "Normalized by batches, a net trained with RK4 stays within 2 points under Midpoint, finer steps and dopri5",
        "unchanged (Queiruga et al. 2020)",
        RECORD,
        _swapped("rk4/batch", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
        _stays("rk4/batch", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
    ),
    Claim(
        "So does a net trained with Euler at h = 1/4, under finer steps, Midpoint at h = 1, and dopri5",
        "a critical step size (Ott et al. 2021)",
        RECORD,
        _swapped("euler/4/batch", "euler×4", "euler×8", "midpoint×1", "dopri5"),
        _stays("euler/4/batch", "euler×4", "euler×8", "midpoint×1", "dopri5"),
    ),
    Claim(
        "Shared weights alone do not make a net of two Euler steps an ODE",
        "–",
        RECORD,
        _swapped("shared/batch", "euler×1", "euler×8", "dopri5"),
        _leaves("shared/batch", "euler×1", "dopri5"),
    ),
]
