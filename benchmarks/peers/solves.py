"""Solves x(0) ↦ x(T) by odenet and by other PyTorch packages, each called as its documentation recommends."""

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
"""Differentiable function x(0) ↦ x(T)."""


def adaptive_odenet(problem: Problem, tolerance: float) -> Solve:
    """Return a solve by odenet: each sample has its own steps, in compiled programs."""
    stepping = Adaptive("dopri5", rtol=tolerance, atol=tolerance, per_sample=True)
    block = ODEBlock(Constant(problem.field, horizon=problem.horizon), stepping)
    block.compiled = True
    return block


def adaptive_torchdiffeq(problem: Problem, tolerance: float) -> Solve:
    """Return a solve by torchdiffeq: the whole batch shares its steps."""
    span = problem.x.new_tensor([0.0, problem.horizon])

    def solve(x: Tensor) -> Tensor:
        solution: Any = odeint(problem.field, x, span, rtol=tolerance, atol=tolerance, method="dopri5")
        return solution[-1]

    return solve


def adaptive_torchode(problem: Problem, tolerance: float) -> Solve:
    """Return a solve by torchode: each sample has its own steps; step sizes are not differentiated."""
    return _torchode(problem, tolerance, lambda step: step)


def adaptive_torchode_compiled(problem: Problem, tolerance: float) -> Solve:
    """Return a solve by torchode with the step of its method compiled.

    `torch.compile(solver)`, as in its README, compiles nothing of `solve`. Compiling the whole `solve` takes a minute
    for each shape and is then a quarter faster than this.
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
    """Return a solve by torchdyn: the whole batch shares its steps."""
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
"""Solves with dopri5 at a relative and absolute tolerance, by contestant."""


def euler_by_hand(problem: Problem, steps: int) -> Solve:
    """Return the plain hand-written loop of Euler steps."""
    h = problem.horizon / steps

    def solve(x: Tensor) -> Tensor:
        for k in range(steps):
            x = x + h * problem.field(k * h, x)
        return x

    return solve


def euler_odenet(problem: Problem, steps: int) -> ODEBlock:
    """Return a solve by odenet: a flow of one piece."""
    return ODEBlock(Constant(problem.field, horizon=problem.horizon), FixedSteps(Euler(), steps))


def euler_odenet_compiled(problem: Problem, steps: int) -> ODEBlock:
    """Return a compiled solve by odenet."""
    block = euler_odenet(problem, steps)
    block.compiled = True
    return block


def euler_torchdiffeq(problem: Problem, steps: int) -> Solve:
    """Return a solve by torchdiffeq on its fixed grid."""
    span = problem.x.new_tensor([0.0, problem.horizon])

    def solve(x: Tensor) -> Tensor:
        options = {"step_size": problem.horizon / steps}
        solution: Any = odeint(problem.field, x, span, method="euler", options=options)
        return solution[-1]

    return solve


def euler_torchode(problem: Problem, steps: int) -> Solve:
    """Return a solve by torchode with its controller for fixed steps."""
    torchode: Any = import_module("torchode")
    term = torchode.ODETerm(problem.field)
    solver = torchode.AutoDiffAdjoint(torchode.Euler(term=term), torchode.FixedStepController())

    def solve(x: Tensor) -> Tensor:
        start = x.new_zeros(len(x))
        initial_value_problem = torchode.InitialValueProblem(x, start, start + problem.horizon, None)
        return solver.solve(initial_value_problem, dt0=start + problem.horizon / steps).ys[:, -1]

    return solve


def euler_torchdyn(problem: Problem, steps: int) -> Solve:
    """Return a solve by torchdyn on its fixed grid, of which only the end is kept."""
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
"""Solves with a given number of Euler steps, by contestant."""
