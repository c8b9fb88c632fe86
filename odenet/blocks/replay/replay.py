"""Replay: evaluating a branch again in the backward pass, exactly as in the forward pass.

Without it, a gradient method that recomputes would update BatchNorm's running statistics and other buffers twice,
compute in another precision than the forward pass (autocast does not apply to a backward pass), use the present modes
of the modules, and call every hook again. `Replay` prevents all of this, and `Generators` draws the same dropout masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from odenet.blocks.precision import lowered_precisions, set_precisions
from odenet.blocks.replay.buffers import Buffers, buffers_of
from odenet.blocks.theta.combination import is_standard_norm


class Replay:
    """State of the modules in `nodes` during a forward pass, with contexts that restore it for another evaluation.

    Forward hooks that return None only observe, so they are called in the forward pass alone. Forward hooks that change
    the output, and forward pre-hooks (they may compute weights), are called in both passes. Hooks on the gradient of a
    parameter expect its whole gradient, and not the contribution of one evaluation, so they are disabled as well.

    Args:
        nodes: modules; duplicates are removed.
        device_type: device type of the state, e.g. "cuda".
    """

    def __init__(self, nodes: Iterable[nn.Module], device_type: str) -> None:
        self.device_type = device_type
        self.autocast, self.lowered_precisions = _autocast(device_type), lowered_precisions(device_type)
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
        """Run the forward pass within this context, which records the forward hooks that change an output."""
        with ExitStack() as stack:
            for hooks in self._forward_hooks():
                recording = {key: self._recording(key, hook) for key, hook in hooks.items()}
                stack.enter_context(_replaced(hooks, recording))
            yield
        if self.autocast[0]:
            # The cache holds weights that were cast without a graph, and the next use under autocast would reuse them.
            torch.clear_autocast_cache()

    @contextmanager
    def again(self, *, on_copies: bool = False) -> Iterator[None]:
        """Run the backward pass within this context: modes and buffers are restored, statistics and hooks disabled.

        Args:
            on_copies: whether to let the modules work on copies of their buffers; for an evaluation during the forward
                pass that must not change them.

        Raises:
            RuntimeError: if parameters, or statistics that the forward pass read, were changed since.
        """
        self.require_same()
        with ExitStack() as stack:
            stack.enter_context(_in_modes(self._modules, self._modes))
            stack.enter_context(_without_tracking(self._modules))
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
        """Raise a `RuntimeError` if parameters or statistics that the forward pass read were changed since."""
        if not {id(p) for p in self.parameters()}.issuperset(map(id, self.trainable)):
            changed = "parameters of the flow were changed or replaced"
        elif self._versions != [tensor._version for tensor in self._read]:
            parameters = sum(tensor._version for tensor in self.trainable) != sum(self._versions[: len(self.trainable)])
            statistics = "running statistics that a normalization in evaluation mode reads were changed"
            changed = "parameters of the flow were changed or replaced" if parameters else statistics
        else:
            return
        raise RuntimeError(
            f"a backward pass was asked for after {changed}; it evaluates the branches again, and they would differ "
            "from those of the forward pass: call backward before the optimizer's step and within the same "
            "functional_call, or use Backprop()."
        )

    def evaluating(self) -> AbstractContextManager[Any]:
        """Return a context for one evaluation in the backward pass, with autocast and precision of the forward pass."""
        if self.autocast == _autocast(self.device_type) and self.lowered_precisions == lowered_precisions(
            self.device_type
        ):
            return nullcontext()
        return self._as_in_the_forward_pass()

    @contextmanager
    def _as_in_the_forward_pass(self) -> Iterator[None]:
        enabled, dtype = self.autocast
        precision = set_precisions(self.lowered_precisions, self.device_type)
        with torch.autocast(self.device_type, dtype=dtype, enabled=enabled), precision:
            yield

    def parameters(self) -> list[nn.Parameter]:
        """Return the present parameters of the nodes, each once."""
        own = (p for module in self._modules for p in module._parameters.values() if p is not None)
        return list(dict.fromkeys(own))

    def _forward_hooks(self) -> list[dict[int, Callable[..., Any]]]:
        """Return the non-empty dictionaries of forward hooks of all modules in the nodes."""
        return [module._forward_hooks for module in self._modules if module._forward_hooks]

    def _recording(self, key: int, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Return the hook with a record of whether it changes the output."""

        def recording(*args: Any, **kwargs: Any) -> Any:
            result = hook(*args, **kwargs)
            if result is not None:
                self._changing.add(key)
            return result

        return recording


@contextmanager
def frozen_buffers(node: nn.Module) -> Iterator[None]:
    """Keep evaluations within the context from changing the running statistics and other buffers of `node`.

    Normalizations in training mode normalize by the batch; other modules with buffers work on copies of them.
    """
    modules = list(node.modules())
    with _without_tracking(modules), buffers_of([node]).rewound(always=True):
        yield


@contextmanager
def _in_modes(modules: Sequence[Any], modes: Sequence[bool]) -> Iterator[None]:
    """Set the modules to the given modes, training or evaluation, within the context."""
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
    """Let a parameter that was frozen since the forward pass require a gradient within the context."""
    parameter.requires_grad_()
    try:
        yield
    finally:
        parameter.requires_grad_(False)


@contextmanager
def _without_tracking(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Keep standard normalizations in training mode from updating their running statistics within the context."""
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
    """Replace the contents of the dictionary `hooks` by `others` within the context.

    The dictionary is changed in place, because torch keeps references to it.
    """
    former = dict(hooks)
    try:
        hooks.clear()
        hooks.update(others)
        yield
    finally:
        hooks.clear()
        hooks.update(former)


def _statistics_in_use(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return the running statistics that standard normalizations in evaluation mode use."""
    evaluating = (module for module in modules if is_standard_norm(module) and not module.training)
    return [buffer for module in evaluating for buffer in module._buffers.values() if buffer is not None]


def _autocast(device_type: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(device_type), torch.get_autocast_dtype(device_type)
