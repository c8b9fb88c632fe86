r"""x(t) at requested times, between the steps of a solve.

Within a step from x₀ to x₁ = x(t₀ + h), whose slopes at its ends are k₀ and k₁, with s = (t - t₀)/h and Δ = x₁ - x₀,

    x(t) = (1 - s)·x₀ + s·x₁ + s·(1 - s)·[(1 - s)·(h·k₀ - Δ) - s·(h·k₁ - Δ)] + 16·s²·(1 - s)²·μ,

Hermite's cubic, of order 3, for μ = 0. Where the pair knows x(t₀ + h/2) to order 4 ("dopri5", "tsit5"), μ is what the
cubic lacks there, and the quartic has order 4 (Hairer, Nørsett and Wanner, *I*, section II.6). Nothing is evaluated
for it but what the steps had evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple, cast

import torch
from torch import Tensor

from odenet.blocks.annotations import MayBeEmpty, Number
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.field import Field
from odenet.blocks.per_sample.error_control import time_of
from odenet.blocks.per_sample.grid import Grid
from odenet.blocks.per_sample.stepping import PerSampleAdaptive
from odenet.blocks.per_sample.steps import EmbeddedSteps
from odenet.blocks.projections import ConvexProjection, projected, tangent_pieces
from odenet.blocks.theta.base import Piece


@checked
def trajectory(
    block: ODEBlock, x: Tensor, times: Annotated[Sequence[Number | Tensor], MayBeEmpty()] | Tensor
) -> Tensor:
    """x(t) for every t of `times`, of shape (times, batch, …), from x = x(0) of shape (batch, …).

    >>> from odenet import Adaptive, Constant, MLPBranch
    >>> block = ODEBlock(Constant(MLPBranch(2)), Adaptive("dopri5", per_sample=True))
    >>> trajectory(block, torch.zeros(5, 2), [0.0, 0.5, 1.0]).shape
    torch.Size([3, 5, 2])

    At t = T it is what the block returns, bit for bit, and its gradient is that of the steps accepted, likewise. The
    derivative in a time that asks for one is x′(t) = F(t, x(t)), at the end of a piece of θ that of the piece before. A
    sample that stopped early, which `block.last_solve` and a `BudgetWarning` say, is NaN from there on. Every step is
    kept, with or without a gradient: memory O(number of steps).

    Args:
        block: stepped by `Adaptive(per_sample=True)`, whose steps know the slopes at their ends.
        x: x(0).
        times: in [0, T], in any order.

    Raises:
        ValueError: another stepping, or a time outside [0, T].
    """
    stepping = block.stepping
    if not isinstance(stepping, PerSampleAdaptive):
        raise ValueError(
            f"a trajectory was asked for of {block.label} with {stepping!r}; between the steps only those of each "
            "sample are interpolated: set stepping = Adaptive('dopri5', …, per_sample=True)."
        )
    moments = _moments(times)
    wanted = [float(t.detach() if isinstance(t, Tensor) else t) for t in moments]
    if not all(0 <= t <= block.theta.horizon for t in wanted):
        raise ValueError(
            f"times from {min(wanted)} to {max(wanted)} were asked for; the flow of {block.label} is that on "
            f"[0, {block.theta.horizon}]: ask for times in it."
        )
    projection = cast("ConvexProjection | None", block.projection)  # error control takes no other
    field, solver = Field(block.label), stepping.solver(projection)
    found = [torch.full_like(x, torch.nan) if t else x for t in wanted]
    pieces = _pieces(block, x)
    if projection is not None:
        pieces, x = tangent_pieces(pieces, projection), projected(projection, x, block.label)
        found = [x if t == 0 else state for t, state in zip(wanted, found, strict=True)]
    for piece, grid, _ in solver.grids(pieces, field, x):
        knots = _knots(solver.steps, field.at(piece), grid, x)
        inside = [k for k, t in enumerate(wanted) if piece.start < t <= piece.end]
        for k, value in zip(inside, knots.at([wanted[k] for k in inside]), strict=True):
            found[k] = value if projection is None else projection(value)
        for k in [*inside, *(k for k, t in enumerate(wanted) if t == piece.start == 0)]:
            found[k] = _moving(found[k], moments[k], field)
        x = knots.x1[-1]
    block.evaluations, block.last_solve = field.evaluations, field.last_solve
    return torch.stack(found) if found else x.new_empty(0, *x.shape)


def _moments(times: Annotated[Sequence[Number | Tensor], MayBeEmpty()] | Tensor) -> list[float | Tensor]:
    """The times one by one; tensors that ask for a gradient as they are."""
    given = list(times.flatten()) if isinstance(times, Tensor) else list(times)
    return [t.reshape(()) if isinstance(t, Tensor) and t.requires_grad else float(t) for t in given]


def _moving(x: Tensor, t: float | Tensor, field: Field) -> Tensor:
    """X = x(t) with F(t, x) as its derivative in t, where t asks for one; to the second derivative."""
    if not isinstance(t, Tensor) or not torch.is_grad_enabled():
        return x
    shape = (len(x), *[1] * (x.dim() - 1))
    slope = field(time_of(t.detach().double().expand(shape), x), x.detach()).detach()
    once = _Moving.apply(x, t, slope)
    return _Moving.apply(x, t, field(time_of(t.double().expand(shape), x), once))


class _Moving(torch.autograd.Function):
    """(x, t, x′) ↦ x, of which the derivative in t is x′."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.dtype = t.dtype
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return gradients[0], (gradients[0] * slope).sum().to(ctx.dtype), None


def _pieces(block: ODEBlock, x: Tensor) -> Iterable[Piece]:
    if block.noise is None:
        return block.theta.pieces()
    if block.training:
        raise ValueError(
            f"a trajectory was asked for of {block.label} with {block.noise}; in training mode every pass is that of "
            "another random model: use evaluation mode."
        )
    return block.noise(block.theta.pieces(), x, training=False)


class _Knots(NamedTuple):
    """The steps on a piece: where they lie, and of each the states and slopes at its ends and, maybe, x(t0 + h/2)."""

    grid: Grid
    x0: Tensor
    x1: Tensor
    slope0: Tensor
    slope1: Tensor
    middle: Tensor | None

    def at(self, times: Sequence[float]) -> Tensor:
        """The states at times on the piece, after its start; NaN where a sample does not come that far."""
        grid, samples = self.grid, torch.arange(self.x0.shape[1], device=self.x0.device)
        ends = grid.t1.reshape(len(grid.t1), -1).T.contiguous()
        t = torch.tensor(times, dtype=ends.dtype, device=ends.device)
        step = torch.searchsorted(ends, t.expand(len(ends), -1).contiguous()).T
        late = step == len(grid.t1)
        step = step.clamp_max(len(grid.t1) - 1)
        t0, h, x0, x1, slope0, slope1 = (
            each[step, samples] for each in (grid.t0, grid.h, self.x0, self.x1, self.slope0, self.slope1)
        )
        one = (-1, *[1] * (t0.dim() - 1))
        s = torch.where(h > 0, (t.view(one) - t0) / h, 0.0).to(x0.dtype)
        middle = None if self.middle is None else self.middle[step, samples]
        x = interpolated(s, h.to(x0.dtype), x0, x1, slope0, slope1, middle)
        return torch.where(late.view(t0.shape), torch.nan, x)


def _knots(steps: EmbeddedSteps, f: Field, grid: Grid, x: Tensor) -> _Knots:
    states, slopes, middles = [x], [f(time_of(grid.t0[0], x), x).to(x.dtype)], []
    for t0, t1, h in zip(*grid, strict=True):
        x, slope = states[-1], slopes[-1]
        (x1,), stages = steps.slopes(f, t0, t1, h, (x,), (slope,))
        (x1,) = steps.projected((x1,))
        states.append(torch.where(h > 0, x1, x))
        slopes.append(torch.where(h > 0, stages[-1][0], slope))
        middles.append(steps.middle(h, x, stages))
    x, slope = torch.stack(states), torch.stack(slopes)
    middle = torch.stack(middles) if steps.pair.middle else None
    return _Knots(grid, x[:-1], x[1:], slope[:-1], slope[1:], middle)


def interpolated(
    s: Tensor, h: Tensor, x0: Tensor, x1: Tensor, slope0: Tensor, slope1: Tensor, middle: Tensor | None
) -> Tensor:
    """x(t0 + s·h) for s in [0, 1], by Hermite's cubic, or the quartic that also goes through `middle` at s = 1/2."""
    difference, r = x1 - x0, 1 - s
    cubic = r * x0 + s * x1 + s * r * (r * (h * slope0 - difference) - s * (h * slope1 - difference))
    if middle is None:
        return cubic
    return cubic + 16 * (s * r).square() * (middle - (x0 + x1) / 2 - h / 8 * (slope0 - slope1))
