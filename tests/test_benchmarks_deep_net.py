"""The deep net needs no more memory for more layers, needs less than ResNet-20, and trains with exact gradients."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from benchmarks.deep_net import DeepNet, kept_per_image, memory, peak_per_image, training
from odenet.data import load

SMALL = DeepNet(blocks=3, steps=10)


@pytest.mark.parametrize("measure", [kept_per_image, peak_per_image])
def test_memory_is_less_than_that_of_resnet20_and_the_same_for_more_layers(measure):
    row = memory(SMALL, measure, "somewhere")
    assert float(row["measured"]) < 0.9
    assert "20 layers" in row["quantity"]
    assert memory(replace(SMALL, blocks=5), measure, "somewhere")["measured"] == row["measured"]


def test_the_loss_falls_and_gradients_are_exact():
    images = load("digits").train_batches(64, seed=0, augment=False, drop_last=True)
    row = training(SMALL, images)
    first, last = map(float, re.findall(r"\d+\.\d+", row["measured"]))
    assert last < first
    assert row["beside it"].startswith("0 drifts")
    assert "20 layers on 64 images a step, 10 steps" in row["quantity"]
