"""Each sample is solved by its own steps, as accurately as by torchdiffeq or SciPy, and whatever the others do."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from odenet import (
    Adaptive,
    Backprop,
    BudgetWarning,
    Checkpointed,
    CompileWarning,
    Constant,
    MLPBranch,
    NonFiniteState,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    group_norm,
)
from odenet.blocks.branches import ConcatConvBranch
from odenet.blocks.compile import programs as compiled
from odenet.blocks.errors import SolveReport, Status
from odenet.blocks.per_sample import solve as per_sample
from odenet.blocks.solvers.embedded import PAIRS
from odenet.blocks.theta.base import Time
from tests.laws import Graphs, SteppingLaws, logistic_nodes, slope, states
from tests.problems import Logistic


class Function(nn.Module):
    """F(t, x), given as a function."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.function(t, x)


def stepping(tolerance: float = 1e-6, method: str = "dopri5", **options: Any) -> Adaptive:
    return Adaptive(method, tolerance, tolerance, per_sample=True, **options)


def flow(function: Callable[[Any, Tensor], Tensor], horizon: float = 1.0, **options: Any) -> ODEBlock:
    return ODEBlock(Constant(Function(function), horizon), stepping(**options))


def van_der_pol(mu: float) -> Callable[[Any, Tensor], Tensor]:
    return lambda _, x: torch.stack([x[:, 1], mu * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], dim=1)


def solved(block: ODEBlock, x: Tensor) -> tuple[Tensor, SolveReport]:
    with torch.no_grad():
        y = block(x)
    assert block.last_solve is not None
    return y, block.last_solve


class PerSampleLaws(SteppingLaws):
    """The laws of a stepping, with times that are tensors of one t per sample."""

    @pytest.mark.parametrize("horizon", [0.1, 1.0, 49.0, math.pi, 1 / 3])
    def test_it_evaluates_each_branch_only_on_its_closed_piece(self, horizon: float) -> None:
        seen: list[list[Tensor]] = [[] for _ in range(7)]

        def spying(index: int) -> nn.Module:
            return Function(lambda t, x: (seen[index].append(t), x.sigmoid())[1])

        theta = PiecewiseConstant(map(spying, range(7)), horizon)
        with torch.no_grad():
            ODEBlock(theta, self.stepping)(states())
        for times, piece in zip(seen, theta.pieces(), strict=True):
            assert piece.start <= min(float(t.min()) for t in times)
            assert max(float(t.max()) for t in times) <= piece.end


class TestDopri5(PerSampleLaws):
    stepping = stepping(1e-7)


class TestTsit5WithABudget(PerSampleLaws):
    stepping = stepping(1e-7, "tsit5", max_evaluations=5000)


class TestBosh3(PerSampleLaws):
    stepping = stepping(1e-7, "bosh3")


class TestHeunEuler(PerSampleLaws):
    stepping = stepping(1e-6, "adaptive_heun")
    error = 1e-4


@pytest.mark.parametrize("method", PAIRS)
def test_a_sample_has_the_same_result_alone_and_in_any_batch(method: str) -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([MLPBranch(3).double() for _ in range(2)], 3.0), stepping(1e-5, method))
    x = torch.randn(17, 3, dtype=torch.float64) * torch.logspace(-2, 2, 17, dtype=torch.float64)[:, None]
    together, report = solved(block, x)
    assert report.accepted.unique().numel() > 1
    for indices in ([4], [0, 16], [16, 3, 2, 1, 5, 9]):
        alone, own = solved(block, x[indices])
        torch.testing.assert_close(alone, together[indices], rtol=1e-12, atol=1e-14)
        for found, expected in zip(own, report, strict=True):
            torch.testing.assert_close(found, expected[indices], rtol=1e-12, atol=0)


def test_a_sample_of_a_field_without_matrix_products_is_the_same_bit_for_bit() -> None:
    block = flow(van_der_pol(1.0), 10.0)
    x = torch.randn(33, 2, dtype=torch.float64)
    together, _ = solved(block, x)
    for index in (0, 13, 32):
        assert torch.equal(solved(block, x[index : index + 1])[0], together[index : index + 1])


def test_a_stiff_sample_does_not_increase_the_evaluations_of_the_others() -> None:
    rates = torch.tensor([[1.0], [1.0], [300.0]])
    _, report = solved(flow(lambda _, x: -rates * x), torch.ones(3, 2))
    assert report.evaluations[0] == report.evaluations[1] < report.evaluations[2] / 10
    assert (report.evaluations == 2 + 6 * (report.accepted + report.rejected)).all()


def test_evaluations_of_the_block_are_calls_of_its_branch() -> None:
    calls: list[int] = []
    block = flow(lambda _, x: (calls.append(len(x)), -x)[1])
    solved(block, states())
    assert block.evaluations == len(calls)


@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4, 4)], ids=str)
def test_it_agrees_with_torchdiffeq(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    branch = MLPBranch(3) if len(shape) == 2 else ConcatConvBranch(2, norm=group_norm)
    block = ODEBlock(Constant(branch.double(), 0.2), stepping(1e-9))
    x = torch.randn(shape, dtype=torch.float64)
    ours, _ = solved(block, x)
    block.stepping = Adaptive("dopri5", 1e-9, 1e-9)
    with torch.no_grad():
        torch.testing.assert_close(ours, block(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["dopri5", "tsit5"])
def test_it_agrees_with_scipy_sample_by_sample(method: str) -> None:
    from scipy.integrate import solve_ivp

    x = torch.tensor([[2.0, 0.0], [0.1, -3.0], [-1.0, 1.0]], dtype=torch.float64)
    ours, _ = solved(flow(van_der_pol(2.0), 5.0, tolerance=1e-10, method=method), x)

    def f(_: float, x: np.ndarray) -> list[float]:
        return [x[1], 2 * (1 - x[0] ** 2) * x[1] - x[0]]

    theirs = [solve_ivp(f, (0, 5), sample.numpy(), "DOP853", rtol=1e-12, atol=1e-12).y[:, -1] for sample in x]
    torch.testing.assert_close(ours, torch.tensor(np.array(theirs)), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("method", ["dopri5", "tsit5", "bosh3"])
def test_the_error_is_proportional_to_the_tolerance(method: str) -> None:
    x = torch.randn(16, 2, dtype=torch.float64)
    exact, _ = solved(flow(van_der_pol(1.0), 5.0, tolerance=1e-12), x)
    inverse = (10**4, 10**5, 10**6, 10**7)
    errors = [
        float((solved(flow(van_der_pol(1.0), 5.0, tolerance=1 / tol, method=method), x)[0] - exact).norm())
        for tol in inverse
    ]
    assert slope(inverse, errors) == pytest.approx(1, abs=0.2)


def test_the_state_may_have_a_batch_axis_alone() -> None:
    y, _ = solved(flow(lambda _, x: -x, 2.0, tolerance=1e-10), torch.tensor([1.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(y, math.exp(-2) * torch.tensor([1.0, 3.0], dtype=torch.float64), rtol=1e-8, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_precision_is_kept(dtype: torch.dtype) -> None:
    y, report = solved(flow(lambda _, x: -x, tolerance=1e-2), torch.ones(2, 3, dtype=dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), torch.full((2, 3), math.exp(-1), dtype=torch.float64), rtol=2e-2, atol=0)
    assert (report.t == 1).all()


@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (0, 2, 4, 4)], ids=str)
def test_an_empty_state_is_returned_unchanged(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape)
    assert torch.equal(flow(lambda _, x: -x)(x), x)


@pytest.mark.parametrize("x", [torch.tensor(1.0), torch.ones(2, 2, dtype=torch.complex64)], ids=["scalar", "complex"])
def test_a_state_without_a_batch_axis_or_with_complex_numbers_is_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"per_sample=True .*the first axis must be the batch.*: pass a floating"):
        flow(lambda _, x: -x)(x)


def statuses(report: SolveReport) -> list[int]:
    return report.status.tolist()


def test_a_sample_that_spends_its_budget_does_not_stop_the_others() -> None:
    rates = torch.tensor([[1.0], [100.0]])
    block = flow(lambda _, x: -rates * x, max_evaluations=60)
    with pytest.warns(BudgetWarning, match=r"for 1 of 2 samples, .*: 1 spent the budget .*raise max_evaluations"):
        y, report = solved(block, torch.ones(2, 2))
    assert statuses(report) == [Status.FINISHED, Status.BUDGET_SPENT]
    assert (report.evaluations <= 60).all()
    torch.testing.assert_close(y, torch.exp(-rates * report.t.float()[:, None]).expand(2, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_a_budget_of_less_than_a_step_leaves_the_state_unchanged(budget: int) -> None:
    x = states()
    with pytest.warns(BudgetWarning, match=r"the first one at t = 0: 3 spent the budget"):
        y, report = solved(flow(lambda _, x: -x, max_evaluations=budget), x)
    assert torch.equal(y, x)
    assert (report.evaluations == 0).all()


def test_a_budget_is_shared_by_the_pieces() -> None:
    theta = PiecewiseConstant([Logistic(1.0, 2.0) for _ in range(5)])
    with pytest.warns(BudgetWarning):
        _, report = solved(ODEBlock(theta, stepping(max_evaluations=100)), states())
    assert (report.evaluations <= 100).all()
    assert (report.evaluations > 90).all()
    assert ((report.t > 0) & (report.t < 5)).all()


def test_without_a_budget_the_attempts_on_a_piece_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_sample, "MOST_ATTEMPTS", 50)
    with pytest.warns(BudgetWarning, match="2 spent the budget"):
        _, report = solved(flow(van_der_pol(1000.0), 3000.0), torch.tensor([[2.0, 0.0], [1.0, 0.1]]))
    assert (report.accepted + report.rejected == 50).all()


def test_a_blow_up_in_finite_time_stops_only_the_sample_that_blows_up() -> None:
    x = torch.tensor([[1.0], [0.01], [0.5]], dtype=torch.float64)
    with pytest.warns(BudgetWarning, match="2 needed steps below the rounding of t"):
        y, report = solved(flow(lambda _, x: x * x, 5.0), x)
    assert statuses(report) == [Status.STEP_UNDERFLOW, Status.FINISHED, Status.STEP_UNDERFLOW]
    torch.testing.assert_close(report.t, torch.tensor([1.0, 5.0, 2.0], dtype=torch.float64), rtol=1e-4, atol=0)
    torch.testing.assert_close(y[1], x[1] / (1 - 5 * x[1]), rtol=1e-5, atol=0)
    assert torch.isfinite(y).all()


@pytest.mark.parametrize(
    "function", [lambda _, x: x * math.nan, lambda _, x: x / 0, lambda _, x: 1e38 * 1e38 * x], ids=["nan", "inf", "big"]
)
def test_a_slope_that_is_not_finite_leaves_the_state_unchanged(function: Callable[[Any, Tensor], Tensor]) -> None:
    x = states().float()
    with pytest.warns(BudgetWarning, match="3 met a non-finite state or slope"):
        y, report = solved(flow(function), x)
    assert torch.equal(y, x)
    assert statuses(report) == [Status.NOT_FINITE] * 3


def test_a_sample_whose_field_becomes_nan_does_not_affect_the_others() -> None:
    x = torch.tensor([[4.0], [0.25]], dtype=torch.float64)  # x′ = -√x reaches 0 at t = 2·√x
    with pytest.warns(BudgetWarning, match="1 of 2 samples"):
        y, report = solved(flow(lambda _, x: torch.where(x < 1e-3, math.nan, -x.sqrt()), 2.0), x)
    assert statuses(report) == [Status.FINISHED, Status.NOT_FINITE]
    assert float(y[0]) == pytest.approx(1.0, rel=1e-5)
    assert float(report.t[1]) == pytest.approx(1.0 - 2 * math.sqrt(1e-3), rel=1e-3)


def test_a_state_that_is_not_finite_raises_on_a_cpu() -> None:
    x = states()
    x[1, 0] = math.nan
    with pytest.warns(BudgetWarning), pytest.raises(NonFiniteState, match=r"state of ODEBlock is NaN at t = 0"):
        flow(lambda _, x: -x)(x)


def test_a_solve_with_a_tolerance_below_rounding_spends_its_budget_and_names_the_tolerance() -> None:
    with pytest.warns(
        BudgetWarning, match=r"raise rtol = 1e-18, which is at or below the rounding of torch\.float64, 2e-16"
    ):
        solved(flow(lambda _, x: -x, 10.0, tolerance=1e-18, max_evaluations=300), states())


def test_a_state_with_zeros_is_solved_with_a_relative_tolerance_alone() -> None:
    block = ODEBlock(Constant(Logistic(1.0)), Adaptive("dopri5", 1e-6, 0.0, per_sample=True))
    x = torch.tensor([[0.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    y, _ = solved(block, x)
    assert torch.equal(y == 0, x == 0)


def test_a_solve_that_finishes_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(ODEBlock(PiecewiseLinear(logistic_nodes(3)), stepping()), states())


def test_a_sample_that_stopped_does_not_change_on_later_pieces() -> None:
    rates = torch.tensor([[1.0], [1e4]])
    theta = PiecewiseConstant([Function(lambda _, x: -rates * x) for _ in range(3)], 3.0)
    with pytest.warns(BudgetWarning, match="for 1 of 2 samples"):
        y, report = solved(ODEBlock(theta, stepping(max_evaluations=200)), torch.ones(2, 2))
    assert float(report.t[0]) == 3.0
    assert float(report.t[1]) < 1.0
    torch.testing.assert_close(y[0], torch.full((2,), math.exp(-3)), rtol=1e-4, atol=0)


def test_without_steps_per_sample_there_is_no_report() -> None:
    block = flow(lambda _, x: -x)
    solved(block, states())
    block.stepping = Adaptive("rk4")
    block(states())
    assert block.last_solve is None


@pytest.fixture
def quick_compiler(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """Replace the compiler by one that counts the graphs and runs them eagerly."""
    torch.compiler.reset()
    graphs = Graphs()
    monkeypatch.setattr(compiled, "BACKEND", graphs)
    return graphs


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_a_compiled_block_takes_the_same_steps_and_has_the_same_gradient(quick_compiler: Graphs, gradient: Any) -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([MLPBranch(2).double() for _ in range(2)]), stepping(1e-5), gradient)
    x = torch.randn(6, 2, dtype=torch.float64)
    found = []
    for block.compiled in (False, True):
        y, report = solved(block, x)
        inputs = x.clone().requires_grad_()
        of_inputs = torch.autograd.grad(block(inputs).sum(), [inputs, *block.parameters()])
        found.append((y, *report, *of_inputs))
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-13)
    # The pieces share programs: attempts with and without a record or a gradient, and steps taken again.
    assert quick_compiler.count == (2 if isinstance(gradient, Backprop) else 5)


@pytest.mark.usefixtures("quick_compiler")
def test_a_compiled_block_attempts_no_more_steps_than_an_easy_problem_needs() -> None:
    block = flow(lambda _, x: -x, 0.5, tolerance=1e-4)
    block.compiled = True
    _, report = solved(block, states())
    attempts = int((report.accepted + report.rejected).max())
    assert 1 < attempts < per_sample.ATTEMPTS_PER_GRAPH
    assert block.evaluations == 2 + 6 * attempts


def test_a_compiled_block_solves_again_without_compiling_again(quick_compiler: Graphs) -> None:
    block = flow(van_der_pol(1.0), 3.0)
    block.compiled = True
    for scale, horizon in ((1.0, 3.0), (2.0, 3.0), (1.0, 5.0)):
        block.theta.horizon = horizon
        solved(block, scale * states())
    assert quick_compiler.count == 2  # a program of several attempts, and near the end one of a single attempt


def test_a_field_that_is_a_new_function_in_every_solve_is_not_compiled(quick_compiler: Graphs) -> None:
    block = ODEBlock(PiecewiseLinear(logistic_nodes(3)), stepping())
    plain, _ = solved(block, states())
    block.compiled = True
    with pytest.warns(CompileWarning, match=r"its field is a new function in every solve .*: use Constant or"):
        assert torch.equal(solved(block, states())[0], plain)
    assert quick_compiler.count == 0
