"""Branches whose samples depend on each other, or that draw random numbers, are refused per sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    Autonomous,
    BasicBranch,
    BottleneckBranch,
    ConcatConvBranch,
    Constant,
    Galerkin,
    HamiltonianBranch,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Spline,
    SymmetricBranch,
    Theta,
    group_norm,
)
from odenet.blocks.per_sample.separable import separable
from odenet.blocks.theta.base import Time
from tests.laws import logistic_nodes, states

STEPPING = Adaptive("dopri5", 1e-3, 1e-3, per_sample=True)


def block(branch: nn.Module) -> ODEBlock:
    return ODEBlock(Constant(branch), STEPPING)


def test_batch_norm_is_refused_in_training_mode_and_accepted_in_evaluation_mode() -> None:
    flow, x = block(BasicBranch(2)), torch.randn(2, 2, 4, 4)
    with pytest.raises(ValueError, match=r"per_sample=True .* 'norm1' normalizes by the .* batch.*: use GroupNorm"):
        flow(x)
    assert torch.isfinite(flow.eval()(x)).all()


def test_batch_norm_without_running_statistics_is_refused_in_either_mode() -> None:
    flow = block(BasicBranch(2, norm=lambda channels: nn.BatchNorm2d(channels, track_running_stats=False))).eval()
    with pytest.raises(ValueError, match="normalizes by the statistics of the batch"):
        flow(torch.randn(2, 2, 4, 4))


@pytest.mark.parametrize("dropout", [nn.Dropout(0.5), nn.AlphaDropout(0.5)], ids=repr)
def test_dropout_is_refused_where_it_is_active(dropout: nn.Module) -> None:
    flow = block(Autonomous(nn.Sequential(nn.Linear(2, 2), dropout)))
    with pytest.raises(ValueError, match=r"'module\.1' drops out at random, .*: use dropout outside the flow, or"):
        flow(torch.randn(3, 2))
    flow.eval()(torch.randn(3, 2))


@pytest.mark.parametrize(
    ("branch", "shape"),
    [
        (BasicBranch(2, norm=group_norm), (3, 2, 4, 4)),
        (BottleneckBranch(4, norm=group_norm), (3, 4, 4, 4)),
        (ConcatConvBranch(2), (3, 2, 4, 4)),
        (MLPBranch(2), (3, 2)),
        (Autonomous(nn.Linear(2, 2)), (3, 2)),
        (SymmetricBranch(4, norm=group_norm), (3, 4, 4, 4)),
        (HamiltonianBranch(4, norm=group_norm), (3, 4, 4, 4)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_every_branch_accepts_a_t_for_each_sample(branch: nn.Module, shape: tuple[int, ...]) -> None:
    branch, x = branch.double(), torch.randn(shape, dtype=torch.float64)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    together = branch(t.view(3, *[1] * (len(shape) - 1)), x)
    alone = torch.cat([branch(float(time), sample) for time, sample in zip(t, x.split(1), strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


class TakesANumber(nn.Module):
    def forward(self, t: Time, x: Tensor) -> Tensor:
        return float(t) * x


def test_a_branch_that_takes_a_number_alone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes one t for the whole batch, .*\(batch, 1, …, 1\) .*write it so that t"):
        block(TakesANumber())(torch.randn(3, 2))


@pytest.mark.parametrize("kind", [PiecewiseLinear, Galerkin, lambda nodes: Spline(nodes, degree=2)])
def test_an_interpolated_theta_is_evaluated_at_the_t_of_each_sample(kind: type[Theta]) -> None:
    theta = kind(logistic_nodes(3))
    for piece in theta.pieces():
        x = states(3)
        t = torch.linspace(piece.start, piece.end, 3, dtype=torch.float64)
        together = separable(piece, "it").field(t.view(3, 1), x)
        alone = [piece.field(float(time), sample) for time, sample in zip(t, x.split(1), strict=True)]
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [PiecewiseConstant, PiecewiseLinear])
def test_convolutions_whose_weights_move_with_t_are_solved(kind: type) -> None:
    torch.manual_seed(0)
    theta = kind([ConcatConvBranch(2).double() for _ in range(2)], 0.1)
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        ours = ODEBlock(theta, Adaptive("dopri5", 1e-6, 1e-6, per_sample=True))(x)
        theirs = ODEBlock(theta, Adaptive("dopri5", 1e-6, 1e-6))(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
