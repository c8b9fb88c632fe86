"""Lyapunov exponents of a flow: the rates at which neighbouring states separate, in nats per unit of depth-time."""

from __future__ import annotations

import torch
from torch import Tensor

from odenet.blocks.annotations import Seed, Share
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.configuration import configure
from odenet.blocks.field import Field
from odenet.blocks.gradients.base import Backprop
from odenet.blocks.precision import full_precision
from odenet.blocks.solvers.runge_kutta import RungeKutta
from odenet.blocks.stepping.base import Step
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.data.seeds import seeded_generator
from odenet.measure.mode import in_mode


@checked
def finite_time_exponents(block: ODEBlock, x: Tensor) -> Tensor:
    """Compute log σ_i / T for the singular values σ_i of ∂x(T)/∂x(0), of each sample, in decreasing order.

    The first one is the largest rate of separation from x(0) to x(T); as a map over the plane it shows the ridges
    between regions that are carried apart. For x′ = A·x the σ_i are the singular values of exp(A·T). The Jacobian takes
    one backward pass for each entry of a state, so this is for states of few entries. In float32 rates below about
    -16/T are lost in rounding: use double precision for flows that contract much.

    >>> from odenet import Autonomous, Constant, FixedSteps, RK4
    >>> half = torch.nn.Linear(2, 2, bias=False)
    >>> _ = torch.nn.init.eye_(half.weight).data.mul_(-0.5)
    >>> finite_time_exponents(ODEBlock(Constant(Autonomous(half), 3.0), FixedSteps(RK4(), 50)), torch.ones(1, 2))
    tensor([[-0.5000, -0.5000]])

    Args:
        block: block with any stepping; it is evaluated in evaluation mode and differentiated by backpropagation.
        x: initial states of shape (batch, …).

    Returns:
        Exponents of shape (batch, number of entries of a state).
    """
    x = x.detach().requires_grad_()
    with in_mode(block, training=False), configure(block, gradient=Backprop()), torch.enable_grad():
        ends = block(x).flatten(1).unbind(1)
        rows = [torch.autograd.grad(end.sum(), x, retain_graph=True, materialize_grads=True)[0] for end in ends]
    jacobians = torch.stack([row.flatten(1) for row in rows], dim=1)
    return torch.linalg.svdvals(jacobians).log() / block.theta.horizon


@checked
@torch.no_grad()
def lyapunov_exponents(block: ODEBlock, x: Tensor, number: int = 1, *, discard: Share = 0.0, seed: Seed = 0) -> Tensor:
    """Compute the `number` largest Lyapunov exponents along the trajectory of each sample, in decreasing order.

    Orthonormal vectors are carried from x(T) back to x(0) by products with the transposed Jacobian of each step, and
    orthonormalized after it; the exponents are the mean rates of growth of the volumes that they span (Benettin et al.
    1980, for the transposed product, which has the same singular values). They converge like O(1/T) to the exponents of
    the flow, and faster if the steps in which the vectors align are discarded. A step costs one evaluation of its
    stages and one backward pass, for `number` copies of the batch.

    Args:
        block: block with fixed steps of a Runge-Kutta method; it is evaluated in evaluation mode.
        x: initial states of shape (batch, …).
        number: number of exponents, at most the number of entries of a state.
        discard: share of the steps, at the end of the trajectory, in which the vectors align and which do not count.
        seed: seed of the vectors at x(T).

    Returns:
        Exponents of shape (batch, number).

    Raises:
        ValueError: if the block has another stepping, or a state has fewer entries than `number`.
    """
    _require_runge_kutta(block)
    entries = x[0].numel()
    if number > entries:
        raise ValueError(
            f"number = {number} exponents were asked for states of {entries} entries; there is one exponent for each "
            "entry: ask for fewer."
        )
    vectors = torch.randn(len(x), entries, number, generator=seeded_generator(seed, "tangent vectors")).to(x)
    vectors = torch.linalg.qr(vectors).Q
    growth, duration = torch.zeros(len(x), number, dtype=torch.float64, device=x.device), 0.0
    steps, field, states = _steps(block, x), Field(block.label), [x]
    last = max(round((1 - discard) * len(steps)), 1)
    with in_mode(block, training=False), full_precision(x.device.type):
        for step, _ in steps:
            states.append(step.advance(field.at(step.piece), states[-1]))
        for index in reversed(range(len(steps))):
            step, length = steps[index]
            vectors = _carried_back(step, field, states[index], vectors)
            vectors, triangle = torch.linalg.qr(vectors)
            if index < last:
                growth += triangle.diagonal(dim1=1, dim2=2).abs().log()
                duration += length
    return (growth / duration).sort(dim=1, descending=True).values.to(x.dtype)


def _carried_back(step: Step, field: Field, x: Tensor, vectors: Tensor) -> Tensor:
    """Return the products of the transposed Jacobian of a step at x with each vector."""
    batch, entries, number = vectors.shape
    cotangents = vectors.movedim(2, 0).reshape(number * batch, *x.shape[1:])
    with torch.enable_grad():
        copies = x.repeat(number, *[1] * (x.dim() - 1)).requires_grad_()
        end = step.advance(field.at(step.piece), copies)
        (products,) = torch.autograd.grad(end, copies, cotangents)
    return products.reshape(number, batch, entries).movedim(0, 2)


def _steps(block: ODEBlock, x: Tensor) -> list[tuple[Step, float]]:
    """Return the steps of a solve with their lengths."""
    stepping = block.stepping
    assert isinstance(stepping, FixedSteps)
    pieces = list(block.theta.pieces() if block.noise is None else block.noise(block.theta.pieces(), x, training=False))
    lengths = [end - start for piece in pieces for start, end in stepping.spans(piece)]
    return list(zip(stepping.steps(pieces, block.projection), lengths, strict=True))


def _require_runge_kutta(block: ODEBlock) -> None:
    if not isinstance(block.stepping, FixedSteps) or not isinstance(block.stepping.solver, RungeKutta):
        raise ValueError(
            f"Lyapunov exponents of {block.label} were asked for with {block.stepping!r}; tangent vectors are carried "
            "through the steps of a Runge-Kutta method: set FixedSteps(RK4(), per_piece=…), with steps small enough."
        )
