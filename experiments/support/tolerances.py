"""A trained ODE-Net at other tolerances, the weights untouched: error, evaluations, time and memory (figure 3)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from experiments.support.training_steps import counted, step, there_and_back
from odenet import Adaptive, Backprop, Checkpointed, ContinuousAdjoint, configure
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.data import ImageData
from odenet.measure import interleaved, peak_bytes
from odenet.models.odenet import FlowClassifier
from odenet.training import Classification, evaluate

Batch: TypeAlias = tuple[Tensor, Tensor]
"""Images and labels."""

METHODS: dict[str, GradientMethod] = {
    "adjoint": ContinuousAdjoint(),
    "checkpointed": Checkpointed(),
    "backprop": Backprop(),
}
REFERENCE = 1e-2
"""Of the smallest tolerance: that of the solution which errors are measured against."""


def dopri5(tolerance: float) -> Adaptive:
    """Dormand and Prince's method with this relative and absolute tolerance."""
    return Adaptive("dopri5", rtol=tolerance, atol=tolerance)


def at_tolerances(
    net: FlowClassifier, data: ImageData, tolerances: Sequence[float], images: int, test_images: int, repetitions: int
) -> list[dict[str, Any]]:
    """What changes with the tolerance of the solver of a trained net: a row for each.

    Args:
        net: with an ODE block for a flow.
        data: of which test images are taken.
        tolerances: relative and absolute.
        images: in the batch on which all but the test error is measured.
        test_images: on which the test error is measured.
        repetitions: of what is timed; the fastest counts.
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
    """x(T), a row an image."""
    with configure(net, stepping=stepping):
        return net.flow(net.trunk(batch[0])).flatten(1)


def _gradient(net: FlowClassifier, batch: Batch, stepping: Stepping, method: GradientMethod) -> Tensor:
    """Of the loss in θ, as one vector in double precision."""
    with configure(net, stepping=stepping, gradient=method):
        step(net, *batch)
    return torch.cat([p.grad.double().ravel() for p in net.flow.parameters() if p.grad is not None])


def _distances(found: Tensor, expected: Tensor) -> Tensor:
    """‖found - expected‖₂/‖expected‖₂ of each row."""
    return (found - expected).norm(dim=-1) / expected.norm(dim=-1)


def _costs(net: FlowClassifier, batch: Batch, repetitions: int) -> dict[str, Any]:
    """Evaluations in a training step by the continuous adjoint; of the flow, memory by method and seconds forwards."""
    with configure(net, gradient=ContinuousAdjoint()), counted(net, 1) as counts:
        step(net, *batch)
    x, memory = net.trunk(batch[0]).detach().requires_grad_(), {}
    for name, method in METHODS.items():
        with configure(net, gradient=method):
            memory[name] = peak_bytes(lambda: there_and_back(net.flow, x))
    with torch.no_grad():
        seconds = interleaved({"flow": lambda: net.flow(x)}, repetitions, warm_up=1)["flow"]
    forward, backward = counts.rows[0]
    return {"forward": forward, "backward": backward, "flow_bytes": memory, "seconds_forward": min(seconds)}
