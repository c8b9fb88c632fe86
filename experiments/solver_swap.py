"""Is a trained network an ODE, or an artefact of its solver?

Flows of two layers are trained with one stepping and tested with others, their weights unchanged. If the answers stay,
the net is the flow of a vector field; if they change, the net has learned the error of its solver along with its task
(Queiruga et al. 2020; Ott et al. 2021). The nets are crossed over three factors:

- trained with: Euler's method at h = 1 (a ResNet); RK4 at h = 1; or Euler at h = 1, Euler at h = 1/2 or Midpoint, drawn
  for each batch (`Mixed`), so that no single error can be learned;
- normalization: BatchNorm or GroupNorm. BatchNorm keeps one set of running statistics a branch. If a branch is
  evaluated several times in a pass, these are a mixture that fits none of its evaluations. So each test is made with
  the running statistics of the training, and with statistics recalibrated along the solve of the test. For the stepping
  of the training there is a third test: each evaluation normalized by its own batch, as in training;
- initialization: independent layers, or equal ones.

    python -m experiments.solver_swap demo --jobs auto    # digits: 10 minutes on two cores
    python -m experiments.solver_swap cpu --jobs auto     # Fashion-MNIST: an hour on two cores
    python -m experiments.solver_swap gpu     # at 28×28, three stages, 4 epochs (full: 10): 110 s a seed on an H100

Expected: under RK4 with h = 1/4, a net trained with Euler and BatchNorm loses tens of points with running statistics,
and a few points with recalibrated statistics or GroupNorm. Nets trained with RK4 or Mixed lose less than two points. A
net that is trained with RK4 and tested with RK4 is within half a point of normalization by batches once its statistics
are recalibrated, and several points below it before. Seen on digits: with Euler and BatchNorm 40 points are lost with
running and 9 with recalibrated statistics; with mixed steps nothing is lost under any solver, once recalibrated. Twelve
epochs of digits are too few for GroupNorm (70 %).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch

from experiments.support.command import Experiment, on_images
from experiments.support.crossed import Cell, Crossed, TrainedWith, crossed_net
from experiments.support.deployment import Answered, accuracy_by_batch, compare_steppings, has_batch_statistics
from experiments.support.parts import PartedRun
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import LazyTraining
from odenet import Adaptive, FixedSteps
from odenet.blocks.stepping.base import Stepping
from odenet.data import ImageData
from odenet.measure import count_parameters
from odenet.models import ResNet
from odenet.training import Record, Run, Training


@dataclass(frozen=True)
class SolverSwap(Crossed):
    """Settings of the experiment."""

    blocks: int = 2
    """Number N of pieces of θ in the flow of each stage; T = N."""
    steppings: tuple[TrainedWith, ...] = ("euler", "rk4", "mixed")
    """Names of the steppings of the trainings."""
    tolerance: float = 1e-2
    """Relative and absolute tolerance of dopri5 in the tests."""


DIGITS = SolverSwap(
    data="digits",
    stem_stride=1,
    recalibration_images=1000,
    training=Training(epochs=12, batch_size=64, threads=1),
)
"""Settings for 1,437 images of 8×8 pixels: one thread, since an epoch of 22 steps gains nothing from a second."""

GPU = SolverSwap(widths=(16, 32, 64), stem_stride=1, training=Training(epochs=4, lr=0.4, **ON_A_GPU))
PRESETS = {
    "smoke": replace(
        DIGITS,
        train_images=256,
        seeds=(0,),
        widths=(4, 8),
        initializations=("independent",),
        steppings=("euler", "mixed"),
        recalibration_images=64,
        training=replace(DIGITS.training, epochs=1),
    ),
    "demo": DIGITS,
    "cpu": SolverSwap(augment=False, training=Training(epochs=1, batch_size=64, lr=0.2, threads=1)),
    "gpu": GPU,
    "full": replace(GPU, training=replace(GPU.training, epochs=10)),
}
GPU_SECONDS = 110  # estimated for one seed of the preset gpu on an H100

OWN = {"euler": "euler×1", "rk4": "rk4×1", "mixed": "euler×1"}
"""Test with the stepping of each training; that of `Mixed` in evaluation mode is its first."""


def solver_swap(settings: SolverSwap, data: ImageData, run: PartedRun) -> None:
    """Train every net for every seed, test it with every solver, and make the table."""
    chosen = [(seed, cell) for cell in cells(settings) for seed in settings.seeds]
    run.each([partial(_recorded, settings, data, seed, cell) for seed, cell in chosen])
    run.finish(table=table(run.record))


def cells(settings: SolverSwap) -> Iterator[Cell]:
    """Yield the choices of the factors."""
    axes = settings.steppings, settings.normalizations, settings.initializations
    for stepping, normalization, initialization in product(*axes):
        yield Cell(normalization, initialization, stepping)


def tests(settings: SolverSwap, stepping: TrainedWith) -> dict[str, Stepping]:
    """Return the steppings of the tests by name; that of the training is the first, with which others are compared."""
    ways: dict[str, Stepping] = {f"euler×{n}": FixedSteps("euler", per_piece=n) for n in (1, 2, 4)}
    ways |= {"midpoint×1": FixedSteps("midpoint"), "rk4×1": FixedSteps("rk4"), "rk4×4": FixedSteps("rk4", per_piece=4)}
    ways["dopri5"] = Adaptive("dopri5", rtol=settings.tolerance, atol=settings.tolerance)
    return {OWN[stepping]: ways[OWN[stepping]]} | ways


def _recorded(settings: SolverSwap, data: ImageData, seed: int, cell: Cell, run: Run) -> None:
    """Record the answers of the net of a cell under every stepping, after its training."""

    def make() -> ResNet:
        torch.manual_seed(seed)
        return crossed_net(settings, data, settings.blocks, settings.blocks, cell)

    later = LazyTraining(make, f"seed{seed}/{cell}", settings, data, seed, run)

    def result() -> dict[str, Any]:
        net = later.net
        answers = compare_steppings(net, tests(settings, cell.stepping), data, settings.recalibration_images)
        if has_batch_statistics(net):
            own = tests(settings, cell.stepping)[OWN[cell.stepping]]
            answers["batch"] = {OWN[cell.stepping]: {"accuracy": accuracy_by_batch(net, own, data)}}
        return {"parameters": count_parameters(net), "answers": answers, "history": later.history.rows}

    run.once(later.key, result)


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each training and kind of statistics, with the accuracy in each test."""
    keys = dict.fromkeys(name.partition("/")[2] for name in record.results)
    return [row for key in keys for row in _rows(record, key)]


def _rows(record: Record, key: str) -> Iterator[dict[str, Any]]:
    answers: list[Answered] = over_seeds(record.results, key, "answers")
    normalization, initialization, stepping, _ = key.split("-")
    ways = sorted({way for found in answers[0].values() for way in found})
    for statistics, found in answers[0].items():
        values = {
            way: spread([100 * each[statistics][way]["accuracy"] for each in answers]) if way in found else "–"
            for way in ways
        }
        norm = normalization if statistics == "none" else f"{normalization}, {statistics}"
        yield {"trained with": stepping, "layers begin": initialization, "norm": norm} | values


EXPERIMENT = Experiment("solver_swap", PRESETS, on_images(solver_swap), parted=True)
if __name__ == "__main__":
    EXPERIMENT.main()
