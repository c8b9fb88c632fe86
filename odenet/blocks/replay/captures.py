"""Captured tensors: tensors that a branch reads besides (t, x) and the parameters and buffers of its nodes.

A branch may read the output of an encoder that was assigned to an attribute, the weights made by a hypernetwork, or a
module in a closure. `Backprop` differentiates such tensors without further ado. A gradient method that evaluates the
branch again must know them in advance, because the solve is a single autograd operation and they are its inputs.

They are found at the first evaluation of the branch on a piece, which autograd records; its graph is traversed to its
inputs. A branch that captures nothing is not examined again. If it captures a tensor later, the backward pass, which
records every evaluation, finds the tensor and raises.
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
    """The nodes of a block that are known to capture nothing, in training and in evaluation mode.

    A copy of this object, or one restored from a pickle, starts empty.
    """

    def __init__(self) -> None:
        self._nodes_in_mode = {True: WeakSet[nn.Module](), False: WeakSet[nn.Module]()}

    def add(self, nodes: Iterable[nn.Module]) -> None:
        """Add nodes, each for its present mode (training or evaluation)."""
        for node in nodes:
            self._nodes_in_mode[node.training].add(node)

    def __contains__(self, nodes: Sequence[nn.Module]) -> bool:
        """Whether all of `nodes` are known to capture nothing in their present modes."""
        return bool(nodes) and all(node in self._nodes_in_mode[node.training] for node in nodes)

    def __reduce__(self) -> tuple[type[ClosedNodes], tuple[()]]:
        return ClosedNodes, ()


class Captures:
    """The captured tensors of one solve that require a gradient, each once, in the order in which they were found.

    Args:
        closed: nodes of the block that are known to capture nothing; further ones are added.
        label: name of the block in messages.
    """

    def __init__(self, closed: ClosedNodes, label: str) -> None:
        self.closed, self.label = closed, label
        self.tensors: list[Tensor] = []

    def may_be_read_on(self, piece: Piece) -> bool:
        """Whether the field of the piece has to be evaluated by `first_evaluation`."""
        return bool(piece.nodes) and piece.nodes not in self.closed

    def first_evaluation(self, piece: Piece, t: Time, x: Tensor) -> Tensor:
        """Return F(t, x), detached from any graph, and add the tensors that the field captured to `tensors`.

        Raises:
            ValueError: if the field changes a captured tensor, calls a module in training mode that has buffers and is
                not its own, or draws from another random generator than torch's.
        """
        calls, autocast = _RecordedCalls(), torch.is_autocast_enabled("cpu" if x.is_meta else x.device.type)
        if autocast:
            torch.clear_autocast_cache()  # it may hold weights that were cast in another graph
        leaf = x.detach().requires_grad_()
        with (
            torch.enable_grad(),
            eagerly(),
            _saved_tensors_freed(),
            _marked_as_looking(),
            _module_calls_reported(calls.record_module),
            calls,
        ):
            start, others = _get_sequence_nr(), _other_generators()
            slope = piece.field(t, leaf)
            drawn = _other_generators() != others
        if drawn:
            raise ValueError(
                f"the branch of {self.label} draws from Python's or NumPy's random generator, whose numbers cannot be "
                "repeated when it is evaluated a second time: use torch's generator (torch.rand), or Backprop()."
            )
        if autocast:
            torch.clear_autocast_cache()
        if not isinstance(slope, Tensor):
            return slope  # the field raises a clear error
        buffers = {id(buffer) for node in piece.nodes for buffer in node.buffers()}
        self._require_unchanged(calls, piece, buffers)
        own = {id(tensor) for node in piece.nodes for tensor in node.parameters()}
        leaves, edges = inputs_of_graph([slope], start, {id(leaf)})
        found = [tensor for tensor in leaves if id(tensor) not in own]
        found += [self._tensor_at(edge, calls) for edge in edges]
        known = {id(tensor) for tensor in self.tensors}
        self.tensors += [tensor for tensor in found if id(tensor) not in known]
        if not calls.received_any(besides={id(leaf), id(t)} | own | buffers) and not found:
            self.closed.add(piece.nodes)
        return slope.detach()

    def _tensor_at(self, edge: Edge, calls: _RecordedCalls) -> Tensor:
        if edge not in calls.made_before:
            raise ValueError(
                f"the branch of {self.label} reads a tensor that {edge[0].name()} made outside of it and that is not "
                "itself the argument of any operation, so its gradient cannot be returned: assign the tensor to an "
                "attribute of the branch, or use Backprop()."
            )
        return calls.made_before[edge]

    def _require_unchanged(self, calls: _RecordedCalls, piece: Piece, buffers: set[int]) -> None:
        own_modules = {module for node in piece.nodes for module in node.modules()}
        for module in calls.modules:
            if module not in own_modules and module.training and next(module.buffers(recurse=False), None) is not None:
                raise ValueError(
                    f"the branch of {self.label} calls a {type(module).__name__} in training mode that is not one of "
                    "its own modules, and whose buffers would change again when the branch is evaluated a second "
                    "time: make it an attribute of the branch, put it into evaluation mode, or use Backprop()."
                )
        for tensor, version in calls.versions:
            if id(tensor) not in buffers and tensor._version != version:
                raise ValueError(
                    f"the branch of {self.label} changed a tensor of shape {tuple(tensor.shape)} in place that it did "
                    "not make, and would change it again when it is evaluated a second time: register it as a buffer "
                    "of the branch, or use Backprop()."
                )


class _RecordedCalls(TorchFunctionMode):
    """A mode that records the tensors which torch functions receive and did not make themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.made_before: dict[Edge, Tensor] = {}
        self.versions: list[tuple[Tensor, int]] = []
        self.modules: list[nn.Module] = []
        self._made: dict[int, Tensor] = {}
        self._received: dict[int, Tensor] = {}

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            if id(tensor) not in self._made and id(tensor) not in self._received:
                self._received[id(tensor)] = tensor
                if not tensor.is_inference():
                    self.versions.append((tensor, tensor._version))
                if tensor.grad_fn is not None:
                    self.made_before[tensor.grad_fn, tensor.output_nr] = tensor
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            if id(tensor) not in self._received:
                self._made[id(tensor)] = tensor
        return result

    def record_module(self, module: nn.Module, _: object) -> None:
        """Record a module; a forward pre-hook for all modules."""
        self.modules.append(module)

    def received_any(self, besides: set[int]) -> bool:
        """Whether any torch function received a tensor whose `id` is not among `besides`."""
        return not self._received.keys() <= besides


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _other_generators() -> tuple[object, ...]:
    """Return the states of Python's global random generator and, if NumPy was imported, of NumPy's."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return (random.getstate(),)
    kind, keys, *rest = numpy.random.get_state()
    return random.getstate(), kind, keys.tobytes(), *rest


def is_looking_for_captures() -> bool:
    """Whether a branch is being evaluated to find captured tensors, in a graph that is then discarded."""
    return _LOOKING.get()


@contextmanager
def _marked_as_looking() -> Iterator[None]:
    token = _LOOKING.set(True)
    try:
        yield
    finally:
        _LOOKING.reset(token)


@contextmanager
def _saved_tensors_freed() -> Iterator[None]:
    """Free the saved tensors of graphs made within the context at its exit; they can then only be traversed."""
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
def _module_calls_reported(hook: Callable[[nn.Module, Any], None]) -> Iterator[None]:
    """Call `hook` before every call of a module within the context."""
    handle = nn.modules.module.register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
