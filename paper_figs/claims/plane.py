"""Claims on flows of points in the plane, checked on the record of `plane`."""

from __future__ import annotations

from statistics import fmean

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percentages

RECORD = "plane/cpu.json"


def _evaluations(record: Record, net: str) -> float:
    return fmean(over_seeds(record.results, f"annuli/{net}", "evaluations"))


def _lost(record: Record, net: str) -> float:
    """Return how many points of accuracy are lost on annuli when the field is solved exactly."""
    return mean(record, f"annuli/{net}") - mean(record, f"annuli/{net}", "exact_accuracy")


CLAIMS = [
    Claim(
        "Annuli: with a third dimension an ODE-Net needs fewer evaluations than in the plane, at the same tolerance",
        "fewer (Dupont et al. 2019, figure 7)",
        RECORD,
        lambda r: f"{_evaluations(r, 'ode_net'):.0f} → {_evaluations(r, 'augmented'):.0f}",
        lambda r: _evaluations(r, "augmented") < _evaluations(r, "ode_net"),
    ),
    Claim(
        "… and is more accurate",
        "lower loss (Dupont et al. 2019, figure 6)",
        RECORD,
        percentages("annuli/ode_net", "annuli/augmented"),
        lambda r: mean(r, "annuli/augmented") > mean(r, "annuli/ode_net"),
    ),
    Claim(
        "Annuli: a ResNet with h = 1 loses more accuracy than one with h = 1/4 if its field is solved exactly",
        "–",
        RECORD,
        lambda r: f"{_lost(r, 'resnet'):.1f} against {_lost(r, 'resnet_small_steps'):.1f} points",
        lambda r: _lost(r, "resnet") > max(0.0, _lost(r, "resnet_small_steps")),
    ),
    Claim(
        "An ODE-Net is its flow: an exact solution changes its accuracy by at most one point, on annuli and spirals",
        "–",
        RECORD,
        lambda r: f"{_moved(r):.2f} points",
        lambda r: _moved(r) <= 1,
    ),
]


def _moved(record: Record) -> float:
    """Return the largest change of accuracy of an ODE-Net by an exact solution, in points."""
    keys = [f"{points}/{net}" for points in ("annuli", "spirals") for net in ("ode_net", "augmented", "second_order")]
    return max(abs(mean(record, key) - mean(record, key, "exact_accuracy")) for key in keys)
