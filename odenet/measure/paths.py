"""Paths of states through a block, and its vector field: what pictures of a flow are drawn from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import AnyNumber, NumberFromZero, wrong_value
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.field import Field
from odenet.blocks.precision import full_precision
from odenet.blocks.replay.replay import frozen_buffers
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.measure.mode import in_mode


@checked
def plane_grid(low: AnyNumber = -1.0, high: AnyNumber = 1.0, number: int = 20) -> Tensor:
    """Return number² points of the square [low, high]², of shape (number², 2), row by row from below.

    >>> plane_grid(0, 1, 2)
    tensor([[0., 0.],
            [1., 0.],
            [0., 1.],
            [1., 1.]])
    """
    if not low < high:
        raise ValueError(f"low = {low:g} and high = {high:g} were given, which is no interval: pass low < high.")
    axis = torch.linspace(low, high, number)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


@checked
def require_plane(x: Tensor, name: str = "x") -> None:
    """Raise a `ValueError` unless x, called `name` in the message, holds points of the plane.

    Raises:
        ValueError: if the last dimension of x is not 2.
    """
    if x.dim() < 2 or x.shape[-1] != 2:
        shape = f"a tensor of shape {tuple(x.shape)}"
        raise ValueError(
            f"{name} must hold points of the plane, of shape (…, 2), got {shape}: choose two coordinates, or project "
            "the states by principal_path."
        )


@checked
@torch.no_grad()
def vector_field(block: ODEBlock, x: Tensor, t: NumberFromZero = 0.0) -> Tensor:
    """Return the slopes F(t, x) at states x of shape (batch, …), in evaluation mode; where θ jumps, those after it.

    Raises:
        ValueError: if t lies outside [0, T].
    """
    if t > block.theta.horizon:
        raise wrong_value(
            "t", t, f"a depth-time of at most {block.theta.horizon:g}, where {block.label} ends", "pass such a time"
        )
    piece = [piece for piece in block.theta.pieces() if piece.start <= t][-1]
    field = Field(block.label)
    with in_mode(block, training=False), full_precision(x.device.type):
        return field.at(piece)(t, x)


class Path(NamedTuple):
    """Times t₀ = 0 < t₁ < … < t_K = T of a solve, and the states x(t_k), of shape (K + 1, batch, …)."""

    times: list[float]
    states: Tensor


@checked
@torch.no_grad()
def solve_path(block: ODEBlock, x: Tensor) -> Path:
    """Return the states between the fixed steps of a block: the jumps that a residual network makes.

    The last state is the output of the block in evaluation mode. `trajectory` gives the states under
    `Adaptive(per_sample=True)`, at any times.

    Args:
        block: block with `FixedSteps`.
        x: initial states of shape (batch, …).

    Raises:
        ValueError: if the block has another stepping.
    """
    stepping = block.stepping
    if not isinstance(stepping, FixedSteps):
        raise ValueError(
            f"the path of {block.label} was asked for with {stepping!r}, whose steps are not known beforehand: set "
            "FixedSteps(…), or use trajectory with Adaptive(…, per_sample=True)."
        )
    pieces = list(block.theta.pieces() if block.noise is None else block.noise(block.theta.pieces(), x, training=False))
    spans = [(piece, t0, t1) for piece in pieces for t0, t1 in stepping.spans(piece)]
    solver, field, times, states = stepping.solver.fitted(max(1, len(spans))), Field(block.label), [0.0], [x]
    state = None
    with in_mode(block, training=False), full_precision(x.device.type):
        for piece, t0, t1 in spans:
            at = field.at(piece)
            state = solver.step(at, t0, t1, solver.start(at, t0, x) if state is None else state)
            state = state if block.projection is None else block.projection(state)
            times.append(t1)
            states.append(solver.finish(state))
    return Path(times, torch.stack(states))


class Evaluation(NamedTuple):
    """One evaluation of F: the depth-time, one number or one for each sample, and the states."""

    t: float | Tensor
    x: Tensor


@checked
@torch.no_grad()
def evaluation_points(block: ODEBlock, x: Tensor) -> list[Evaluation]:
    """Return where F is evaluated in a forward pass from x, in order, under any stepping, in evaluation mode.

    >>> from odenet import Constant, FixedSteps, Midpoint, MLPBranch
    >>> block = ODEBlock(Constant(MLPBranch(2)), FixedSteps(Midpoint(), 2))
    >>> [t for t, _ in evaluation_points(block, torch.zeros(1, 2))]
    [0.0, 0.25, 0.5, 0.75]
    """
    found: list[Evaluation] = []

    def record(_node: nn.Module, arguments: tuple[float | Tensor, Tensor]) -> None:
        t, state = arguments
        found.append(Evaluation(float(t) if not isinstance(t, Tensor) or t.numel() == 1 else t.clone(), state.clone()))

    hooks = [node.register_forward_pre_hook(record) for node in dict.fromkeys(block.theta.nodes)]
    try:
        with frozen_buffers(block), in_mode(block, training=False), full_precision(x.device.type):
            block(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


class PrincipalPath(NamedTuple):
    """Coordinates of states in their principal components, and the share of the variance that each explains."""

    path: Tensor
    explained: Tensor


@checked
@torch.no_grad()
def principal_path(states: Tensor, components: int = 2) -> PrincipalPath:
    """Project the states of a batch over depth onto their first principal components, common to all depths.

    Args:
        states: states of shape (K + 1, batch, …), such as those of `solve_path` or `trajectory`.
        components: number of components, at most that of the entries of a state.

    Returns:
        The path, of shape (K + 1, batch, components), and the shares of the variance, of shape (components,).

    Raises:
        ValueError: if there are not as many components.
    """
    flat = states.flatten(2) if states.dim() > 2 else states.unsqueeze(-1)
    depths, batch, entries = flat.shape
    if components > min(entries, depths * batch):
        raise ValueError(
            f"components = {components} were asked for with {depths * batch} states of {entries} entries: ask for at "
            f"most {min(entries, depths * batch)}."
        )
    centred = (flat - flat.mean((0, 1))).reshape(depths * batch, entries).double()
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()  # the sign of a component is free
    path = centred @ (directions * largest)[:components].T
    explained = singular.square() / singular.square().sum().clamp_min(torch.finfo(torch.float64).tiny)
    shape = (depths, batch, components)
    return PrincipalPath(path.reshape(shape).to(states.dtype), explained[:components].to(states.dtype))
