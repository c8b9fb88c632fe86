"""Tests of costs: counts per image, and times without an energy if no power is reported."""

from __future__ import annotations

import torch
from torch import nn

from experiments.support.costs import counts, per_image, timings


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 5))


def test_an_image_costs_what_is_counted_by_hand():
    assert per_image(counts(net(), torch.randn(4, 1, 8, 8)), 4) == {
        "parameters": 20 + 73 * 5,
        "multiply_adds": 36 * 9 * 2 + 72 * 5,
        "peak_bytes": 4 * (72 + 72),  # the map before and after ReLU
        "activation_bytes": 4 * (64 + 72 + 5),
    }


def test_nothing_has_to_be_computed():
    assert counts(net().to("meta"), torch.empty(4, 1, 8, 8, device="meta")) == counts(net(), torch.randn(4, 1, 8, 8))


def test_every_batch_size_is_timed_and_no_energy_is_made_up(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    taken = timings(net(), (1, 8, 8), (1, 4), repetitions=2)
    assert list(taken["by_batch"]) == ["1", "4"]
    assert min(taken["by_batch"].values()) > 0
    assert taken["joules"] is taken["watts"] is None
