"""Claims on exactness, memory and time of gradient methods, checked on the record of `gradient_methods`."""

from __future__ import annotations

from experiments.support.statistics import spread
from odenet.measure import observed_order
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percent

RECORD = "gradient_methods/cpu-fashion-mnist.json"
REVERSIBLE = ("reversible", "asynchronous_leapfrog", "reversible_heun")


def _entries(record: Record, kind: str, name: str, entry: str) -> list[float]:
    """Return `entry` of a method, in the order of the settings."""
    return [result[entry] for key, result in record.results.items() if key.startswith(f"{kind}/{name}/")]


def _worst(record: Record, *names: str) -> float:
    return max(max(_entries(record, kind, name, "error")) for name in names for kind in ("steps", "h"))


def _memory(record: Record, name: str) -> float:
    megabytes = _entries(record, "steps", name, "megabytes")
    return megabytes[-1] / megabytes[0]


def _adjoint_order(record: Record) -> float:
    return observed_order(record.settings["steps"], _entries(record, "steps", "adjoint", "error"))


def _seconds(record: Record, name: str) -> float:
    """Return the time on the largest residual stage, relative to backprop through Euler steps."""
    return _entries(record, "conv", name, "seconds")[-1] / _entries(record, "conv", "backprop", "seconds")[-1]


CLAIMS = [
    Claim(
        "Reversible's gradient is exact at any step size: float32 against float64 backprop through the same steps, "
        "8 to 1,024 steps, h up to 1/4, at worst",
        "1e-6 at 1,024 steps with a coupling of 0.999, 3e-4 with 0.99 (prototype)",
        RECORD,
        lambda r: f"{_worst(r, 'reversible'):.0e} (backprop itself {_worst(r, 'backprop'):.0e})",
        lambda r: _worst(r, "reversible") <= 2e-6,
    ),
    Claim(
        "So it is with the asynchronous leapfrog (MALI)",
        "reverse-accurate (Zhuang et al. 2021)",
        RECORD,
        lambda r: f"{_worst(r, 'asynchronous_leapfrog'):.0e}",
        lambda r: _worst(r, "asynchronous_leapfrog") <= 2e-6,
    ),
    Claim(
        "Its memory does not depend on the number of steps: 1,024 against 8",
        "constant (McCallum and Foster 2024)",
        RECORD,
        lambda r: f"× {_memory(r, 'reversible'):.2f} (backprop × {_memory(r, 'backprop'):.0f})",
        lambda r: max(_memory(r, name) for name in REVERSIBLE) <= 1.1,
    ),
    Claim(
        "Checkpointed has backprop's error with memory O(√N): 1,024 steps against 8",
        "O(N_f + N_t) with a state a step (Zhuang et al. 2020)",
        RECORD,
        lambda r: f"× {_memory(r, 'checkpointed'):.1f} (√128 = 11.3)",
        lambda r: _memory(r, "checkpointed") <= 128**0.5 and _worst(r, "checkpointed") == _worst(r, "backprop"),
    ),
    Claim(
        "The continuous adjoint of Euler steps is wrong by O(h)",
        "it can point elsewhere altogether (Gholami et al. 2019)",
        RECORD,
        lambda r: f"order {_adjoint_order(r):.2f}; {_entries(r, 'steps', 'adjoint', 'error')[0]:.0e} at 8 steps",
        lambda r: 0.75 < _adjoint_order(r) < 1.25,
    ),
    Claim(
        "Checkpointed takes at most 1.4 times backprop's time (a residual stage)",
        "4/3 in theory",
        RECORD,
        lambda r: f"× {_seconds(r, 'checkpointed'):.2f}",
        lambda r: _seconds(r, "checkpointed") <= 1.4,
    ),
    Claim(
        "Trained with Reversible, a net is as accurate as with backprop, within a point",
        "on par (Zhuang et al. 2021; Chang et al. 2018)",
        RECORD,
        lambda r: f"{spread(percent(r, 'reversible'))} against {spread(percent(r, 'backprop'))} %",
        lambda r: abs(mean(r, "reversible") - mean(r, "backprop")) < 1,
    ),
]
