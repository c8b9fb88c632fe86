"""Exact gradients with memory O(√N) for N steps: segments of steps are taken again in the backward pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from odenet.blocks.arguments import checked
from odenet.blocks.errors import OdenetWarning
from odenet.blocks.field import Field
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.gradients.recomputation import (
    ParameterGradients,
    Recomputation,
    gradient_edges,
    trainable_parameters,
)
from odenet.blocks.stepping.base import Projection, Step, Stepping
from odenet.blocks.theta.base import Piece, wants_gradient
from odenet.blocks.theta.combination import is_differentiable


class MemoryWarning(OdenetWarning):
    """A backward pass will need more memory than it was given."""


class Checkpointed(GradientMethod):
    """Discretize, then optimize, as `Backprop` and with the very same gradient, by taking every step twice.

    N steps are cut into K segments. The forward pass keeps the state before each; the backward pass takes the steps of
    one segment again, differentiates them, and goes on to the segment before (one level of Griewank 1992; ANODE of
    Gholami et al. 2019 makes a segment of each block of a network). Where a state has S bytes, and backpropagation
    keeps G bytes of a step, that is K·S + ⌈N/K⌉·G bytes, O(√N) for K = √N. F is evaluated once more for each
    evaluation of the forward pass: 4/3 of the time of backpropagation, if backwards it takes twice as long as forwards.

    Under error control the grid is chosen without a gradient; then the steps between its points are differentiated,
    and not the choice (ACA, Zhuang et al. 2020). Works with every solver, with projections, stochastic depth, dropout
    (under fixed steps) and autocast. The derivative of its gradient takes the memory of backpropagation.

    >>> Checkpointed(), Checkpointed(4), Checkpointed(memory=2**20)
    (Checkpointed(), Checkpointed(segments=4), Checkpointed(memory=1048576))

    Args:
        segments: K, a positive whole number; by default √N, rounded up.
        memory: instead, the bytes that the states and one segment's intermediate values of a block may take. The fewest
            segments that keep to it are made; G is measured on the first step, taken once more for that. Where no
            number of segments keeps to it, the most frugal one is made, with a `MemoryWarning`.

    Raises:
        ValueError: a number that is not positive, or both.
    """

    @checked
    def __init__(self, segments: int | None = None, *, memory: int | None = None) -> None:
        if segments is not None and memory is not None:
            raise ValueError(
                f"segments = {segments} and memory = {memory} were given; one follows from the other: pass one of them."
            )
        self.segments, self.memory = segments, memory

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """x(T), of which the states before each segment are kept."""
        pieces = list(pieces)
        if not wants_gradient(pieces, x):
            return stepping.integrate(pieces, field, x, projection)
        return _Segments(self, stepping, pieces, field, x, projection).solve(x)

    def check(self, stepping: Stepping, projection: Projection | None) -> None:
        """Refuse a stepping that is no chain of steps."""
        del projection
        stepping.check_plan()

    def __repr__(self) -> str:
        given = {"segments": self.segments, "memory": self.memory}
        return f"Checkpointed({', '.join(f'{name}={value}' for name, value in given.items() if value is not None)})"


class _Segments(Recomputation):
    """A solve of which the states before each segment are kept."""

    def __init__(
        self,
        method: Checkpointed,
        stepping: Stepping,
        pieces: Sequence[Piece],
        field: Field,
        x: Tensor,
        projection: Projection | None,
    ) -> None:
        super().__init__(pieces, field, x)
        self.method, self.stepping = method, stepping
        self.arguments = pieces, field, x.detach(), projection

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x(T), and the states before all segments but the first, which starts at x."""
        evaluations = self.field.evaluations
        self.steps, states, end = self.stepping.plan(*self.arguments)
        del self.arguments  # else x would be kept, whatever autograd frees
        self.segments = self._cut(self.steps, x)
        if self.field.evaluations != evaluations:
            self._require_nothing_changed(drawing_matters=states is not None)
        if states is None or end is None:
            states, end = self._take(x)
        else:
            states = [states[segment.start] for segment in self.segments]
        flat = [_flat(state) for state in states[1:]]
        self.shapes = [shape for _, shape in flat]
        return end, [tensor for tensors, _ in flat for tensor in tensors]

    def _cut(self, steps: list[Step], x: Tensor) -> list[range]:
        """The indices of the steps of each segment; lengths differ by one at most."""
        number, method = len(steps), self.method
        if not number:  # error control accepted none
            return []
        if method.memory is None:
            segments = min(number, method.segments or math.isqrt(number - 1) + 1)
        else:
            segments = _segments_within(method.memory, number, *self._bytes_of(steps[0], x))
        ends = [number * k // segments for k in range(segments + 1)]
        return [range(start, end) for start, end in pairwise(ends)]

    def _take(self, x: Tensor) -> tuple[list[Any], Tensor]:
        """The state before each segment, and x(T)."""
        states, state = [], x
        for segment in self.segments:
            if states:
                self.note()
            states.append(state)
            for step in (self.steps[index] for index in segment):
                state = step.advance(self.field.at(step.piece), state)
        return states, state

    def backward(
        self, kept: list[Tensor], gradient: Tensor, totals: ParameterGradients, *, for_x: bool
    ) -> Tensor | None:
        """Segment by segment, from the last one to the first that has anything to learn."""
        gradients: list[Tensor | None] = [gradient]
        first = 0 if for_x or self.captured else self._first_trainable()
        after: list[Tensor] = []
        for index in reversed(range(first, len(self.segments))):
            shape = self.shapes[index - 1] if index else _flat(kept[0])[1]
            inputs = [kept.pop().detach() for _ in range(shape.tensors)][::-1]
            for tensor in inputs:
                tensor.requires_grad_(is_differentiable(tensor) and (for_x or index > first))
            self.turn_back(index)
            with torch.enable_grad():
                found = _flat(self.run(self.segments[index], shape.filled(inputs)))[0]
            self._compare(found, after)
            ends, after = gradient_edges(found), [tensor.detach() for tensor in inputs]
            del found  # the backward pass through the steps is where most is alive
            nodes = tuple(dict.fromkeys(n for k in self.segments[index] for n in self.steps[k].piece.nodes))
            gradients = totals.add(ends, gradients, inputs, nodes, term_by_term=True)
        return gradients[0] if for_x else None

    def _compare(self, found: list[Tensor], expected: list[Tensor]) -> None:
        """Raise where the steps of a segment, taken again, end elsewhere than before; `expected` is empty at the last.

        On an accelerator nothing is compared, for the host would wait at every segment.
        """
        for again, before in zip(found, expected, strict=False):
            if before.device.type != "cpu" or not is_differentiable(before) or torch.equal(again, before):
                continue
            precision = torch.finfo(before.dtype)
            difference = float((again.detach() - before).norm()) / max(float(before.norm()), precision.tiny)
            if difference > precision.eps**0.75:
                raise RuntimeError(
                    f"the steps of {self.field.label} were taken again, and the state after them differs from that of "
                    f"the forward pass by {difference:.0e} of its size; a branch computes something else than it did "
                    "(it draws from a generator that is not torch's, or what it reads was changed since), and the "
                    "gradient would be that of another flow: use Backprop(), or mend the branch."
                )

    def _first_trainable(self) -> int:
        pieces = ([self.steps[k].piece for k in segment] for segment in self.segments)
        return next((index for index, those in enumerate(pieces) if trainable_parameters(those)), len(self.segments))

    def _require_nothing_changed(self, *, drawing_matters: bool) -> None:
        """Raise where finding the steps changed what the same steps, taken again, would meet."""
        self.note()
        asked = f"Checkpointed was asked for with {self.stepping!r} in {self.field.label}, and a branch"
        if self.replay.buffers.moved:
            raise ValueError(
                f"{asked} changes the buffer {self.replay.buffers.changed()}; between accepted steps there were "
                "others, whose changes cannot be told apart: use FixedSteps, Backprop(), or evaluation mode."
            )
        if self.generators.moved and drawing_matters:
            raise ValueError(
                f"{asked} draws random numbers (dropout); between accepted steps there were others, whose draws cannot "
                "be told apart: use FixedSteps, Backprop(), or dropout outside the flow."
            )
        self.start_over()

    def _bytes_of(self, step: Step, x: Tensor) -> tuple[int, int]:
        """Of the state, and of what backpropagation keeps of one step."""
        own = {p.untyped_storage().data_ptr() for node in step.piece.nodes for p in node.parameters()}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        field = Field(self.field.label).at(step.piece)
        with self.replay.again(on_copies=True), self.generators.undisturbed(), torch.enable_grad():
            inputs = x.detach().requires_grad_()
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                tensors, _ = _flat(step.advance(field, inputs))
        return sum(t.nbytes for t in tensors), sum(size for pointer, size in kept.items() if pointer not in own)


def _segments_within(memory: int, steps: int, of_state: int, of_step: int) -> int:
    """The fewest segments that keep to `memory` bytes, else the number that needs the least."""

    def needed(segments: int) -> int:
        return segments * of_state + -(-steps // segments) * of_step

    best = min(range(1, steps + 1), key=lambda segments: (max(needed(segments), memory), segments))
    if needed(best) > memory:
        warnings.warn(
            f"memory = {memory} bytes was asked for; {steps} steps, of which backpropagation keeps {of_step} bytes "
            f"each, and states of {of_state} bytes need {needed(best)} at least. They are cut into {best} segments: "
            "allow more, take fewer steps, or use Reversible().",
            MemoryWarning,
            stacklevel=2,
        )
    return best


class _Shape(NamedTuple):
    """How a solver's state is put together from its tensors."""

    leaves: list[Any]
    spec: TreeSpec
    tensors: int

    def filled(self, tensors: list[Tensor]) -> Any:
        """The state with these tensors."""
        given = iter(tensors)
        return tree_unflatten([next(given) if leaf is Tensor else leaf for leaf in self.leaves], self.spec)


def _flat(state: Any) -> tuple[list[Tensor], _Shape]:
    """The tensors of a state, and the rest of it."""
    leaves, spec = tree_flatten(state)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return tensors, _Shape([Tensor if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec, len(tensors))
