"""Substitution of captured tensors when a branch is evaluated again, so that its graph ends at them.

A captured tensor, or x(0), may itself depend on a parameter that the branch reads too. The backward pass of one solve
must return partial derivatives, which do not flow through one of these tensors into another. `torch.autograd.grad` with
both as inputs would let them, but that path belongs to the outer backward pass.
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
    """A context manager within which gradients stop at the tensors that `stopping` made."""

    def __init__(self) -> None:
        self.closed = False

    def stopping(self, x: Tensor) -> Tensor:
        """Return x such that its gradient stops here while the gate is closed; a leaf is returned unchanged."""
        return x if x.is_leaf else _Stopped.apply(x, self)

    def __enter__(self) -> None:
        self.closed = True

    def __exit__(self, *_: object) -> None:
        self.closed = False


class _Stopped(torch.autograd.Function):
    """x ↦ x, the identity; it passes its gradient on, or stops it while `gate.closed`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Gate) -> Tensor:
        ctx.gate = gate
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None if ctx.gate.closed else gradients[0], None


class _Replaced(TorchFunctionMode):
    """A mode in which torch functions receive substitutes for some of their arguments."""

    def __init__(self, others: Mapping[Tensor, Tensor]) -> None:
        super().__init__()
        self.others = others

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(Tensor, lambda tensor: self.others.get(tensor, tensor), (args, kwargs or {}))
        return func(*args, **kwargs)


@contextmanager
def replaced(others: Mapping[Tensor, Tensor]) -> Iterator[None]:
    """Let branches within the context compute with `others[tensor]` wherever they read `tensor`."""
    different = {tensor: other for tensor, other in others.items() if other is not tensor}
    if not different:
        yield
        return
    with eagerly(), _Replaced(different):
        yield


def cut(tensors: Iterable[Tensor]) -> dict[Tensor, Tensor]:
    """Map each tensor to a leaf with the same values (itself if it is a leaf), at which new graphs end."""
    return {tensor: tensor if tensor.is_leaf else tensor.detach().requires_grad_() for tensor in tensors}


def eagerly() -> AbstractContextManager[Any]:
    """Return a context in which compiled modules run eagerly, as an active mode would make torch recompile them."""
    # If dynamo was not imported (which takes seconds), nothing has been compiled.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
