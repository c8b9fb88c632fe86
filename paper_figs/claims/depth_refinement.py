"""Claims on more layers with smaller steps, checked on the record of `depth_refinement`."""

from __future__ import annotations

from experiments.support.statistics import spread
from odenet.measure import observed_order
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percent, percentages

RECORD = "depth_refinement/cpu-fashion-mnist.json"


def _distance_order(record: Record) -> float:
    keys = ["scratch/level0", *(f"refined/level{level}" for level in (1, 2, 3))]
    steps = [2**level for level in range(4)]
    return observed_order(steps, [mean(record, key, "distance") for key in keys])


def _lost_as_ode(record: Record, key: str) -> float:
    return mean(record, key, "probe_accuracy") - mean(record, key, "ode_accuracy")


CLAIMS = [
    Claim(
        "Four times the layers at a quarter of the step are more accurate, trained from scratch",
        "90.25 → 92.42 % with 14 → 50 layers, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        percentages("scratch/level0", "scratch/level2"),
        lambda r: mean(r, "scratch/level2") > mean(r, "scratch/level0"),
    ),
    Claim(
        "A deep net that starts from the trained coarser one is no worse than one trained from scratch "
        "(here with 1.9 times its work; in the paper with 0.6 times)",
        "92.90 against 92.42 % with 50 layers, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        lambda r: f"{spread(percent(r, 'refined/level3'))} against {spread(percent(r, 'scratch/level3'))} %",
        lambda r: mean(r, "refined/level3") >= mean(r, "scratch/level3"),
    ),
    Claim(
        "Trained with h = 1, a ResNet is not the ODE of its weights: dopri5 changes its answers",
        "accuracy collapses (Queiruga et al. 2020)",
        RECORD,
        lambda r: (
            f"{spread(percent(r, 'scratch/level0', 'probe_accuracy'))} → "
            f"{spread(percent(r, 'scratch/level0', 'ode_accuracy'))} %"
        ),
        lambda r: _lost_as_ode(r, "scratch/level0") > 5,
    ),
    Claim(
        "Refined to h = 1/8, it nearly is one",
        "–",
        RECORD,
        lambda r: (
            f"{spread(percent(r, 'refined/level3', 'probe_accuracy'))} → "
            f"{spread(percent(r, 'refined/level3', 'ode_accuracy'))} %"
        ),
        lambda r: _lost_as_ode(r, "refined/level3") < 2,
    ),
    Claim(
        "The distance of a refined net from its exact flow falls like h",
        "order 1 of Euler's method",
        RECORD,
        lambda r: f"order {_distance_order(r):.2f}",
        lambda r: 0.75 < _distance_order(r) < 1.25,
    ),
]
