"""Adaptive stepping for each sample: every sample of a batch has a t, an h and an error norm of its own."""

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
    """Steps chosen by error control of each sample: what `Adaptive(…, per_sample=True)` constructs.

    The first axis of x is that of the samples. odenet's own steps are taken by "dopri5", "tsit5", "bosh3" or
    "adaptive_heun", with a t, an h and a norm for every sample, so its result is the same alone and in any batch.
    t reaches the branch as a tensor of shape (batch, 1, …, 1). Everything is a tensor, with one look of the host every
    few steps, and in a block with `compiled = True` whole steps are one graph; so it is many times faster than
    torchdiffeq, most of all on small states. `ODEBlock.last_solve` has the status, t, evaluations and steps of every
    sample. Samples that stop early, at a budget, a singularity or a NaN, stay at the state they reached, the others go
    on, and one `BudgetWarning` counts them.

    The gradient is that of the steps accepted, and not of their choice (ACA, Zhuang et al. 2020): with `Backprop` of
    the trials as they were made; with `Checkpointed`, and with `Reversible` by a coupled method, the grid is found
    first and its steps are taken again.

    It is not for stiff fields, no more than torchdiffeq's explicit methods are. Batch normalization in training mode is
    refused, for it couples the samples, and so is active dropout. A θ that is interpolated between nodes
    (`PiecewiseLinear`, `Spline`, `Galerkin`) is another one for every sample: it works, at the price of one θ(t) a
    sample in memory. `max_evaluations` holds for each sample by itself, for the solve and not for steps taken again.

    >>> from odenet import Adaptive
    >>> Adaptive("tsit5", rtol=1e-6, atol=1e-6, per_sample=True)
    Adaptive('tsit5', rtol=1e-06, atol=1e-06, per_sample=True)
    """

    per_sample = True

    def solver(self, projection: ConvexProjection | None = None) -> PerSample:
        """The solver of these settings, of the projected dynamical system under a projection."""
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
        """The steps that each sample accepts; on them the method of the pair is coupled.

        Raises:
            ValueError: a branch changes a buffer, which it would do where steps are found and again where they are
                taken.
        """
        buffers = buffers_of(node for piece in pieces for node in piece.nodes)
        plan = coupled_plan(self.solver(), pieces, field, x, coupling)
        buffers.note()
        if buffers.moved:
            raise ValueError(
                f"Reversible was asked for with {self!r} in {field.label}, and a branch changes the buffer "
                f"{buffers.changed()}; where the steps were found it has changed it already, and would again where "
                "they are taken: use FixedSteps, Backprop(), or evaluation mode."
            )
        return plan

    def check_plan(self) -> None:
        """The steps of every pair can be taken again one by one."""

    def check_reversible(self, coupling: float | None) -> None:
        """The method of every pair can be coupled."""

    def check_adjoint(self, backward: Mapping[str, Any]) -> None:
        """Refuse: backwards, torchdiffeq knows one t alone."""
        del backward
        raise ValueError(
            f"ContinuousAdjoint was asked for with {self!r}; its equation is solved backwards by torchdiffeq, at "
            "one t for the whole batch: use Backprop() or Checkpointed(), whose gradient is exact, or per_sample=False."
        )

    def _check_method(self, method: str, options: Mapping[str, Any]) -> None:
        if method not in PAIRS:
            raise unknown_name("method of steps per sample", method, PAIRS)
        if options:
            raise ValueError(
                f"options {', '.join(map(repr, options))} were given with per_sample=True; they are torchdiffeq's, and "
                "the steps of each sample are odenet's own: leave them out, or take per_sample=False."
            )


Adaptive._of_each_sample = PerSampleAdaptive
