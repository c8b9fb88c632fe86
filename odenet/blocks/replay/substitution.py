"""Tensors that a branch captured, replaced by others where it is evaluated again, so that its graph ends at them.

A captured tensor, or x(0), may depend on a parameter that the branch reads too. The gradient of one solve consists of
partial derivatives, which must not go on through the one to the other, as autograd would let them where it is asked for
both: the outer backward pass goes that way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only


class Gate:
    """Whether gradients stop at the tensors that `stopping` made: within it, as a context manager, they do."""

    def __init__(self) -> None:
        self.closed = False

    def stopping(self, x: Tensor) -> Tensor:
        """x, of which the gradient stops while the gate is closed; a leaf itself, for there it stops anyway."""
        return x if x.is_leaf else _Stopped.apply(x, self)

    def __enter__(self) -> None:
        self.closed = True

    def __exit__(self, *_: object) -> None:
        self.closed = False


class _Stopped(torch.autograd.Function):
    """x ↦ x, whose gradient is handed on or, while `gate.closed`, stopped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Gate) -> Tensor:
        ctx.gate = gate
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None if ctx.gate.closed else gradients[0], None


class _Replaced(TorchFunctionMode):
    """Within it, functions of torch are given other tensors in the place of some."""

    def __init__(self, others: Mapping[Tensor, Tensor]) -> None:
        super().__init__()
        self.others = others

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(Tensor, lambda tensor: self.others.get(tensor, tensor), (args, kwargs or {}))
        return func(*args, **kwargs)


@contextmanager
def replaced(others: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Within it, branches that read a tensor in `others` compute with what it stands for there."""
    different = {tensor: other for tensor, other in others.items() if other is not tensor}
    if not different:
        yield
        return
    with eagerly(), _Replaced(different):
        yield


def cut(tensors: Iterable[Tensor]) -> dict[Tensor, Tensor]:
    """Each tensor with a leaf of its values, itself if it is one: a graph that is made of these ends there."""
    return {tensor: tensor if tensor.is_leaf else tensor.detach().requires_grad_() for tensor in tensors}


def eagerly() -> AbstractContextManager[Any]:
    """Within it compiled modules run as they are: torch.compile would compile them anew for an active mode."""
    # Where its compiler was not imported yet, which takes seconds, nothing is compiled.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
