"""Tests of the experiment on bottlenecks and its claims, with modules small enough for a test."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from experiments.inception import LECTURE, measure_both
from experiments.support import published
from odenet.layers import Inception, NaiveInception
from odenet.training import Record
from paper_figs.claims.inception import CLAIMS, saved

NAIVE, BOTTLENECK = partial(NaiveInception.of_widths, 256, LECTURE), partial(Inception, 256, LECTURE)


@pytest.fixture(scope="module")
def lecture() -> dict:
    makers = {"naive": NAIVE, "bottleneck": BOTTLENECK}
    return measure_both(makers, (256, 28, 28), batch=1, repetitions=1, device=torch.device("cpu"))


def test_the_lectures_module_is_counted_for_an_image_and_timed_both_ways(lecture):
    assert lecture["naive"]["multiply_adds"] == 854_196_224
    assert lecture["bottleneck"]["multiply_adds"] == 271_351_808
    for step in ("forward", "training"):
        assert min(lecture[f"seconds_{step}"][kind] for kind in ("naive", "bottleneck")) > 0


def test_bottlenecks_keep_maps_of_their_own_and_that_is_more_than_they_save(lecture):
    pixels, float_bytes, place_bytes = 28**2, 4, 8
    naive = 256 + (128 + 192 + 96) + 672  # what the module is given, its three maps, what it hands on
    bottleneck = 256 + (128 + 64 + 192 + 64 + 96 + 64) + 256 + 480  # the same with bottlenecks, and the pooled map
    assert lecture["naive"]["activation_bytes"] == pixels * (float_bytes * naive + place_bytes * 256)
    assert lecture["bottleneck"]["activation_bytes"] == pixels * (float_bytes * bottleneck + place_bytes * 256)
    assert bottleneck > naive


def made(lecture: dict, changes: dict | None = None) -> Record:
    """Return a record of the lecture's module, of modules with the printed multiply-adds, and of a GoogLeNet."""
    found = Record("inception", "cpu", {})
    third, one = {"naive": 3, "bottleneck": 1}, {"multiply_adds": 1.0, "parameters": 1.0, "activation_bytes": 1.0}
    rows = published.INCEPTION.items()
    found.results = {name: {"bottleneck": {"multiply_adds": 1e6 * row.millions}} for name, row in rows}
    found.results["lecture"] = lecture | {"seconds_forward": third, "seconds_training": third}
    found.results["GoogLeNet"] = {"naive": dict.fromkeys(one, 20000000.0), "bottleneck": one}
    for name, change in (changes or {}).items():
        found.results[name] = found.results[name] | change
    found.summary = {"paper": {name: row._asdict() for name, row in rows}}
    return found


def test_what_is_saved_is_a_share_of_the_naive_cost(lecture):
    assert saved(made(lecture), "lecture", "multiply_adds") == pytest.approx(1 - 271_351_808 / 854_196_224)
    assert saved(made(lecture), "lecture", "seconds_training") == pytest.approx(2 / 3)


def test_the_claims_hold_on_a_record_that_supports_them_and_not_on_others(lecture):
    verdicts = ["holds", "undecided", *["holds"] * 4]  # times were measured once
    assert [claim.verdict(made(lecture)) for claim in CLAIMS] == verdicts
    same = lecture["naive"]
    others = [
        {"lecture": {"bottleneck": same}},
        {"lecture": {"seconds_forward": {"naive": 3, "bottleneck": 2}}},
        {"lecture": {"bottleneck": same | {"activation_bytes": 1}}},
        {"GoogLeNet": {"bottleneck": {"multiply_adds": 15e6, "parameters": 1, "activation_bytes": 1}}},
        {"GoogLeNet": {"bottleneck": {"multiply_adds": 1, "parameters": 1, "activation_bytes": 30e6}}},
        {"4c": {"bottleneck": {"multiply_adds": 102e6}}},
    ]
    for claim, changes in zip(CLAIMS, others, strict=True):
        assert claim.verdict(made(lecture, changes)) != "holds", claim.words(made(lecture, {}))
        assert claim.ours(made(lecture, changes))


def test_the_slide_counts_the_term_of_the_3x3_twice(lecture):
    naive, slide = published.LECTURE_MILLIONS
    assert round(lecture["naive"]["multiply_adds"] / 1e6) == naive
    threes = 28**2 * 64 * 9 * 192
    assert round((lecture["bottleneck"]["multiply_adds"] + threes) / 1e6) == slide
