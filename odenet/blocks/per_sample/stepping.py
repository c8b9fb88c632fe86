"""Adaptive stepping per sample: every sample of a batch has its own t, step h and error norm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from odenet.blocks.errors import unknown_name
from odenet.blocks.field import Field
from odenet.blocks.per_sample.coupled import coupled_plan
from odenet.blocks.per_sample.error_control import Tolerance
from odenet.blocks.per_sample.solve import PerSample
from odenet.blocks.projections import ConvexProjection
from odenet.blocks.replay.buffers import buffers_of
from odenet.blocks.solvers.embedded import PAIRS
from odenet.blocks.stepping.adaptive import Adaptive
from odenet.blocks.stepping.base import Plan, ReversiblePlan, Step
from odenet.blocks.theta.base import Piece


class PerSampleAdaptive(Adaptive):
    """Stepping with error control for each sample, which `Adaptive(…, per_sample=True)` constructs.

    The first axis of x is the batch. The steps are odenet's own, by "dopri5", "tsit5", "bosh3" or "adaptive_heun".
    Every sample has its own t, h and error norm, so its result is the same alone and in any batch. The branch receives
    t as a tensor of shape (batch, 1, …, 1). The solve synchronizes with the device only once every few steps, and in a
    block with `compiled = True` whole steps are one graph; so it is many times faster than torchdiffeq, above all on
    small states. `ODEBlock.last_solve` holds the status, t, number of evaluations and number of steps of every sample.
    A sample that stops early, at the budget, a singularity or a NaN, keeps the state that it reached while the others
    continue, and one `BudgetWarning` counts such samples.

    The gradient is that of the accepted steps, and not of their choice (ACA, Zhuang et al. 2020). `Backprop`
    differentiates the attempts as they were made; `Checkpointed`, and `Reversible` by a coupled method, first find the
    grid and then take its steps again.

    Like torchdiffeq's explicit methods, it is not suited to stiff fields. Batch normalization in training mode is
    refused, because it couples the samples, and so is active dropout. If θ is interpolated between nodes
    (`PiecewiseLinear`, `Spline`, `Galerkin`), every sample needs its own θ(t) in memory. `max_evaluations` limits each
    sample separately; steps that are taken again do not count.

    >>> from odenet import Adaptive
    >>> Adaptive("tsit5", rtol=1e-6, atol=1e-6, per_sample=True)
    Adaptive('tsit5', rtol=1e-06, atol=1e-06, per_sample=True)
    """

    per_sample = True

    def solver(self, projection: ConvexProjection | None = None) -> PerSample:
        """Return the solver with these settings; under a projection, of the projected dynamical system."""
        return PerSample(self.method, Tolerance(self.rtol, self.atol), self.max_evaluations, projection)

    def _integrate(
        self, pieces: Sequence[Piece], field: Field, x: Tensor, projection: ConvexProjection | None
    ) -> Tensor:
        return self.solver(projection).solve(pieces, field, x)

    def _plan(self, pieces: Sequence[Piece], field: Field, x: Tensor, projection: ConvexProjection | None) -> Plan:
        steps = self.solver(projection).accepted_steps(pieces, field, x)
        return Plan([Step(piece, advance) for piece, advance in steps])

    def reversible_plan(
        self, pieces: Sequence[Piece], field: Field, x: Tensor, coupling: float | None
    ) -> ReversiblePlan | None:
        """Find the steps that each sample accepts, to be taken by the coupled method of the pair.

        Raises:
            ValueError: if a branch changes a buffer, because it would do so when the steps are found and again when
                they are taken.
        """
        buffers = buffers_of(node for piece in pieces for node in piece.nodes)
        plan = coupled_plan(self.solver(), pieces, field, x, coupling)
        buffers.record()
        if buffers.changed:
            raise ValueError(
                f"Reversible was asked for with {self!r} in {field.label}, but a branch changes the buffer "
                f"{buffers.describe_change()}; it changed it when the steps were found, and would change it again when "
                "they are taken: use FixedSteps, Backprop(), or evaluation mode."
            )
        return plan

    def check_plan(self) -> None:
        """Accept: the steps of every pair can be taken again one by one."""

    def check_reversible(self, coupling: float | None) -> None:
        """Accept: the method of every pair can be coupled."""

    def check_adjoint(self, backward: Mapping[str, Any]) -> None:
        """Refuse: torchdiffeq solves the adjoint equation with one t for the whole batch."""
        del backward
        raise ValueError(
            f"ContinuousAdjoint was asked for with {self!r}; torchdiffeq solves the adjoint equation backwards with "
            "one t for the whole batch: use Backprop() or Checkpointed(), whose gradient is exact, or per_sample=False."
        )

    def _check_method(self, method: str, options: Mapping[str, Any]) -> None:
        if method not in PAIRS:
            raise unknown_name("method of steps per sample", method, PAIRS)
        if options:
            raise ValueError(
                f"options {', '.join(map(repr, options))} were given with per_sample=True; they are options of "
                "torchdiffeq, which does not take these steps: leave them out, or use per_sample=False."
            )


Adaptive._of_each_sample = PerSampleAdaptive
