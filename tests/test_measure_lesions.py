"""A lesion is the flow of the remaining or swapped pieces, and the block is restored afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from odenet import Autonomous, Constant, FixedSteps, ODEBlock, PiecewiseConstant, PiecewiseLinear, StochasticDepth
from odenet.measure import dropped, swapped
from tests.laws import logistic_nodes, states

NODES = logistic_nodes(4)


def flow() -> ODEBlock:
    return ODEBlock(PiecewiseConstant(NODES, horizon=2.0))


def by_hand(order: list[int]) -> Tensor:
    x = states()
    for index in order:
        x = x + 0.5 * NODES[index](0.0, x)
    return x


@pytest.mark.parametrize(
    ("lesion", "index", "order"),
    [
        (dropped, 0, [1, 2, 3]),
        (dropped, 2, [0, 1, 3]),
        (dropped, 3, [0, 1, 2]),
        (swapped, 0, [1, 0, 2, 3]),
        (swapped, 2, [0, 1, 3, 2]),
    ],
)
def test_a_lesion_is_the_flow_of_the_other_pieces_in_that_order(
    lesion: Callable[[ODEBlock, int], AbstractContextManager[None]], index: int, order: list[int]
) -> None:
    block = flow()
    whole = block(states())
    with lesion(block, index):
        torch.testing.assert_close(block(states()), by_hand(order), rtol=1e-14, atol=1e-14)
    assert torch.equal(block(states()), whole)


def test_theta_noise_and_mode_are_as_before_even_after_an_error() -> None:
    block = flow().eval()
    theta, noise = block.theta, StochasticDepth([1.0, 0.9, 0.8, 0.7])
    block.noise = noise

    def fail() -> None:
        with dropped(block, 1):
            assert not block.theta.training
            assert block.theta.number_of_pieces == 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert block.theta is theta
    assert block.noise is noise
    assert not any(module.training for module in block.modules())


@pytest.mark.parametrize(("lesion", "index", "last"), [(dropped, 4, 3), (dropped, -1, 3), (swapped, 3, 2)])
def test_a_piece_that_is_not_there_is_refused(
    lesion: Callable[[ODEBlock, int], AbstractContextManager[None]], index: int, last: int
) -> None:
    with (
        pytest.raises(ValueError, match=rf"piece {index} of ODEBlock .* which has 4: pass an index from 0 to {last}"),
        lesion(flow(), index),
    ):
        pass


@pytest.mark.parametrize(
    "block",
    [
        ODEBlock(Constant(Autonomous(nn.Identity())), FixedSteps(per_piece=3)),
        ODEBlock(PiecewiseConstant(logistic_nodes(1))),
        ODEBlock(PiecewiseLinear(logistic_nodes(3))),
    ],
    ids=["constant", "one piece", "linear"],
)
def test_a_flow_without_layers_to_leave_out_is_refused(block: ODEBlock) -> None:
    for lesion in (dropped, swapped):
        with (
            pytest.raises(ValueError, match=r"whose θ is \w+ on \d pieces; .* use a PiecewiseConstant θ"),
            lesion(block, 0),
        ):
            pass
