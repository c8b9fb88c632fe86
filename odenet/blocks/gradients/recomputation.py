"""The base of `Checkpointed` and `Reversible`: solves that evaluate F again in the backward pass.

The whole solve is a single autograd operation. Its inputs are x, the trainable parameters of θ, and the tensors that
the branches capture. So the gradient of a parameter is accumulated once, however often its branch is evaluated, and
hooks and the buckets of DDP fire once.
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
    """One solve whose forward pass is not recorded by autograd and whose backward pass evaluates F again.

    Args:
        pieces: pieces of θ.
        field: vector field that evaluates the pieces in the forward pass.
        x: initial state x(0).
    """

    def __init__(self, pieces: Sequence[Piece], field: Field, x: Tensor) -> None:
        device = torch.device("cpu") if x.is_meta else x.device  # the meta device has no autocast and no generator
        # A list, because torch.compile 2.11 cannot trace a dictionary made from a generator expression.
        self.replay = Replay([node for piece in pieces for node in piece.nodes], device.type)
        self.generators = Generators(device)
        self.parameters = self.replay.trainable
        self.field = field
        self.positions = field.positions
        self.captured = field.find_captures()
        self.steps: list[Step] = []

    @property
    def inputs(self) -> list[Tensor]:
        """Tensors besides x that have a gradient, each once: parameters, then captured tensors."""
        return list(dict.fromkeys([*self.parameters, *self.captured]))

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return x(T) and the tensors besides x that the backward pass needs; sets `steps`."""

    @abstractmethod
    def backward(
        self, kept: list[Tensor], gradient: Tensor, totals: ParameterGradients, *, for_x: bool
    ) -> Tensor | None:
        """Return ∂L/∂x(0), or None if it is not needed, and add the gradients of the parameters to `totals`.

        Args:
            kept: x, then the tensors returned by `forward`; tensors removed from this list can be freed.
            gradient: ∂L/∂x(T).
            totals: accumulated gradients of the parameters.
            for_x: whether ∂L/∂x(0) is needed.
        """

    def solve(self, x: Tensor) -> Tensor:
        """Return x(T), as an autograd operation whose gradient is computed by `backward`."""
        if torch.compiler.is_compiling():
            # torch.compile breaks its graph here. Disabled on demand, because importing dynamo takes seconds.
            eager: Any = torch.compiler.disable(_solve)
            return eager(self, x)
        return _solve(self, x)

    def record(self) -> None:
        """Take a snapshot of random generators, buffers and positions; snapshots are numbered from 0."""
        self.generators.record()
        self.replay.buffers.record()
        if self.positions is not None:
            self.positions.record()

    def start_over(self) -> None:
        """Discard all snapshots, and take a new first one."""
        self.generators.clear()
        self.replay.buffers.clear()
        if self.positions is not None:
            self.positions.clear()
        self.record()

    def restore(self, snapshot: int) -> None:
        """Restore the generators, buffers and positions of a snapshot."""
        self.generators.restore(snapshot)
        self.replay.buffers.restore(snapshot)
        if self.positions is not None:
            self.positions.restore(snapshot)

    def run(self, indices: Iterable[int], state: Any) -> Any:
        """Take some of the steps again, and return the state after them."""
        for step in (self.steps[index] for index in indices):
            with self.replay.evaluating():
                state = step.advance(step.piece.field, state)
        return state


class ParameterGradients:
    """The gradients of the parameters, accumulated during the backward pass.

    Args:
        parameters: parameters of all pieces.
        captured: captured tensors, which any branch may read.
        label: name of the block in messages.
    """

    def __init__(self, parameters: Iterable[Tensor], captured: Iterable[Tensor] = (), label: str = "ODEBlock") -> None:
        captured = list(captured)
        self.leaves = cut([*parameters, *captured])
        self.gradients: dict[Tensor, Tensor | None] = dict.fromkeys(self.leaves)
        self._captured, self._label = captured, label
        self._leaf_of = {id(tensor): leaf for tensor, leaf in self.leaves.items()}  # faster than hashing tensors
        self._for_nodes: dict[tuple[nn.Module, ...], tuple[list[Tensor], list[Tensor], KnownEnds]] = {}

    def add(
        self,
        ends: Sequence[GradientEdge | None],
        gradients: Sequence[Tensor | None],
        inputs: Sequence[Tensor],
        nodes: tuple[nn.Module, ...],
        *,
        term_by_term: bool = False,
    ) -> list[Tensor | None]:
        """Differentiate a graph: accumulate the gradients of the parameters of `nodes`, and return those of `inputs`.

        Args:
            ends: edges of the outputs of the graph, from `gradient_edges`.
            gradients: gradients with respect to the outputs; None for an output on which nothing depends.
            inputs: input tensors of the graph.
            nodes: modules that were evaluated in the graph.
            term_by_term: whether to add the contributions of several evaluations one by one, in the order of
                backpropagation, so that the floating-point sum is the same.
        """
        parameters, leaves, known = self._parameters(nodes)
        known.require(ends, inputs)
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        given = [(end, g) for end, g in zip(ends, gradients, strict=True) if end is not None and g is not None]
        if not given:
            return [None] * len(inputs)
        if term_by_term:
            # Autograd processes the newest operations first, so these views put the sums so far before the new terms.
            with torch.enable_grad():
                pairs = zip(leaves, parameters, strict=True)
                so_far = [(leaf.view_as(leaf), g) for leaf, p in pairs if (g := self.gradients[p]) is not None]
            given += [(get_gradient_edge(view), g) for view, g in so_far]
        roots, values = zip(*given, strict=True)
        found = torch.autograd.grad(roots, [*wanted, *leaves], values, allow_unused=True)
        for parameter, term in zip(parameters, found[len(wanted) :], strict=True):
            self.gradients[parameter] = term if term_by_term else _add_optional(self.gradients[parameter], term)
        input_gradients = iter(found)
        return [next(input_gradients) if tensor.requires_grad else None for tensor in inputs]

    def _parameters(self, nodes: tuple[nn.Module, ...]) -> tuple[list[Tensor], list[Tensor], KnownEnds]:
        """Return the tensors that need a gradient where `nodes` are evaluated, their leaves, and known inputs."""
        if nodes not in self._for_nodes:
            own = _trainable(nodes)
            wanted = [p for p in own if id(p) in self._leaf_of]
            unfrozen_since = [p for p in own if id(p) not in self._leaf_of] if len(wanted) < len(own) else []
            if self._captured:
                wanted = list(dict.fromkeys([*wanted, *self._captured]))
            leaves = [self._leaf_of[id(p)] for p in wanted]
            self._for_nodes[nodes] = wanted, leaves, KnownEnds([*leaves, *unfrozen_since], self._label)
        return self._for_nodes[nodes]


def gradient_edges(outputs: Iterable[Tensor]) -> list[GradientEdge | None]:
    """Return the edges at which gradients of `outputs` enter their graph; None for an output without a graph."""
    return [get_gradient_edge(y) if y.requires_grad else None for y in outputs]


def trainable_parameters(pieces: Iterable[Piece]) -> list[Tensor]:
    """Return the parameters of the nodes that require a gradient, each once."""
    return _trainable(dict.fromkeys(node for piece in pieces for node in piece.nodes))


def _trainable(nodes: Iterable[nn.Module]) -> list[Tensor]:
    return list(dict.fromkeys(p for node in nodes for p in node.parameters() if p.requires_grad))


def _solve(solve: Recomputation, x: Tensor) -> Tensor:
    with torch.no_grad(), solve.replay.first():
        solve.record()
        y, kept = solve.forward(x)
        solve.record()
    # The output gets its own memory, so that changing it in place cannot change a tensor for the backward pass.
    shared = y is x or y._is_view() or any(y is tensor for tensor in kept)
    return _SolveFunction.apply(solve, [y.clone() if shared else y, kept], x, *solve.inputs)


def _add_optional(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    return term if total is None else total if term is None else total + term


class _SolveFunction(torch.autograd.Function):
    """A recomputation as an autograd operation."""

    @staticmethod
    def forward(ctx: Any, solve: Recomputation, found: list[Any], x: Tensor, *inputs: Tensor) -> Tensor:
        y, kept = found
        found.clear()
        ctx.solve = solve
        # Saving the captured tensors lets autograd detect in-place changes; `Replay` checks the parameters.
        ctx.captured = len(inputs) - len(solve.parameters)
        ctx.save_for_backward(x, *inputs[len(solve.parameters) :], *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        solve: Recomputation = ctx.solve
        with solve.replay.again(), solve.generators.preserved():
            x, *kept = ctx.saved_tensors
            kept = [x, *kept[ctx.captured :]]
            del x
            # Unless the graph is retained, the backward pass can then free them one by one.
            ctx.maybe_clear_saved_tensors()
            if torch.is_grad_enabled():  # create_graph=True
                return None, None, *_differentiable_backward(solve, kept[0], gradients[0], ctx.needs_input_grad[2:])
            totals = ParameterGradients(solve.parameters, solve.captured, solve.field.label)
            with replaced(totals.leaves):
                x_gradient = solve.backward(kept, gradients[0], totals, for_x=ctx.needs_input_grad[2])
        return None, None, x_gradient, *totals.gradients.values()


def _differentiable_backward(
    solve: Recomputation, x: Tensor, gradient: Tensor, needed: Sequence[bool]
) -> list[Tensor | None]:
    solve.restore(0)
    gate, inputs = Gate(), [x, *solve.inputs]
    ends = [gate.stopping(tensor) for tensor in inputs]
    with replaced(dict(zip(inputs[1:], ends[1:], strict=True))):
        y = solve.run(range(len(solve.steps)), ends[0])
    KnownEnds(ends, solve.field.label).require(gradient_edges([y]), [])
    wanted = [tensor for tensor, need in zip(ends, needed, strict=True) if need]
    with gate:
        found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needed]
