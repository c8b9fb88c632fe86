"""Answers of a trained network under several steppings, compared on all test images, with the weights unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from odenet import RK4, FixedSteps, ODEBlock, configure
from odenet.blocks.precision import full_precision
from odenet.blocks.replay.replay import frozen_buffers
from odenet.blocks.stepping.base import Stepping
from odenet.data import ImageData
from odenet.measure import count_evaluations, relative_distance
from odenet.measure.mode import in_mode
from odenet.models import ResNet

Answered = dict[str, dict[str, dict[str, float]]]
"""Measurements by the kind of statistics and the name of the stepping."""

BATCH, FLOW_STEPS = 250, 4
"""Number of images in a batch, and of RK4 steps in a unit of depth-time."""


def compare_steppings(
    net: ResNet, ways: Mapping[str, Stepping], data: ImageData, recalibration_images: int
) -> Answered:
    """Measure the answers of a net on all test images under each stepping.

    Each measurement has the `accuracy`; the `agreement`, the share of images with the same answer as under the first
    stepping; the `distance`, the mean of ‖x - y‖₂/‖y‖₂ of the final state x to the final state y under the first one;
    and the `evaluations` of F. A net with BatchNorm is measured twice: with the `running` statistics of its training,
    and with statistics `recalibrated` for each stepping. Without BatchNorm, the kind of statistics is `none`.

    Args:
        net: Trained net, which is as before afterwards.
        ways: Steppings by name; the first is the reference.
        data: Data set with the test images.
        recalibration_images: Number of training images along which statistics are recalibrated.
    """
    train = data.train.first(min(recalibration_images, len(data.train)))
    device = next(net.parameters()).device
    images = replace(data, train=train).train_batches(BATCH, augment=False, shuffle=False, device=device)
    tests = data.test_batches(BATCH, device=device)
    kinds = ("running", "recalibrated") if has_batch_statistics(net) else ("none",)
    answers: Answered = {}
    with in_mode(net, training=False):
        for kind in kinds:
            reference: list[_Seen] = []
            answers[kind] = {}
            for name, stepping in ways.items():
                batches = images.epoch(0) if kind == "recalibrated" else None
                with configure(net, stepping=stepping, recalibrate=batches):
                    found = _measured(net, tests.epoch(0), reference)
                    answers[kind][name] = found | {"evaluations": count_evaluations(net)}
    return answers


@torch.no_grad()
def accuracy_by_batch(net: ResNet, stepping: Stepping, data: ImageData) -> float:
    """Measure the accuracy with every evaluation of a branch normalized by its own batch, as in training."""
    tests = data.test_batches(BATCH, device=next(net.parameters()).device)
    with configure(net, stepping=stepping), in_mode(net, training=True), frozen_buffers(net):
        right = [(net(images).argmax(dim=1) == labels).float() for images, labels in tests.epoch(0)]
    return float(torch.cat(right).mean())


def has_batch_statistics(net: nn.Module) -> bool:
    """Whether a module of the net normalizes by statistics of its training."""
    return any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def near_exact(net: nn.Module) -> FixedSteps:
    """Return RK4 with steps of at most a quarter of a unit of depth-time, whose errors are small beside Euler's."""
    theta = next(module for module in net.modules() if isinstance(module, ODEBlock)).theta
    return FixedSteps(RK4(), per_piece=max(1, round(FLOW_STEPS * theta.horizon / theta.number_of_pieces)))


class _Seen(NamedTuple):
    features: Tensor
    answers: Tensor


@torch.no_grad()
def _measured(net: ResNet, batches: Iterable[tuple[Tensor, Tensor]], reference: list[_Seen]) -> dict[str, float]:
    """Measure the answers, against those of the reference, which is filled by the first call."""
    first = not reference
    totals = torch.zeros(3, dtype=torch.float64)
    images = 0
    for number, (x, labels) in enumerate(batches):
        with full_precision(x.device.type):
            features = net.features(x)
            answers = net.head(net.finish(features).mean(dim=(2, 3))).argmax(dim=1)
        if first:
            reference.append(_Seen(features, answers))
        known = reference[number]
        counts = [(answers == labels).sum(), (answers == known.answers).sum()]
        distance = len(x) * relative_distance(features, known.features)
        totals += torch.tensor([*map(float, counts), distance], dtype=torch.float64)
        images += len(x)
    return dict(zip(("accuracy", "agreement", "distance"), (totals / images).tolist(), strict=True))
