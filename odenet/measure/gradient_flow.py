"""Norms of the gradient of a cost at each layer of a network, and the relative movement of each layer in training.

A layer is a module with a trainable `weight` of two or more axes (convolution, linear layer) and the output
z = W·x + b. Layers are found when the forward pass evaluates them, so this works for every network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.replay.captures import is_looking_for_captures
from odenet.blocks.replay.replay import frozen_buffers


@dataclass(frozen=True)
class LayerGradient:
    """Norms of the gradient of C at one evaluation of a layer; all norms are Euclidean, over all entries.

    Attributes:
        name: name of the layer in the network.
        depth: number of layers on the longest path from the input to this layer, which is included; from 1.
        weight: norm ‖W‖.
        weight_gradient: norm ‖∂C/∂W‖.
        bias_gradient: norm ‖∂C/∂b‖; None without a bias. If C is a mean over images, this is the norm of the *mean*
            error, which Nielsen calls the speed of learning of a layer.
        error: √m·‖∂C/∂z‖ for a batch of m images. If C is the mean of m costs C_i, this is the root mean square over
            the images of the error ‖∂C_i/∂z_i‖ (Nielsen's δ); unlike `bias_gradient` it does not cancel between images.
    """

    name: str
    depth: int
    weight: float
    weight_gradient: float
    bias_gradient: float | None
    error: float


@checked
def layer_gradients(model: nn.Module, inputs: Tensor, cost: Callable[[Any], Tensor]) -> list[LayerGradient]:
    """Compute the gradient of C(model(inputs)) at each layer, in the order in which the forward pass evaluates them.

    The model is unchanged afterwards: no `.grad` is set, and statistics of BatchNorm do not change. It is evaluated in
    its current mode; training mode normalizes by the batch, and draws dropout from torch's generator. A layer that is
    evaluated several times has an entry for each evaluation, each with the gradient of the shared weight. A layer on
    which C does not depend has gradient 0.

    Args:
        model: network with at least one layer.
        inputs: batch of shape (m, …).
        cost: scalar function C of the model's output, a mean over the batch.

    Raises:
        ValueError: if no layer was evaluated, or one without an autograd graph, as in checkpoints and adjoints.

    >>> net = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid(), nn.Linear(2, 1))
    >>> [(layer.name, layer.depth) for layer in layer_gradients(net, torch.ones(5, 3), torch.mean)]
    [('0', 1), ('2', 2)]
    """
    trace = _Trace()
    with torch.enable_grad(), trace.attached(model), frozen_buffers(model):
        value = cost(model(inputs))
    if not trace.evaluations:
        raise ValueError(
            f"{type(model).__name__} evaluated no layer with a trainable weight of two or more axes, so there is no "
            "gradient to measure: pass a network of convolutions or linear layers, with requires_grad."
        )
    parameters = {id(p): p for e in trace.evaluations for p in (e.weight, e.bias) if p is not None}
    gradients = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
    norms = {key: float(gradient.norm()) for key, gradient in zip(parameters, gradients, strict=True)}
    return [evaluation.measured(norms, len(inputs)) for evaluation in trace.evaluations]


@checked
def weight_movement(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """Compute ‖W′ - W‖/‖W‖ for each weight of two or more axes in two state dicts of one net, by layer name."""
    weights = {name: value for name, value in before.items() if name.endswith("weight") and value.dim() > 1}
    return {
        name.rpartition(".")[0]: float((after[name].to(value) - value).norm() / value.norm())
        for name, value in weights.items()
    }


@dataclass
class _Evaluation:
    """Record of one evaluation of a layer, whose error is set by a hook while C is differentiated."""

    name: str
    depth: int
    weight: Tensor
    bias: Tensor | None
    error: float = 0.0

    def collect(self, gradient: Tensor) -> None:
        self.error = float(gradient.norm())

    def measured(self, norms: Mapping[int, float], images: int) -> LayerGradient:
        bias = None if self.bias is None else norms[id(self.bias)]
        error = images**0.5 * self.error
        weight = float(self.weight.detach().norm())
        return LayerGradient(self.name, self.depth, weight, norms[id(self.weight)], bias, error)


class _Trace:
    """Records the layers that a forward pass evaluates, through forward hooks."""

    def __init__(self) -> None:
        self.evaluations: list[_Evaluation] = []
        self._depths: dict[Any, int] = {}

    @contextmanager
    def attached(self, model: nn.Module) -> Iterator[None]:
        layers = [(name, module) for name, module in model.named_modules() if _is_layer(module)]
        hooks = [module.register_forward_hook(partial(self._record, name)) for name, module in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _record(self, name: str, layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if output.grad_fn is None or is_looking_for_captures():
            raise ValueError(
                f"layer {name} was evaluated without a graph, as in gradient methods that recompute or solve an "
                "adjoint equation, so its gradient cannot be measured: use configure(model, gradient=Backprop()), "
                "which gives the same gradient as every exact method."
            )
        depth = 1 + self._deepest_before(output.grad_fn)
        self._depths[output.grad_fn] = depth
        # The weights are read now, because an interpolated θ sets them for this evaluation only.
        evaluation = _Evaluation(name, depth, *_trainable(layer))
        # The hook is on the present version of the tensor, so a later in-place activation does not change its gradient.
        output.register_hook(evaluation.collect)
        self.evaluations.append(evaluation)

    def _deepest_before(self, node: Any) -> int:
        """Return the largest depth of the layers that the graph reaches from `node` without passing another."""
        deepest, stack, seen = 0, [node], {node}
        while stack:
            for earlier, _ in stack.pop().next_functions:
                if earlier in self._depths:
                    deepest = max(deepest, self._depths[earlier])
                elif earlier is not None and earlier not in seen:
                    seen.add(earlier)
                    stack.append(earlier)
        return deepest


def _is_layer(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.dim() > 1 and weight.requires_grad


def _trainable(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return the weight of a layer, and its bias if it has a trainable one."""
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, Tensor)
    return weight, bias if isinstance(bias, Tensor) and bias.requires_grad else None
