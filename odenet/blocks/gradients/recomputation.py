"""Solves that keep little and evaluate F again in the backward pass: what `Checkpointed` and `Reversible` share.

The whole solve is one operation on autograd's tape, whose inputs are x, the trainable parameters of θ, and the tensors
that the branches capture. So a parameter's gradient arrives once, however often its branch is evaluated: hooks and
DDP's buckets see it once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from odenet.blocks.field import Field
from odenet.blocks.replay.generators import Generators
from odenet.blocks.replay.graph_ends import KnownEnds
from odenet.blocks.replay.replay import Replay
from odenet.blocks.replay.substitution import Gate, cut, replaced
from odenet.blocks.stepping.base import Step
from odenet.blocks.theta.base import Piece


class Recomputation(ABC):
    """One solve, its forward pass without a tape and its backward pass with evaluations of its own.

    Args:
        pieces: of θ.
        field: evaluates them in the forward pass.
        x: x(0).
    """

    def __init__(self, pieces: Sequence[Piece], field: Field, x: Tensor) -> None:
        device = torch.device("cpu") if x.is_meta else x.device  # meta has neither autocast nor a generator
        # A list: torch.compile 2.11, around it, makes no dictionary of what a generator yields.
        self.replay = Replay([node for piece in pieces for node in piece.nodes], device.type)
        self.generators = Generators(device)
        self.parameters = self.replay.trainable
        self.field = field
        self.captured = field.find_captures()
        self.steps: list[Step] = []

    @property
    def inputs(self) -> list[Tensor]:
        """What has a gradient besides x: parameters, then captured tensors; each once."""
        return list(dict.fromkeys([*self.parameters, *self.captured]))

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x(T), and the tensors beside x that the backward pass will need; sets `steps`."""

    @abstractmethod
    def backward(
        self, kept: list[Tensor], gradient: Tensor, totals: ParameterGradients, *, for_x: bool
    ) -> Tensor | None:
        """∂L/∂x(0) from ∂L/∂x(T), None where it is not asked for; the parameters' is added to `totals`.

        Args:
            kept: x, then what `forward` kept; whatever is taken from this list is freed when it is no longer needed.
            gradient: ∂L/∂x(T).
            totals: the parameters' gradient.
            for_x: whether ∂L/∂x(0) is asked for.
        """

    def solve(self, x: Tensor) -> Tensor:
        """x(T), with a gradient by `backward`."""
        if torch.compiler.is_compiling():
            # Opaque to torch.compile, which breaks its graph here; on demand, for it takes seconds to import.
            eager: Any = torch.compiler.disable(_solved)
            return eager(self, x)
        return _solved(self, x)

    def note(self) -> None:
        """Remember what random generators and buffers are at this moment; moments are numbered from 0."""
        self.generators.note()
        self.replay.buffers.note()

    def start_over(self) -> None:
        """Forget the moments noted so far; this one is the first."""
        self.generators.forget()
        self.replay.buffers.forget()
        self.note()

    def turn_back(self, moment: int) -> None:
        """Let generators and buffers be what they were at a moment."""
        self.generators.turn_back(moment)
        self.replay.buffers.turn_back(moment)

    def run(self, indices: Iterable[int], state: Any) -> Any:
        """The state after some of the steps, taken again."""
        for step in (self.steps[index] for index in indices):
            with self.replay.evaluating():
                state = step.advance(step.piece.field, state)
        return state


class ParameterGradients:
    """The parameters' gradient, added up as the backward pass goes along.

    Args:
        parameters: all of them.
        captured: tensors that any branch may read besides.
        label: what messages call the block.
    """

    def __init__(self, parameters: Iterable[Tensor], captured: Iterable[Tensor] = (), label: str = "ODEBlock") -> None:
        captured = list(captured)
        self.leaves = cut([*parameters, *captured])
        self.of: dict[Tensor, Tensor | None] = dict.fromkeys(self.leaves)
        self._captured, self._label = captured, label
        self._leaf_of = {id(tensor): leaf for tensor, leaf in self.leaves.items()}  # to hash a tensor takes longer
        self._of_nodes: dict[tuple[nn.Module, ...], tuple[list[Tensor], list[Tensor], KnownEnds]] = {}

    def add(
        self,
        ends: Sequence[GradientEdge | None],
        gradients: Sequence[Tensor | None],
        inputs: Sequence[Tensor],
        nodes: tuple[nn.Module, ...],
        *,
        term_by_term: bool = False,
    ) -> list[Tensor | None]:
        """Add what the parameters of `nodes` contribute to a graph, and return the gradient in its `inputs`.

        Args:
            ends: of the graph, from `gradient_edges`.
            gradients: in its outputs; None for one that nothing depends on.
            inputs: of the graph.
            nodes: modules that were evaluated in it.
            term_by_term: add the contributions of several evaluations one by one, in the order of backpropagation, so
                that floating point gives the same sum.
        """
        parameters, leaves, known = self._parameters(nodes)
        known.require(ends, inputs)
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        given = [(end, g) for end, g in zip(ends, gradients, strict=True) if end is not None and g is not None]
        if not given:
            return [None] * len(inputs)
        if term_by_term:
            # Views made last are what autograd goes through first.
            with torch.enable_grad():
                pairs = zip(leaves, parameters, strict=True)
                totals = [(leaf.view_as(leaf), total) for leaf, p in pairs if (total := self.of[p]) is not None]
            given += [(get_gradient_edge(view), total) for view, total in totals]
        roots, values = zip(*given, strict=True)
        found = torch.autograd.grad(roots, [*wanted, *leaves], values, allow_unused=True)
        for parameter, term in zip(parameters, found[len(wanted) :], strict=True):
            self.of[parameter] = term if term_by_term else _sum(self.of[parameter], term)
        of_inputs = iter(found)
        return [next(of_inputs) if tensor.requires_grad else None for tensor in inputs]

    def _parameters(self, nodes: tuple[nn.Module, ...]) -> tuple[list[Tensor], list[Tensor], KnownEnds]:
        """Those whose gradient is asked for where these nodes are evaluated, their leaves, and the ends of a graph."""
        if nodes not in self._of_nodes:
            own = _trainable(nodes)
            wanted = [p for p in own if id(p) in self._leaf_of]
            unfrozen_since = [p for p in own if id(p) not in self._leaf_of] if len(wanted) < len(own) else []
            if self._captured:
                wanted = list(dict.fromkeys([*wanted, *self._captured]))
            leaves = [self._leaf_of[id(p)] for p in wanted]
            self._of_nodes[nodes] = wanted, leaves, KnownEnds([*leaves, *unfrozen_since], self._label)
        return self._of_nodes[nodes]


def gradient_edges(outputs: Iterable[Tensor]) -> list[GradientEdge | None]:
    """Where gradients in `outputs` enter their graph, which does not need their values; None where it has no graph."""
    return [get_gradient_edge(y) if y.requires_grad else None for y in outputs]


def trainable_parameters(pieces: Iterable[Piece]) -> list[Tensor]:
    """The parameters of the nodes that ask for a gradient, each once."""
    return _trainable(dict.fromkeys(node for piece in pieces for node in piece.nodes))


def _trainable(nodes: Iterable[nn.Module]) -> list[Tensor]:
    return list(dict.fromkeys(p for node in nodes for p in node.parameters() if p.requires_grad))


def _solved(solve: Recomputation, x: Tensor) -> Tensor:
    with torch.no_grad(), solve.replay.first():
        solve.note()
        y, kept = solve.forward(x)
        solve.note()
    # Its own memory: whoever changes it in place changes nothing that the backward pass needs.
    shared = y is x or y._is_view() or any(y is tensor for tensor in kept)
    return _Solve.apply(solve, [y.clone() if shared else y, kept], x, *solve.inputs)


def _sum(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    return term if total is None else total if term is None else total + term


class _Solve(torch.autograd.Function):
    """A recomputation as an operation on the tape."""

    @staticmethod
    def forward(ctx: Any, solve: Recomputation, found: list[Any], x: Tensor, *inputs: Tensor) -> Tensor:
        y, kept = found
        found.clear()
        ctx.solve = solve
        # Of captured tensors, so that one changed in place since is refused; parameters are looked at by the replay.
        ctx.captured = len(inputs) - len(solve.parameters)
        ctx.save_for_backward(x, *inputs[len(solve.parameters) :], *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        solve: Recomputation = ctx.solve
        with solve.replay.again(), solve.generators.undisturbed():
            x, *kept = ctx.saved_tensors
            kept = [x, *kept[ctx.captured :]]
            del x
            # So that the backward pass can let go of them, unless the graph is retained.
            ctx.maybe_clear_saved_tensors()
            if torch.is_grad_enabled():  # create_graph=True
                return None, None, *_with_graph(solve, kept[0], gradients[0], ctx.needs_input_grad[2:])
            totals = ParameterGradients(solve.parameters, solve.captured, solve.field.label)
            with replaced(totals.leaves):
                of_x = solve.backward(kept, gradients[0], totals, for_x=ctx.needs_input_grad[2])
        return None, None, of_x, *totals.of.values()


def _with_graph(solve: Recomputation, x: Tensor, gradient: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
    solve.turn_back(0)
    gate, inputs = Gate(), [x, *solve.inputs]
    ends = [gate.stopping(tensor) for tensor in inputs]
    with replaced(dict(zip(inputs[1:], ends[1:], strict=True))):
        y = solve.run(range(len(solve.steps)), ends[0])
    KnownEnds(ends, solve.field.label).require(gradient_edges([y]), [])
    wanted = [tensor for tensor, need in zip(ends, needed, strict=True) if need]
    with gate:
        found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needed]
