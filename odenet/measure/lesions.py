"""Lesions: a trained flow without one of its pieces, or with two neighbours swapped (Veit et al. 2016).

A fine discretization of an ODE is hardly affected: one of N pieces moves the state by O(1/N), and neighbours commute up
to O(1/N²). A network whose layers are stages of a computation breaks down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from odenet.blocks.annotations import AnyWhole
from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.theta.base import PiecewiseConstant


@checked
@contextmanager
def dropped(block: ODEBlock, index: AnyWhole) -> Iterator[None]:
    """Remove piece `index` of `block` within the context; the other pieces keep their lengths.

    Args:
        block: ODE block whose θ is `PiecewiseConstant` with two or more pieces.
        index: index of the piece, from 0.

    Raises:
        ValueError: if θ is of another class, if there is a single piece, or if there is no piece `index`.
    """
    pieces = _pieces(block, index, index)
    with _reordered(block, [i for i in range(pieces) if i != index]):
        yield


@checked
@contextmanager
def swapped(block: ODEBlock, index: AnyWhole) -> Iterator[None]:
    """Swap the pieces `index` and `index + 1` of `block` within the context.

    Raises:
        ValueError: if θ is of another class, if there is a single piece, or if one of the two pieces does not exist.
    """
    order = list(range(_pieces(block, index, index + 1)))
    order[index], order[index + 1] = order[index + 1], order[index]
    with _reordered(block, order):
        yield


def _pieces(block: ODEBlock, first: int, last: int) -> int:
    """Return the number of pieces, after checking that `first` and `last` exist."""
    theta = block.theta
    if not isinstance(theta, PiecewiseConstant) or theta.number_of_pieces < 2:
        raise ValueError(
            f"a lesion of {block.label} was asked for, whose θ is {type(theta).__name__} on {theta.number_of_pieces} "
            "pieces; only separate layers can be removed or swapped: use a PiecewiseConstant θ of two or more pieces."
        )
    if not 0 <= first <= last < theta.number_of_pieces:
        raise ValueError(
            f"a lesion of piece {first} of {block.label} was asked for, which has {theta.number_of_pieces}: pass an "
            f"index from 0 to {theta.number_of_pieces - 1 - (last - first)}."
        )
    return theta.number_of_pieces


@contextmanager
def _reordered(block: ODEBlock, order: Sequence[int]) -> Iterator[None]:
    original, noise = block.theta, block.noise
    theta = PiecewiseConstant(
        [original.nodes[i] for i in order], original.horizon * len(order) / original.number_of_pieces
    )
    theta.training = theta.nodes.training = original.training
    block.noise, block.theta = None, theta
    try:
        yield
    finally:
        block.theta, block.noise = original, noise
