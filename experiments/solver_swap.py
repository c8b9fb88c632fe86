"""Is a trained network an ODE, or an artefact of its solver?

A flow is trained with one solver and step, and tested with every solver and with 1, 2, 4 and 8 steps on each piece of
θ, its weights unchanged. If the answers stay, the net is the flow of a vector field; if they change, the net has
learned the error of its solver along with its task (Queiruga et al. 2020; Ott et al. 2021). Trainings:

- euler, midpoint, rk4: one step a piece, h = 1;
- dopri5: steps chosen by error control, an ODE-Net;
- euler/4: four Euler steps a piece, h = 1/4, with the same parameters;
- shared: one θ for all depth-times, two Euler steps, half the parameters.

    python -m experiments.solver_swap demo     # digits: 5 minutes on two cores
    python -m experiments.solver_swap cpu      # Fashion-MNIST: 50 minutes on one core
    python -m experiments.solver_swap gpu      # at 28×28, three stages, 6 epochs (full: 10): 34 s a seed on an H100

Each test is made twice: in evaluation mode, and with every evaluation normalized by its own batch, as in training.
BatchNorm keeps one set of running statistics per branch. If the branch is evaluated more than once in a pass (several
stages, several steps, or one θ), these are a mixture that fits none of its evaluations, and then the accuracy in
evaluation mode depends on that mixture as much as on the solver.

Expected (a prototype on Fashion-MNIST, Euler, h = 1): 91.6 % becomes 88.3, 84.4 and 80.8 % with 2, 4 and 8 times the
steps, and 58.8 % with Midpoint; nets trained with a higher order or a smaller step hardly change. Seen: as expected,
but the larger part of the fall is due to BatchNorm's running statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import nn

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds
from experiments.support.training import LazyTraining
from odenet import Adaptive, Constant, FixedSteps, ODEBlock, PiecewiseConstant, configure
from odenet.blocks.replay.replay import frozen_buffers
from odenet.blocks.stepping.base import Stepping
from odenet.data import Batches, ImageData
from odenet.measure import count_evaluations, count_parameters
from odenet.measure.mode import in_mode
from odenet.models import ResNet, cifar_resnet
from odenet.training import Classification, Record, Run, Training, evaluate

SOLVERS = ("euler", "midpoint", "rk4")
STEPS = (1, 2, 4, 8)


@dataclass(frozen=True)
class SolverSwap(Settings):
    """Settings of the experiment."""

    blocks: int = 2
    """Number N of pieces of θ in the flow of each stage; T = N."""
    widths: tuple[int, ...] = (16, 32)
    """Channels of each stage."""
    stem_stride: int = 2
    """Stride of the first convolution; with 2, which halves the image, a net takes a quarter of the operations."""
    trainings: tuple[str, ...] = ("euler", "midpoint", "rk4", "euler/4", "shared", "dopri5")
    """Names of the trainings: a solver, with "/" and the number of steps per piece unless it is 1, or "shared"."""
    training_tolerance: float = 1e-2
    """Relative and absolute tolerance of dopri5 in training, where a coarse one is enough; tests use a tenth of it."""
    test_images: int = 2000
    """Number of test images on which the solvers are compared, the same for all."""


DIGITS = SolverSwap(
    data="digits", stem_stride=1, test_images=360, training=Training(epochs=12, batch_size=64, threads=1)
)
"""Settings for 1,437 images of 8×8 pixels: one thread, since an epoch of 22 steps gains nothing from a second."""

GPU = SolverSwap(widths=(16, 32, 64), stem_stride=1, test_images=10000, training=Training(epochs=6, lr=0.4, **ON_A_GPU))
PRESETS = {
    "smoke": replace(
        DIGITS,
        train_images=256,
        seeds=(0,),
        widths=(4, 8),
        trainings=("euler", "shared"),
        test_images=64,
        training=replace(DIGITS.training, epochs=1),
    ),
    "demo": DIGITS,
    "cpu": SolverSwap(
        training_tolerance=0.05,
        train_images=20000,
        augment=False,
        training=Training(epochs=2, batch_size=64, lr=0.2, threads=1),
    ),
    "gpu": GPU,
    "full": replace(GPU, training=replace(GPU.training, epochs=10)),
}
GPU_SECONDS = 34  # estimated for one seed of the preset gpu on an H100


def solver_swap(settings: SolverSwap, data: ImageData, run: Run) -> None:
    """Train every net for every seed, test it with every solver, and make the table."""
    for name in settings.trainings:
        for seed in settings.seeds:
            torch.manual_seed(seed)
            net = network(name, settings, data)
            _recorded(f"seed{seed}/{name}", net, settings, data, seed, run)
    run.finish(table=table(run.record))


def network(name: str, settings: SolverSwap, data: ImageData) -> ResNet:
    """Build the pre-activation net whose flows have the stepping of the training called `name`."""
    stepping = _stepping(name, settings)

    def flow(make_branch: Callable[[], nn.Module], _blocks: int, _projection: object) -> ODEBlock:
        if name == "shared":
            theta = Constant(make_branch(), horizon=settings.blocks)
        else:
            theta = PiecewiseConstant([make_branch() for _ in range(settings.blocks)])
        return ODEBlock(theta, stepping)

    return cifar_resnet(
        settings.blocks + 1,  # the first block of a stage is its transition
        data.num_classes,
        data.in_channels,
        widths=settings.widths,
        stem_stride=settings.stem_stride,
        activation="pre",
        flow=flow,
    )


def _stepping(name: str, settings: SolverSwap) -> Stepping:
    if name == "dopri5":
        return Adaptive("dopri5", rtol=settings.training_tolerance, atol=settings.training_tolerance)
    if name == "shared":
        return FixedSteps("euler", per_piece=settings.blocks)
    solver, _, steps = name.partition("/")
    return FixedSteps(solver, per_piece=int(steps or 1))


def _recorded(key: str, net: ResNet, settings: SolverSwap, data: ImageData, seed: int, run: Run) -> None:
    """Record the accuracy of `net` with every solver, after its training."""
    trained = LazyTraining(lambda: net, key, settings, data, seed, run)
    run.once(key, lambda: _facts(trained) | {"tests": _tested(trained.net, settings, data, _with_running_statistics)})
    run.once(f"{key}/batch", lambda: {"tests": _tested(trained.net, settings, data, _with_batch_statistics)})


def _facts(trained: LazyTraining[ResNet]) -> dict[str, Any]:
    return {"parameters": count_parameters(trained.net), "history": trained.history.rows}


def _tested(
    net: ResNet, settings: SolverSwap, data: ImageData, accuracy: Callable[[ResNet, Batches], float]
) -> dict[str, dict[str, Any]]:
    """Measure accuracy and evaluations of the net with each solver and number of steps per unit of depth-time."""
    probe = replace(data, test=data.test.first(min(settings.test_images, len(data.test))))
    batches = probe.test_batches(500, device=next(net.parameters()).device)
    tolerance = settings.training_tolerance / 10
    unit = settings.blocks if _is_shared(net) else 1
    ways: dict[str, Stepping] = {f"{s}×{n}": FixedSteps(s, per_piece=n * unit) for s in SOLVERS for n in STEPS}
    ways["dopri5"] = Adaptive("dopri5", rtol=tolerance, atol=tolerance)
    results: dict[str, dict[str, Any]] = {}
    for way, stepping in ways.items():
        with configure(net, stepping=stepping):
            results[way] = {"accuracy": accuracy(net, batches), "evaluations": count_evaluations(net)}
    return results


def _with_running_statistics(net: ResNet, batches: Batches) -> float:
    """Measure the accuracy in evaluation mode."""
    return evaluate(net, Classification(net.head.out_features), batches)["accuracy"]


@torch.no_grad()
def _with_batch_statistics(net: ResNet, batches: Batches) -> float:
    """Measure the accuracy with every evaluation of a branch normalized by its own batch, as in training."""
    with in_mode(net, training=True), frozen_buffers(net):
        right = [(net(images).argmax(dim=1) == labels).float() for images, labels in batches.epoch(0)]
    return float(torch.cat(right).mean())


def _is_shared(net: nn.Module) -> bool:
    """Whether θ is the same at every depth-time, so that one piece spans the whole horizon."""
    return any(isinstance(module, Constant) for module in net.modules())


def table(record: Record) -> list[dict[str, Any]]:
    """Return two rows for each training with a column for each test: accuracies in percent, means over the seeds."""
    rows = []
    for name in record.settings["trainings"]:
        for key, statistics in ((name, "running"), (f"{name}/batch", "batch")):
            tests = over_seeds(record.results, key, "tests")
            cells = {way: f"{100 * fmean(test[way]['accuracy'] for test in tests):.1f}" for way in tests[0]}
            rows.append({"trained with": name, "statistics": statistics, **cells})
    return rows


EXPERIMENT = Experiment("solver_swap", PRESETS, on_images(solver_swap))
if __name__ == "__main__":
    EXPERIMENT.main()
