"""The benchmark of stochastic depth counts evaluated blocks and compares seconds within each round."""

from __future__ import annotations

import pytest

from benchmarks.stochastic_depth import Images, StochasticDepthTiming, measure, rows, savings

SMALL = StochasticDepthTiming(blocks=2, rounds=4)


def test_each_round_has_the_seconds_of_all_nets_and_the_blocks_that_they_evaluated():
    result = measure(SMALL, Images(batch=2, side=8))
    assert {name: len(seconds) for name, seconds in result["seconds"].items()} == dict.fromkeys(
        ("constant", "training", "evaluation"), 4
    )
    assert result["blocks"]["constant"] == [6] * 4
    drawn = result["blocks"]["training"] + result["blocks"]["evaluation"]
    assert all(0 <= blocks <= 6 for blocks in drawn)
    assert min(drawn) < 6


def test_a_saving_is_taken_within_each_round():
    # A machine that is ten times slower in the second round changes nothing.
    seconds = {"constant": [1.0, 10.0, 2.0], "training": [0.75, 7.5, 1.0]}
    assert savings(seconds, "training") == pytest.approx([0.25, 0.25, 0.5])


def test_the_rows_put_the_saving_beside_the_blocks_skipped_and_those_expected():
    seconds = {"constant": [1.0, 1.0], "training": [0.8, 0.7], "evaluation": [0.7, 0.7]}
    blocks = {"constant": [6, 6], "training": [5, 4], "evaluation": [4, 4]}
    evaluation, training = rows(SMALL, Images(2, 8), {"seconds": seconds, "blocks": blocks})
    assert evaluation["measured"] == "30.0 ± 0.0 %"
    assert "blocks skipped 33.3 ± 0.0 % (expected 29.2 %), saved per skipped 0.90" in evaluation["beside it"]
    assert training["measured"] == "25.0 ± 5.0 %"
    assert evaluation["quantity"].endswith("ResNet-14, p_L = 0.5, batch 2 of 8×8, scaled in evaluation")


def test_a_quarter_of_the_blocks_of_the_published_net_is_expected_to_be_skipped():
    settings = StochasticDepthTiming()
    seconds = {"constant": [1.0, 1.0], "training": [0.8, 0.7], "evaluation": [0.7, 0.7]}
    blocks = {"constant": [54, 54], "training": [40, 40], "evaluation": [41, 41]}
    row = rows(settings, settings.images[0], {"seconds": seconds, "blocks": blocks})[0]
    assert "ResNet-110" in row["quantity"]
    assert "expected 25.5 %" in row["beside it"]
