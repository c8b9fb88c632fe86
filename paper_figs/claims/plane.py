"""Claims on flows of points in the plane, checked on the record of `plane`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, mean, pairs, percentages
from paper_figs.claims.verdict import above, student, within

RECORD = "plane/cpu.json"


def _evaluations(record: Record, net: str) -> float:
    return fmean(over_seeds(record.results, f"annuli/{net}", "evaluations"))


def _fewer(record: Record) -> list[float]:
    """Return the evaluations that a third dimension saves, for each seed."""
    return [a - b for a, b in pairs(record, "annuli/ode_net", "annuli/augmented", "evaluations")]


def _lost(net: str) -> Callable[[Record], list[float]]:
    """Return a function: the points of accuracy on annuli that are lost when the field is solved exactly."""
    return differences(f"annuli/{net}", f"annuli/{net}", "accuracy", "exact_accuracy")


def _lost_more(record: Record) -> list[float]:
    coarse, fine = _lost("resnet")(record), _lost("resnet_small_steps")(record)
    return [a - max(0.0, b) for a, b in zip(coarse, fine, strict=True)]


_NETS = ("ode_net", "augmented", "second_order")
_FLOWS = tuple(f"{points}/{net}" for points in ("annuli", "spirals") for net in _NETS)


def _moved(record: Record) -> float:
    """Return the largest change of a flow's mean accuracy by an exact solution, in points."""
    return max(abs(mean(record, key) - mean(record, key, "exact_accuracy")) for key in _FLOWS)


CLAIMS = [
    Claim(
        "Annuli: with a third dimension an ODE-Net needs fewer evaluations than in the plane, at the same tolerance",
        "fewer (Dupont et al. 2019, figure 7)",
        RECORD,
        lambda r: f"{_evaluations(r, 'ode_net'):.0f} → {_evaluations(r, 'augmented'):.0f}",
        above(student(_fewer), 0, "evaluations"),
    ),
    Claim(
        "… and is more accurate",
        "lower loss (Dupont et al. 2019, figure 6)",
        RECORD,
        percentages("annuli/ode_net", "annuli/augmented"),
        above(student(differences("annuli/augmented", "annuli/ode_net")), 0, "points"),
    ),
    Claim(
        "Annuli: a ResNet with h = 1 loses more accuracy than one with h = 1/4 if its field is solved exactly",
        "–",
        RECORD,
        lambda r: f"{fmean(_lost('resnet')(r)):.1f} against {fmean(_lost('resnet_small_steps')(r)):.1f} points",
        above(student(_lost_more), 0, "points"),
    ),
    Claim(
        "An ODE-Net is its flow: an exact solution changes its accuracy by at most one point, on annuli and spirals",
        "–",
        RECORD,
        lambda r: f"{_moved(r):.2f} points",
        tuple(within(student(differences(key, key, "accuracy", "exact_accuracy")), -1, 1, "points") for key in _FLOWS),
    ),
]
