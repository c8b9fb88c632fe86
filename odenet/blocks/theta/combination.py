"""A branch evaluated with a linear combination of the tensors of several modules: F(t, x; Σ_j φ_j(t)·θ_j)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class Combination:
    """F(t, x; Σ_j φ_j(t)·θ_j), the vector field with the combined tensors of the nodes θ_j.

    Args:
        nodes: modules whose tensors agree in name, shape and dtype.
        weights: function t ↦ (φ_j(t)), one weight for each node.
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
        """Evaluate the field at (t, x).

        Raises:
            ValueError: if the branch changes a buffer, because the change would be lost.
        """
        weights = self.weights(t)
        theta = {name: _weighted(weights, tensors) for name, tensors in self.tensors.items()}
        if not self.buffers or torch.compiler.is_compiling():
            return torch.func.functional_call(self.branch, theta, (t, x))
        before = {name: theta[name].clone() for name in self.buffers}
        slope = torch.func.functional_call(self.branch, theta, (t, x))
        for name, buffer in before.items():
            if not is_equal(theta[name], buffer):
                raise ValueError(
                    f"a {type(self.branch).__name__} changed its buffer {name!r} between two nodes; the change belongs "
                    "to neither of them and would be lost: use PiecewiseConstant, or evaluation mode."
                )
        return slope


def _changeable_buffers(branch: nn.Module) -> list[str]:
    """Return the names of all buffers but those of standard normalizations, which change in training mode only."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in branch.named_modules()
        if not is_standard_norm(module)
        for name, _ in module.named_buffers(recurse=False)
    ]


def is_equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal; True under `torch.func.vmap`, which allows no decision that depends on values."""
    try:
        return torch.equal(a, b)
    except RuntimeError:
        return True


def _weighted(weights: Sequence[Any], tensors: Sequence[Tensor]) -> Tensor:
    total = weights[0] * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        total = total + weight * tensor
    return total


def is_differentiable(tensor: Tensor) -> bool:
    """Whether a tensor is floating-point or complex, so that it can have a gradient."""
    return tensor.is_floating_point() or tensor.is_complex()


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of the parameters, then those of the buffers."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def is_standard_norm(module: nn.Module) -> TypeGuard[_NormBase]:
    """Whether `module` is a normalization of torch itself that has running statistics, and not a subclass of one."""
    return isinstance(module, _NormBase) and type(module).__module__.startswith("torch.")
