"""Checkpointing: exact gradients with memory O(√N) for N steps, by recomputing segments in the backward pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
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
    """Warns that a backward pass will need more memory than `Checkpointed` was allowed."""


class Checkpointed(GradientMethod):
    """Gradient by checkpointing: the same gradient as `Backprop`, with memory O(√N), because every step is taken twice.

    The N steps are divided into K segments. The forward pass stores the state before each segment; the backward pass
    takes the steps of one segment again, differentiates them, and continues with the segment before (one level of
    Griewank 1992; in ANODE, Gholami et al. 2019, each block of a network is a segment). If a state takes S bytes and
    backpropagation saves G bytes per step, this needs K·S + ⌈N/K⌉·G bytes, which is O(√N) for K = √N. F is evaluated
    once more for each evaluation of the forward pass: 4/3 of the time of backpropagation, if a backward pass takes
    twice as long as a forward pass.

    Under error control the grid is first found without a gradient; then the steps between its points are
    differentiated, but not their choice (ACA, Zhuang et al. 2020). `Checkpointed` works with every solver, with
    projections, stochastic depth, dropout (under fixed steps) and autocast. Second derivatives take as much memory as
    those of `Backprop`.

    >>> Checkpointed(), Checkpointed(4), Checkpointed(memory=2**20)
    (Checkpointed(), Checkpointed(segments=4), Checkpointed(memory=1048576))

    Args:
        segments: number K of segments; by default √N, rounded up.
        memory: alternatively, limit in bytes for the stored states and the intermediate values of one segment, per
            block. K is the smallest number of segments within the limit; G is measured on the first step, which is
            taken once more for this. If no K is within the limit, the K with the least memory is used, with a
            `MemoryWarning`.

    Raises:
        ValueError: if a number is not positive, or both are given.
    """

    @checked
    def __init__(self, segments: int | None = None, *, memory: int | None = None) -> None:
        if segments is not None and memory is not None:
            raise ValueError(
                f"segments = {segments} and memory = {memory} were both given, but segments follows from memory: pass "
                "one of them."
            )
        self.segments, self.memory = segments, memory

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """Compute x(T), and store the state before each segment."""
        pieces = list(pieces)
        if not wants_gradient(pieces, x):
            return stepping.integrate(pieces, field, x, projection)
        return _SegmentedSolve(self, stepping, pieces, field, x, projection).solve(x)

    def check(self, stepping: Stepping, projection: Projection | None) -> None:
        """Refuse a stepping whose steps cannot be taken again one by one."""
        del projection
        stepping.check_plan()

    def __repr__(self) -> str:
        given = {"segments": self.segments, "memory": self.memory}
        return f"Checkpointed({', '.join(f'{name}={value}' for name, value in given.items() if value is not None)})"


class _SegmentedSolve(Recomputation):
    """One solve that stores the state before each segment of its steps."""

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
        """Return x(T), and the states before all segments but the first, which starts at x."""
        evaluations = self.field.evaluations
        self.steps, states, end = self.stepping.plan(*self.arguments)
        del self.arguments  # otherwise x would stay alive when autograd frees it
        self.segments = self._segments(self.steps, x)
        if self.field.evaluations != evaluations:
            self._require_nothing_changed(drawing_matters=states is not None)
        if states is None or end is None:
            states, end = self._run_forward(x)
        else:
            states = [states[segment.start] for segment in self.segments]
        flat = [_flatten(state) for state in states[1:]]
        self.structures = [structure for _, structure in flat]
        return end, [tensor for tensors, _ in flat for tensor in tensors]

    def _segments(self, steps: list[Step], x: Tensor) -> list[range]:
        """Return the indices of the steps in each segment; the lengths differ by at most one."""
        number, method = len(steps), self.method
        if not number:  # error control accepted no step
            return []
        if method.memory is None:
            segments = min(number, method.segments or math.isqrt(number - 1) + 1)
        else:
            segments = _segments_within(method.memory, number, *self._measure_bytes(steps[0], x))
        ends = [number * k // segments for k in range(segments + 1)]
        return [range(start, end) for start, end in pairwise(ends)]

    def _run_forward(self, x: Tensor) -> tuple[list[Any], Tensor]:
        """Take all steps, and return the state before each segment and x(T)."""
        states, state = [], x
        for segment in self.segments:
            if states:
                self.record()
            states.append(state)
            for step in (self.steps[index] for index in segment):
                state = step.advance(self.field.at(step.piece), state)
        return states, state

    def backward(
        self, kept: list[Tensor], gradient: Tensor, totals: ParameterGradients, *, for_x: bool
    ) -> Tensor | None:
        """Differentiate segment by segment, from the last one back to the first that needs a gradient."""
        gradients: list[Tensor | None] = [gradient]
        first = 0 if for_x or self.captured else self._first_trainable()
        after: list[Tensor] = []
        for index in reversed(range(first, len(self.segments))):
            structure = self.structures[index - 1] if index else _flatten(kept[0])[1]
            inputs = [kept.pop().detach() for _ in range(structure.tensors)][::-1]
            for tensor in inputs:
                tensor.requires_grad_(is_differentiable(tensor) and (for_x or index > first))
            self.restore(index)
            with torch.enable_grad():
                found = _flatten(self.run(self.segments[index], structure.filled(inputs)))[0]
            self._require_same_states(found, after)
            ends, after = gradient_edges(found), [tensor.detach() for tensor in inputs]
            del found  # free these before the backward pass through the steps, where memory peaks
            nodes = tuple(dict.fromkeys(n for k in self.segments[index] for n in self.steps[k].piece.nodes))
            gradients = totals.add(ends, gradients, inputs, nodes, term_by_term=True)
        return gradients[0] if for_x else None

    def _require_same_states(self, found: list[Tensor], expected: list[Tensor]) -> None:
        """Raise if the recomputed steps of a segment end in another state; `expected` is empty for the last segment.

        On an accelerator nothing is compared, because each comparison would synchronize with the device.
        """
        for again, before in zip(found, expected, strict=False):
            if before.device.type != "cpu" or not is_differentiable(before) or torch.equal(again, before):
                continue
            precision = torch.finfo(before.dtype)
            difference = float((again.detach() - before).norm()) / max(float(before.norm()), precision.tiny)
            if difference > precision.eps**0.5:  # rounding grows over a segment, at kinks of ReLUs most of all
                raise RuntimeError(
                    f"the steps of {self.field.label} were taken again, and the state after them differs from that of "
                    f"the forward pass by {difference:.0e} of its norm; a branch does not repeat its results (it draws "
                    "from a generator that is not torch's, or something that it reads was changed since), and the "
                    "gradient would be that of another flow: use Backprop(), or correct the branch."
                )

    def _first_trainable(self) -> int:
        pieces = ([self.steps[k].piece for k in segment] for segment in self.segments)
        return next((k for k, on_segment in enumerate(pieces) if trainable_parameters(on_segment)), len(self.segments))

    def _require_nothing_changed(self, *, drawing_matters: bool) -> None:
        """Raise if finding the steps changed buffers or drew random numbers, so that they cannot be repeated."""
        self.record()
        asked = f"Checkpointed was asked for with {self.stepping!r} in {self.field.label}, but a branch"
        if self.replay.buffers.changed:
            raise ValueError(
                f"{asked} changes the buffer {self.replay.buffers.describe_change()}; the rejected steps in between "
                "change it too, and their changes cannot be separated: use FixedSteps, Backprop(), or evaluation mode."
            )
        if self.generators.changed and drawing_matters:
            raise ValueError(
                f"{asked} draws random numbers (dropout); the rejected steps in between draw too, and their draws "
                "cannot be separated: use FixedSteps, Backprop(), or dropout outside the flow."
            )
        self.start_over()

    def _measure_bytes(self, step: Step, x: Tensor) -> tuple[int, int]:
        """Return the bytes of the state, and of the tensors that backpropagation saves in one step."""
        own = {p.untyped_storage().data_ptr() for node in step.piece.nodes for p in node.parameters()}
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        field = Field(self.field.label).at(step.piece)
        positions = nullcontext() if self.positions is None else self.positions.preserved()
        with self.replay.again(on_copies=True), self.generators.preserved(), positions, torch.enable_grad():
            inputs = x.detach().requires_grad_()
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                tensors, _ = _flatten(step.advance(field, inputs))
        return sum(t.nbytes for t in tensors), sum(size for pointer, size in kept.items() if pointer not in own)


def _segments_within(memory: int, steps: int, state_bytes: int, step_bytes: int) -> int:
    """Return the smallest number of segments within `memory` bytes, or else the number that needs the least memory.

    Args:
        memory: limit in bytes.
        steps: number of steps.
        state_bytes: bytes of one state.
        step_bytes: bytes that backpropagation saves in one step.
    """

    def needed(segments: int) -> int:
        return segments * state_bytes + -(-steps // segments) * step_bytes

    best = min(range(1, steps + 1), key=lambda segments: (max(needed(segments), memory), segments))
    if needed(best) > memory:
        warnings.warn(
            f"memory = {memory} bytes was asked for, but {steps} steps of {step_bytes} saved bytes each and states of "
            f"{state_bytes} bytes need at least {needed(best)} bytes, with {best} segments, which are used: allow more "
            "memory, take fewer steps, or use Reversible().",
            MemoryWarning,
            stacklevel=2,
        )
    return best


class _Structure(NamedTuple):
    """Structure of the state of a solver, without its tensors."""

    leaves: list[Any]
    spec: TreeSpec
    tensors: int

    def filled(self, tensors: list[Tensor]) -> Any:
        """Return the state with these tensors."""
        given = iter(tensors)
        return tree_unflatten([next(given) if leaf is Tensor else leaf for leaf in self.leaves], self.spec)


def _flatten(state: Any) -> tuple[list[Tensor], _Structure]:
    """Split the state of a solver into its tensors and its structure."""
    leaves, spec = tree_flatten(state)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    return tensors, _Structure([Tensor if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec, len(tensors))
