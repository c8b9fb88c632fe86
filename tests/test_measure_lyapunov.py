"""Lyapunov exponents of linear flows are those of the closed form, and Lorenz's system is chaotic at its known rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    AsynchronousLeapfrog,
    Autonomous,
    BasicBranch,
    Checkpointed,
    Constant,
    Euler,
    FixedSteps,
    MLPBranch,
    Nonnegative,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    StochasticDepth,
)
from odenet.measure import finite_time_exponents, lyapunov_exponents
from tests.problems import MATRICES, Linear


class Lorenz(nn.Module):
    """Lorenz's system with σ = 10, ρ = 28 and β = 8/3."""

    def forward(self, t: Any, x: Tensor) -> Tensor:
        a, b, c = x.unbind(1)
        return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], dim=1)


@pytest.mark.parametrize(
    "stepping", [FixedSteps(RK4(), 200), Adaptive("dopri5", rtol=1e-10, atol=1e-10)], ids=["fixed", "adaptive"]
)
def test_finite_time_exponents_of_a_linear_flow_are_those_of_its_exponential(stepping: Any) -> None:
    block = ODEBlock(PiecewiseConstant(map(Linear, MATRICES), horizon=1.5), stepping, Checkpointed())
    x = torch.randn(3, 2, dtype=torch.float64)
    factors = [scipy.linalg.expm(np.array(matrix) * 0.5) for matrix in MATRICES]
    expected = np.log(np.linalg.svd(factors[2] @ factors[1] @ factors[0], compute_uv=False)) / 1.5
    found = finite_time_exponents(block, x)
    np.testing.assert_allclose(found.numpy(), np.tile(expected, (3, 1)), rtol=0, atol=1e-8)
    assert isinstance(block.gradient, Checkpointed)


def test_exponents_of_a_linear_flow_are_the_real_parts_of_its_eigenvalues() -> None:
    expected, basis = np.array([0.5, -0.2, -0.9]), np.array([[1.0, 0.5, -0.3], [0.2, 1.0, 0.4], [-0.6, 0.1, 1.0]])
    matrix = (basis @ np.diag(expected) @ np.linalg.inv(basis)).tolist()
    x = torch.randn(2, 3, dtype=torch.float64) * 1e-9
    block = ODEBlock(Constant(Linear(matrix), 60.0), FixedSteps(RK4(), 3000))
    found = lyapunov_exponents(block, x, 3, discard=0.6)
    np.testing.assert_allclose(found.numpy(), np.tile(expected, (2, 1)), rtol=0, atol=1e-6)


def test_the_sum_of_all_exponents_is_the_mean_divergence_of_the_field() -> None:
    # div F = -(10 + 1 + 8/3) everywhere in Lorenz's system.
    x = torch.tensor([[1.0, 2.0, 20.0], [-3.0, 0.0, 15.0]], dtype=torch.float64)
    block = ODEBlock(Constant(Lorenz(), 0.5), FixedSteps(RK4(), 200))
    for found in (lyapunov_exponents(block, x, 3), finite_time_exponents(block, x)):
        np.testing.assert_allclose(found.sum(1).numpy(), -41 / 3, rtol=1e-6)


def test_the_largest_exponent_of_lorenzs_system_is_0_906() -> None:
    # Sixteen trajectories of 30 units are about as long as one of 500.
    torch.manual_seed(0)
    x = torch.randn(16, 3, dtype=torch.float64) * 5 + torch.tensor([0.0, 0.0, 25.0], dtype=torch.float64)
    x = ODEBlock(Constant(Lorenz(), 5.0), FixedSteps(RK4(), 250))(x)  # onto the attractor
    block = ODEBlock(Constant(Lorenz(), 36.0), FixedSteps(RK4(), 1800))
    found = lyapunov_exponents(block, x, discard=1 / 6)
    assert found.shape == (16, 1)
    assert float(found.mean()) == pytest.approx(0.906, abs=0.05)


@pytest.mark.parametrize("theta", [PiecewiseConstant, PiecewiseLinear])
def test_one_step_of_either_route_has_the_same_exponents(theta: Any) -> None:
    torch.manual_seed(0)
    block = ODEBlock(theta([MLPBranch(3, 8) for _ in range(3)]).double(), FixedSteps(RK4(), 2))
    x = torch.randn(4, 3, dtype=torch.float64)
    sums = [each.sum(1) for each in (lyapunov_exponents(block, x, 3), finite_time_exponents(block, x))]
    torch.testing.assert_close(*sums)


def test_a_residual_network_on_feature_maps_with_batch_norm_noise_and_projection_is_measured_in_evaluation_mode() -> (
    None
):
    torch.manual_seed(0)
    branches = [BasicBranch(2, activation="post") for _ in range(3)]
    block = ODEBlock(PiecewiseConstant(branches), projection=Nonnegative(), noise=StochasticDepth(0.5))
    x = torch.rand(2, 2, 4, 4)
    before = {name: value.clone() for name, value in block.state_dict().items()}
    found = lyapunov_exponents(block, x, 32)
    assert found.shape == (2, 32)
    assert block.training
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    largest = lyapunov_exponents(block, x, 2)
    # The growth of two random planes in three steps is bounded by the two largest singular values.
    assert torch.all(largest.sum(1) <= finite_time_exponents(block, x)[:, :2].sum(1) + 1e-5)


def test_a_flow_that_does_not_move_has_exponents_of_zero() -> None:
    still = nn.Linear(2, 2)
    nn.init.zeros_(still.weight)
    nn.init.ones_(still.bias)
    block, x = ODEBlock(Constant(Autonomous(still))), torch.zeros(3, 2)
    assert torch.allclose(lyapunov_exponents(block, x, 2), torch.zeros(3, 2), atol=1e-6)
    assert torch.allclose(finite_time_exponents(block, x), torch.zeros(3, 2), atol=1e-6)


def test_the_seed_decides_the_initial_vectors() -> None:
    block, x = ODEBlock(PiecewiseConstant([MLPBranch(4) for _ in range(2)])), torch.randn(2, 4)
    one, again, other = (lyapunov_exponents(block, x, 2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("stepping", [Adaptive(), FixedSteps(AsynchronousLeapfrog())], ids=repr)
def test_steps_that_carry_more_than_the_state_are_refused(stepping: Any) -> None:
    block = ODEBlock(Constant(MLPBranch(2)), stepping)
    with pytest.raises(ValueError, match=r"Lyapunov exponents of ODEBlock were asked for with .*: set FixedSteps\(RK4"):
        lyapunov_exponents(block, torch.zeros(1, 2))


def test_more_exponents_than_entries_are_refused() -> None:
    block = ODEBlock(Constant(MLPBranch(2)), FixedSteps(Euler()))
    with pytest.raises(ValueError, match=r"number = 3 exponents were asked for states of 2 entries; .*: ask for fewer"):
        lyapunov_exponents(block, torch.zeros(1, 2), 3)
