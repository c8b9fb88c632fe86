"""Flows of second order: a pendulum by SciPy, closed forms, conservation of energy, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    Checkpointed,
    Constant,
    Euler,
    FixedSteps,
    HeavyBall,
    Leapfrog,
    MLPBranch,
    ODEBlock,
    PiecewiseLinear,
    Reversible,
    SecondOrder,
    SymplecticEuler,
    Verlet,
)
from odenet.layers import Augment, DropChannels
from tests.laws import STEP_COUNTS, slope


class Pendulum(nn.Module):
    """F(t, x) = -sin x."""

    def forward(self, t: Any, x: Tensor) -> Tensor:
        return -torch.sin(x)


class VanDerPol(nn.Module):
    """F(t, x, v) = (1 - x²)·v - x."""

    def forward(self, t: Any, x: Tensor, v: Tensor) -> Tensor:
        return (1 - x.square()) * v - x


class Forced(nn.Module):
    """F(t, x) = cos 2t - x, whose solution from rest at 0 is (cos t - cos 2t)/3."""

    def forward(self, t: Any, x: Tensor) -> Tensor:
        return torch.cos(torch.as_tensor(2.0 * t, dtype=x.dtype)) - x


START = torch.tensor([[1.0, 0.5], [2.5, -0.3]], dtype=torch.float64)
"""Angles and velocities of two pendulums."""


def by_scipy(slope: Any, horizon: float) -> np.ndarray:
    ends = [solve_ivp(slope, (0, horizon), x, rtol=1e-12, atol=1e-12, method="DOP853").y[:, -1] for x in START.numpy()]
    return np.stack(ends)


@pytest.mark.parametrize("friction", [0.0, 0.4])
@pytest.mark.parametrize("per_sample", [False, True])
def test_a_pendulum_is_that_of_scipy(friction: float, per_sample: bool) -> None:
    expected = by_scipy(lambda _, x: [x[1], -math.sin(x[0]) - friction * x[1]], 5.0)
    stepping = Adaptive("dopri5", rtol=1e-10, atol=1e-10, per_sample=per_sample)
    block = ODEBlock(Constant(HeavyBall(Pendulum(), friction), 5.0), stepping)
    np.testing.assert_allclose(block(START).numpy(), expected, rtol=0, atol=1e-8)


def test_an_acceleration_that_depends_on_the_velocity_is_that_of_scipy() -> None:
    expected = by_scipy(lambda _, x: [x[1], (1 - x[0] ** 2) * x[1] - x[0]], 5.0)
    block = ODEBlock(Constant(SecondOrder(VanDerPol()), 5.0), Adaptive("dopri5", rtol=1e-10, atol=1e-10))
    np.testing.assert_allclose(block(START).numpy(), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", [SymplecticEuler(), Verlet(), Euler(), RK4()], ids=repr)
def test_every_solver_converges_with_its_order_on_a_force_that_depends_on_time(solver: Any) -> None:
    block, x = ODEBlock(Constant(HeavyBall(Forced()), 2.0)), torch.zeros(1, 2, dtype=torch.float64)
    exact = torch.tensor([(math.cos(2) - math.cos(4)) / 3, (2 * math.sin(4) - math.sin(2)) / 3], dtype=torch.float64)
    errors = []
    for number in STEP_COUNTS:
        block.stepping = FixedSteps(solver, number)
        errors.append(float((block(x)[0] - exact).norm()))
    assert slope(STEP_COUNTS, errors) == pytest.approx(solver.order, abs=0.06)


def test_verlet_from_rest_is_the_leapfrog_on_the_position() -> None:
    x = START[:, :1]
    leapfrog = ODEBlock(Constant(Pendulum(), 3.0), FixedSteps(Leapfrog(), 20))
    verlet = ODEBlock(Constant(HeavyBall(Pendulum()), 3.0), FixedSteps(Verlet(), 20))
    torch.testing.assert_close(nn.Sequential(Augment(1), verlet, DropChannels(1))(x), leapfrog(x))


def test_symplectic_methods_keep_the_energy_for_a_thousand_swings_and_euler_does_not() -> None:
    def energy(x: Tensor) -> Tensor:
        return x[:, 1].square() / 2 - x[:, 0].cos()

    drift = {}
    for solver in (SymplecticEuler(), Verlet(), Euler()):
        block = ODEBlock(Constant(HeavyBall(Pendulum()), 200.0), FixedSteps(solver, 2000))
        drift[type(solver).__name__] = float((energy(block(START)) - energy(START)).abs().max())
    assert drift["Verlet"] < 2e-3
    assert drift["SymplecticEuler"] < 0.1
    assert drift["Euler"] > 1


def test_friction_takes_energy_at_the_rate_of_the_closed_form() -> None:
    # From x = 1 at rest, x″ = -x - 2γ·x′ with γ < 1 is x = exp(-γ·t)·cos(ω·t + φ)/cos φ, ω² = 1 - γ², tan φ = -γ/ω.
    gamma, T = 0.3, 4.0
    omega = math.sqrt(1 - gamma**2)
    phase = math.atan(-gamma / omega)
    exact = math.exp(-gamma * T) * math.cos(omega * T + phase) / math.cos(phase)
    layer = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(layer.weight, -1.0)
    block = ODEBlock(Constant(HeavyBall(Autonomous(layer), 2 * gamma), T), FixedSteps(RK4(), 400))
    assert float(block(torch.tensor([[1.0, 0.0]], dtype=torch.float64)).detach()[0, 0]) == pytest.approx(
        exact, abs=1e-9
    )


def test_the_pair_can_be_a_feature_map_and_its_initial_velocity_can_be_learned() -> None:
    torch.manual_seed(0)
    flow = ODEBlock(Constant(HeavyBall(Autonomous(nn.Conv2d(3, 3, 3, padding=1)))), FixedSteps(Verlet(), 2))
    net = nn.Sequential(Augment(nn.Conv2d(3, 3, 1)), flow, DropChannels(3))
    x = torch.randn(2, 3, 6, 6)
    y = net(x)
    y.square().sum().backward()
    assert y.shape == x.shape
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize("gradient", [Checkpointed(), Reversible()], ids=repr)
@pytest.mark.parametrize("solver", [Verlet(), SymplecticEuler()], ids=repr)
def test_gradients_are_those_of_backpropagation(solver: Any, gradient: Any) -> None:
    torch.manual_seed(0)
    theta = PiecewiseLinear([HeavyBall(MLPBranch(2, 8)) for _ in range(3)]).double()
    block, x = ODEBlock(theta, FixedSteps(solver, 4)), torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])

    expected = gradients()
    block.gradient = gradient
    for found, wanted in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)


def test_friction_can_be_learned() -> None:
    torch.manual_seed(0)
    branch = HeavyBall(Pendulum(), nn.Parameter(torch.tensor(0.1, dtype=torch.float64)))
    block = ODEBlock(Constant(branch, 3.0), FixedSteps(RK4(), 30))
    expected = torch.from_numpy(by_scipy(lambda _, x: [x[1], -math.sin(x[0]) - 0.7 * x[1]], 3.0))
    optimizer = torch.optim.Adam(block.parameters(), 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (block(START) - expected).square().mean().backward()
        optimizer.step()
    assert float(branch.friction) == pytest.approx(0.7, abs=1e-3)
    assert "friction=learned" in repr(branch)
    assert "friction=0.5" in repr(HeavyBall(Pendulum(), 0.5))


@pytest.mark.parametrize("solver", [Verlet(), SymplecticEuler()], ids=repr)
@pytest.mark.parametrize(
    "branch",
    [HeavyBall(Pendulum(), 0.1), HeavyBall(Pendulum(), nn.Parameter(torch.tensor(0.0))), SecondOrder(VanDerPol())],
    ids=["friction", "learned friction", "acceleration"],
)
@pytest.mark.parametrize("gradient", [None, Checkpointed(), Reversible()], ids=repr)
def test_partitioned_solvers_refuse_a_slope_that_depends_on_its_own_half(
    solver: Any, branch: nn.Module, gradient: Any
) -> None:
    block = ODEBlock(Constant(branch), FixedSteps(solver), gradient)
    with pytest.raises(ValueError, match=r"asked for with a branch in which .*, such as a friction: use a Runge-Kutta"):
        block(START)


@pytest.mark.parametrize("branch", [HeavyBall(Pendulum()), SecondOrder(VanDerPol())], ids=lambda b: type(b).__name__)
@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=str)
def test_a_state_that_is_no_pair_is_refused(branch: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"was given a state of shape .*; it is a pair .* even number of channels"):
        ODEBlock(Constant(branch))(torch.zeros(shape))


def test_modules_of_other_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"given as a branch; .* wrap a module of x alone in Autonomous"):
        HeavyBall(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"given as an acceleration F\(t, x, v\), .* make HeavyBall\(branch\)"):
        SecondOrder(Pendulum())


@pytest.mark.parametrize("friction", [-0.1, math.nan, "0.1", True, None], ids=repr)
def test_a_friction_that_is_none_is_refused(friction: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="friction must be"):
        HeavyBall(Pendulum(), friction)


def test_a_learned_friction_is_one_number() -> None:
    with pytest.raises(ValueError, match=r"friction must be a single number, got a parameter of shape \(2,\)"):
        HeavyBall(Pendulum(), nn.Parameter(torch.zeros(2)))
