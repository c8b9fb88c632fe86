"""Accepted steps that are taken again give the states of torchdiffeq."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torchdiffeq import odeint
from torchdiffeq._impl.odeint import SOLVERS

from odenet.blocks.stepping.accepted_steps import RecordedStep, accepted_steps, recording, require_one_step
from tests.laws import states
from tests.problems import Bernoulli

ONE_STEP_METHODS = [
    "dopri5",
    "dopri8",
    "bosh3",
    "fehlberg2",
    "adaptive_heun",
    "euler",
    "midpoint",
    "heun2",
    "heun3",
    "rk4",
]


@pytest.mark.parametrize("method", ONE_STEP_METHODS)
def test_accepted_steps_taken_again_give_the_same_states_as_torchdiffeq(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[RecordedStep] = []
    field, x, times = Bernoulli(2.0, 5.0), states(), torch.tensor([0.0, 1.0], dtype=torch.float64)
    monkeypatch.setitem(SOLVERS, "recording", recording(SOLVERS[method]))
    options: dict[str, Any] = {"step_t": times[1:]} if hasattr(SOLVERS[method], "tableau") else {"step_size": 0.1}
    options["recorded"] = recorded
    end: Any = odeint(field, x, times, method="recording", rtol=1e-5, atol=1e-5, options=options)
    state: Any = x
    assert len(recorded) > 1
    for step, record in zip(accepted_steps(method, SOLVERS[method], recorded), recorded, strict=True):
        torch.testing.assert_close(state, record.state, rtol=1e-13, atol=1e-13)
        state = step(field, state)
    torch.testing.assert_close(state, end[1], rtol=1e-13, atol=1e-13)
    assert [record.t1 for record in recorded[:-1]] == [record.t0 for record in recorded[1:]]


def test_the_last_slope_of_a_step_is_not_evaluated_again_by_the_next() -> None:
    recorded = [RecordedStep(0.0, 0.5, states(), perturb=False), RecordedStep(0.5, 1.0, states(), perturb=False)]
    times: list[float] = []

    def field(t: Any, x: torch.Tensor) -> torch.Tensor:
        times.append(float(t))
        return -x

    first, second = accepted_steps("bosh3", SOLVERS["bosh3"], recorded)
    end = second(field, first(field, states()))
    # torchdiffeq evaluates the last stage at the float before the end of a step, where the field may jump.
    assert times == [0.0, 0.25, 0.375, math.nextafter(0.5, 0), 0.75, 0.875, math.nextafter(1, 0)]
    assert isinstance(end, torch.Tensor)


@pytest.mark.parametrize("method", SOLVERS)
def test_methods_whose_steps_depend_on_earlier_steps_are_refused(method: str) -> None:
    if method in ONE_STEP_METHODS:
        require_one_step(method, SOLVERS[method])
        return
    with pytest.raises(ValueError, match=f"torchdiffeq's '{method}' .* use a Runge-Kutta method such as 'dopri5'"):
        require_one_step(method, SOLVERS[method])
