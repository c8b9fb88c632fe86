"""Exact gradients with memory independent of the number of steps: reversible steps are undone in the backward pass."""

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
    """Steps were undone, and the state arrived at is not the one that they started from."""


class Reversible(GradientMethod):
    """Discretize, then optimize, as `Backprop`, with the memory of one step: steps are undone, not remembered.

    The forward pass keeps x(0) and the last state of a reversible solver. The backward pass undoes one step after the
    other, and the evaluation of F that undoes a step is the one that is differentiated. So F is evaluated once more for
    each evaluation of the forward pass, 4/3 of the time of backpropagation through the same steps, and the gradient is
    theirs up to rounding, at any step size (McCallum and Foster 2024; MALI, Zhuang et al. 2021).

    A Runge-Kutta solver is stepped as `Coupled(solver)`: the same order, but another map, so the output moves by
    O(h^order), in evaluation too, and F is evaluated twice as often. `Backprop()` with that solver named in the
    stepping is backpropagation through the same steps.

    Under `Adaptive(…, per_sample=True)` the steps that each sample accepts are found first, without a tape; on them the
    method of the pair is coupled. Only the grid is kept of them, a few numbers a step and sample. What is controlled is
    the error of the method, not that of its coupling, which is of the same order.

    Rounding grows as steps are undone, as c⁻ᴺ for a coupling c, and as the flow contracts forwards. What comes back is
    therefore compared with x(0): where the two differ, a `DriftWarning` says by how much (on an accelerator that makes
    the host wait once a backward pass). Works with every θ, stochastic depth, dropout and autocast; the derivative of
    its gradient takes the memory of backpropagation. Not for projections, which cannot be undone.

    >>> from odenet import Euler, FixedSteps, MLPBranch, ODEBlock, PiecewiseConstant
    >>> ODEBlock(PiecewiseConstant([MLPBranch(2)]), FixedSteps(Euler()), Reversible()).gradient
    Reversible()

    Args:
        coupling: of `Coupled`, where the solver is a Runge-Kutta method; by default from the number of steps.

    Raises:
        ValueError: a coupling outside (0, 1].
    """

    @checked
    def __init__(self, coupling: Number | None = None) -> None:
        if coupling is not None:
            Coupled(Euler(), coupling)  # raises where it is out of range
        self.coupling = coupling

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """x(T), of which the last state and x are kept.

        Raises:
            ValueError: a coupling at which nothing could be undone after so many steps.
        """
        del projection  # refused by `check`
        pieces = list(pieces)
        plan = stepping.reversible_plan(pieces, field, x, self.coupling)
        if plan is None:
            return x
        moving = x if plan.active_samples is None else x[plan.active_samples]
        if wants_gradient(pieces, x):
            y = _Reversal(plan, pieces, field, moving).solve(moving)
        else:
            y = plan.integrate(field, moving)
        return y if plan.active_samples is None else x.index_copy(0, plan.active_samples, y)

    def check(self, stepping: Stepping, projection: Projection | None) -> None:
        """Refuse a projection, and steps that cannot be undone."""
        if projection is not None:
            raise ValueError(
                f"{self!r} was asked for with projection = {projection!r}; what a projection discards cannot be found "
                "again: use Checkpointed(), or pre-activation branches without a projection."
            )
        stepping.check_reversible(self.coupling)

    def __repr__(self) -> str:
        return "Reversible()" if self.coupling is None else f"Reversible(coupling={self.coupling})"


class _Reversal(Recomputation):
    """A solve of which the last state is kept."""

    def __init__(self, plan: ReversiblePlan, pieces: Sequence[Piece], field: Field, x: Tensor) -> None:
        super().__init__(pieces, field, x)
        self.solver, self.spans, self.dtype = plan.solver, plan.spans, x.dtype
        self.steps = steps_on(plan.spans, plan.solver, None)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x(T), and the halves of the last state."""
        piece, t0, _ = self.spans[0]
        self.field.enter(piece)
        before = self.field.evaluations
        state = self.solver.start(self.field, t0, x)
        self._require_bearable_growth(state)
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
        """Step by step from the last to the first; then the start, whose state is compared with what came back."""
        halves = [kept.pop(), kept.pop()][::-1]
        undoing = _Undoing(self, halves, gradient, totals)
        del halves
        moment = self.shears
        for piece, t0, t1 in reversed(self.spans):
            for shear in reversed(self.solver.shears(t0, t1)):
                self.restore(moment)
                undoing.undo(shear, piece)
                moment -= 1
        piece, t0, _ = self.spans[0]
        self.restore(0)
        with torch.enable_grad(), self.replay.evaluating():
            x = kept[0].detach().requires_grad_(for_x)
            started = self.solver.start(piece.field, t0, x)
        self._compare(undoing.pair, started)
        return totals.add(gradient_edges(started.halves), undoing.gradients, [x], piece.nodes)[0]

    def _require_bearable_growth(self, state: Pair) -> None:
        growth = self.solver.growth(self.spans) / math.log(10)
        precision = -math.log10(torch.finfo(state.halves[0].dtype).eps)
        if growth > precision + math.log10(torch.finfo(self.dtype).eps) / 2:
            raise ValueError(
                f"{self.solver!r} was asked for with {len(self.spans)} steps in {self.field.label}; undoing them "
                f"multiplies rounding errors by 1e{growth:.0f}, and the states have {precision:.0f} digits: leave the "
                "coupling out, so that it follows from the number of steps, or pass one nearer to 1."
            )

    def _compare(self, found: Pair, started: Pair) -> None:
        """Report a drift beyond three quarters of the digits of the state."""
        if started.halves[0].is_meta:  # where memory is counted and nothing computed
            return
        halves = [half.detach() for half in started.halves]
        differences = [a - b for a, b in zip(found.halves, halves, strict=True)]
        # One copy to the host: it waits once for a backward pass.
        *norms, p, q = torch.stack([each.norm() for each in (*halves, *differences)]).tolist()
        drift = max(p, q) / max(*norms, torch.finfo(self.dtype).tiny)
        if not drift <= torch.finfo(self.dtype).eps ** 0.75:
            warnings.warn(
                f"{len(self.spans)} steps of {self.solver!r} in {self.field.label} were undone, and x(0) came back "
                f"with a relative error of {drift:.0e}; its gradient is as wrong. The flow contracts too much, or its "
                "steps are too large: take a coupling nearer to 1, more and smaller steps, or Checkpointed().",
                DriftWarning,
                stacklevel=2,
            )


class _Undoing:
    """A state on its way back, and the gradient in it.

    Args:
        solve: whose steps are undone.
        halves: of its last state.
        gradient: in x(T).
        totals: the parameters' gradient.
    """

    def __init__(self, solve: _Reversal, halves: list[Tensor], gradient: Tensor, totals: ParameterGradients) -> None:
        self.replay, self.dtype, self.totals, self.several = solve.replay, solve.dtype, totals, solve.several
        self.halves = [half.detach() for half in halves]
        with torch.enable_grad():
            leaves = [half.detach().requires_grad_() for half in halves]
            y = solve.solver.finish(Pair((leaves[0], leaves[1]), self.dtype))
        self.gradients = list(torch.autograd.grad(y, leaves, gradient, materialize_grads=True))

    @property
    def pair(self) -> Pair:
        """The state."""
        return Pair((self.halves[0], self.halves[1]), self.dtype)

    def undo(self, shear: Shear, piece: Piece) -> None:
        """The half p before the shear and, by the same evaluation, the gradient in p and q."""
        part, other = shear.part, 1 - shear.part
        with torch.enable_grad(), self.replay.evaluating():
            q = self.halves[other].requires_grad_()
            moved = shear.move(self.pair.field(piece.field), q)
        self.halves[other] = q.detach()
        self.halves[part] = shear.back(self.halves[part], q.detach(), moved.detach())
        ends, gradient = gradient_edges([moved]), self.gradients[part]
        del moved  # the backward pass through F is where most is alive
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
