"""Evaluating a branch a second time, in a backward pass, exactly as the first time.

A gradient method that recomputes would, of itself, update BatchNorm's running statistics and other buffers twice,
compute in another precision than the forward pass (autocast does not reach a backward pass) and in other modes, if they
were changed since, and call every hook again. `Replay` prevents all of it; `Generators` draws the same dropout masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from odenet.blocks.precision import lowered, lowered_as
from odenet.blocks.replay.buffers import Buffers, buffers_of
from odenet.blocks.theta.combination import is_standard_norm


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
        self.autocast, self.lowered = _autocast(device_type), lowered(device_type)
        self.nodes = list(dict.fromkeys(nodes))
        self._modules = list(dict.fromkeys(module for node in self.nodes for module in node.modules()))
        self._modes = [module.training for module in self._modules]
        self._changing: set[int] = set()
        self.buffers = Buffers(self._modules)
        self.trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self._read = [*self.trainable, *_statistics_in_use(self._modules)]
        self._versions = [tensor._version for tensor in self._read]

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
    def again(self, *, on_copies: bool = False) -> Iterator[None]:
        """Around the backward pass: statistics and hooks rest; modes and buffers are those of the forward pass.

        Args:
            on_copies: within the forward pass, for an evaluation that is to leave no trace: the buffers are copies.

        Raises:
            RuntimeError: parameters, or statistics that the forward pass read, are others than they were.
        """
        self.require_same()
        with ExitStack() as stack:
            stack.enter_context(_in_modes(self._modules, self._modes))
            stack.enter_context(_at_rest(self._modules))
            stack.enter_context(self.buffers.rewound(always=on_copies))
            for parameter in self.trainable:
                if parameter._backward_hooks:
                    stack.enter_context(_replaced(parameter._backward_hooks, {}))
            for parameter in self.trainable:
                if not parameter.requires_grad:
                    stack.enter_context(_trainable(parameter))
            for hooks in self._forward_hooks():
                stack.enter_context(_replaced(hooks, {k: hook for k, hook in hooks.items() if k in self._changing}))
            yield

    def require_same(self) -> None:
        """Raise where the backward pass would evaluate another function than the forward pass did."""
        if not {id(p) for p in self.parameters()}.issuperset(map(id, self.trainable)):
            changed = "parameters of the flow were changed or replaced"
        elif self._versions != [tensor._version for tensor in self._read]:
            parameters = sum(tensor._version for tensor in self.trainable) != sum(self._versions[: len(self.trainable)])
            statistics = "running statistics that a normalization in evaluation mode reads were changed"
            changed = "parameters of the flow were changed or replaced" if parameters else statistics
        else:
            return
        raise RuntimeError(
            f"a backward pass was asked for after {changed}; it evaluates the branches again, and they are no longer "
            "those of the forward pass: call backward before the optimizer's step and within the same "
            "functional_call, or use Backprop()."
        )

    def evaluating(self) -> AbstractContextManager[Any]:
        """Around an evaluation in the backward pass: autocast, and the precision of float32, as in the forward pass."""
        if self.autocast == _autocast(self.device_type) and self.lowered == lowered(self.device_type):
            return nullcontext()
        return self._as_in_the_forward_pass()

    @contextmanager
    def _as_in_the_forward_pass(self) -> Iterator[None]:
        enabled, dtype = self.autocast
        precision = lowered_as(self.lowered, self.device_type)
        with torch.autocast(self.device_type, dtype=dtype, enabled=enabled), precision:
            yield

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
    """Within it, whatever modules below `node` keep between calls is left alone: running statistics, other buffers.

    Normalizations in training mode use the batch; other modules with buffers work on copies of them.
    """
    modules = list(node.modules())
    with _at_rest(modules), buffers_of([node]).rewound(always=True):
        yield


@contextmanager
def _in_modes(modules: Sequence[Any], modes: Sequence[bool]) -> Iterator[None]:
    """Within it every module is in its mode, training or evaluation."""
    others = [(module, mode) for module, mode in zip(modules, modes, strict=True) if module.training != mode]
    try:
        for module, mode in others:
            module.training = mode
        yield
    finally:
        for module, mode in others:
            module.training = not mode


@contextmanager
def _trainable(parameter: Tensor) -> Iterator[None]:
    """Within it a parameter that was frozen since asks for its gradient."""
    parameter.requires_grad_()
    try:
        yield
    finally:
        parameter.requires_grad_(False)


@contextmanager
def _at_rest(modules: Iterable[nn.Module]) -> Iterator[None]:
    tracking = [m for m in modules if is_standard_norm(m) and m.training and m.track_running_stats]
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


def _statistics_in_use(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The running statistics by which standard normalizations normalize: those in evaluation mode."""
    evaluating = (module for module in modules if is_standard_norm(module) and not module.training)
    return [buffer for module in evaluating for buffer in module._buffers.values() if buffer is not None]


def _autocast(device_type: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
