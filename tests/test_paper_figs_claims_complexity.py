"""Each claim about costs holds on a record that supports it and fails on a record that refutes it."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.support import published
from odenet.training import Record
from paper_figs.claims.complexity import CLAIMS

KEYWORDS = ["two cores", "95.5", "to 1 %", "12 times", "million parameters", "linear in", "larger batch"]
"""Words that identify each claim, in the order of the claims."""


def record(
    *,
    accuracy: float = 0.93,
    seconds: float = 50.0,
    off: float = 1.0,
    smaller: float = 12.0,
    exponent: float = 1.0,
    gain: float = 3.0,
    seeds: int = 3,
) -> Record:
    """Return a finished record on which every claim holds with the default arguments."""
    nets = [name for name, net in published.IMAGENET.items() if net.multiply_adds]
    parameters = {name: (published.IMAGENET[name].top1 or 0) / published.DENSITY[name] * 1e6 for name in nets}
    parameters |= {"googlenet": parameters["alexnet"] / smaller, "googlenet_bn": parameters["alexnet"] / smaller}
    results: dict[str, Any] = {}
    for name in [*nets, "googlenet"]:
        adds = off * (published.IMAGENET[name].multiply_adds or 1.5) * 1e9
        results[f"counted/{name}"] = {"multiply_adds": adds, "parameters": parameters[name]}
        last = 8 * adds**exponent
        first = last / 8 * (gain if name == "alexnet" else 1.5)
        results[f"timed/{name}"] = {"seconds": {"by_batch": {"1": first, "8": last}, "joules": None}}
    for seed in range(seeds):
        spread = 0.0002 * (seed - 1)
        results[f"seed{seed}/best"] = {"accuracy": accuracy + spread, "seconds_per_epoch": seconds + seed, "epochs": 12}
    summary = {
        "published": {name: net._asdict() for name, net in published.IMAGENET.items()},
        "densities": published.DENSITY,
    }
    made = Record("complexity", "cpu", {"timed": nets, "best_epochs": 12})
    made.results, made.summary = results, summary
    return made


@pytest.mark.parametrize(("claim", "words"), list(zip(CLAIMS, KEYWORDS, strict=True)), ids=KEYWORDS)
def test_a_claim_holds_where_the_numbers_support_it_and_one_measurement_of_a_time_decides_nothing(claim, words):
    supported = record(accuracy=0.96)
    assert claim.verdict(supported) == ("undecided" if words == "larger batch" else "holds"), claim.ours(supported)


def test_one_seed_decides_no_accuracy():
    accuracies = [claim for claim, words in zip(CLAIMS, KEYWORDS, strict=True) if words in ("two cores", "95.5")]
    assert [claim.verdict(record(accuracy=0.99, seeds=1)) for claim in accuracies] == ["undecided"] * 2


@pytest.mark.parametrize(
    ("keywords", "changes", "says"),
    [
        ("two cores", {"accuracy": 0.924}, "92.4 ± 0.0 % in 10 minutes"),
        ("two cores", {"seconds": 80.0}, "93.0 ± 0.0 % in 16 minutes"),
        ("95.5", {"accuracy": 0.954}, "95.4 ± 0.0 %"),
        ("to 1 %", {"off": 1.02}, "within 2.00%"),
        ("12 times", {"smaller": 8.7}, "8.7 times"),
        ("million parameters", {"smaller": 1.0}, "1.0, 5.9, 3.3"),
        ("linear in", {"exponent": -1.0}, "R² = 0."),
        ("larger batch", {"gain": 1.1}, "1.1 times faster; the others 1.5 to 1.5 times"),
    ],
)
def test_a_claim_does_not_hold_where_they_do_not(keywords, changes, says):
    (claim,) = [claim for claim, words in zip(CLAIMS, KEYWORDS, strict=True) if words == keywords]
    assert keywords in claim.words(record())
    refuting = record(**changes)
    assert claim.verdict(refuting) == ("undecided" if keywords == "larger batch" else "fails")
    assert says in claim.ours(refuting)
