"""Benchmark of gradient methods in several packages: memory, time and error against the number of steps.

    python -m benchmarks.gradient_peers   # a minute; the record is runs/benchmarks/gradient_peers-DEVICE.json

A small MLP flow is differentiated by the gradient methods of every package. The error is relative to backpropagation
through the same steps of the same package, in float32: if it exceeds rounding errors, the method does not compute the
gradient of the network that was evaluated (as for the continuous adjoint). Peak memory counts all tensors alive.

Goal: with `Reversible`, memory at the most steps at most 1.1 times the memory at the fewest; the others have no goal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torchdiffeq import odeint, odeint_adjoint

from benchmarks.command import Row, device, run_benchmark
from benchmarks.peers.packages import absent, installed
from benchmarks.side_by_side import milliseconds, side_by_side
from odenet import (
    AsynchronousLeapfrog,
    Autonomous,
    Backprop,
    Checkpointed,
    Constant,
    Coupled,
    Euler,
    FixedSteps,
    ODEBlock,
    Reversible,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.measure import peak_bytes, ratio
from odenet.training import Run

Solve: TypeAlias = Callable[[Tensor], Tensor]

HORIZON = 2.0
BASELINE = "odenet, Backprop()"
GOALS = {"odenet, Reversible()": "≤ 1.1"}


@dataclass(frozen=True)
class GradientPeers:
    """Settings of the benchmark."""

    steps: tuple[int, ...] = (8, 64, 512)
    """Numbers of steps of Euler's method, or of the package's own method, on [0, 2]."""
    batch: int = 32
    """Number of samples."""
    features: int = 16
    """Number of features of a sample."""
    budget: float = 15.0
    """Seconds for the rounds."""


QUICK = GradientPeers(steps=(2, 8), batch=2, features=4, budget=0.0)


class Way(NamedTuple):
    """A gradient method, and backpropagation through the same steps as its reference: functions that make solves."""

    solve: Callable[[nn.Module, int], Solve]
    exact: Callable[[nn.Module, int], Solve]


def by_odenet(gradient: GradientMethod, field: nn.Module, steps: int) -> Solve:
    """Return a flow of odenet with coupled Euler steps for `Reversible`, and Euler steps for other gradient methods."""
    solver = Coupled(Euler()) if isinstance(gradient, Reversible) else Euler()
    return ODEBlock(Constant(Autonomous(field), horizon=HORIZON), FixedSteps(solver, steps), gradient)


def by_odenet_coupled(field: nn.Module, steps: int) -> Solve:
    """Return a flow with coupled Euler steps and backpropagation, the reference for `Reversible`."""
    return ODEBlock(Constant(Autonomous(field), horizon=HORIZON), FixedSteps(Coupled(Euler()), steps))


def by_odenet_leapfrog(field: nn.Module, steps: int) -> Solve:
    """Return a flow with asynchronous leapfrog steps and backpropagation."""
    return ODEBlock(Constant(Autonomous(field), horizon=HORIZON), FixedSteps(AsynchronousLeapfrog(), steps))


def by_torchdiffeq(solver: Callable[..., Any], field: nn.Module, steps: int) -> Solve:
    """Return a solve by torchdiffeq with Euler steps, with backpropagation or the continuous adjoint."""
    options = {"method": "euler", "options": {"step_size": HORIZON / steps}}
    branch = Autonomous(field)
    return lambda x: solver(branch, x, x.new_tensor([0.0, HORIZON]), **options)[-1]


def by_torchdiffeqpack(name: str, method: str, field: nn.Module, steps: int) -> Solve:
    """Return a solve by TorchDiffEqPack: Euler with backpropagation, or inverted leapfrog steps (Zhuang et al. 2021).

    Its other adjoint method has no fixed steps.
    """
    solver = getattr(import_module("TorchDiffEqPack"), name)
    branch = Autonomous(field)

    def solve(x: Tensor) -> Tensor:
        given = {"method": method, "h": HORIZON / steps, "t0": 0.0, "t1": HORIZON, "rtol": 1.0, "atol": 1.0}
        return solver(branch, x, options={**given, "print_neval": False, "neval_max": 2 * steps, "t_eval": None})

    return solve


def by_momentumnet(backprop: bool, field: nn.Module, steps: int) -> Solve:
    """Return a momentum ResNet (Sander et al. 2021), which has its own scheme and keeps ∂L/∂θ of every step.

    γ = 0.99 as in its documentation: x is reconstructed in floating point with rounding errors that grow like
    γ^(-steps), so that γ = 0.95 would leave no correct digit of the gradient after 512 steps.
    """
    package: Any = import_module("momentumnet")
    scaled = nn.Sequential(field, _Scale(HORIZON / steps))
    return package.MomentumNet([scaled] * steps, gamma=0.99, use_backprop=backprop)


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def by_torchsde(name: str, field: nn.Module, steps: int) -> Solve:
    """Return a solve by torchsde: reversible Heun without noise, differentiated or inverted (Kidger et al. 2021)."""
    package: Any = import_module("torchsde")
    adjoint = {"adjoint_method": "adjoint_reversible_heun"} if name == "sdeint_adjoint" else {}

    def solve(x: Tensor) -> Tensor:
        span = x.new_tensor([0.0, HORIZON])
        options = {"method": "reversible_heun", "dt": HORIZON / steps, **adjoint}
        return getattr(package, name)(_WithoutNoise(field), x, span, **options)[-1]

    return solve


class _WithoutNoise(nn.Module):
    noise_type, sde_type = "diagonal", "stratonovich"

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def f(self, t: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002
        return self.field(x)

    def g(self, t: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(x)


_EULER_BACKPROP = partial(by_odenet, Backprop())

WAYS: dict[str, Way] = {
    BASELINE: Way(_EULER_BACKPROP, _EULER_BACKPROP),
    "odenet, Checkpointed()": Way(partial(by_odenet, Checkpointed()), _EULER_BACKPROP),
    "odenet, Reversible()": Way(partial(by_odenet, Reversible()), by_odenet_coupled),
    "torchdiffeq, odeint": Way(partial(by_torchdiffeq, odeint), _EULER_BACKPROP),
    "torchdiffeq, odeint_adjoint": Way(partial(by_torchdiffeq, odeint_adjoint), _EULER_BACKPROP),
    "TorchDiffEqPack, odesolve": Way(partial(by_torchdiffeqpack, "odesolve", "Euler"), _EULER_BACKPROP),
    "TorchDiffEqPack, odesolve_adjoint_sym12": Way(
        partial(by_torchdiffeqpack, "odesolve_adjoint_sym12", "FixedStep_Sym12Async"), by_odenet_leapfrog
    ),
    "momentumnet, inverted": Way(partial(by_momentumnet, False), partial(by_momentumnet, True)),
    "torchsde, sdeint_adjoint": Way(partial(by_torchsde, "sdeint_adjoint"), partial(by_torchsde, "sdeint")),
}


def gradient(field: nn.Module, solve: Solve, x: Tensor) -> list[Tensor]:
    """Compute the gradients of Σ x(T)² with respect to x(0) and the parameters."""
    x = x.detach().requires_grad_()
    field.zero_grad()
    solve(x).square().sum().backward()
    return [tensor.grad for tensor in (x, *field.parameters()) if tensor.grad is not None]


def measured(settings: GradientPeers) -> dict[str, Any]:
    """Measure seconds of all rounds, peak bytes and relative error, by method and number of steps."""
    torch.manual_seed(0)
    field = nn.Sequential(nn.Linear(settings.features, 32), nn.Tanh(), nn.Linear(32, settings.features))
    field, x = field.to(device()), torch.randn(settings.batch, settings.features).to(device())
    works: dict[str, Callable[[], object]] = {}
    found: dict[str, Any] = {}
    for who, way in installed(WAYS).items():
        found[who] = {"peak_bytes": {}, "error": {}}
        for steps in settings.steps:
            work = partial(gradient, field, way.solve(field, steps), x)
            exact = torch.cat([part.ravel() for part in gradient(field, way.exact(field, steps), x)])
            ours = torch.cat([part.ravel() for part in work()])
            found[who]["error"][str(steps)] = float((ours - exact).norm() / exact.norm())
            found[who]["peak_bytes"][str(steps)] = peak_bytes(work)
            works[f"{who}|{steps}"] = work
    return {"ways": found, "seconds": side_by_side(works, settings.budget)}


def row(who: str, steps: tuple[int, ...], result: Mapping[str, Any]) -> Row:
    """Return the table row: memory at the most steps relative to the fewest, with memory, time and error."""
    few, many = str(steps[0]), str(steps[-1])
    found, seconds = result["ways"][who], result["seconds"]
    most = found["peak_bytes"][many]
    share = ratio(seconds, f"{who}|{many}", f"{BASELINE}|{many}")
    return {
        "quantity": f"{who}: peak memory at {many} steps over that at {few}",
        "goal": GOALS.get(who, "–"),
        "measured": f"{most / found['peak_bytes'][few]:.2f}",
        "beside it": f"{most / 1e6:.2f} MB, {milliseconds(seconds[f'{who}|{many}'])}, {share:.2f} times backprop; "
        f"error of the gradient {max(found['error'].values()):.0e}",
    }


def measure(settings: GradientPeers, run: Run) -> list[Row]:
    """Measure all methods together, so that they are timed in turn, and return the table with the missing packages."""
    result = run.once("all ways", partial(measured, settings))
    rows = [row(who, settings.steps, result) for who in result["ways"]]
    missing = [{"quantity": name, "goal": "–", "measured": "–", "beside it": "not installed"} for name in absent(WAYS)]
    return rows + missing


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    run_benchmark("gradient_peers", QUICK, GradientPeers(), measure)


if __name__ == "__main__":
    main()
