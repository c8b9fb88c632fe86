"""Solves that keep little and evaluate F again in the backward pass: what `Checkpointed` and `Reversible` share.

The whole solve is one operation on autograd's tape, with x and the trainable parameters of θ as its inputs. So a
parameter's gradient arrives once, however often its branch is evaluated: hooks and DDP's buckets see it once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from odenet.blocks.generators import Generators
from odenet.blocks.replay import Replay
from odenet.blocks.stepping import Step
from odenet.blocks.theta import Piece


class Recomputation(ABC):
    """One solve, its forward pass without a tape and its backward pass with evaluations of its own.

    Args:
        pieces: of θ.
        x: x(0).
    """

    def __init__(self, pieces: Sequence[Piece], x: Tensor) -> None:
        device = torch.device("cpu") if x.is_meta else x.device  # meta has neither autocast nor a generator
        # A list: torch.compile 2.11, around it, makes no dictionary of what a generator yields.
        self.replay = Replay([node for piece in pieces for node in piece.nodes], device.type)
        self.generators = Generators(device)
        self.parameters = [p for p in self.replay.parameters() if p.requires_grad]
        self.steps: list[Step] = []

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x(T), and the tensors beside x that the backward pass will need; sets `steps`."""

    @abstractmethod
    def backward(self, kept: list[Tensor], gradient: Tensor, totals: Totals, *, for_x: bool) -> Tensor | None:
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
            eager: Any = torch.compiler.disable(_apply)
            return eager(self, x)
        return _apply(self, x)

    def run(self, indices: Iterable[int], state: Any) -> Any:
        """The state after some of the steps, taken again."""
        for step in (self.steps[index] for index in indices):
            with self.replay.evaluating():
                state = step.advance(step.piece.field, state)
        return state


class Totals:
    """The parameters' gradient, added up as the backward pass goes along.

    Args:
        parameters: all of them.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.of: dict[Tensor, Tensor | None] = dict.fromkeys(parameters)
        self._of_nodes: dict[tuple[nn.Module, ...], list[Tensor]] = {}

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
            ends: of the graph, from `ends_of`.
            gradients: in its outputs; None for one that nothing depends on.
            inputs: of the graph.
            nodes: modules that were evaluated in it.
            term_by_term: add the contributions of several evaluations one by one, in the order of backpropagation, so
                that floating point gives the same sum.
        """
        parameters = self._parameters(nodes)
        wanted = [tensor for tensor in inputs if tensor.requires_grad]
        given = [(end, g) for end, g in zip(ends, gradients, strict=True) if end is not None and g is not None]
        if not given:
            return [None] * len(inputs)
        if term_by_term:
            # Views made last are what autograd goes through first.
            with torch.enable_grad():
                totals = [(p.view_as(p), total) for p in parameters if (total := self.of[p]) is not None]
            given += [(get_gradient_edge(view), total) for view, total in totals]
        roots, values = zip(*given, strict=True)
        found = torch.autograd.grad(roots, [*wanted, *parameters], values, allow_unused=True)
        for parameter, term in zip(parameters, found[len(wanted) :], strict=True):
            self.of[parameter] = term if term_by_term else _sum(self.of[parameter], term)
        of_inputs = iter(found)
        return [next(of_inputs) if tensor.requires_grad else None for tensor in inputs]

    def _parameters(self, nodes: tuple[nn.Module, ...]) -> list[Tensor]:
        if nodes not in self._of_nodes:
            self._of_nodes[nodes] = _trainable(nodes)
        return self._of_nodes[nodes]


def ends_of(outputs: Iterable[Tensor]) -> list[GradientEdge | None]:
    """Where gradients in `outputs` enter their graph, which does not need their values; None where it has no graph."""
    return [get_gradient_edge(y) if y.requires_grad else None for y in outputs]


def trainable_parameters(pieces: Iterable[Piece]) -> list[Tensor]:
    """The parameters of the nodes that ask for a gradient, each once."""
    return _trainable(dict.fromkeys(node for piece in pieces for node in piece.nodes))


def _trainable(nodes: Iterable[nn.Module]) -> list[Tensor]:
    return list(dict.fromkeys(p for node in nodes for p in node.parameters() if p.requires_grad))


def _apply(solve: Recomputation, x: Tensor) -> Tensor:
    return _Solve.apply(solve, x, *solve.parameters)


def _sum(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    return term if total is None else total if term is None else total + term


class _Solve(torch.autograd.Function):
    """A recomputation as an operation on the tape."""

    @staticmethod
    def forward(ctx: Any, solve: Recomputation, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.solve, ctx.versions = solve, [p._version for p in parameters]
        solve.generators.note()
        with solve.replay.first():
            y, kept = solve.forward(x)
        solve.generators.note()
        ctx.save_for_backward(x, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        solve: Recomputation = ctx.solve
        kept = list(ctx.saved_tensors)
        ctx.maybe_clear_saved_tensors()  # so that the backward pass can let go of them, unless the graph is retained
        _require_same_parameters(solve, ctx.versions)
        with solve.replay.again(), solve.generators.undisturbed():
            if torch.is_grad_enabled():  # create_graph=True
                return None, *_with_graph(solve, kept[0], gradients[0], ctx.needs_input_grad[1:])
            totals = Totals(solve.parameters)
            of_x = solve.backward(kept, gradients[0], totals, for_x=ctx.needs_input_grad[1])
        return None, of_x, *totals.of.values()


def _with_graph(solve: Recomputation, x: Tensor, gradient: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
    solve.generators.turn_back(0)
    inputs, y = [x, *solve.parameters], solve.run(range(len(solve.steps)), x)
    wanted = [tensor for tensor, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(y, wanted, gradient, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needed]


def _require_same_parameters(solve: Recomputation, versions: list[int]) -> None:
    """Raise where the backward pass would evaluate another function than the forward pass did."""
    if not set(solve.replay.parameters()).issuperset(solve.parameters) or versions != [
        p._version for p in solve.parameters
    ]:
        raise RuntimeError(
            "a backward pass was asked for after parameters of the flow were changed or replaced; it evaluates the "
            "branches again, and they are no longer those of the forward pass: call backward before the optimizer's "
            "step and within the same functional_call, or use Backprop()."
        )
