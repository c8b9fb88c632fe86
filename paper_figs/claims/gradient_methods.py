"""Claims on exactness, memory and time of gradient methods, checked on the record of `gradient_methods`."""

from __future__ import annotations

from math import log
from statistics import median

from experiments.support.statistics import spread
from odenet.measure import observed_order
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, percent
from paper_figs.claims.verdict import Condition, Exact, below, ratio, slope, student, within

RECORD = "gradient_methods/cpu-fashion-mnist.json"
REVERSIBLE = ("reversible", "asynchronous_leapfrog", "reversible_heun")


def _entries(record: Record, kind: str, name: str, entry: str) -> list[float]:
    """Return `entry` of a method, in the order of the settings."""
    return [result[entry] for key, result in record.results.items() if key.startswith(f"{kind}/{name}/")]


def _errors(record: Record, name: str) -> list[float]:
    return [error for kind in ("steps", "h") for error in _entries(record, kind, name, "error")]


def _exact_to_rounding(name: str) -> Condition:
    """Return the condition that a method's error, over all numbers and sizes of steps, is below 2e-6."""
    return below(ratio(lambda r: _errors(r, name)), 2e-6, "over numbers of steps")


def _worst(record: Record, *names: str) -> float:
    return max(max(_entries(record, kind, name, "error")) for name in names for kind in ("steps", "h"))


def _memory(record: Record, name: str) -> float:
    megabytes = _entries(record, "steps", name, "megabytes")
    return megabytes[-1] / megabytes[0]


def _adjoint_order(record: Record) -> float:
    return observed_order(record.settings["steps"], _entries(record, "steps", "adjoint", "error"))


def _adjoint_line(record: Record) -> tuple[list[float], list[float]]:
    """Return the logarithms of the step sizes and of the adjoint's errors, whose slope is the order."""
    errors = _entries(record, "steps", "adjoint", "error")
    return [-log(steps) for steps in record.settings["steps"]], [log(error) for error in errors]


def _times_backprop(record: Record, name: str) -> list[float]:
    """Return the time on a residual stage over that of backprop through Euler steps, for each number of steps."""
    own, backprop = (_entries(record, "conv", key, "seconds") for key in (name, "backprop"))
    return [a / b for a, b in zip(own, backprop, strict=True)]


CLAIMS = [
    Claim(
        "Reversible's gradient is exact at any step size: float32 against float64 backprop through the same steps, "
        "8 to 1,024 steps, h up to 1/4, at worst",
        "1e-6 at 1,024 steps with a coupling of 0.999, 3e-4 with 0.99 (prototype)",
        RECORD,
        lambda r: f"{_worst(r, 'reversible'):.0e} (backprop itself {_worst(r, 'backprop'):.0e})",
        _exact_to_rounding("reversible"),
    ),
    Claim(
        "So it is with the asynchronous leapfrog (MALI)",
        "reverse-accurate (Zhuang et al. 2021)",
        RECORD,
        lambda r: f"{_worst(r, 'asynchronous_leapfrog'):.0e}",
        _exact_to_rounding("asynchronous_leapfrog"),
    ),
    Claim(
        "Its memory does not depend on the number of steps: 1,024 against 8",
        "constant (McCallum and Foster 2024)",
        RECORD,
        lambda r: f"× {_memory(r, 'reversible'):.2f} (backprop × {_memory(r, 'backprop'):.0f})",
        Exact(lambda r: max(_memory(r, name) for name in REVERSIBLE) <= 1.1, "count"),
    ),
    Claim(
        "Checkpointed has backprop's error with memory O(√N): 1,024 steps against 8",
        "O(N_f + N_t) with a state a step (Zhuang et al. 2020)",
        RECORD,
        lambda r: f"× {_memory(r, 'checkpointed'):.1f} (√128 = 11.3)",
        (
            Exact(lambda r: _errors(r, "checkpointed") == _errors(r, "backprop")),
            Exact(lambda r: _memory(r, "checkpointed") <= 128**0.5, "count"),
        ),
    ),
    Claim(
        "The continuous adjoint of Euler steps is wrong by O(h)",
        "it can point elsewhere altogether (Gholami et al. 2019)",
        RECORD,
        lambda r: f"order {_adjoint_order(r):.2f}; {_entries(r, 'steps', 'adjoint', 'error')[0]:.0e} at 8 steps",
        within(slope(_adjoint_line), 0.75, 1.25),
    ),
    Claim(
        "Checkpointed takes at most 1.4 times backprop's time (a residual stage)",
        "4/3 in theory",
        RECORD,
        lambda r: f"× {median(_times_backprop(r, 'checkpointed')):.2f}",
        below(ratio(lambda r: _times_backprop(r, "checkpointed")), 1.4, "over numbers of steps"),
    ),
    Claim(
        "Trained with Reversible, a net is as accurate as with backprop, within a point",
        "on par (Zhuang et al. 2021; Chang et al. 2018)",
        RECORD,
        lambda r: f"{spread(percent(r, 'reversible'))} against {spread(percent(r, 'backprop'))} %",
        within(student(differences("reversible", "backprop")), -1, 1, "points"),
    ),
]
