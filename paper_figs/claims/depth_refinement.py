"""Claims on more layers with smaller steps, checked on the record of `depth_refinement`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from experiments.support.statistics import over_seeds, spread
from odenet.measure import observed_order
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, percent, percentages
from paper_figs.claims.verdict import above, below, student, within

RECORD = "depth_refinement/cpu-fashion-mnist.json"


def _distance_orders(record: Record) -> list[float]:
    """Return the order with which the distance from the exact flow falls, for each seed."""
    keys = ["scratch/level0", *(f"refined/level{level}" for level in (1, 2, 3))]
    steps = [2**level for level in range(4)]
    per_seed = zip(*(over_seeds(record.results, key, "distance") for key in keys), strict=True)
    return [observed_order(steps, list(distances)) for distances in per_seed]


def _lost_as_ode(key: str) -> Callable[[Record], list[float]]:
    return differences(key, key, "probe_accuracy", "ode_accuracy")


CLAIMS = [
    Claim(
        "Four times the layers at a quarter of the step are more accurate, trained from scratch",
        "90.25 → 92.42 % with 14 → 50 layers, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        percentages("scratch/level0", "scratch/level2"),
        above(student(differences("scratch/level2", "scratch/level0")), 0, "points"),
    ),
    Claim(
        "A deep net that starts from the trained coarser one is no worse than one trained from scratch "
        "(here with 1.9 times its work; in the paper with 0.6 times)",
        "92.90 against 92.42 % with 50 layers, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        lambda r: f"{spread(percent(r, 'refined/level3'))} against {spread(percent(r, 'scratch/level3'))} %",
        above(student(differences("refined/level3", "scratch/level3")), 0, "points"),
    ),
    Claim(
        "Trained with h = 1, a ResNet is not the ODE of its weights: dopri5 changes its answers",
        "accuracy collapses (Queiruga et al. 2020)",
        RECORD,
        lambda r: (
            f"{spread(percent(r, 'scratch/level0', 'probe_accuracy'))} → "
            f"{spread(percent(r, 'scratch/level0', 'ode_accuracy'))} %"
        ),
        above(student(_lost_as_ode("scratch/level0")), 5, "points"),
    ),
    Claim(
        "Refined to h = 1/8, it nearly is one",
        "–",
        RECORD,
        lambda r: (
            f"{spread(percent(r, 'refined/level3', 'probe_accuracy'))} → "
            f"{spread(percent(r, 'refined/level3', 'ode_accuracy'))} %"
        ),
        below(student(_lost_as_ode("refined/level3")), 2, "points"),
    ),
    Claim(
        "The distance of a refined net from its exact flow falls like h",
        "order 1 of Euler's method",
        RECORD,
        lambda r: f"order {fmean(_distance_orders(r)):.2f}",
        within(student(_distance_orders), 0.75, 1.25),
    ),
]
