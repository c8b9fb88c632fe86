"""A verdict follows from an interval; without one a claim is undecided, unless its numbers have no chance in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, pairs, quotients
from paper_figs.claims.verdict import Exact, Part, Verdict, above, below, correlation, ratio, slope, student, within

RECORD = Record("an experiment", "cpu", {})


def values(*sample: float) -> Callable[[Record], list[float]]:
    return lambda _: list(sample)


def test_the_interval_of_a_mean_is_that_of_a_t_test():
    sample = [0.3, 1.7, -0.4, 2.2]
    expected = stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert student(values(*sample))(RECORD) == pytest.approx(tuple(expected))


def test_the_interval_covers_the_mean_of_a_normal_sample_in_19_of_20_cases():
    samples = np.random.default_rng(0).normal(1, 2, (2000, 3))
    found = [student(values(*sample))(RECORD) for sample in samples]
    assert 0.935 < np.mean([interval is not None and interval.low < 1 < interval.high for interval in found]) < 0.965


def test_the_interval_of_a_ratio_is_symmetric_in_its_logarithm_and_needs_positive_numbers():
    found, turned = ratio(values(2, 3, 5))(RECORD), ratio(values(1 / 2, 1 / 3, 1 / 5))(RECORD)
    assert found is not None
    assert turned is not None
    assert found == pytest.approx((1 / turned.high, 1 / turned.low))
    assert ratio(values(0, 1, 2))(RECORD) is None
    assert ratio(values(1, float("inf")))(RECORD) is None
    assert quotients([(1, 2), (1, 0)]) == [0.5, float("inf")]


def test_the_interval_of_a_slope_holds_the_slope_and_that_of_a_correlation_is_scipys():
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [2.1, 3.9, 6.2, 7.8, 10.1]
    found = slope(lambda _: (x, y))(RECORD)
    assert found is not None
    assert found.low < 2 < found.high < found.low + 0.5
    assert correlation(lambda _: (x, y))(RECORD) == pytest.approx(tuple(stats.pearsonr(x, y).confidence_interval()))


@pytest.mark.parametrize(
    ("sample", "verdict"), [((1.0, 1.1, 1.2), "holds"), ((-1.0, -1.1, -1.2), "fails"), ((1.0, 9.0, -5.0), "undecided")]
)
def test_a_comparison_holds_or_fails_only_where_the_whole_interval_is_on_one_side(sample, verdict):
    assert above(student(values(*sample)), 0).verdict(RECORD) == verdict
    assert below(student(values(*(-value for value in sample))), 0).verdict(RECORD) == verdict


@pytest.mark.parametrize(
    ("sample", "verdict"),
    [
        ((0.0, 0.1, -0.1), "holds"),
        ((0.0, 1.2, -1.3), "undecided"),
        ((2.0, 2.1, 1.9), "fails"),
        ((0.0, 0.3), "undecided"),
    ],
)
def test_an_equivalence_holds_only_where_the_whole_interval_lies_within_the_margin(sample, verdict):
    assert within(student(values(*sample)), -1, 1).verdict(RECORD) == verdict


@pytest.mark.parametrize(
    "estimate",
    [
        student(values(9.0)),
        ratio(values(9.0)),
        slope(lambda _: ([1, 2], [1, 2])),
        correlation(lambda _: ([1, 2, 3], [1, 2, 3])),
    ],
)
def test_too_few_values_decide_nothing_however_large_the_effect(estimate):
    assert estimate(RECORD) is None
    assert above(estimate, 0).verdict(RECORD) == "undecided"
    assert "one value" in above(estimate, 0).words(RECORD)


def test_equal_values_do_not_exceed_a_bound_that_they_equal():
    assert above(student(values(0.0, 0.0)), 0).verdict(RECORD) == "fails"


def test_of_several_conditions_one_that_fails_refutes_a_claim_and_one_that_is_undecided_leaves_it_so():
    holds, undecided, fails = (above(student(values(*sample)), 0) for sample in ((1, 1.1), (1, -1), (-1, -1.1)))
    exact = Exact(lambda _: True)

    def verdict(*parts: Part) -> Verdict:
        return Claim("", "–", "", lambda _: "", parts).verdict(RECORD)

    assert verdict(holds, exact) == "holds"
    assert verdict(holds, undecided, exact) == "undecided"
    assert verdict(undecided, fails, holds) == "fails"
    assert verdict(Exact(lambda _: False)) == "fails"


def test_a_record_that_lacks_a_comparison_decides_nothing_and_says_why():
    claim = Claim("", "–", "", lambda _: "", above(student(values(1.0, 1.1)), 0), lacks=lambda r: f"no {r.preset}")
    assert claim.verdict(RECORD) == "undecided"
    assert claim.words(RECORD) == ""


def test_results_are_paired_by_their_seed():
    results = {"seed1/a": {"accuracy": 0.5}, "seed0/b": {"accuracy": 0.1}, "seed0/a": {"accuracy": 0.2}}
    record = Record("an experiment", "cpu", {}, results | {"seed1/b": {"accuracy": 0.3}, "seed2/a": {"accuracy": 1.0}})
    assert pairs(record, "a", "b") == [(0.5, 0.3), (0.2, 0.1)]
    assert differences("a", "b")(record) == pytest.approx([20.0, 10.0])
