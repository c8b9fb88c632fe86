"""Gradients, package by package: memory and time against the number of steps, and the error.

    python -m benchmarks.gradient_peers   # a minute; the record is runs/benchmarks/gradient_peers-DEVICE.json

A small MLP flow, differentiated by every package's own ways. The error is relative to backpropagation through the same
steps of the same package, in float32: where it is not that of rounding, the method has another gradient than that of
the network that was evaluated (the continuous adjoint has). Peak memory is of all tensors alive.

Goal: memory of `Reversible` at the most steps at most 1.1 times that at the fewest; the others' is what it is.
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
    """Of Euler, or of the package's own method, on [0, 2]."""
    batch: int = 32
    """Samples."""
    features: int = 16
    """Of a sample."""
    budget: float = 15.0
    """Seconds of the rounds."""


QUICK = GradientPeers(steps=(2, 8), batch=2, features=4, budget=0.0)


class Way(NamedTuple):
    """A way to the gradient, and plain backpropagation through the same steps: solves of a number of steps."""

    solve: Callable[[nn.Module, int], Solve]
    exact: Callable[[nn.Module, int], Solve]


def by_odenet(gradient: GradientMethod, field: nn.Module, steps: int) -> Solve:
    """Coupled Euler steps for `Reversible`, Euler steps for the others."""
    solver = Coupled(Euler()) if isinstance(gradient, Reversible) else Euler()
    return ODEBlock(Constant(Autonomous(field), horizon=HORIZON), FixedSteps(solver, steps), gradient)


def by_odenet_coupled(field: nn.Module, steps: int) -> Solve:
    """What `Reversible` is exact for."""
    return ODEBlock(Constant(Autonomous(field), horizon=HORIZON), FixedSteps(Coupled(Euler()), steps))


def by_odenet_leapfrog(field: nn.Module, steps: int) -> Solve:
    """Asynchronous leapfrog steps."""
    return ODEBlock(Constant(Autonomous(field), horizon=HORIZON), FixedSteps(AsynchronousLeapfrog(), steps))


def by_torchdiffeq(solver: Callable[..., Any], field: nn.Module, steps: int) -> Solve:
    """Euler, differentiated or with the continuous adjoint."""
    asked = {"method": "euler", "options": {"step_size": HORIZON / steps}}
    branch = Autonomous(field)
    return lambda x: solver(branch, x, x.new_tensor([0.0, HORIZON]), **asked)[-1]


def by_torchdiffeqpack(name: str, method: str, field: nn.Module, steps: int) -> Solve:
    """Euler, differentiated; or leapfrog, inverted (Zhuang et al. 2021): its other adjoint takes no fixed steps."""
    solver = getattr(import_module("TorchDiffEqPack"), name)
    branch = Autonomous(field)

    def solve(x: Tensor) -> Tensor:
        asked = {"method": method, "h": HORIZON / steps, "t0": 0.0, "t1": HORIZON, "rtol": 1.0, "atol": 1.0}
        return solver(branch, x, options={**asked, "print_neval": False, "neval_max": 2 * steps, "t_eval": None})

    return solve


def by_momentumnet(backprop: bool, field: nn.Module, steps: int) -> Solve:
    """A momentum ResNet (Sander et al. 2021), a scheme of its own; ∂L/∂θ of every step is kept.

    γ = 0.99 as in its documentation: x is inverted in floating point, whose rounding grows as γ^(-steps), so that with
    γ = 0.95 nothing is left of the gradient after 512 steps.
    """
    package: Any = import_module("momentumnet")
    scaled = nn.Sequential(field, _Times(HORIZON / steps))
    return package.MomentumNet([scaled] * steps, gamma=0.99, use_backprop=backprop)


class _Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


def by_torchsde(name: str, field: nn.Module, steps: int) -> Solve:
    """Reversible Heun steps without noise, differentiated or inverted (Kidger et al. 2021)."""
    package: Any = import_module("torchsde")
    options = {"adjoint_method": "adjoint_reversible_heun"} if name == "sdeint_adjoint" else {}

    def solve(x: Tensor) -> Tensor:
        span = x.new_tensor([0.0, HORIZON])
        asked = {"method": "reversible_heun", "dt": HORIZON / steps, **options}
        return getattr(package, name)(_WithoutNoise(field), x, span, **asked)[-1]

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


_EULER = partial(by_odenet, Backprop())

WAYS: dict[str, Way] = {
    BASELINE: Way(_EULER, _EULER),
    "odenet, Checkpointed()": Way(partial(by_odenet, Checkpointed()), _EULER),
    "odenet, Reversible()": Way(partial(by_odenet, Reversible()), by_odenet_coupled),
    "torchdiffeq, odeint": Way(partial(by_torchdiffeq, odeint), _EULER),
    "torchdiffeq, odeint_adjoint": Way(partial(by_torchdiffeq, odeint_adjoint), _EULER),
    "TorchDiffEqPack, odesolve": Way(partial(by_torchdiffeqpack, "odesolve", "Euler"), _EULER),
    "TorchDiffEqPack, odesolve_adjoint_sym12": Way(
        partial(by_torchdiffeqpack, "odesolve_adjoint_sym12", "FixedStep_Sym12Async"), by_odenet_leapfrog
    ),
    "momentumnet, inverted": Way(partial(by_momentumnet, False), partial(by_momentumnet, True)),
    "torchsde, sdeint_adjoint": Way(partial(by_torchsde, "sdeint_adjoint"), partial(by_torchsde, "sdeint")),
}


def gradient(field: nn.Module, solve: Solve, x: Tensor) -> list[Tensor]:
    """Of Σ x(T)², in x(0) and in the parameters."""
    x = x.detach().requires_grad_()
    field.zero_grad()
    solve(x).square().sum().backward()
    return [tensor.grad for tensor in (x, *field.parameters()) if tensor.grad is not None]


def measured(settings: GradientPeers) -> dict[str, Any]:
    """By way and number of steps: seconds of all rounds, peak bytes, and the relative error."""
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
    """Memory at the most steps over that at the fewest, and what stands beside it."""
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
    """Everything at once, so that all ways are timed by turns; a line for each package that is not here."""
    result = run.once("all ways", partial(measured, settings))
    rows = [row(who, settings.steps, result) for who in result["ways"]]
    missing = [{"quantity": name, "goal": "–", "measured": "–", "beside it": "not installed"} for name in absent(WAYS)]
    return rows + missing


def main() -> None:
    """Measure everything, once, and print the table."""
    run_benchmark("gradient_peers", QUICK, GradientPeers(), measure)


if __name__ == "__main__":
    main()
