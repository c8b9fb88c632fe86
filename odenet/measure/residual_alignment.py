"""Alignment of residual Jacobians over depth (Li and Papyan, *Residual Alignment*, NeurIPS 2023).

In a trained residual network the leading singular vectors of the Jacobians ∂F_i/∂x of different blocks often align, on
both sides and with each other, and their singular values decrease like 1/depth: states move on straight lines in equal
steps, as in a flow whose field hardly changes along a trajectory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.extras import Extra
from odenet.blocks.precision import full_precision
from odenet.blocks.replay.replay import frozen_buffers
from odenet.measure.mode import in_mode
from odenet.measure.smoothness import visited_states


@dataclass(frozen=True, eq=False)
class ResidualAlignment:
    """Leading singular triplets of the residual Jacobians of N branches at the states of one sample, compared.

    An overlap of two subspaces of dimension k with orthonormal bases V and W is ‖VᵀW‖²/k: 1 if they are equal, 0 if
    they are orthogonal, and `chance` on average if one of them is random.
    """

    singular_values: np.ndarray
    """k largest singular values of each Jacobian, of shape (N, k), in decreasing order."""
    right: np.ndarray
    """Overlap of the right singular subspaces of Jacobians i and j, of shape (N, N)."""
    left: np.ndarray
    """Overlap of the left singular subspaces of Jacobians i and j, of shape (N, N)."""
    cross: np.ndarray
    """Overlap of the left subspace of Jacobian i with the right subspace of Jacobian j, of shape (N, N)."""
    chance: float
    """Overlap k/d of two unrelated subspaces, d the number of entries of a state."""

    def between_blocks(self, name: str) -> float:
        """Return the mean overlap of different blocks; `name` is "right", "left" or "cross".

        Raises:
            ValueError: if the name is none of these, or there is one block only.
        """
        if name not in ("right", "left", "cross"):
            raise ValueError(f"name = {name!r}; overlaps are called 'right', 'left' and 'cross': pass one of them.")
        overlaps: np.ndarray = getattr(self, name)
        if len(overlaps) < 2:
            raise ValueError("the mean overlap of different blocks was asked for, but there is one: use a deeper flow.")
        return float(overlaps[~np.eye(len(overlaps), dtype=bool)].mean())


@checked
def residual_alignment(block: ODEBlock, x: Tensor, number: int = 4) -> ResidualAlignment:
    """Compare the leading singular vectors of ∂F_i/∂x between the branches, each at the state where it is evaluated.

    Args:
        block: block with Euler steps, one on each piece of θ, so that its states are the arguments of its branches.
        x: initial state of one sample, of shape (1, …).
        number: number k of singular triplets; at most the number of entries of a state.

    Raises:
        ValueError: if x has several samples, a state fewer than `number` entries, or a piece several evaluations.
    """
    if len(x) != 1:
        raise ValueError(
            f"x of shape {tuple(x.shape)} was given; the Jacobians are those at the states of one sample: pass x[:1]."
        )
    if number > x.numel():
        raise ValueError(
            f"number = {number} singular vectors were asked for states of {x.numel()} entries: ask for fewer."
        )
    pieces = list(block.theta.pieces())
    with in_mode(block, training=False), frozen_buffers(block), full_precision(x.device.type):
        states = visited_states(block, x)[:-1]
        if len(states) != len(pieces):
            raise ValueError(
                f"{block.label} evaluates its branches {len(states)} times on {len(pieces)} pieces of θ; alignment is "
                "between residual blocks: set FixedSteps(Euler()), with one step on each piece."
            )
        triplets = [
            _triplets(partial(piece.field, piece.start), state, number)
            for piece, state in zip(pieces, states, strict=True)
        ]
    left, values, right = (np.stack(parts) for parts in zip(*triplets, strict=True))
    return ResidualAlignment(
        values, _overlaps(right, right), _overlaps(left, left), _overlaps(left, right), number / x.numel()
    )


def _overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return ‖V_iᵀW_j‖²/k for bases of shape (N, d, k)."""
    products = np.einsum("idk,jdl->ijkl", one, other)
    return (products**2).sum(axis=(2, 3)) / one.shape[2]


def _triplets(field: Callable[[Tensor], Tensor], x: Tensor, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return left vectors (d, k), singular values (k,) in decreasing order and right vectors (d, k) of ∂F/∂x."""
    with Extra("experiments"):
        from scipy.sparse.linalg import LinearOperator, svds

    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = field(x)

    def tensor(vector: np.ndarray) -> Tensor:
        return torch.as_tensor(vector.reshape(x.shape), dtype=x.dtype, device=x.device)

    def product(vector: np.ndarray) -> np.ndarray:
        with forward_ad.dual_level(), torch.no_grad():
            tangent = forward_ad.unpack_dual(field(forward_ad.make_dual(x.detach(), tensor(vector)))).tangent
            return _vector(torch.zeros_like(x) if tangent is None else tangent)

    def transposed(vector: np.ndarray) -> np.ndarray:
        return _vector(torch.autograd.grad(y, x, tensor(vector), retain_graph=True, materialize_grads=True)[0])

    size = x.numel()
    if number >= size - 1 or size <= 64:
        left, values, right = np.linalg.svd(np.stack([product(column) for column in np.eye(size)], axis=1))
    else:
        operator = LinearOperator((size, size), matvec=product, rmatvec=transposed, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        start = np.random.default_rng(0).standard_normal(size)  # a normalization has constants in its null space
        left, values, right = svds(operator, number, v0=start, tol=1e-5)  # pyright: ignore[reportArgumentType]
        assert left is not None
        assert right is not None
        order = np.argsort(-values)
        left, values, right = left[:, order], values[order], right[order]
    return left[:, :number], values[:number], right[:number].T


def _vector(x: Tensor) -> np.ndarray:
    return x.detach().flatten().double().cpu().numpy()
