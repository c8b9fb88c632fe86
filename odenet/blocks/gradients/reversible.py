"""Exact gradients with memory independent of the number of steps, by undoing reversible steps in the backward pass."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from odenet.blocks.annotations import Number
from odenet.blocks.arguments import checked
from odenet.blocks.errors import OdenetWarning
from odenet.blocks.field import Field
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.gradients.recomputation import ParameterGradients, Recomputation, gradient_edges
from odenet.blocks.solvers.reversible import Coupled, Pair, Shear
from odenet.blocks.solvers.runge_kutta import Euler
from odenet.blocks.stepping.base import Projection, ReversiblePlan, Stepping, steps_on
from odenet.blocks.theta.base import Piece, wants_gradient


class DriftWarning(OdenetWarning):
    """Warns that undoing the steps did not return to x(0), so that the gradient is inaccurate."""


class Reversible(GradientMethod):
    """Gradient by undoing reversible steps: the same gradient as `Backprop`, with the memory of one step.

    The forward pass keeps x(0) and the last state of a reversible solver. The backward pass undoes the steps one by
    one, from the last to the first, and differentiates the evaluation of F that undoes a step. So F is evaluated once
    more for each evaluation of the forward pass, which takes 4/3 of the time of backpropagation through the same steps,
    and the gradient is the same up to rounding, at any step size (McCallum and Foster 2024; MALI, Zhuang et al. 2021).

    A Runge-Kutta solver is replaced by `Coupled(solver)`. It has the same order but is another map, so the output
    changes by O(h^order), in evaluation mode too, and F is evaluated twice as often. `Backprop()` with
    `FixedSteps(Coupled(solver))` backpropagates through the same steps.

    Under `Adaptive(…, per_sample=True)`, the steps that each sample accepts are found first, without a gradient, and
    then taken by the coupled method of the pair. Only their grid is kept, a few numbers per step and sample. Error
    control measures the error of the method, and not that of its coupling, which has the same order.

    When steps are undone, rounding errors grow like c⁻ᴺ for a coupling c, and faster if the flow contracts. Therefore
    the state that comes back is compared with x(0), and a `DriftWarning` gives the difference if there is one (on an
    accelerator this makes the host wait once per backward pass). `Reversible` works with every θ, with stochastic
    depth, dropout and autocast. Second derivatives take as much memory as those of `Backprop`. It does not support
    projections, which cannot be undone.

    >>> from odenet import Euler, FixedSteps, MLPBranch, ODEBlock, PiecewiseConstant
    >>> ODEBlock(PiecewiseConstant([MLPBranch(2)]), FixedSteps(Euler()), Reversible()).gradient
    Reversible()

    Args:
        coupling: coupling c of `Coupled`, if the solver is a Runge-Kutta method; by default it follows from the number
            of steps.

    Raises:
        ValueError: if the coupling lies outside (0, 1].
    """

    @checked
    def __init__(self, coupling: Number | None = None) -> None:
        if coupling is not None:
            Coupled(Euler(), coupling)  # raises if the coupling is out of range
        self.coupling = coupling

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """Compute x(T), and keep x(0) and the last state of the solver.

        Raises:
            ValueError: if the coupling is too small to undo this number of steps.
        """
        del projection  # refused by `check`
        pieces = list(pieces)
        plan = stepping.reversible_plan(pieces, field, x, self.coupling)
        if plan is None:
            return x
        active = x if plan.active_samples is None else x[plan.active_samples]
        if wants_gradient(pieces, x):
            y = _ReversibleSolve(plan, pieces, field, active).solve(active)
        else:
            y = plan.integrate(field, active)
        return y if plan.active_samples is None else x.index_copy(0, plan.active_samples, y)

    def forward_stepping(self, stepping: Stepping) -> Stepping:
        """Return the stepping with the coupled method."""
        return stepping.coupled(self.coupling)

    def check(self, stepping: Stepping, projection: Projection | None) -> None:
        """Refuse a projection, and steps that cannot be undone."""
        if projection is not None:
            raise ValueError(
                f"{self!r} was asked for with projection = {projection!r}, but a projection cannot be undone: use "
                "Checkpointed(), or pre-activation branches without a projection."
            )
        stepping.check_reversible(self.coupling)

    def __repr__(self) -> str:
        return "Reversible()" if self.coupling is None else f"Reversible(coupling={self.coupling})"


class _ReversibleSolve(Recomputation):
    """One solve that keeps x(0) and the last state, and undoes its steps in the backward pass."""

    def __init__(self, plan: ReversiblePlan, pieces: Sequence[Piece], field: Field, x: Tensor) -> None:
        super().__init__(pieces, field, x)
        self.solver, self.spans, self.dtype = plan.solver, plan.spans, x.dtype
        self.steps = steps_on(plan.spans, plan.solver, None)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return x(T), and the halves of the last state."""
        piece, t0, _ = self.spans[0]
        self.field.enter(piece)
        before = self.field.evaluations
        state = self.solver.start(self.field, t0, x)
        self._require_small_growth(state)
        self.shears = 0
        for piece, t0, t1 in self.spans:
            field = state.field(self.field.at(piece))
            for shear in self.solver.shears(t0, t1):
                self.record()
                state = shear.applied(field, state)
                self.shears += 1
        self.several = self.field.evaluations - before > self.shears
        return self.solver.finish(state), list(state.halves)

    def backward(
        self, kept: list[Tensor], gradient: Tensor, totals: ParameterGradients, *, for_x: bool
    ) -> Tensor | None:
        """Undo the steps from the last to the first, and compare the state that comes back with the start."""
        halves = [kept.pop(), kept.pop()][::-1]
        state = _BackwardState(self, halves, gradient, totals)
        del halves
        snapshot = self.shears
        for piece, t0, t1 in reversed(self.spans):
            for shear in reversed(self.solver.shears(t0, t1)):
                self.restore(snapshot)
                state.undo(shear, piece)
                snapshot -= 1
        piece, t0, _ = self.spans[0]
        self.restore(0)
        with torch.enable_grad(), self.replay.evaluating():
            x = kept[0].detach().requires_grad_(for_x)
            started = self.solver.start(piece.field, t0, x)
        self._compare(state.pair, started)
        return totals.add(gradient_edges(started.halves), state.gradients, [x], piece.nodes)[0]

    def _require_small_growth(self, state: Pair) -> None:
        """Raise a `ValueError` if the growth of rounding errors would leave less than half of the digits of x."""
        growth = self.solver.growth(self.spans) / math.log(10)
        precision = -math.log10(torch.finfo(state.halves[0].dtype).eps)
        if growth > precision + math.log10(torch.finfo(self.dtype).eps) / 2:
            raise ValueError(
                f"{self.solver!r} was asked for with {len(self.spans)} steps in {self.field.label}; undoing them "
                f"multiplies rounding errors by 1e{growth:.0f}, and the states have {precision:.0f} digits: leave the "
                "coupling out, so that it follows from the number of steps, or pass one closer to 1."
            )

    def _compare(self, found: Pair, started: Pair) -> None:
        """Warn if the state that came back agrees with the start in less than three quarters of the digits of x."""
        if started.halves[0].is_meta:  # the meta device has no values
            return
        halves = [half.detach() for half in started.halves]
        differences = [a - b for a, b in zip(found.halves, halves, strict=True)]
        # All norms are copied to the host at once, so that it waits once per backward pass.
        *norms, p, q = torch.stack([each.norm() for each in (*halves, *differences)]).tolist()
        drift = max(p, q) / max(*norms, torch.finfo(self.dtype).tiny)
        if not drift <= torch.finfo(self.dtype).eps ** 0.75:
            warnings.warn(
                f"{len(self.spans)} steps of {self.solver!r} in {self.field.label} were undone, and x(0) came back "
                f"with a relative error of {drift:.0e}, so the gradient is as inaccurate. The flow contracts too much, "
                "or its steps are too large: use a coupling closer to 1, smaller steps, or Checkpointed().",
                DriftWarning,
                stacklevel=2,
            )


class _BackwardState:
    """The state of a reversible solver in the backward pass, and the gradient of the loss with respect to it.

    Args:
        solve: solve whose steps are undone.
        halves: halves of its last state.
        gradient: ∂L/∂x(T).
        totals: accumulated gradients of the parameters.
    """

    def __init__(
        self, solve: _ReversibleSolve, halves: list[Tensor], gradient: Tensor, totals: ParameterGradients
    ) -> None:
        self.replay, self.dtype, self.totals, self.several = solve.replay, solve.dtype, totals, solve.several
        self.halves = [half.detach() for half in halves]
        with torch.enable_grad():
            leaves = [half.detach().requires_grad_() for half in halves]
            y = solve.solver.finish(Pair((leaves[0], leaves[1]), self.dtype))
        self.gradients = list(torch.autograd.grad(y, leaves, gradient, materialize_grads=True))

    @property
    def pair(self) -> Pair:
        """Present state."""
        return Pair((self.halves[0], self.halves[1]), self.dtype)

    def undo(self, shear: Shear, piece: Piece) -> None:
        """Undo a shear of one half by the other, and backpropagate through it, with one and the same evaluation of F.

        Args:
            shear: shear to undo.
            piece: piece of θ on which it lies.
        """
        part, other = shear.part, 1 - shear.part
        with torch.enable_grad(), self.replay.evaluating():
            q = self.halves[other].requires_grad_()
            moved = shear.move(self.pair.field(piece.field), q)
        self.halves[other] = q.detach()
        self.halves[part] = shear.back(self.halves[part], q.detach(), moved.detach())
        ends, gradient = gradient_edges([moved]), self.gradients[part]
        del moved  # free it before the backward pass through F, where memory peaks
        through = self.totals.add(ends, [gradient], [q], piece.nodes, term_by_term=self.several)[0]
        if through is not None:
            self.gradients[other] = self.gradients[other] + through
        if shear.relative:
            rest = 1 - shear.scale
            if isinstance(rest, Tensor):
                self.gradients[other] = torch.addcmul(self.gradients[other], gradient, rest)
            else:
                self.gradients[other] = torch.add(self.gradients[other], gradient, alpha=rest)
        if shear.is_scaled:
            self.gradients[part] = shear.scale * gradient
