"""Tests of the experiment on stochastic depth: the nets that it trains, and the savings in its table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from experiments.stochastic_depth import PRESETS, network, savings, table
from odenet import ODEBlock, linear_decay
from odenet.data import load
from odenet.models.resnet import Transition
from odenet.training import Record


def record() -> Record:
    entry = {"layers": 56, "train_error": 0.1, "test_error": 0.2}
    results = {
        f"seed{seed}/p{last:g}/56": entry | {"last": last, "expected_saving": 0.26 * (last < 1), "seconds_per_epoch": s}
        for seed, last, s in [(0, 1.0, 10.0), (0, 0.5, 8.0), (1, 1.0, 20.0), (1, 0.5, 14.0)]
    }
    return Record("stochastic_depth", "", {}, results)


def test_a_net_has_the_decay_of_its_depth_over_all_blocks_and_transitions():
    net = network(2, 0.5, PRESETS["smoke"], load("digits"))
    parts = [module for module in net.modules() if isinstance(module, ODEBlock | Transition)]
    assert [p for part in parts if part.noise is not None for p in part.noise.survival] == linear_decay(6, 0.5)


def test_time_saved_is_counted_against_constant_depth_with_the_same_seed():
    assert savings(record(), "p0.5/56") == pytest.approx([0.2, 0.3])
    assert savings(record(), "p1/56") == [0.0, 0.0]


def test_a_row_has_the_time_saved_beside_the_blocks_skipped():
    constant, stochastic = table(record())
    assert (constant["time saved %"], constant["blocks skipped %"]) == ("0.0 ± 0.0", "0.0")
    assert (stochastic["time saved %"], stochastic["blocks skipped %"]) == ("25.0 ± 7.1", "26.0")


def test_probabilities_without_constant_depth_are_refused():
    with pytest.raises(ValueError, match=r"survival must contain 1\.0, got \(.* relative to constant depth; add 1\.0"):
        replace(PRESETS["cpu"], survival=(0.5,))
