"""What a network costs: counts that are the same on every machine, and the time and energy of the machine at hand."""

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
    """Parameters; multiply-adds of the images; bytes kept for training, and alive at once in evaluation.

    On the meta device nothing is computed. BatchNorm's statistics move as in a training step.
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
    """Counts of a published net for one image, taken in a batch of two: BatchNorm in training needs two values."""
    make, shape = published_net(name)
    torch.manual_seed(0)
    with torch.device("cpu" if name in CHEN else "meta"):  # a solver with error control looks at the values
        return per_image(counts(make(), torch.randn(2, *shape)), 2)


def per_image(total: dict[str, int], images: int) -> dict[str, int]:
    """The counts of a batch for one of its images, to the nearest whole number; the parameters as they are."""
    return {name: value if name == "parameters" else round(value / images) for name, value in total.items()}


def timings(net: nn.Module, shape: Sequence[int], batch_sizes: Sequence[int], repetitions: int) -> dict[str, Any]:
    """Seconds of a forward pass by batch size, and the energy of an image in the largest batch where power is reported.

    Args:
        net: on the device to be measured.
        shape: of an image, (channels, height, width).
        batch_sizes: images in a batch.
        repetitions: of each; the median counts.
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
