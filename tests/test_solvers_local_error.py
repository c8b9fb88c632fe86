"""Steps of a pair integrate the square of their own local error, with the gradients of every gradient method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from odenet import (
    RK4,
    Adaptive,
    Backprop,
    Bosh3,
    Checkpointed,
    Constant,
    Coupled,
    Dopri5,
    Euler,
    FixedSteps,
    KineticEnergy,
    LocalError,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Regularized,
    Reversible,
    Tsit5,
    penalty,
)
from odenet.blocks.solvers.local_error import WithLocalError
from tests.laws import slope
from tests.problems import MATRICES, Linear, Logistic

PAIRS = [Bosh3(), Dopri5(), Tsit5()]


def errors_by_hand(pair: Any, x: Tensor, h: float, steps: int) -> tuple[Tensor, Tensor]:
    """Return x(T) of x′ = A·x and Σ h·‖Σ e_i·k_i‖², by the exact coefficients of the tableau."""
    A, total = torch.tensor(MATRICES[0], dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64)
    for _ in range(steps):
        k: list[Tensor] = []
        for row in pair.tableau.a:
            y = x + h * sum((float(a) * slope for a, slope in zip(row, k, strict=True)), torch.zeros_like(x))
            k.append(y @ A.T)
        error = sum((float(e) * slope for e, slope in zip(pair.tableau.error, k, strict=True)), torch.zeros_like(x))
        total = total + h * error.square().sum(1)
        x = x + h * sum((float(b) * slope for b, slope in zip(pair.tableau.b, k, strict=True)), torch.zeros_like(x))
    return x, total


@pytest.mark.parametrize("pair", PAIRS, ids=repr)
def test_the_integral_is_the_sum_over_the_steps_and_the_state_is_that_without_it(pair: Any) -> None:
    x = torch.randn(4, 2, dtype=torch.float64)
    block = ODEBlock(Constant(Linear(MATRICES[0]), 1.5), FixedSteps(pair, 3))
    plain = block(x)
    block.gradient = Regularized(Backprop(), [KineticEnergy(), LocalError()])
    y, (expected, errors) = block(x), errors_by_hand(pair, x, 0.5, 3)
    torch.testing.assert_close(y, plain, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(block.integrals["local_error"], errors, rtol=1e-10, atol=1e-30)
    assert block.evaluations == 3 * len(pair.tableau.b)


@pytest.mark.parametrize("pair", PAIRS, ids=repr)
def test_it_falls_with_twice_the_order_of_the_embedded_method(pair: Any) -> None:
    block = ODEBlock(Constant(Logistic(2.5, 0.4)), FixedSteps(pair), Regularized(Backprop(), [LocalError()]))
    steps, found = (8, 12, 16, 24), []
    for number in steps:
        block.stepping = FixedSteps(pair, number)
        block(torch.full((1, 2), 0.2, dtype=torch.float64))
        found.append(float(block.integrals["local_error"].detach()))
    assert slope(steps, found) == pytest.approx(2 * pair.tableau.embedded_order, abs=0.6)


@pytest.mark.parametrize("gradient", [Checkpointed(), Reversible()], ids=repr)
def test_gradients_are_those_of_backpropagation(gradient: Any) -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([MLPBranch(3, 8) for _ in range(2)])).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)

    def gradients(pair: Any, method: Any) -> tuple[Tensor, ...]:
        block.gradient = Backprop()
        block.stepping, block.gradient = FixedSteps(pair, 2), method
        return torch.autograd.grad(block(x).square().sum() + penalty(block), [x, *block.parameters()])

    costs = [LocalError(1e4), KineticEnergy()]
    expected = gradients(Bosh3(), Regularized(Backprop(), costs))
    found = gradients(Bosh3(), Regularized(gradient, costs))
    # Reversible takes coupled steps, which differ from those of the pair by their error.
    closeness = 1e-10 if isinstance(gradient, Checkpointed) else 0.1
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours - theirs).norm()) <= closeness * float(theirs.norm())


def test_the_coupled_steps_of_reversible_are_undone_exactly() -> None:
    torch.manual_seed(0)
    branch, x = MLPBranch(3, 8).double(), torch.randn(4, 4, dtype=torch.float64)
    solver = Coupled(WithLocalError(Bosh3(), 3, 0), 0.9)

    def field(t: Any, state: Tensor) -> Tensor:
        return torch.cat([branch(t, state[:, :3]), torch.zeros_like(state[:, 3:])], dim=1)

    state = solver.start(field, 0.0, x)
    found = solver.step_back(field, 0.0, 0.5, solver.step(field, 0.0, 0.5, state))
    torch.testing.assert_close(found.halves, state.halves, rtol=1e-13, atol=1e-13)
    assert solver.order == 3


@pytest.mark.parametrize("stepping", [FixedSteps(RK4()), FixedSteps(Euler()), Adaptive(), Adaptive(per_sample=True)])
def test_a_stepping_without_an_embedded_pair_is_refused(stepping: Any) -> None:
    with pytest.raises(ValueError, match=r"LocalError was asked for with .*: train with FixedSteps\(Dopri5\(\)\)"):
        ODEBlock(Constant(MLPBranch(2)), stepping, Regularized(Backprop(), [LocalError()]))
