"""Claims on which networks are ODEs, checked on the record of `is_it_an_ode`."""

from __future__ import annotations

from statistics import fmean

from experiments.support.ode_report import flat
from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.answers import Values, answered, minus, over, shown
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import above, below, ratio, student, within

RECORD = "is_it_an_ode/demo-digits.json"
PRE, POST = "pre-activation, h = 1", "post-activation, h = 1"
FLOW, LAYERS = "constructed flow", "independent layers"
INDEPENDENT, TIED = "group-independent-euler-one", "group-tied-euler-one"
NEAREST = "group-tied-mixed-one"


def distances(net: str) -> Values:
    """Return a function that reads how far the final states are from those of the flow, in percent."""
    return lambda record: [100 * found for found in over_seeds(record.results, f"{net}/verdict", "distance")]


def roughness(net: str) -> Values:
    """Return a function that reads the roughness of θ, averaged over neighbouring nodes."""
    return lambda record: over_seeds(record.results, f"{net}/verdict", "roughness")


def orders(net: str) -> Values:
    """Return a function that reads the order with which Euler's method converges on the trained field."""
    return lambda record: over_seeds(record.results, f"{net}/order", "order")


def lesions(net: str, kind: str) -> Values:
    """Return a function that reads how much the output changes on average under a kind of lesion, in percent."""

    def values(record: Record) -> list[float]:
        return [100 * fmean(flat(blocks)) for blocks in over_seeds(record.results, f"{net}/lesions", kind)]

    return values


def accuracy(net: str) -> Values:
    """Return a function that reads the accuracy of a net with GroupNorm and its own steps, in percent."""
    return answered(f"{net}/answers", "none", "own")


CLAIMS = [
    Claim(
        "A constructed flow is recognized as an ODE: its final states are within 2 % of the exact ones",
        "–",
        RECORD,
        shown(distances(FLOW)),
        below(student(distances(FLOW)), 2, "%"),
    ),
    Claim(
        "… and independent layers as none: over 10 %",
        "–",
        RECORD,
        shown(distances(LAYERS)),
        above(student(distances(LAYERS)), 10, "%"),
    ),
    Claim(
        "A ResNet trained with h = 1 is no ODE: over 10 %, with recalibrated statistics",
        "–",
        RECORD,
        shown(distances(PRE)),
        above(student(distances(PRE)), 10, "%"),
    ),
    Claim(
        "… nor is one of He et al. 2015, whose ReLU after the addition makes its flow a projected one",
        "–",
        RECORD,
        shown(distances(POST)),
        above(student(distances(POST)), 10, "%"),
    ),
    Claim(
        "From independent layers, training makes neighbouring θ no more alike than chance does (√2 ± 0.1)",
        "smooth only if initialized so (Sander et al. 2022)",
        RECORD,
        shown(roughness(INDEPENDENT), unit="", digits=2),
        within(student(roughness(INDEPENDENT)), 2**0.5 - 0.1, 2**0.5 + 0.1),
    ),
    Claim(
        "From equal layers, neighbouring θ stay alike: roughness below 0.5",
        "smooth initializations stay smooth (Marion et al. 2023)",
        RECORD,
        shown(roughness(TIED), unit="", digits=2),
        below(student(roughness(TIED)), 0.5),
    ),
    Claim(
        "… at the accuracy of independent ones, within a point",
        "–",
        RECORD,
        shown(accuracy(TIED), accuracy(INDEPENDENT), joined=", "),
        within(student(minus(accuracy(TIED), accuracy(INDEPENDENT))), -1, 1, "points"),
    ),
    Claim(
        "… and they are nearer to their flow: ratio of the distances",
        "–",
        RECORD,
        shown(distances(TIED), distances(INDEPENDENT), joined=" against "),
        below(ratio(over(distances(TIED), distances(INDEPENDENT))), 1),
    ),
    Claim(
        "Mixed steps bring a net nearer to its flow: ratio of the distances",
        "–",
        RECORD,
        shown(distances("group-independent-mixed-one"), distances(INDEPENDENT), joined=" against "),
        below(ratio(over(distances("group-independent-mixed-one"), distances(INDEPENDENT))), 1),
    ),
    Claim(
        "Equal layers, trained with mixed steps at h = 1/4, nearly are an ODE: below 10 %",
        "–",
        RECORD,
        shown(distances(NEAREST)),
        below(student(distances(NEAREST)), 10, "%"),
    ),
    Claim(
        "The trained field is smooth: Euler's method converges on it with order 1 ± 0.1",
        "–",
        RECORD,
        shown(orders(PRE), unit="", digits=2),
        within(student(orders(PRE)), 0.9, 1.1),
    ),
    Claim(
        "Two exchanged layers move the output less than one left out",
        "–",
        RECORD,
        shown(lesions(PRE, "swapped"), lesions(PRE, "dropped"), joined=" against "),
        above(student(minus(lesions(PRE, "dropped"), lesions(PRE, "swapped"))), 0, "points"),
    ),
]
