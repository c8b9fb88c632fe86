"""What does a flow look like? Points in the plane, and what residual nets and ODE-Nets do with them.

Five small nets tell two classes of points apart: concentric annuli, two spirals. Each is a flow with a linear
classifier behind it: a ResNet (h = 1), the same with four steps on each block (h = 1/4), an ODE-Net in the plane, one
in a third dimension (augmented), and one of second order, x″ = F. For each the record has the accuracy with its own
steps and with the exact flow of its field, the evaluations of F, and, for the first seed on the first set, a picture:
its field, paths of points with the evaluations, where a grid is carried, the regions of the classes, and finite-time
Lyapunov exponents.

    python -m experiments.plane cpu    # 4 minutes on one core
    python -m experiments.plane gpu    # more points, epochs and seeds: 110 s a seed on an H100

Expected: no flow of the plane takes the inner disk out of the annulus, so an ODE-Net squeezes it through a gap that it
tears into the annulus, and needs more evaluations than one with a dimension to spare (Dupont et al. 2019, figures 5 and
7). A ResNet with h = 1 is no flow: its points jump, and its field solved exactly is another classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from experiments.support.command import Experiment, Seeds
from experiments.support.packed_arrays import packed
from experiments.support.statistics import over_seeds, spread
from odenet import (
    Adaptive,
    Autonomous,
    Constant,
    FixedSteps,
    HeavyBall,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    configure,
    trajectory,
)
from odenet.data import POINT_SETS
from odenet.layers import Augment, DropChannels
from odenet.measure import evaluation_points, finite_time_exponents, plane_grid, solve_path, vector_field
from odenet.training import Classification, Record, Run, Training, evaluate, launch
from odenet.training.checked import Checked, OneOf

PLANE_SETS = ("annuli", "spirals", "moons")
REACH = 2.0
"""Half the side of the square that pictures show."""


class PlaneNet(nn.Module):
    """Points → transition → flow → transition → linear classifier with two logits."""

    def __init__(self, flow: ODEBlock, before: nn.Module, after: nn.Module, features: int = 2) -> None:
        super().__init__()
        self.before, self.flow, self.after, self.head = before, flow, after, nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits of shape (batch, 2) for points of shape (batch, 2)."""
        return self.head(self.after(self.flow(self.before(x))))


@dataclass(frozen=True)
class Plane(Checked):
    """Settings of the experiment."""

    seeds: Seeds = (0, 1, 2)
    """Seeds of the repetitions: of the points, the initial weights and the order of the points."""
    sets: Annotated[tuple[str, ...], OneOf(PLANE_SETS)] = ("annuli", "spirals")
    """Sets of points; pictures are made on the first one."""
    points: int = 500
    """Number of training points."""
    test_points: int = 1000
    """Number of test points."""
    width: int = 32
    """Number of hidden units of a branch."""
    blocks: int = 6
    """Number of blocks of a ResNet."""
    tolerance: float = 1e-3
    """Relative and absolute tolerance of dopri5."""
    grid: int = 24
    """Number of points on each side of the grids of pictures."""
    training: Training = field(default_factory=Training)
    """Settings of the training of each net."""


TRAINING = Training(epochs=60, batch_size=50, optimizer="adam", lr=1e-2, weight_decay=0.0, threads=1)
CPU = Plane(training=TRAINING)
SMOKE = replace(CPU, seeds=(0,), sets=("annuli",), points=20, test_points=20, width=4, blocks=2, grid=3)
GPU = replace(CPU, seeds=(0, 1, 2, 3, 4), sets=PLANE_SETS, points=2000, training=replace(TRAINING, batch_size=200))
PRESETS = {"smoke": replace(SMOKE, training=replace(TRAINING, epochs=1)), "cpu": CPU, "gpu": GPU}
GPU_SECONDS = 110  # estimated for one seed of the preset gpu on an H100


def resnet(settings: Plane, per_piece: int = 1) -> PlaneNet:
    """Build a ResNet of `blocks` blocks with `per_piece` Euler steps on each."""
    width = settings.width
    branches = [nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 2)) for _ in range(settings.blocks)]
    flow = ODEBlock(PiecewiseConstant([Autonomous(branch) for branch in branches]), FixedSteps("euler", per_piece))
    return PlaneNet(flow, nn.Identity(), nn.Identity())


def ode_net(settings: Plane, branch: nn.Module, before: nn.Module, after: nn.Module, features: int) -> PlaneNet:
    """Build an ODE-Net solved by dopri5."""
    stepping = Adaptive("dopri5", rtol=settings.tolerance, atol=settings.tolerance)
    return PlaneNet(ODEBlock(Constant(branch), stepping), before, after, features)


NETS: Mapping[str, Callable[[Plane], PlaneNet]] = {
    "resnet": resnet,
    "resnet_small_steps": lambda s: resnet(s, 4),
    "ode_net": lambda s: ode_net(s, MLPBranch(2, s.width), nn.Identity(), nn.Identity(), 2),
    "augmented": lambda s: ode_net(s, MLPBranch(3, s.width), Augment(1), nn.Identity(), 3),
    "second_order": lambda s: ode_net(s, HeavyBall(MLPBranch(2, s.width)), Augment(2), DropChannels(2), 2),
}


def plane(settings: Plane, _root: Path | None, run: Run) -> None:
    """Train and measure every net on every set of points for every seed."""
    for seed, points, name in product(settings.seeds, settings.sets, NETS):
        key = f"seed{seed}/{points}/{name}"
        drawn = seed == settings.seeds[0] and points == settings.sets[0]
        run.once(key, lambda: train_and_measure(points, name, settings, seed, run, key, drawn=drawn))  # noqa: B023
    run.finish(table=table(run.record))


def train_and_measure(
    points: str, name: str, settings: Plane, seed: int, run: Run, key: str, *, drawn: bool
) -> dict[str, Any]:
    """Train a net on a set of points; return its accuracy, with the exact flow too, evaluations, and a picture."""
    torch.manual_seed(seed)
    net, device, task = NETS[name](settings), launch(settings.training).device, Classification(2)
    net.to(device)
    batches = POINT_SETS[points](settings.points, seed).batches(
        settings.training.batch_size, seed=seed, shuffle=True, device=device
    )
    test = POINT_SETS[points](settings.test_points, seed + 2**32).batches(settings.test_points, device=device)
    run.fit(key, net, task, batches, None, settings.training, seed=seed, label=f"{key:30}")
    found: dict[str, Any] = {name: evaluate(net, task, test)[name] for name in ("accuracy", "loss")}
    found["evaluations"] = net.flow.evaluations
    with configure(net, stepping=Adaptive("dopri5", rtol=1e-6, atol=1e-6)):
        found["exact_accuracy"] = evaluate(net, task, test)["accuracy"]
    if drawn:
        found["picture"] = picture(net.eval(), test.split.x[:12], settings)
        found["picture"]["labels"] = test.split.labels[:12].tolist()
    return found


def picture(net: PlaneNet, x: Tensor, settings: Plane) -> dict[str, Any]:
    """Return what the figure shows of a net and of the paths of points x, in the first two dimensions."""
    flow, grid = net.flow, plane_grid(-REACH, REACH, settings.grid).to(x.device)
    with torch.no_grad():
        regions = net(grid).softmax(1)[:, 1]
        carried = flow(net.before(grid))
    start = net.before(x)
    jumps = isinstance(flow.stepping, FixedSteps)
    evaluations = [] if jumps else [state for _, state in evaluation_points(flow, start)]
    path = solve_path(flow, start).states if jumps else smooth_path(flow, start)
    return {
        "field": packed(vector_field(flow, net.before(grid))[:, :2]),
        "path": packed(path[..., :2]),
        "evaluations": [packed(state[:, :2]) for state in evaluations],
        "carried": packed(carried[:, :2]),
        "regions": packed(regions),
        "exponents": packed(finite_time_exponents(flow, net.before(grid))[:, 0]),
    }


def smooth_path(flow: ODEBlock, x: Tensor) -> Tensor:
    """Return the states of a flow at 25 times, of shape (25, batch, …)."""
    with torch.no_grad(), configure(flow, stepping=Adaptive("dopri5", rtol=1e-5, atol=1e-5, per_sample=True)):
        return trajectory(flow, x, torch.linspace(0, flow.theta.horizon, 25).tolist())


def table(record: Record) -> list[dict[str, str]]:
    """Return a row for each set and net: accuracy by its own steps and of the exact flow, and evaluations."""
    rows = []
    for points, name in product(record.settings["sets"], NETS):
        own, exact, evaluations = (
            over_seeds(record.results, f"{points}/{name}", entry)
            for entry in ("accuracy", "exact_accuracy", "evaluations")
        )
        row = {"points": points, "net": name, "accuracy %": spread([100 * share for share in own])}
        rows.append(row | {"exact flow %": spread([100 * share for share in exact]), "F": f"{fmean(evaluations):.0f}"})
    return rows


EXPERIMENT = Experiment("plane", PRESETS, plane)
if __name__ == "__main__":
    EXPERIMENT.main()
