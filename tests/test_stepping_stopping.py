"""A solve that cannot go on stops with the best state and a warning of the cause; nothing hangs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from odenet import Adaptive, BudgetWarning, CompileWarning, Constant, FixedSteps, MLPBranch, ODEBlock
from odenet.blocks.stepping import stopping
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.stepping.stopping import Stopped, default_budget, reason_of, require_end_state
from odenet.blocks.stepping.torchdiffeq_bridge import solvers
from odenet.blocks.theta.base import Time


class VanDerPol(nn.Module):
    def forward(self, t: Time, x: Tensor) -> Tensor:
        return torch.stack([x[:, 1], 5 * (1 - x[:, 0] ** 2) * x[:, 1] - x[:, 0]], dim=1)


def start(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor([[2.0, 0.0]], dtype=dtype)


def test_error_control_has_a_budget_by_default_and_fixed_steps_have_none() -> None:
    assert default_budget(["max_num_steps"], solvers()["dopri5"]) == 6 * 4096
    assert default_budget(["max_num_steps"], solvers()["bosh3"]) == 3 * 4096
    assert default_budget(["solver"], solvers()["scipy_solver"]) == 6 * 4096
    assert default_budget(["step_size"], solvers()["rk4"]) == math.inf


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "scipy_solver"])
def test_a_solve_per_batch_ends_at_the_default_budget(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "MOST_ATTEMPTS", 40)
    block = ODEBlock(Constant(VanDerPol(), horizon=1e6), Adaptive(method, 1e-8, 1e-8))
    with torch.no_grad(), pytest.warns(BudgetWarning, match="the default budget of .* evaluations on a piece is spent"):
        block(start())
    assert block.evaluations <= 40 * 6


@pytest.mark.parametrize("per_sample", [False, True])
def test_the_warning_names_a_tolerance_below_rounding_and_does_not_blame_the_field(
    per_sample: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "MOST_ATTEMPTS", 40)
    stepping = Adaptive("dopri5", 1e-300, 1e-300, max_evaluations=400, per_sample=per_sample)
    block = ODEBlock(Constant(VanDerPol(), horizon=1e3), stepping)
    with torch.no_grad(), pytest.warns(BudgetWarning) as warned:
        block(start())
    message = str(warned[0].message)
    assert "raise rtol = 1e-300, which is at or below the rounding of torch.float64" in message
    assert "smoother" not in message
    assert "not finite" not in message


@pytest.mark.parametrize("stepping", [FixedSteps(), Adaptive(), Adaptive("rk4"), Adaptive(per_sample=True)], ids=repr)
def test_a_horizon_that_the_dtype_of_the_state_cannot_represent_is_refused(stepping: Stepping) -> None:
    block = ODEBlock(Constant(VanDerPol(), horizon=1e100), stepping)
    with pytest.raises(ValueError, match=r"up to t = 1e\+100 .* whose largest number is 3.4e\+38.*: use a shorter"):
        block(start(torch.float32))


def test_the_warning_of_a_stopped_solve_describes_its_gradient() -> None:
    block = ODEBlock(Constant(MLPBranch(2).double(), horizon=5.0), Adaptive("dopri5", 1e-10, 1e-10, max_evaluations=30))
    with pytest.warns(BudgetWarning, match="with a gradient that treats this t as independent of x"):
        block(start())


def test_a_compiled_block_warns_that_torchdiffeqs_steps_run_uncompiled() -> None:
    block = ODEBlock(Constant(MLPBranch(2).double()), Adaptive())
    block.compiled = True
    with pytest.warns(CompileWarning, match="torchdiffeq takes the steps one by one, so it runs uncompiled: use per_s"):
        block(start())


def test_a_solution_without_an_end_state_stops_the_solve() -> None:
    require_end_state(torch.ones(2, 3))
    with pytest.raises(Stopped, match="found no step small enough"):
        require_end_state(torch.ones(1, 3))


def test_an_assertion_that_is_not_about_steps_is_raised_again() -> None:
    assert reason_of(AssertionError("underflow in dt 0.0")) == "underflow in dt 0.0"
    assert reason_of(Stopped("the budget")) == "the budget"
    with pytest.raises(AssertionError, match="else"):
        reason_of(AssertionError("something else"))
