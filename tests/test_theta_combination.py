"""A combination evaluates the branch with the weighted tensors of its nodes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet import BasicBranch, FixedSteps, ODEBlock, PiecewiseLinear
from odenet.blocks.theta.combination import Combination, is_differentiable, named_tensors
from tests.problems import Logistic


def test_it_is_the_branch_with_the_weighted_tensors() -> None:
    nodes = [Logistic(1.0, 2.0), Logistic(3.0, -1.0)]
    x = torch.rand(4, 2, dtype=torch.float64)
    field = Combination(nodes, lambda t: (1 - t, t))
    torch.testing.assert_close(field(0.25, x), Logistic(1.5, 1.25)(0.0, x))


def test_tensors_are_parameters_then_buffers() -> None:
    names = [name for name, _ in named_tensors(nn.BatchNorm2d(2))]
    assert names == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def test_only_floating_point_and_complex_tensors_are_differentiable() -> None:
    kinds = (torch.float16, torch.float64, torch.complex64, torch.int64, torch.bool)
    assert [is_differentiable(torch.ones(1, dtype=kind)) for kind in kinds] == [True, True, True, False, False]


class Averaging(nn.Module):
    """x′ = x - m with a moving average m of the states."""

    def __init__(self, *, by_data: bool) -> None:
        super().__init__()
        self.by_data = by_data
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, t: object, x: Tensor) -> Tensor:
        mean = self.get_buffer("mean")
        if self.training:
            (mean.data if self.by_data else mean).lerp_(x.mean(0), 0.5)
        return x - mean


@pytest.mark.parametrize("by_data", [True, False])
def test_a_branch_that_changes_a_buffer_between_two_nodes_is_refused(by_data: bool) -> None:
    block = ODEBlock(PiecewiseLinear([Averaging(by_data=by_data) for _ in range(2)]))
    with pytest.raises(ValueError, match=r"a Averaging changed its buffer 'mean' .*: use PiecewiseConstant, or eval"):
        block(torch.randn(3, 2))
    block.eval()(torch.randn(3, 2))


def test_running_statistics_in_evaluation_mode_are_combined() -> None:
    nodes = [BasicBranch(2), BasicBranch(2)]
    for node, mean in zip(nodes, (0.0, 1.0), strict=True):
        node.norm1.running_mean.fill_(mean)  # pyright: ignore[reportCallIssue]
    block = ODEBlock(PiecewiseLinear(nodes).eval(), FixedSteps("midpoint")).eval()
    assert block(torch.randn(1, 2, 4, 4)).shape == (1, 2, 4, 4)
