"""A small script as a user writes it, which type checkers accept in strict mode; it is checked, not run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import odenet
from odenet import (
    RK4,
    Adaptive,
    BasicBranch,
    Checkpointed,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    ODEBlock,
    PiecewiseConstant,
    StochasticDepth,
    configure,
    refine_steps,
    refine_theta,
    trajectory,
)
from odenet.data import load
from odenet.models import resnet20
from odenet.training import Classification, Training, fit, load_model, save_model


class Decay(nn.Module):
    """The field x ↦ -x."""

    def forward(self, t: float, x: Tensor) -> Tensor:
        """Return the slope at time t."""
        return -x


def main() -> None:
    """Build, solve, refine, train and save."""
    stage = ODEBlock(PiecewiseConstant([BasicBranch(8) for _ in range(2)]), FixedSteps(RK4(), per_piece=2))
    stage.stepping = FixedSteps(Euler(), per_piece=4)
    stage.stepping = Adaptive("dopri5", rtol=1e-3, atol=1e-3)
    stage.gradient = Checkpointed()
    stage.gradient = ContinuousAdjoint()
    stage.noise = StochasticDepth([0.9, 0.5])
    y: Tensor = stage(torch.zeros(1, 8, 4, 4))
    count: int = stage.evaluations
    states: Tensor = trajectory(ODEBlock(PiecewiseConstant([Decay()])), y, torch.linspace(0, 1, 3))

    net = odenet.models.resnet18(num_classes=3, in_channels=1)
    finer: nn.Module = refine_theta(refine_steps(net))
    with configure(finer, stepping=FixedSteps(RK4())):
        logits: Tensor = finer(torch.zeros(1, 1, 32, 32))

    data = load("digits", train_images=100)
    small = resnet20(num_classes=data.num_classes, in_channels=data.in_channels)
    history = fit(
        small,
        Classification(data.num_classes),
        data.train_batches(64, seed=0),
        data.test_batches(64),
        Training(epochs=1),
        seed=0,
        folder=Path("run"),
    )
    last: float = history.last["test_accuracy"]
    save_model(small, Path("small.safetensors"), partial(resnet20, data.num_classes, data.in_channels))
    again: nn.Module = load_model("small.safetensors")
    print(count, states.shape, logits.shape, last, again)
