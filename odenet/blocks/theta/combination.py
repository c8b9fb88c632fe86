"""A branch evaluated with a combination of the tensors of several: F(t, x; Σ_j φ_j(t)·θ_j)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class Combination:
    """F(t, x; Σ_j φ_j(t)·θ_j) for the nodes θ_j.

    Args:
        nodes: modules with the same tensors, by name.
        weights: t ↦ (φ_j(t)), one for each node.
    """

    def __init__(self, nodes: Sequence[nn.Module], weights: Callable[[Any], Sequence[Any]]) -> None:
        self.branch, self.weights = nodes[0], weights
        tensors = [dict(named_tensors(node)) for node in nodes]
        self.tensors = {
            name: [of_node[name] for of_node in tensors]
            for name, tensor in tensors[0].items()
            if is_differentiable(tensor)
        }
        self.buffers = [name for name in _changeable_buffers(self.branch) if name in self.tensors]

    def __call__(self, t: Any, x: Tensor) -> Tensor:
        """The slope at (t, x).

        Raises:
            ValueError: the branch changed a buffer, which would be lost.
        """
        weights = self.weights(t)
        theta = {name: _weighted(weights, tensors) for name, tensors in self.tensors.items()}
        if not self.buffers or torch.compiler.is_compiling():
            return torch.func.functional_call(self.branch, theta, (t, x))
        before = {name: theta[name].clone() for name in self.buffers}
        slope = torch.func.functional_call(self.branch, theta, (t, x))
        for name, buffer in before.items():
            if not _is_equal(theta[name], buffer):
                raise ValueError(
                    f"a {type(self.branch).__name__} changed its buffer {name!r} between two nodes, to which of them "
                    "the change does not belong, and would be lost: use PiecewiseConstant, or evaluation mode."
                )
        return slope


def _changeable_buffers(branch: nn.Module) -> list[str]:
    """The names of the buffers that are not those of standard normalizations, which change in training mode alone."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in branch.named_modules()
        if not is_standard_norm(module)
        for name, _ in module.named_buffers(recurse=False)
    ]


def _is_equal(a: Tensor, b: Tensor) -> bool:
    try:
        return torch.equal(a, b)
    except RuntimeError:  # under torch.func.vmap, which refuses a change of a buffer by itself
        return True


def _weighted(weights: Sequence[Any], tensors: Sequence[Tensor]) -> Tensor:
    total = weights[0] * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        total = total + weight * tensor
    return total


def is_differentiable(tensor: Tensor) -> bool:
    """Whether a tensor is of real or complex numbers, which have derivatives; those of whole numbers have none."""
    return tensor.is_floating_point() or tensor.is_complex()


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, then buffers, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def is_standard_norm(module: nn.Module) -> TypeGuard[_NormBase]:
    """Whether this is a normalization of torch's own with running statistics, and not a subclass of it."""
    return isinstance(module, _NormBase) and type(module).__module__.startswith("torch.")
