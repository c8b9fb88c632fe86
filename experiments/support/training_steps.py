"""Costs of a training step: evaluations of F in the forward and backward pass, bytes and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet import ODEBlock
from odenet.measure import interleaved, peak_bytes
from odenet.models.odenet import FlowClassifier

UNUSED = -1


class EvaluationCounts(nn.Module):
    """Counter of the evaluations of F in each training step of a network, as pairs (n_forward, n_backward).

    In the forward pass, steps that error control rejects count too. In the backward pass, an evaluation with its
    vector-Jacobian product counts once; plain backpropagation evaluates nothing again and counts 0. The counts are a
    module, so that they are part of the network's checkpoints and continue with an interrupted training.

    Args:
        net: Network whose evaluations are counted, over all its ODE blocks, in training mode only.
        steps: Maximal number of training steps.
    """

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.rows: list[list[int]] = []
        self._column = 0
        nodes = [node for block in net.modules() if isinstance(block, ODEBlock) for node in block.theta.nodes]
        # Pre-hooks, because a gradient method that evaluates F again disables other hooks in the backward pass.
        self._hooks = [
            net.register_forward_pre_hook(self._begin),
            net.register_forward_hook(self._turn),
            *(node.register_forward_pre_hook(self._count) for node in nodes),
        ]

    def remove(self) -> None:
        """Stop counting."""
        for hook in self._hooks:
            hook.remove()

    def _begin(self, net: nn.Module, _arguments: object) -> None:
        if net.training:
            self.rows.append([0, 0])
            self._column = 0

    def _turn(self, *_: object) -> None:
        self._column = 1

    def _count(self, node: nn.Module, _arguments: object) -> None:
        if node.training:
            self.rows[-1][self._column] += 1

    def get_extra_state(self) -> Tensor:
        """Return the counts as whole numbers (steps, 2), with `UNUSED` for future steps."""
        state = torch.full((self.steps, 2), UNUSED)
        if self.rows:
            state[: len(self.rows)] = torch.tensor(self.rows)
        return state

    def set_extra_state(self, state: Any) -> None:
        """Continue from the counts that `get_extra_state` returned."""
        self.rows = [row for row in state.tolist() if UNUSED not in row]

    def per_epoch(self, epochs: int) -> dict[str, list[float]]:
        """Return the means over the steps of each of `epochs` epochs of equal length."""
        means = torch.tensor(self.rows, dtype=torch.float64).reshape(epochs, -1, 2).mean(dim=1)
        return {"forward": means[:, 0].tolist(), "backward": means[:, 1].tolist()}


@contextmanager
def counted(net: nn.Module, steps: int) -> Iterator[EvaluationCounts]:
    """Count the evaluations of `net` in up to `steps` training steps; the counts are a submodule of it meanwhile."""
    counts = EvaluationCounts(net, steps)
    net.add_module("evaluation_counts", counts)
    try:
        yield counts
    finally:
        counts.remove()
        del net.evaluation_counts


def costs(nets: Mapping[str, FlowClassifier], images: Tensor, labels: Tensor, repetitions: int) -> dict[str, Any]:
    """Measure the peak bytes of a training step of each net, and of its flow alone, and the seconds of the step."""

    def of_flow(net: FlowClassifier) -> int:
        state = net.trunk(images).detach().requires_grad_()
        return peak_bytes(lambda: forward_and_backward(net.flow, state))

    steps = {name: lambda net=net: step(net, images, labels) for name, net in nets.items()}
    return {
        "bytes": {name: peak_bytes(work) for name, work in steps.items()},
        "flow_bytes": {name: of_flow(net) for name, net in nets.items()},
        "seconds": interleaved(steps, repetitions, warm_up=1),
    }


def forward_and_backward(flow: nn.Module, x: Tensor) -> None:
    """Compute the gradient of the mean square of x(T), which is small as in training, and discard it."""
    flow.train()
    flow(x).square().mean().backward()
    flow.zero_grad()
    x.grad = None


def step(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Compute the gradient of the loss as in training; it replaces the previous gradient."""
    net.train()
    net.zero_grad()
    F.cross_entropy(net(images), labels).backward()
