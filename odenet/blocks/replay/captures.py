"""Captured tensors: what a branch reads that is neither its argument (t, x) nor a parameter or buffer of its nodes.

An encoder's output that was assigned to an attribute, the weights that a hypernetwork made, a module in a closure: a
branch may read all of them, and `Backprop` differentiates them as a matter of course. A gradient method that evaluates
the branch again has to know them beforehand, for it is one operation on autograd's tape, and they are its inputs.

They are found where the branch is evaluated for the first time on a piece: that evaluation has a tape, which is walked
to its ends. A branch that was seen to read nothing else is not looked at again; should it capture a tensor later, the
backward pass, which has a tape of every evaluation, finds it and raises.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import itemgetter
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch._C._autograd import _get_sequence_nr
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from odenet.blocks.replay.graph_ends import Edge, inputs_of_graph
from odenet.blocks.replay.substitution import eagerly
from odenet.blocks.theta.base import Piece, Time

_LOOKING = ContextVar("looking for captured tensors", default=False)


class ClosedNodes:
    """The nodes of a block that were seen to capture nothing, in training and in evaluation mode.

    A copy, or what comes out of a pickle, starts empty.
    """

    def __init__(self) -> None:
        self._in = {True: WeakSet[nn.Module](), False: WeakSet[nn.Module]()}

    def add(self, nodes: Iterable[nn.Module]) -> None:
        """Remember nodes, in the modes that they are in."""
        for node in nodes:
            self._in[node.training].add(node)

    def __contains__(self, nodes: Sequence[nn.Module]) -> bool:
        """Whether all of `nodes` are known in the modes that they are in."""
        return bool(nodes) and all(node in self._in[node.training] for node in nodes)

    def __reduce__(self) -> tuple[type[ClosedNodes], tuple[()]]:
        return ClosedNodes, ()


class Captures:
    """The captured tensors of one solve that ask for a gradient, each once, in the order in which they were found.

    Args:
        closed: the nodes of the block that are known to capture nothing; others are added.
        label: what messages call the block.
    """

    def __init__(self, closed: ClosedNodes, label: str) -> None:
        self.closed, self.label = closed, label
        self.tensors: list[Tensor] = []

    def may_be_read_on(self, piece: Piece) -> bool:
        """Whether the piece's field has to be evaluated by `first_evaluation`."""
        return bool(piece.nodes) and piece.nodes not in self.closed

    def first_evaluation(self, piece: Piece, t: Time, x: Tensor) -> Tensor:
        """F(t, x), without a tape, and what the field captured is among `tensors` from now on.

        Raises:
            ValueError: the field changes what it captured, calls a module that is not its own and that changes at
                every call, or draws from another generator than torch's.
        """
        calls, autocast = _Calls(), torch.is_autocast_enabled("cpu" if x.is_meta else x.device.type)
        if autocast:
            torch.clear_autocast_cache()  # it may hold weights that were cast on another tape
        leaf = x.detach().requires_grad_()
        with torch.enable_grad(), eagerly(), _nothing_kept(), _looking(), _calls_told(calls.of_module), calls:
            start, others = _get_sequence_nr(), _other_generators()
            slope = piece.field(t, leaf)
            drawn = _other_generators() != others
        if drawn:
            raise ValueError(
                f"the branch of {self.label} draws from Python's or NumPy's random generator, whose numbers are not "
                "drawn again where it is evaluated a second time: draw by torch (torch.rand), or use Backprop()."
            )
        if autocast:
            torch.clear_autocast_cache()
        if not isinstance(slope, Tensor):
            return slope  # the field says what is wrong
        buffers = {id(buffer) for node in piece.nodes for buffer in node.buffers()}
        self._require_unchanged(calls, piece, buffers)
        own = {id(tensor) for node in piece.nodes for tensor in node.parameters()}
        leaves, edges = inputs_of_graph([slope], start, {id(leaf)})
        found = [tensor for tensor in leaves if id(tensor) not in own]
        found += [self._tensor_at(edge, calls) for edge in edges]
        known = {id(tensor) for tensor in self.tensors}
        self.tensors += [tensor for tensor in found if id(tensor) not in known]
        if not calls.given(besides={id(leaf), id(t)} | own | buffers) and not found:
            self.closed.add(piece.nodes)
        return slope.detach()

    def _tensor_at(self, edge: Edge, calls: _Calls) -> Tensor:
        if edge not in calls.made_before:
            raise ValueError(
                f"the branch of {self.label} reads a tensor made by {edge[0].name()} outside of it that no operation "
                "was given by itself, so its gradient has no way there: assign the tensor to an attribute of the "
                "branch, or use Backprop()."
            )
        return calls.made_before[edge]

    def _require_unchanged(self, calls: _Calls, piece: Piece, buffers: set[int]) -> None:
        own_modules = {module for node in piece.nodes for module in node.modules()}
        for module in calls.modules:
            if module not in own_modules and module.training and next(module.buffers(recurse=False), None) is not None:
                raise ValueError(
                    f"the branch of {self.label} calls a {type(module).__name__} in training mode that is not one of "
                    "its own modules, and whose buffers would change again where the branch is evaluated a second "
                    "time: make it an attribute of the branch, put it into evaluation mode, or use Backprop()."
                )
        for tensor, version in calls.versions:
            if id(tensor) not in buffers and tensor._version != version:
                raise ValueError(
                    f"the branch of {self.label} changed a tensor of shape {tuple(tensor.shape)} in place that it did "
                    "not make, and would change it again where it is evaluated a second time: register it as a buffer "
                    "of the branch, or use Backprop()."
                )


class _Calls(TorchFunctionMode):
    """Notes the tensors that functions of torch were given and did not make."""

    def __init__(self) -> None:
        super().__init__()
        self.made_before: dict[Edge, Tensor] = {}
        self.versions: list[tuple[Tensor, int]] = []
        self.modules: list[nn.Module] = []
        self._made: dict[int, Tensor] = {}
        self._given: dict[int, Tensor] = {}

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            if id(tensor) not in self._made and id(tensor) not in self._given:
                self._given[id(tensor)] = tensor
                if not tensor.is_inference():
                    self.versions.append((tensor, tensor._version))
                if tensor.grad_fn is not None:
                    self.made_before[tensor.grad_fn, tensor.output_nr] = tensor
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            if id(tensor) not in self._given:
                self._made[id(tensor)] = tensor
        return result

    def of_module(self, module: nn.Module, _: object) -> None:
        """A hook before every call of a module."""
        self.modules.append(module)

    def given(self, besides: set[int]) -> bool:
        """Whether any tensor was given that is not one of `besides`."""
        return not self._given.keys() <= besides


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _other_generators() -> tuple[object, ...]:
    """The states of Python's global generator and, where NumPy was imported, of NumPy's."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return (random.getstate(),)
    kind, keys, *rest = numpy.random.get_state()
    return random.getstate(), kind, keys.tobytes(), *rest


def is_looking_for_captures() -> bool:
    """Whether a branch is being evaluated on a tape that serves to find captured tensors, and is then thrown away."""
    return _LOOKING.get()


@contextmanager
def _looking() -> Iterator[None]:
    token = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(token)


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """After it, a graph that was made within it holds no tensors; it can be walked, and not be differentiated."""
    boxes: list[list[Tensor]] = []

    def pack(tensor: Tensor) -> list[Tensor]:
        boxes.append([tensor])
        return boxes[-1]

    try:
        with saved_tensors_hooks(pack, itemgetter(0)):
            yield
    finally:
        for box in boxes:
            box.clear()


@contextmanager
def _calls_told(hook: Callable[[nn.Module, Any], None]) -> Iterator[None]:
    """Within it, a hook is told of every call of a module."""
    handle = nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
