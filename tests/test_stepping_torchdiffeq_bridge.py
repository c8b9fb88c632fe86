"""Adaptive stepping and the continuous adjoint through torchdiffeq, also compared with SciPy."""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn
from torchdiffeq import odeint
from torchdiffeq._impl.odeint import SOLVERS as TORCHDIFFEQ

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    Backprop,
    BudgetWarning,
    ButcherTableau,
    Constant,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    MLPBranch,
    NonFiniteState,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    RungeKutta,
    Solver,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.solvers.named import SOLVERS
from tests.laws import AWKWARD_HORIZONS, Spy, require_each_on_its_own_piece, spies, states
from tests.problems import bernoulli, jumping_linear, sloping_logistic

METHODS = sorted(TORCHDIFFEQ)
FIXED_GRID = {"euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams", "fixed_adams"}
SHARED_NAMES = sorted(SOLVERS.keys() & TORCHDIFFEQ.keys() & FIXED_GRID)


def smooth_block(stepping: Any = None) -> ODEBlock:
    torch.manual_seed(0)
    return ODEBlock(Constant(MLPBranch(3, hidden=8).double()), stepping)


def smooth_state() -> Tensor:
    return torch.linspace(-1, 1, 12, dtype=torch.float64).view(4, 3)


def test_all_of_torchdiffeqs_one_step_methods_are_here_under_their_names() -> None:
    assert SHARED_NAMES == ["euler", "heun2", "heun3", "midpoint", "rk4"]


@pytest.mark.parametrize("name", SHARED_NAMES)
def test_a_solver_of_a_shared_name_gives_the_same_numbers_to_rounding(name: str) -> None:
    steps = 6
    block = smooth_block(FixedSteps(name, steps))
    grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    theirs: Any = odeint(block.theta.nodes[0], smooth_state(), grid, method=name)
    torch.testing.assert_close(block(smooth_state()), theirs[-1], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("stepping", [FixedSteps(RK4(), 100), Adaptive("dopri5", 1e-10, 1e-10)], ids=repr)
def test_scipy_computes_the_same_state(stepping: Any) -> None:
    block = smooth_block(stepping)

    @torch.no_grad()
    def field(t: float, x: np.ndarray) -> np.ndarray:
        return block.theta.nodes[0](t, torch.from_numpy(x).view(4, 3)).numpy().ravel()

    solution = solve_ivp(field, (0, 1), smooth_state().numpy().ravel(), "DOP853", rtol=1e-12, atol=1e-12)
    theirs = torch.from_numpy(solution.y[:, -1]).view(4, 3)
    torch.testing.assert_close(block(smooth_state()), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("gradient", [Backprop(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_that_torchdiffeq_offers_is_accurate(method: str, gradient: GradientMethod) -> None:
    options: dict[str, Any] = {"step_size": 0.01} if method in FIXED_GRID else {}
    if method == "explicit_adams":
        options["max_order"] = 4  # torchdiffeq's order of 12 is unstable at this step
    for make in (bernoulli, sloping_logistic):
        problem = make()
        block = ODEBlock(problem.theta, Adaptive(method, 1e-7, 1e-7, **options), gradient)
        with torch.no_grad():
            found = block(problem.x)
        torch.testing.assert_close(found, problem.exact, rtol=0, atol=2e-2 if method == "euler" else 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_gradient(method: str) -> None:
    options: dict[str, Any] = {"step_size": 0.002 if method == "euler" else 0.05} if method in FIXED_GRID else {}
    gradient = ContinuousAdjoint() if method == "scipy_solver" else Backprop()
    block = smooth_block()
    found = []
    for stepping, method_of_gradient in (
        (FixedSteps(RK4(), 20), Backprop()),
        (Adaptive(method, 1e-7, 1e-7, **options), gradient),
    ):
        block.gradient, block.stepping = Backprop(), stepping
        block.gradient = method_of_gradient
        found.append(torch.autograd.grad(block(smooth_state()).square().sum(), list(block.parameters())))
    for expected, gradients in zip(*found, strict=True):
        torch.testing.assert_close(gradients, expected, rtol=1e-2, atol=1e-2)


def test_on_three_jumping_pieces_dopri5_needs_at_most_60_evaluations_for_5e_5() -> None:
    problem = jumping_linear()
    assert (problem.theta.number_of_pieces, problem.theta.horizon) == (3, 1.0)
    block = ODEBlock(problem.theta, Adaptive("dopri5", rtol=1e-5, atol=1e-5))
    with torch.no_grad():
        assert (block(problem.x) - problem.exact).abs().max() <= 5e-5
    assert block.evaluations <= 60


def test_tighter_tolerances_cost_more_and_err_less() -> None:
    problem = bernoulli()
    errors, costs = [], []
    for tolerance in (1e-3, 1e-6, 1e-9):
        block = ODEBlock(problem.theta, Adaptive("dopri5", tolerance, tolerance))
        with torch.no_grad():
            errors.append(float((block(problem.x) - problem.exact).abs().max()))
        costs.append(block.evaluations)
    assert errors == sorted(errors, reverse=True)
    assert costs == sorted(costs)
    assert all(error < 10 * tolerance for error, tolerance in zip(errors, (1e-3, 1e-6, 1e-9), strict=True))


@pytest.mark.parametrize("gradient", [Backprop(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_no_method_evaluates_the_field_outside_the_piece_even_to_find_the_first_step(
    method: str, gradient: GradientMethod
) -> None:
    for horizon in AWKWARD_HORIZONS:
        block = ODEBlock(PiecewiseConstant(spies(3), horizon), Adaptive(method, 1e-2, 1e-2), gradient)
        with torch.no_grad():
            block(states())
        require_each_on_its_own_piece(block)


@pytest.mark.parametrize("method", ["dopri5", "rk4", "scipy_solver"])
def test_the_adjoint_does_not_evaluate_the_field_outside_the_piece_either(method: str) -> None:
    block = ODEBlock(PiecewiseConstant(spies(3), 0.1), Adaptive(method, 1e-2, 1e-2), ContinuousAdjoint())
    y = block(states().requires_grad_())
    forwards = block.evaluations
    y.sum().backward()
    block.evaluations = sum(len(getattr(node, "times", ())) for node in block.theta.nodes)
    assert block.evaluations > forwards
    require_each_on_its_own_piece(block)


def test_a_gradient_through_scipy_is_refused_with_advice() -> None:
    block = smooth_block(Adaptive("scipy_solver"))
    with pytest.raises(ValueError, match=r"through torchdiffeq's 'scipy_solver'.*gradient=ContinuousAdjoint\(\)"):
        block(smooth_state())


class Square(nn.Module):
    """F(t, x) = x², whose solution from x(0) = 1 is infinite at t = 1."""

    def forward(self, t: Any, x: Tensor) -> Tensor:
        return x * x


class Stiff(nn.Module):
    """F(t, x) = -10⁶·(x - cos t)."""

    def forward(self, t: Any, x: Tensor) -> Tensor:
        return -1e6 * (x - torch.cos(torch.as_tensor(t)))


def one() -> Tensor:
    return torch.ones(1, 1, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("gradient", [Backprop(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize("budget", [1, 7, 60])
@pytest.mark.parametrize("method", ["dopri5", "adaptive_heun", "bosh3", "dopri8", "fehlberg2"])
@pytest.mark.parametrize("branch", [Square(), Stiff()], ids=["blow-up", "stiff"])
def test_when_the_budget_is_spent_the_state_reached_is_returned_with_a_warning(
    branch: nn.Module, method: str, budget: int, gradient: GradientMethod
) -> None:
    spy = spies(1)[0]
    spy.branch = branch
    block = ODEBlock(Constant(spy, 4.0), Adaptive(method, 1e-6, 1e-6, max_evaluations=budget), gradient)
    message = rf"{method} stopped at t = .* of ODEBlock before t = 4: the budget of {budget} evaluations is spent"
    with pytest.warns(BudgetWarning, match=message) as warned:
        y = block(one())
    assert torch.isfinite(y).all()
    assert block.evaluations == len(spy.times) == budget
    assert len([w for w in warned if w.category is BudgetWarning]) == 1


def test_the_returned_state_is_that_at_the_time_in_the_warning() -> None:
    block = ODEBlock(Constant(Square(), 4.0), Adaptive("dopri5", 1e-9, 1e-9, max_evaluations=100))
    with pytest.warns(BudgetWarning) as warned:
        x = block(one())
    t = float(str(warned[0].message).split("t = ")[1].split()[0])
    assert 0.1 < t < 1
    assert x.item() == pytest.approx(1 / (1 - t), rel=1e-5)


def test_pieces_after_the_one_on_which_the_budget_is_spent_are_not_evaluated() -> None:
    theta = PiecewiseConstant(spies(3), 3.0)
    block = ODEBlock(theta, Adaptive("dopri5", 1e-9, 1e-9, max_evaluations=60))
    with pytest.warns(BudgetWarning, match=r"stopped at t = 1\.\d+ of ODEBlock before t = 2"):
        block(states())
    assert [len(getattr(node, "times", ())) > 0 for node in theta.nodes] == [True, True, False]


@pytest.mark.parametrize("gradient", [Backprop(), ContinuousAdjoint(rtol=1e-6, atol=1e-6)], ids=repr)
def test_a_stopped_solve_has_the_gradient_of_the_flow_up_to_its_time(gradient: GradientMethod) -> None:
    block = ODEBlock(Constant(Square(), 4.0), Adaptive("dopri5", 1e-9, 1e-9, max_evaluations=150), gradient)
    x = one()
    with pytest.warns(BudgetWarning):
        y = block(x)
    y.backward()
    assert x.grad is not None
    # x(t) = 1/(1/x₀ - t), so ∂x(t)/∂x₀ = x(t)² at x₀ = 1. Backpropagation includes a small dependence of t on x₀.
    assert x.grad.item() == pytest.approx(y.item() ** 2, rel=1e-2)


def test_when_the_step_underflows_the_state_reached_is_returned_with_a_warning() -> None:
    block = ODEBlock(Constant(Square(), 4.0), Adaptive("dopri5", 1e-4, 1e-4))
    with pytest.warns(BudgetWarning, match=r"stopped at t = 1\.0\d* of ODEBlock before t = 4: underflow in dt"):
        y = block(one())
    assert torch.isfinite(y).all()


def test_the_option_max_num_steps_is_a_budget_too() -> None:
    block = smooth_block(Adaptive("dopri5", 1e-9, 1e-9, max_num_steps=2))
    with pytest.warns(BudgetWarning, match="max_num_steps exceeded"):
        block(smooth_state())


def test_an_adjoint_that_spends_its_budget_is_an_error() -> None:
    stepping = Adaptive("bosh3", 1e-6, 1e-6, max_evaluations=100)
    y = ODEBlock(Constant(Stiff(), 1e-5), stepping, ContinuousAdjoint(rtol=1e-13, atol=1e-13))(one())
    with pytest.raises(
        RuntimeError, match=r"adjoint equation of ODEBlock .* the budget of 100 .*raise max_evaluations"
    ):
        y.sum().backward()


def test_every_backward_solve_has_the_whole_budget() -> None:
    block = smooth_block(Adaptive("dopri5", 1e-4, 1e-4))
    block.gradient = ContinuousAdjoint()
    spy = Spy(block.theta.nodes[0])
    block.theta.nodes[0] = spy
    block(smooth_state()).sum().backward()
    block.stepping = Adaptive("dopri5", 1e-4, 1e-4, max_evaluations=len(spy.times) - block.evaluations)
    y = block(smooth_state()).sum()
    first, second = (torch.autograd.grad(y, list(block.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_an_adjoint_whose_step_underflows_is_an_error() -> None:
    block = ODEBlock(Constant(Square(), 4.0), Adaptive("dopri5", 1e-4, 1e-4), ContinuousAdjoint())
    with pytest.warns(BudgetWarning):
        y = block(one())
    with pytest.raises(
        RuntimeError, match=r"adjoint equation of ODEBlock .* back from t = 1\.0\d* to t = 0: underflow"
    ):
        y.sum().backward()


class Asserting(nn.Module):
    def forward(self, t: Any, x: Tensor) -> Tensor:
        assert x.shape[0] == 7, "seven rows"
        return x


@pytest.mark.parametrize("gradient", [Backprop(), ContinuousAdjoint()], ids=repr)
def test_an_assertion_of_the_branch_reaches_the_caller(gradient: GradientMethod) -> None:
    with pytest.raises(AssertionError, match="seven rows"):
        ODEBlock(Constant(Asserting()), Adaptive(), gradient)(one())


def test_an_infinite_slope_under_scipys_solvers_is_an_error_with_its_time() -> None:
    block = ODEBlock(Constant(Square(), 4.0), Adaptive("scipy_solver", 1e-3, 1e-3))
    with torch.no_grad(), pytest.raises(NonFiniteState, match=r"slope F\(t, x\) of ODEBlock is infinite at t = 0\.99"):
        block(one())


@pytest.mark.filterwarnings("ignore:The following arguments have no effect")  # torchdiffeq's `min_step`
def test_when_the_step_of_scipys_solvers_underflows_there_is_a_warning() -> None:
    class Pole(nn.Module):
        def forward(self, t: Any, x: Tensor) -> Tensor:
            return 1 / (0.5 - t) ** 2 + 0 * x

    block = ODEBlock(Constant(Pole()), Adaptive("scipy_solver", 1e-6, 1e-6, solver="RK45"))
    with torch.no_grad(), pytest.warns(BudgetWarning, match="SciPy's solver found no step small enough"):
        assert torch.equal(block(one()), one())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("gradient", [Backprop(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize("method", METHODS)
def test_a_state_that_is_not_finite_is_refused_by_every_method(
    method: str, gradient: GradientMethod, value: float
) -> None:
    block = smooth_block(Adaptive(method))
    block.gradient = gradient
    x = smooth_state()
    x[1, 2] = value
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torchdiffeq's implicit Adams method warns of the NaN first
        with pytest.raises(NonFiniteState, match=r"of ODEBlock is (NaN|infinite) at t = "):
            block(x)


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown method of torchdiffeq 'dopri_5'; did you mean 'dopri5'\? Known: a"):
        Adaptive("dopri_5")
    with pytest.raises(ValueError, match=r"unknown method of torchdiffeq 'bosch3'; did you mean 'bosh3'\?"):
        ContinuousAdjoint(method="bosch3")


@pytest.mark.parametrize(
    ("method", "option", "nearest"),
    [("dopri5", "first_stop", "first_step"), ("rk4", "stepsize", "step_size"), ("scipy_solver", "solvr", "solver")],
)
def test_an_unknown_option_of_a_method_is_refused_with_the_nearest(method: str, option: str, nearest: str) -> None:
    with pytest.raises(
        ValueError, match=rf"unknown option of torchdiffeq's {method} '{option}'; did you .*'{nearest}'"
    ):
        Adaptive(method, **cast(Any, {option: 0.1}))


def test_options_reach_torchdiffeq() -> None:
    costs = []
    for step_size in (0.5, 0.1):
        block = smooth_block(Adaptive("euler", step_size=step_size))
        block(smooth_state())
        costs.append(block.evaluations)
    assert costs == [2, 10]


def test_a_norm_of_states_is_not_used_for_augmented_states() -> None:
    block = smooth_block(Adaptive("dopri5", norm=lambda x: x.abs().max()))
    block.gradient = ContinuousAdjoint()
    block(smooth_state()).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


def test_two_solvers_with_the_same_class_name_are_not_confused() -> None:
    def mine(tableau: ButcherTableau) -> RungeKutta:
        return type("Mine", (RungeKutta,), {"tableau": tableau})()

    half = Fraction(1, 2)
    first = mine(ButcherTableau(order=1, a=[[]], b=[1]))
    second = mine(ButcherTableau(order=2, a=[[], [1]], b=[half, half]))
    for solver in (first, second):
        block = smooth_block(FixedSteps(solver))
        expected = block(smooth_state())
        block.gradient = ContinuousAdjoint()
        torch.testing.assert_close(block(smooth_state()), expected, rtol=1e-14, atol=1e-14)


class Substituting(Solver):
    order = 0

    def step(self, f: Any, t0: float, t1: float, state: Any) -> Any:
        return f(t0, state)


def test_the_adjoint_refuses_solvers_that_are_not_runge_kutta_methods() -> None:
    stepping = FixedSteps(Substituting())
    with pytest.raises(ValueError, match=r"ContinuousAdjoint was asked for with Substituting\(\).*or Backprop\(\)"):
        ODEBlock(Constant(Autonomous(nn.Identity())), stepping, ContinuousAdjoint())


def test_parameters_that_are_linear_in_t_are_solved_to_tolerance() -> None:
    problem = sloping_logistic()
    assert isinstance(problem.theta, PiecewiseLinear)
    block = ODEBlock(problem.theta, Adaptive("dopri5", 1e-8, 1e-8), ContinuousAdjoint())
    torch.testing.assert_close(block(problem.x), problem.exact, rtol=0, atol=1e-6)


def test_both_gradient_methods_take_the_same_adaptive_steps() -> None:
    block = smooth_block(Adaptive("dopri5", 1e-4, 1e-4))
    expected, evaluations = block(smooth_state()), block.evaluations
    block.gradient = ContinuousAdjoint()
    assert torch.equal(block(smooth_state()), expected)
    assert block.evaluations == evaluations


def test_torchdiffeqs_euler_equals_ours_to_rounding() -> None:
    block = smooth_block(Adaptive("euler"))
    expected = ODEBlock(block.theta, FixedSteps(Euler()))(smooth_state())
    torch.testing.assert_close(block(smooth_state()), expected, rtol=1e-14, atol=1e-14)
