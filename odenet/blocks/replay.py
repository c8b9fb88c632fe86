"""Evaluating a branch a second time, in a backward pass, exactly as the first time.

A gradient method that recomputes would, of itself, update BatchNorm's running statistics twice, compute in another
precision than the forward pass (autocast does not reach a backward pass), and call every hook again. `Replay` prevents
all three; `Generators` draws the same dropout masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


class Replay:
    """How a forward pass evaluates the modules below `nodes`, and the means to do so again.

    Forward hooks that return nothing only look, so they are called in the forward pass alone; those that change what a
    module returns, and forward pre-hooks (they may compute weights), are called in both. Hooks on a parameter's
    gradient are for its whole gradient, not for what one evaluation adds to it: they rest as well.

    Args:
        nodes: modules, in any order and as often as they come.
        device_type: of the state, e.g. "cuda".
    """

    def __init__(self, nodes: Iterable[nn.Module], device_type: str) -> None:
        self.device_type = device_type
        self.autocast = _autocast(device_type)
        self.nodes = list(dict.fromkeys(nodes))
        self._modules = list(dict.fromkeys(module for node in self.nodes for module in node.modules()))
        self._changing: set[int] = set()

    @contextmanager
    def first(self) -> Iterator[None]:
        """Around the forward pass: learns which forward hooks change what their module returns."""
        with ExitStack() as stack:
            for hooks in self._forward_hooks():
                noted = {key: self._noting(key, hook) for key, hook in hooks.items()}
                stack.enter_context(_replaced(hooks, noted))
            yield
        if self.autocast[0]:
            # It holds weights that were cast without a graph, for whoever uses them next under the same autocast.
            torch.clear_autocast_cache()

    @contextmanager
    def again(self) -> Iterator[None]:
        """Around the backward pass: statistics and hooks rest."""
        with ExitStack() as stack:
            stack.enter_context(_at_rest(self._modules))
            for parameter in self.parameters():
                if parameter._backward_hooks:
                    stack.enter_context(_replaced(parameter._backward_hooks, {}))
            for hooks in self._forward_hooks():
                stack.enter_context(_replaced(hooks, {k: hook for k, hook in hooks.items() if k in self._changing}))
            yield

    def evaluating(self) -> AbstractContextManager[Any]:
        """Around an evaluation in the backward pass: autocast as in the forward pass."""
        if self.autocast == _autocast(self.device_type):
            return nullcontext()
        enabled, dtype = self.autocast
        return torch.autocast(self.device_type, dtype=dtype, enabled=enabled)

    def parameters(self) -> list[nn.Parameter]:
        """The parameters that the nodes have now, each once."""
        own = (p for module in self._modules for p in module._parameters.values() if p is not None)
        return list(dict.fromkeys(own))

    def _forward_hooks(self) -> list[dict[int, Callable[..., Any]]]:
        """The dictionaries of hooks below the nodes that have any, each once."""
        return [module._forward_hooks for module in self._modules if module._forward_hooks]

    def _noting(self, key: int, hook: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*args: Any, **kwargs: Any) -> Any:
            result = hook(*args, **kwargs)
            if result is not None:
                self._changing.add(key)
            return result

        return noting


@contextmanager
def resting_statistics(node: nn.Module) -> Iterator[None]:
    """Within it, training-mode normalizations below `node` use the batch and do not update running statistics."""
    with _at_rest(node.modules()):
        yield


@contextmanager
def _at_rest(modules: Iterable[nn.Module]) -> Iterator[None]:
    tracking = [m for m in modules if isinstance(m, _NormBase) and m.training and m.track_running_stats]
    try:
        for module in tracking:
            module.track_running_stats = False
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


@contextmanager
def _replaced(hooks: dict[int, Callable[..., Any]], others: dict[int, Callable[..., Any]]) -> Iterator[None]:
    """Within it, the dictionary `hooks` holds `others`; in place, for torch keeps references to it."""
    former = dict(hooks)
    try:
        hooks.clear()
        hooks.update(others)
        yield
    finally:
        hooks.clear()
        hooks.update(former)


def _autocast(device_type: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
