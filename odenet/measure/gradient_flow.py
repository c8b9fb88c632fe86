"""How the gradient of a cost flows back through a network: its norm at each layer, and how far each layer moves.

A layer is a module with a trainable `weight` of two or more axes (convolution, linear layer), z = W·x + b its output.
Layers are found as the forward pass reaches them, so that it works on any net, whatever its modules are called.
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
from odenet.blocks.replay.replay import resting_statistics


@dataclass(frozen=True)
class LayerGradient:
    """The gradient of C at one evaluation of a layer; all norms are Euclidean, over all entries.

    Attributes:
        name: Of the layer in the net.
        depth: Layers on the longest path from the input to here, this one included; from 1.
        weight: ‖W‖.
        weight_gradient: ‖∂C/∂W‖.
        bias_gradient: ‖∂C/∂b‖, for C a mean over images the norm of the *mean* error, Nielsen's speed of learning of a
            layer; None without a bias.
        error: √m·‖∂C/∂z‖ for a batch of m: if C is the mean of m costs C_i, the root mean square over the images of
            the error ‖∂C_i/∂z_i‖ (Nielsen's δ). It does not cancel between images, as `bias_gradient` does.
    """

    name: str
    depth: int
    weight: float
    weight_gradient: float
    bias_gradient: float | None
    error: float


@checked
def layer_gradients(model: nn.Module, inputs: Tensor, cost: Callable[[Any], Tensor]) -> list[LayerGradient]:
    """The gradient of C(model(inputs)) at each layer, in the order in which the forward pass evaluates them.

    The model is as it was afterwards: no `.grad`, no statistics of BatchNorm. It is measured in the mode that it is in:
    a mode of training normalizes by the batch, and draws dropout from torch's generator. A layer that is evaluated
    several times has an entry for each, with the gradient of the weight that they share; one that C does not depend on
    has gradient 0.

    Args:
        model: The network.
        inputs: A batch, of shape (m, …).
        cost: C, a scalar function of what the model returns; a mean over the batch.

    Raises:
        ValueError: No layer was evaluated, or one without a graph (checkpoints and adjoints have none).

    >>> net = nn.Sequential(nn.Linear(3, 2), nn.Sigmoid(), nn.Linear(2, 1))
    >>> [(layer.name, layer.depth) for layer in layer_gradients(net, torch.ones(5, 3), torch.mean)]
    [('0', 1), ('2', 2)]
    """
    trace = _Trace()
    with torch.enable_grad(), trace.of(model), resting_statistics(model):
        value = cost(model(inputs))
    if not trace.evaluations:
        raise ValueError(
            f"{type(model).__name__} evaluated no layer with a trainable weight of two or more axes, so there is no "
            "gradient to follow: pass a network of convolutions or linear layers, with requires_grad."
        )
    parameters = {id(p): p for e in trace.evaluations for p in (e.weight, e.bias) if p is not None}
    gradients = torch.autograd.grad(value, list(parameters.values()), materialize_grads=True)
    norms = {key: float(gradient.norm()) for key, gradient in zip(parameters, gradients, strict=True)}
    return [evaluation.measured(norms, len(inputs)) for evaluation in trace.evaluations]


@checked
def weight_movement(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> dict[str, float]:
    """‖W′ - W‖/‖W‖ for each weight of two or more axes in two state dicts of one net, by the name of the layer."""
    weights = {name: value for name, value in before.items() if name.endswith("weight") and value.dim() > 1}
    return {
        name.rpartition(".")[0]: float((after[name].to(value) - value).norm() / value.norm())
        for name, value in weights.items()
    }


@dataclass
class _Evaluation:
    """A layer's evaluation while C is still being differentiated."""

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
    """What hooks on the layers see of a forward pass."""

    def __init__(self) -> None:
        self.evaluations: list[_Evaluation] = []
        self._depths: dict[Any, int] = {}

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        layers = [(name, module) for name, module in model.named_modules() if _is_layer(module)]
        hooks = [module.register_forward_hook(partial(self._see, name)) for name, module in layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, name: str, layer: nn.Module, _inputs: object, output: Tensor) -> None:
        if output.grad_fn is None or is_looking_for_captures():
            raise ValueError(
                f"layer {name} was evaluated without a graph, as gradient methods do that recompute or solve an "
                "adjoint equation, so no gradient can be followed back to it: measure with "
                "configure(model, gradient=Backprop()), which gives the same one where the other is exact."
            )
        depth = 1 + self._deepest_before(output.grad_fn)
        self._depths[output.grad_fn] = depth
        # Read here, not from the module afterwards: an interpolated θ lends its weights for one evaluation.
        evaluation = _Evaluation(name, depth, *_trainable(layer))
        # On the tensor as it is now, so that an activation in place does not change what is differentiated.
        output.register_hook(evaluation.collect)
        self.evaluations.append(evaluation)

    def _deepest_before(self, node: Any) -> int:
        """The depth of the deepest layer that the graph of autograd leads to from `node` without passing another."""
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
    """The weight of a layer, and its bias if that is there to be trained."""
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, Tensor)
    return weight, bias if isinstance(bias, Tensor) and bias.requires_grad else None
