"""Tests of the experiment on degradation: its nets differ only by the identity, and its settings are checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from experiments.degradation import KINDS, PRESETS, network, table
from odenet.data import load
from odenet.measure import count_layers
from odenet.training import Record


def test_plain_and_residual_nets_have_the_same_initial_weights_and_another_answer():
    data = load("digits")
    nets = []
    for kind in KINDS:
        torch.manual_seed(0)
        nets.append(network(kind, 2, PRESETS["smoke"], data).eval())
    plain, resnet = nets
    assert plain.state_dict().keys() == resnet.state_dict().keys()
    assert all(torch.equal(value, resnet.state_dict()[name]) for name, value in plain.state_dict().items())
    assert count_layers(plain) == count_layers(resnet) == 14
    x = torch.randn(2, 1, 8, 8)
    assert not torch.allclose(plain(x), resnet(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": (3, 1)}, "blocks must be ascending"),
        ({"blocks": (3, 3)}, "blocks must be ascending"),
        ({"grown_from": 9}, "grown_from ≥ 2 and below the last of them, got blocks = .*, grown_from = 9"),
        ({"blocks": (1, 9), "grown_from": 1}, "grown_from = 1, because a shallow net is grown"),
        ({"grown_from": 5}, "grown_from = 5 is not among blocks"),
    ],
)
def test_nets_that_cannot_be_grown_are_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        replace(PRESETS["cpu"], **change)


def test_a_row_is_the_mean_over_the_seeds_of_a_net():
    entry = {"layers": 20, "parameters": 1000, "test_error": 0.2, "seconds_per_epoch": 3.0}
    results = {f"seed{seed}/plain/20": entry | {"train_error": 0.1 * (1 + seed)} for seed in (0, 1)}
    results["seed0/plain-grown/56/before"] = {"logits_equal": True}
    (row,) = table(Record("degradation", "", {}, results))
    assert row["train error %"] == "15.0 ± 7.1"
    assert (row["net"], row["layers"], row["params"]) == ("plain", 20, "1,000")
