"""A branch evaluated with a linear combination of the tensors of several modules: F(t, x; Σ_j φ_j(t)·θ_j)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class Combination:
    """F(t, x; Σ_j φ_j(t)·θ_j), the vector field with the combined tensors of the nodes θ_j.

    Where a normalization in training mode moves the combined running statistics, the nodes move in its stead: the mean
    of node j by φ_j times the change; its variance by the factor of the change to the power φ_j, which keeps it
    positive, or for weights of both signs as the mean.

    Args:
        nodes: modules whose tensors agree in name, shape and dtype.
        weights: function t ↦ (φ_j(t)), one weight for each node.
        convex: whether the weights are nonnegative, with sum 1.
    """

    def __init__(
        self, nodes: Sequence[nn.Module], weights: Callable[[Any], Sequence[Any]], *, convex: bool = True
    ) -> None:
        self.branch, self.weights, self.convex = nodes[0], weights, convex
        tensors = [dict(named_tensors(node)) for node in nodes]
        self.tensors = {
            name: [of_node[name] for of_node in tensors]
            for name, tensor in tensors[0].items()
            if is_differentiable(tensor)
        }
        self.buffers = [name for name in _changeable_buffers(self.branch) if name in self.tensors]
        self.norms = {
            name: [node.get_submodule(name) for node in nodes]
            for name, module in self.branch.named_modules()
            if is_standard_norm(module) and f"{name}.running_var" in self.tensors
        }

    def __call__(self, t: Any, x: Tensor, buffers: Mapping[str, Tensor] | None = None) -> Tensor:
        """Evaluate the field at (t, x).

        Args:
            t: depth-time.
            x: state.
            buffers: tensors that take the place of combined buffers, by name.

        Raises:
            ValueError: if the branch changes a buffer, because the change would be lost.
        """
        weights = self.weights(t)
        theta = {name: _weighted(weights, tensors) for name, tensors in self.tensors.items()}
        given = {} if buffers is None else buffers
        moving = [n for n, nodes in self.norms.items() if f"{n}.running_var" not in given and _moves(nodes[0])]
        for name in self.norms:
            if not self.convex:
                theta[f"{name}.running_var"] = theta[f"{name}.running_var"].clamp_min(0)
        theta |= given
        counts = {f"{name}.num_batches_tracked": self._count(name) for name in moving}
        theta |= {name: theta[name].detach() for name in self._statistics(moving)}
        before = {name: theta[name].clone() for name in self._statistics(moving)}
        if torch.compiler.is_compiling():
            slope = torch.func.functional_call(self.branch, theta | counts, (t, x))
        else:
            unchanged = {name: theta[name].clone() for name in self.buffers}
            slope = torch.func.functional_call(self.branch, theta | counts, (t, x))
            self._require_unchanged(unchanged, theta)
        for name in moving:
            self._move(name, weights, before, theta)
        return slope

    def _require_unchanged(self, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
        for name, buffer in before.items():
            if not is_equal(after[name], buffer):
                raise ValueError(
                    f"a {type(self.branch).__name__} changed its buffer {name!r} between two nodes; the change belongs "
                    "to neither of them and would be lost: use PiecewiseConstant, or evaluation mode."
                )

    def _count(self, name: str) -> Tensor:
        return self.norms[name][0].get_buffer("num_batches_tracked").clone()

    @staticmethod
    def _statistics(names: Iterable[str]) -> list[str]:
        return [f"{name}.{kind}" for name in names for kind in ("running_mean", "running_var")]

    @torch.no_grad()
    def _move(
        self, name: str, weights: Sequence[Any], before: Mapping[str, Tensor], after: Mapping[str, Tensor]
    ) -> None:
        """Move the running statistics of the nodes by the change of the combined ones."""
        mean, var = self._statistics([name])
        change, factor = after[mean] - before[mean], None
        if self.convex:
            tiny = torch.finfo(after[var].dtype).tiny
            factor = after[var].clamp_min(tiny) / before[var].clamp_min(tiny)
        for node, weight in zip(self.norms[name], weights, strict=True):
            node.get_buffer("running_mean").add_(weight * change)
            if factor is None:
                node.get_buffer("running_var").add_(weight * (after[var] - before[var]))
            else:
                node.get_buffer("running_var").mul_(factor**weight)
            node.get_buffer("num_batches_tracked").add_(1)


def _moves(norm: nn.Module) -> bool:
    return is_standard_norm(norm) and norm.training and norm.track_running_stats


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
