"""Claims on a trained net under other solvers, checked on the record of `solver_swap`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim

RECORD = "solver_swap/cpu-fashion-mnist.json"


def _tested(record: Record, training: str, test: str) -> list[float]:
    return [100 * tests[test]["accuracy"] for tests in over_seeds(record.results, training, "tests")]


def _swapped(training: str, *tests: str) -> Callable[[Record], str]:
    return lambda record: " → ".join(f"{spread(_tested(record, training, test))} %" for test in tests)


def _fall(record: Record, training: str, own: str, *tests: str) -> float:
    """Return the largest loss of accuracy, in percentage points, when the training's solver is replaced by another."""
    before = fmean(_tested(record, training, own))
    return max(before - fmean(_tested(record, training, test)) for test in tests)


CLAIMS = [
    Claim(
        "A net trained with Euler at h = 1 gets worse with 2, 4, 8 times the steps",
        "91.6 → 88.3 → 84.4 → 80.8 % (prototype)",
        RECORD,
        _swapped("euler", "euler×1", "euler×2", "euler×4", "euler×8"),
        lambda r: _fall(r, "euler", "euler×1", "euler×8") > 2,
    ),
    Claim(
        "… and under Midpoint",
        "91.6 → 58.8 % (prototype)",
        RECORD,
        _swapped("euler", "euler×1", "midpoint×1"),
        lambda r: _fall(r, "euler", "euler×1", "midpoint×1") > 2,
    ),
    Claim(
        "A net trained with RK4 stays within 2 points under every solver of order 2 or more",
        "unchanged (Queiruga et al. 2020)",
        RECORD,
        _swapped("rk4", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
        lambda r: _fall(r, "rk4", "rk4×1", "midpoint×1", "rk4×8", "dopri5") < 2,
    ),
    Claim(
        "So does a net trained with Euler at h = 1/4, under finer steps and other solvers",
        "a critical step size (Ott et al. 2021)",
        RECORD,
        _swapped("euler/4", "euler×4", "euler×8", "midpoint×1", "dopri5"),
        lambda r: _fall(r, "euler/4", "euler×4", "euler×8", "midpoint×1", "dopri5") < 2,
    ),
    Claim(
        "Most of what the Euler net loses is BatchNorm's: normalized by batches, not running statistics, the same net "
        "loses less than half as much (Euler with 8 steps, Midpoint, dopri5)",
        "–",
        RECORD,
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
        RECORD,
        lambda r: f"{spread(_tested(r, 'rk4/batch', 'rk4×1'))} → {spread(_tested(r, 'rk4', 'rk4×1'))} %",
        lambda r: fmean(_tested(r, "rk4/batch", "rk4×1")) - fmean(_tested(r, "rk4", "rk4×1")) > 2,
    ),
    Claim(
        "Normalized by batches, a net trained with RK4 stays within 2 points under Midpoint, finer steps and dopri5",
        "unchanged (Queiruga et al. 2020)",
        RECORD,
        _swapped("rk4/batch", "rk4×1", "midpoint×1", "rk4×8", "dopri5"),
        lambda r: _fall(r, "rk4/batch", "rk4×1", "midpoint×1", "rk4×8", "dopri5") < 2,
    ),
    Claim(
        "So does a net trained with Euler at h = 1/4, under finer steps, Midpoint at h = 1, and dopri5",
        "a critical step size (Ott et al. 2021)",
        RECORD,
        _swapped("euler/4/batch", "euler×4", "euler×8", "midpoint×1", "dopri5"),
        lambda r: _fall(r, "euler/4/batch", "euler×4", "euler×8", "midpoint×1", "dopri5") < 2,
    ),
    Claim(
        "Shared weights alone do not make a net of two Euler steps an ODE",
        "–",
        RECORD,
        _swapped("shared/batch", "euler×1", "euler×8", "dopri5"),
        lambda r: _fall(r, "shared/batch", "euler×1", "euler×8", "dopri5") > 2,
    ),
]
