"""Error, evaluations, time and memory of a trained ODE-Net at other tolerances (figure 3 of Chen et al. 2018)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from experiments.support.training_steps import counted, forward_and_backward, step
from odenet import Adaptive, Backprop, Checkpointed, ContinuousAdjoint, configure
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.data import ImageData
from odenet.measure import interleaved, peak_bytes
from odenet.models.odenet import FlowClassifier
from odenet.training import Classification, evaluate

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Images and their labels."""

METHODS: dict[str, GradientMethod] = {
    "adjoint": ContinuousAdjoint(),
    "checkpointed": Checkpointed(),
    "backprop": Backprop(),
}
REFERENCE = 1e-2
"""Ratio of the tolerance of the reference solution, for measuring errors, to the smallest tolerance."""


def dopri5(tolerance: float) -> Adaptive:
    """Return Dormand and Prince's method with this relative and absolute tolerance."""
    return Adaptive("dopri5", rtol=tolerance, atol=tolerance)


def at_tolerances(
    net: FlowClassifier, data: ImageData, tolerances: Sequence[float], images: int, test_images: int, repetitions: int
) -> list[dict[str, Any]]:
    """Measure a trained net at each tolerance of its solver, and return a row for each.

    Args:
        net: Trained net whose flow is an ODE block.
        data: Data set of the test images.
        tolerances: Tolerances, each relative and absolute.
        images: Number of images in the batch on which all but the test error is measured.
        test_images: Number of images on which the test error is measured.
        repetitions: Number of timed passes, of which the fastest counts.
    """
    device = next(net.parameters()).device
    test = replace(data, test=data.test.first(min(test_images, len(data.test)))).test_batches(500, device=device)
    batch = next(data.test_batches(images, device=device).epoch(0))
    double, finest = copy.deepcopy(net).double(), dopri5(REFERENCE * min(tolerances))
    precise = batch[0].double(), batch[1]
    state, gradient = _state(double, precise, finest), _gradient(double, precise, finest, Checkpointed())
    rows: list[dict[str, Any]] = []
    for tolerance in tolerances:
        stepping = dopri5(tolerance)
        with configure(net, stepping=stepping):
            row = {"tolerance": tolerance, **_costs(net, batch, repetitions)}
            row["test_error"] = 1 - evaluate(net, Classification(net.head.out_features), test)["accuracy"]
        row["numerical_error"] = float(_distances(_state(double, precise, stepping), state).mean())
        row["gradient_error"] = {
            name: float(_distances(_gradient(net, batch, stepping, method), gradient))
            for name, method in METHODS.items()
            if name != "backprop"
        }
        rows.append(row)
    return rows


@torch.no_grad()
def _state(net: FlowClassifier, batch: Batch, stepping: Stepping) -> Tensor:
    """Compute x(T), one row for each image."""
    with configure(net, stepping=stepping):
        return net.flow(net.trunk(batch[0])).flatten(1)


def _gradient(net: FlowClassifier, batch: Batch, stepping: Stepping, method: GradientMethod) -> Tensor:
    """Compute the gradient of the loss with respect to θ, as one vector in double precision."""
    with configure(net, stepping=stepping, gradient=method):
        step(net, *batch)
    return torch.cat([p.grad.double().ravel() for p in net.flow.parameters() if p.grad is not None])


def _distances(found: Tensor, expected: Tensor) -> Tensor:
    """Compute ‖found - expected‖₂/‖expected‖₂ of each row."""
    return (found - expected).norm(dim=-1) / expected.norm(dim=-1)


def _costs(net: FlowClassifier, batch: Batch, repetitions: int) -> dict[str, Any]:
    """Measure the evaluations of a training step by the continuous adjoint, and the flow's memory and forward time."""
    with configure(net, gradient=ContinuousAdjoint()), counted(net, 1) as counts:
        step(net, *batch)
    x, memory = net.trunk(batch[0]).detach().requires_grad_(), {}
    for name, method in METHODS.items():
        with configure(net, gradient=method):
            memory[name] = peak_bytes(lambda: forward_and_backward(net.flow, x))
    with torch.no_grad():
        seconds = interleaved({"flow": lambda: net.flow(x)}, repetitions, warm_up=1)["flow"]
    forward, backward = counts.rows[0]
    return {"forward": forward, "backward": backward, "flow_bytes": memory, "seconds_forward": min(seconds)}
