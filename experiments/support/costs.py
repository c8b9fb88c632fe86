"""Costs of a network: counts that are the same on every machine, and time and energy on the present one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from experiments.support.zoo import CHEN, published_net
from odenet.measure import (
    activation_bytes,
    count_multiply_adds,
    count_parameters,
    latencies,
    measure_energy,
    peak_bytes,
)


def counts(net: nn.Module, images: Tensor) -> dict[str, int]:
    """Count parameters, multiply-adds for the images, and bytes: kept for a training step, and peak in evaluation.

    On the meta device nothing is computed. BatchNorm's running statistics are updated as in a training step.
    """
    with torch.no_grad():
        peak = peak_bytes(lambda: net.eval()(images))
    return {
        "parameters": count_parameters(net),
        "multiply_adds": count_multiply_adds(net, images),
        "peak_bytes": peak,
        "activation_bytes": activation_bytes(net, images),
    }


def counts_of_published(name: str) -> dict[str, int]:
    """Count the costs of a published net per image, on a batch of two: BatchNorm in training needs two values."""
    make, shape = published_net(name)
    torch.manual_seed(0)
    with torch.device("cpu" if name in CHEN else "meta"):  # error control depends on values, which meta tensors lack
        return per_image(counts(make(), torch.randn(2, *shape)), 2)


def per_image(total: dict[str, int], images: int) -> dict[str, int]:
    """Divide the counts of a batch by its number of images, rounded; the number of parameters is not divided."""
    return {name: value if name == "parameters" else round(value / images) for name, value in total.items()}


def timings(net: nn.Module, shape: Sequence[int], batch_sizes: Sequence[int], repetitions: int) -> dict[str, Any]:
    """Measure the seconds of a forward pass by batch size, and, if power is reported, the energy per image.

    Args:
        net: Network on the device to be measured.
        shape: Shape of an image, (channels, height, width).
        batch_sizes: Numbers of images in a batch; the energy is measured in the largest one.
        repetitions: Number of repetitions of each timing, of which the median counts.
    """
    seconds = latencies(net, shape, batch_sizes, repetitions, warm_up=1)
    images = torch.randn(max(batch_sizes), *shape, device=next(net.parameters()).device)
    net.eval()
    with torch.no_grad():
        energy = measure_energy(lambda: net(images))
    return {
        "by_batch": {str(size): value for size, value in seconds.items()},
        "joules": None if energy is None else energy.joules / len(images),
        "watts": None if energy is None else energy.watts,
    }
