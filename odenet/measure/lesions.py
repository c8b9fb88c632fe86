"""Lesions: a trained flow without one of its pieces, or with two of them in the wrong order (Veit et al. 2016).

A fine discretization of an ODE hardly notices either: a piece moves the state by O(1/N), and neighbours commute to
O(1/N²). A network whose layers are stages of a computation breaks down.
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
    """Within the context, `block` has no piece `index`; the others keep their lengths.

    Args:
        block: of two or more pieces of a `PiecewiseConstant` θ.
        index: from 0.

    Raises:
        ValueError: another θ, a single piece, or an index beyond the last.
    """
    pieces = _pieces(block, index, index)
    with _reordered(block, [i for i in range(pieces) if i != index]):
        yield


@checked
@contextmanager
def swapped(block: ODEBlock, index: AnyWhole) -> Iterator[None]:
    """Within the context, the pieces `index` and `index + 1` of `block` have changed places.

    Raises:
        ValueError: another θ, a single piece, or an index beyond the last but one.
    """
    order = list(range(_pieces(block, index, index + 1)))
    order[index], order[index + 1] = order[index + 1], order[index]
    with _reordered(block, order):
        yield


def _pieces(block: ODEBlock, first: int, last: int) -> int:
    """The number of pieces, if these are among them."""
    theta = block.theta
    if not isinstance(theta, PiecewiseConstant) or theta.number_of_pieces < 2:
        raise ValueError(
            f"a lesion of {block.label} was asked for, whose θ is {type(theta).__name__} on {theta.number_of_pieces} "
            "pieces; layers are left out or exchanged where there are several: use a PiecewiseConstant θ."
        )
    if not 0 <= first <= last < theta.number_of_pieces:
        raise ValueError(
            f"a lesion of piece {first} of {block.label} was asked for, which has {theta.number_of_pieces}: pass an "
            f"index from 0 to {theta.number_of_pieces - 1 - (last - first)}."
        )
    return theta.number_of_pieces


@contextmanager
def _reordered(block: ODEBlock, order: Sequence[int]) -> Iterator[None]:
    former, noise = block.theta, block.noise
    theta = PiecewiseConstant([former.nodes[i] for i in order], former.horizon * len(order) / former.number_of_pieces)
    theta.training = theta.nodes.training = former.training
    block.noise, block.theta = None, theta
    try:
        yield
    finally:
        block.theta, block.noise = former, noise
