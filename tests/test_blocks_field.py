"""Faults of a branch are reported with the block, the piece, the step and the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    Backprop,
    ContinuousAdjoint,
    FixedSteps,
    Midpoint,
    NonFiniteState,
    ODEBlock,
    PiecewiseConstant,
)
from odenet.blocks.block import label_blocks
from odenet.blocks.field import Field
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.theta.base import Piece, Time
from tests.laws import states
from tests.problems import Logistic


class Returning(nn.Module):
    """A branch that returns `change(x)`."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, t: Time, x: Tensor) -> Any:
        return self.change(x)


def network(branch: nn.Module, stepping: Stepping | None = None, gradient: GradientMethod | None = None) -> nn.Module:
    """Return a network whose block 'stages.1.flow' has a faulty branch on its last piece."""
    blocks = [
        ODEBlock(PiecewiseConstant([Logistic(1.0), Logistic(0.5)])),
        ODEBlock(PiecewiseConstant([Logistic(1.0), branch]), stepping, gradient),
    ]
    model = nn.Module()
    model.stages = nn.Sequential(*(nn.Sequential() for _ in blocks))
    for stage, block in zip(model.stages, blocks, strict=True):
        stage.add_module("flow", block)
    label_blocks(model)
    return model.stages


WAYS = [
    (FixedSteps(Midpoint(), per_piece=2), Backprop(), "piece 1, step 2, evaluation 5"),
    (Adaptive("dopri5"), Backprop(), r"piece 1, evaluation \d+"),
    (FixedSteps(Midpoint(), per_piece=2), ContinuousAdjoint(), "piece 1, evaluation 5"),
]
WAY_NAMES = ["fixed", "adaptive", "adjoint"]


@pytest.mark.parametrize(("stepping", "gradient", "place"), WAYS, ids=WAY_NAMES)
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: x[:, :1], r"shape \(3, 1\) for a state of shape \(3, 2\)"),
        (lambda x: x[0], r"shape \(2,\) for a state of shape \(3, 2\)"),
        (lambda x: x.float(), "dtype torch.float32 for a state of dtype torch.float64"),
        (lambda x: x.to("meta"), "device meta for a state of device cpu"),
    ],
    ids=["shape", "dimensions", "dtype", "device"],
)
def test_a_slope_unlike_its_state_is_refused_with_both_properties_and_the_place(
    change: Any, found: str, stepping: Stepping, gradient: GradientMethod, place: str
) -> None:
    model = network(Returning(change), stepping, gradient)
    said = rf"in block 'stages\.1\.flow', at t = 1 \({place}\), the branch returned {found}; .* correct the branch"
    with pytest.raises(ValueError, match=said):
        model(states())


@pytest.mark.parametrize(("stepping", "gradient", "place"), WAYS, ids=WAY_NAMES)
@pytest.mark.parametrize(("value", "kind"), [(None, "NoneType"), ((1, 2), "tuple"), (0.0, "float")])
def test_a_branch_that_returns_no_tensor_is_refused(
    value: Any, kind: str, stepping: Stepping, gradient: GradientMethod, place: str
) -> None:
    model = network(Returning(lambda _: value), stepping, gradient)
    with pytest.raises(TypeError, match=rf"in block 'stages\.1\.flow', at t = 1 .* returned a {kind}; .* return x′"):
        model(states())


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_a_slope_that_is_not_finite_is_reported_with_block_piece_step_and_time(value: float) -> None:
    model = network(Returning(lambda x: x * value), FixedSteps(Midpoint(), per_piece=4))
    kind = "NaN" if value != value else "infinite"
    said = (
        rf"slope F\(t, x\) of block 'stages\.1\.flow' is {kind} at t = 1 \(piece 1, step 4, evaluation 9\); .*per_piece"
    )
    with pytest.raises(NonFiniteState, match=said):
        model(states())


class Exploding(nn.Module):
    """F(t, x) = x for t < 1.625, and 10²⁰⁰·x from there on."""

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return x if t < 1.625 else x * 1e200


def test_a_state_that_overflows_is_reported_at_the_step_where_it_does() -> None:
    model = network(Exploding(), FixedSteps(per_piece=8))
    said = r"slope F\(t, x\) of block 'stages\.1\.flow' is infinite at t = 1\.75 \(piece 1, step 14, evaluation 15\)"
    with pytest.raises(NonFiniteState, match=said):
        model(states())


def test_an_overflow_in_the_last_step_is_reported_for_the_output() -> None:
    block = ODEBlock(PiecewiseConstant([Returning(lambda x: x)] * 2))
    with pytest.raises(
        NonFiniteState, match=r"output of ODEBlock is infinite at t = 2 \(piece 1, step 1, evaluation 2"
    ):
        block(torch.full((1, 1), 5e307, dtype=torch.float64))


@pytest.mark.parametrize(("stepping", "gradient", "place"), WAYS, ids=WAY_NAMES)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")], ids=str)
def test_an_input_that_is_not_finite_is_reported_at_the_start(
    value: float, stepping: Stepping, gradient: GradientMethod, place: str
) -> None:
    block = ODEBlock(PiecewiseConstant([Logistic(1.0)]), stepping, gradient)
    x = states()
    x[2, 1] = value
    kind = "NaN" if value != value else "infinite"
    with pytest.raises(NonFiniteState, match=rf"state of ODEBlock is {kind} at t = 0 \(piece 0.*check the input"):
        block(x)


def test_large_finite_states_whose_sum_overflows_are_accepted() -> None:
    block = ODEBlock(PiecewiseConstant([Returning(torch.zeros_like)]))
    x = torch.full((4, 4), 3e38)
    assert torch.isinf(x.sum())
    assert torch.equal(block(x), x)


def test_a_fault_that_does_not_recur_is_still_reported() -> None:
    faults = iter([float("nan"), 0.0])
    block = ODEBlock(PiecewiseConstant([Returning(lambda x: x * next(faults))]))
    with pytest.raises(NonFiniteState, match=r"a second solve from the same x\(0\) is finite"):
        block(states())


def test_the_place_of_a_fault_can_be_found_even_if_forward_does_not_check() -> None:
    block = ODEBlock(PiecewiseConstant([Logistic(1.0), Returning(lambda x: x / 0)]))
    with pytest.raises(NonFiniteState, match=r"at t = 1 \(piece 1, step 1"):
        block.locate_nonfinite(states())
    ODEBlock(PiecewiseConstant([Logistic(1.0)])).locate_nonfinite(states())


def test_a_field_evaluates_the_current_piece_and_counts() -> None:
    field, x = Field("it"), states()
    for index, factor in enumerate((2.0, 3.0)):
        field.enter(Piece(0.0, 1.0, lambda _, x, factor=factor: factor * x, (nn.Identity(),)))
        assert field.piece == index
        assert torch.equal(field(0.5, x), factor * x)
    assert field.evaluations == 2


def test_under_autocast_a_slope_may_be_narrower_than_the_state() -> None:
    block = ODEBlock(PiecewiseConstant([Returning(lambda x: x.bfloat16())]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert block(torch.ones(2, 2)).dtype == torch.float32
