"""Solves by odenet and by its peers in PyTorch, each called as its documentation recommends: x(0) ↦ x(T)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torchdiffeq import odeint

from benchmarks.peers.dynamics import Problem
from odenet import Adaptive, Constant, Euler, FixedSteps, ODEBlock

Solve: TypeAlias = Callable[[Tensor], Tensor]
"""Differentiable."""


def adaptive_odenet(problem: Problem, tolerance: float) -> Solve:
    """Our own stepping: each sample has steps of its own, in compiled programs."""
    stepping = Adaptive("dopri5", rtol=tolerance, atol=tolerance, per_sample=True)
    block = ODEBlock(Constant(problem.field, horizon=problem.horizon), stepping)
    block.compiled = True
    return block


def adaptive_torchdiffeq(problem: Problem, tolerance: float) -> Solve:
    """One step for the whole batch."""
    span = problem.x.new_tensor([0.0, problem.horizon])

    def solve(x: Tensor) -> Tensor:
        solution: Any = odeint(problem.field, x, span, rtol=tolerance, atol=tolerance, method="dopri5")
        return solution[-1]

    return solve


def adaptive_torchode(problem: Problem, tolerance: float) -> Solve:
    """A step for each sample; the step size is not differentiated."""
    return _torchode(problem, tolerance, lambda step: step)


def adaptive_torchode_compiled(problem: Problem, tolerance: float) -> Solve:
    """The same with the step of its method compiled: `torch.compile(solver)` of its README compiles nothing of `solve`.

    Its whole `solve` compiles too, in a minute for each shape, and is then a quarter faster than this.
    """
    return _torchode(problem, tolerance, torch.compile)


def _torchode(problem: Problem, tolerance: float, compiled: Callable[[Any], Any]) -> Solve:
    torchode: Any = import_module("torchode")
    term = torchode.ODETerm(problem.field)
    method = torchode.Dopri5(term=term)
    method.step = compiled(method.step)
    controller = torchode.IntegralController(atol=tolerance, rtol=tolerance, term=term)
    solver = torchode.AutoDiffAdjoint(method, controller, backprop_through_step_size_control=False)

    def solve(x: Tensor) -> Tensor:
        start = x.new_zeros(len(x))
        return solver.solve(torchode.InitialValueProblem(x, start, start + problem.horizon, None)).ys[:, -1]

    return solve


def adaptive_torchdyn(problem: Problem, tolerance: float) -> Solve:
    """One step for the whole batch."""
    numerics: Any = import_module("torchdyn.numerics")
    span = problem.x.new_tensor([0.0, problem.horizon])

    def solve(x: Tensor) -> Tensor:
        return numerics.odeint(problem.field, x, span, solver="dopri5", rtol=tolerance, atol=tolerance)[1][-1]

    return solve


ADAPTIVE: dict[str, Callable[[Problem, float], Solve]] = {
    "odenet": adaptive_odenet,
    "torchdiffeq": adaptive_torchdiffeq,
    "torchode": adaptive_torchode,
    "torchode, compiled": adaptive_torchode_compiled,
    "torchdyn": adaptive_torchdyn,
}
"""dopri5 at a tolerance, relative and absolute."""


def euler_by_hand(problem: Problem, steps: int) -> Solve:
    """The loop that everybody would write."""
    h = problem.horizon / steps

    def solve(x: Tensor) -> Tensor:
        for k in range(steps):
            x = x + h * problem.field(k * h, x)
        return x

    return solve


def euler_odenet(problem: Problem, steps: int) -> ODEBlock:
    """A flow of one piece."""
    return ODEBlock(Constant(problem.field, horizon=problem.horizon), FixedSteps(Euler(), steps))


def euler_odenet_compiled(problem: Problem, steps: int) -> ODEBlock:
    """The same, compiled."""
    block = euler_odenet(problem, steps)
    block.compiled = True
    return block


def euler_torchdiffeq(problem: Problem, steps: int) -> Solve:
    """Its fixed grid."""
    span = problem.x.new_tensor([0.0, problem.horizon])

    def solve(x: Tensor) -> Tensor:
        options = {"step_size": problem.horizon / steps}
        solution: Any = odeint(problem.field, x, span, method="euler", options=options)
        return solution[-1]

    return solve


def euler_torchode(problem: Problem, steps: int) -> Solve:
    """Its controller that controls nothing."""
    torchode: Any = import_module("torchode")
    term = torchode.ODETerm(problem.field)
    solver = torchode.AutoDiffAdjoint(torchode.Euler(term=term), torchode.FixedStepController())

    def solve(x: Tensor) -> Tensor:
        start = x.new_zeros(len(x))
        asked = torchode.InitialValueProblem(x, start, start + problem.horizon, None)
        return solver.solve(asked, dt0=start + problem.horizon / steps).ys[:, -1]

    return solve


def euler_torchdyn(problem: Problem, steps: int) -> Solve:
    """Its fixed grid, of which only the end is kept."""
    numerics: Any = import_module("torchdyn.numerics")
    grid = torch.linspace(0, problem.horizon, steps + 1, dtype=problem.x.dtype)

    def solve(x: Tensor) -> Tensor:
        return numerics.odeint(problem.field, x, grid, solver="euler", save_at=grid[-1:])[1][-1]

    return solve


EULER: dict[str, Callable[[Problem, int], Solve]] = {
    "loop": euler_by_hand,
    "odenet": euler_odenet,
    "odenet, compiled": euler_odenet_compiled,
    "torchdiffeq": euler_torchdiffeq,
    "torchode": euler_torchode,
    "torchdyn": euler_torchdyn,
}
"""So many Euler steps."""
