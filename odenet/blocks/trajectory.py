r"""Dense output: x(t) at requested times, interpolated between the steps of a solve.

In a step from x₀ to x₁ = x(t₀ + h) with slopes k₀ and k₁ at its ends, s = (t - t₀)/h and Δ = x₁ - x₀,

    x(t) = (1 - s)·x₀ + s·x₁ + s·(1 - s)·[(1 - s)·(h·k₀ - Δ) - s·(h·k₁ - Δ)] + 16·s²·(1 - s)²·μ,

For μ = 0 this is Hermite's cubic, of order 3. If the pair has weights for x(t₀ + h/2) to order 4 ("dopri5", "tsit5"),
μ is the difference between that state and the cubic at s = 1/2, and the interpolant is a quartic of order 4 (Hairer,
Nørsett and Wanner, *I*, section II.6). The interpolation needs no evaluations of F beyond those of the steps.
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
    """Return x(t) for every t in `times`, of shape (times, batch, …), from x = x(0) of shape (batch, …).

    >>> from odenet import Adaptive, Constant, MLPBranch
    >>> block = ODEBlock(Constant(MLPBranch(2)), Adaptive("dopri5", per_sample=True))
    >>> trajectory(block, torch.zeros(5, 2), [0.0, 0.5, 1.0]).shape
    torch.Size([3, 5, 2])

    The state at t = T equals the output of the block bit for bit, and its gradient is also that of the accepted steps.
    The derivative with respect to a time that requires a gradient is x′(t) = F(t, x(t)); where two pieces of θ meet, F
    is that of the earlier piece. A sample that stopped early is NaN after the t that it reached; `block.last_solve` and
    a `BudgetWarning` report it. All steps are kept, with or without a gradient, so memory is O(number of steps).

    Args:
        block: block with `Adaptive(per_sample=True)` stepping, whose steps provide the slopes at their ends.
        x: initial state x(0).
        times: depth-times in [0, T], in any order.

    Raises:
        ValueError: if the block has another stepping, if a time lies outside [0, T], or if the block has stochastic
            depth and is in training mode.
    """
    stepping = block.stepping
    if not isinstance(stepping, PerSampleAdaptive):
        raise ValueError(
            f"a trajectory of {block.label} was asked for with {stepping!r}, but only steps per sample can be "
            "interpolated: set stepping = Adaptive('dopri5', …, per_sample=True)."
        )
    given = _separate_times(times)
    wanted = [float(t.detach() if isinstance(t, Tensor) else t) for t in given]
    if not all(0 <= t <= block.theta.horizon for t in wanted):
        raise ValueError(
            f"times from {min(wanted)} to {max(wanted)} were asked for; {block.label} is solved on "
            f"[0, {block.theta.horizon}]: pass times in this interval."
        )
    projection = cast("ConvexProjection | None", block.projection)  # error control refuses any other projection
    field, solver = Field(block.label), stepping.solver(projection)
    states = [torch.full_like(x, torch.nan) if t else x for t in wanted]
    pieces = _pieces(block, x, field)
    if projection is not None:
        pieces, x = tangent_pieces(pieces, projection), projected(projection, x, block.label)
        states = [x if t == 0 else state for t, state in zip(wanted, states, strict=True)]
    for piece, grid, _ in solver.grids(pieces, field, x):
        knots = _knots(solver.steps, field.at(piece), grid, x)
        inside = [k for k, t in enumerate(wanted) if piece.start < t <= piece.end]
        for k, value in zip(inside, knots.at([wanted[k] for k in inside]), strict=True):
            states[k] = value if projection is None else projection(value)
        for k in [*inside, *(k for k, t in enumerate(wanted) if t == piece.start == 0)]:
            states[k] = _with_time_derivative(states[k], given[k], field)
        x = knots.x1[-1]
    block.evaluations, block.last_solve = field.evaluations, field.last_solve
    return torch.stack(states) if states else x.new_empty(0, *x.shape)


def _separate_times(times: Annotated[Sequence[Number | Tensor], MayBeEmpty()] | Tensor) -> list[float | Tensor]:
    """Return the times one by one, as tensors if they require a gradient, else as numbers."""
    separate = list(times.flatten()) if isinstance(times, Tensor) else list(times)
    return [t.reshape(()) if isinstance(t, Tensor) and t.requires_grad else float(t) for t in separate]


def _with_time_derivative(x: Tensor, t: float | Tensor, field: Field) -> Tensor:
    """Return x with the derivative F(t, x) with respect to t, up to second derivatives, if t requires a gradient."""
    if not isinstance(t, Tensor) or not torch.is_grad_enabled():
        return x
    shape = (len(x), *[1] * (x.dim() - 1))
    slope = field(time_of(t.detach().double().expand(shape), x), x.detach()).detach()
    once = _WithTimeDerivative.apply(x, t, slope)
    return _WithTimeDerivative.apply(x, t, field(time_of(t.double().expand(shape), x), once))


class _WithTimeDerivative(torch.autograd.Function):
    """(x, t, x′) ↦ x, with the derivative x′ with respect to t."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.dtype = t.dtype
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return gradients[0], (gradients[0] * slope).sum().to(ctx.dtype), None


def _pieces(block: ODEBlock, x: Tensor, field: Field) -> Iterable[Piece]:
    pieces, field.positions = block._pieces()
    if block._collected_for is not None:
        block._compare_statistics_with(block.stepping, field.positions)
    if block.noise is None:
        return pieces
    if block.training:
        raise ValueError(
            f"a trajectory of {block.label} was asked for with {block.noise} in training mode; there every forward "
            "pass draws another random model: use evaluation mode."
        )
    return block.noise(pieces, x, training=False)


class _Knots(NamedTuple):
    """Steps on a piece: their grid, the states and slopes at their ends and, if the pair has weights, x(t0 + h/2)."""

    grid: Grid
    x0: Tensor
    x1: Tensor
    slope0: Tensor
    slope1: Tensor
    middle: Tensor | None

    def at(self, times: Sequence[float]) -> Tensor:
        """Return the states at times on the piece, after its start; NaN where a sample stopped before the time."""
        grid, samples = self.grid, torch.arange(self.x0.shape[1], device=self.x0.device)
        ends = grid.t1.reshape(len(grid.t1), -1).T.contiguous()
        t = torch.tensor(times, dtype=ends.dtype, device=ends.device)
        step = torch.searchsorted(ends, t.expand(len(ends), -1).contiguous()).T
        beyond = step == len(grid.t1)
        step = step.clamp_max(len(grid.t1) - 1)
        t0, h, x0, x1, slope0, slope1 = (
            each[step, samples] for each in (grid.t0, grid.h, self.x0, self.x1, self.slope0, self.slope1)
        )
        one = (-1, *[1] * (t0.dim() - 1))
        s = torch.where(h > 0, (t.view(one) - t0) / h, 0.0).to(x0.dtype)
        middle = None if self.middle is None else self.middle[step, samples]
        x = interpolate(s, h.to(x0.dtype), x0, x1, slope0, slope1, middle)
        return torch.where(beyond.view(t0.shape), torch.nan, x)


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


def interpolate(
    s: Tensor, h: Tensor, x0: Tensor, x1: Tensor, slope0: Tensor, slope1: Tensor, middle: Tensor | None
) -> Tensor:
    """Return x(t0 + s·h), s in [0, 1], by Hermite's cubic, or by the quartic through `middle` at s = 1/2."""
    difference, r = x1 - x0, 1 - s
    cubic = r * x0 + s * x1 + s * r * (r * (h * slope0 - difference) - s * (h * slope1 - difference))
    if middle is None:
        return cubic
    return cubic + 16 * (s * r).square() * (middle - (x0 + x1) / 2 - h / 8 * (slope0 - slope1))
