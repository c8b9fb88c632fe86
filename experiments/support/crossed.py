"""Residual networks crossed over four factors, each of which can decide alone whether a trained network is an ODE.

- Normalization: BatchNorm has statistics of its training, which need not fit another solver; GroupNorm has none.
- Initialization along depth: independent layers are rough in t, equal ones are smooth (Marion et al. 2023).
- Stepping of the training: Euler's method alone, RK4, or one drawn for each batch, whose errors cannot be learned.
- Learning rate of the flows: the same at every depth, or multiplied by 1/h, which equal steps in function space need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from torch import nn

from experiments.support.command import Seeds, Settings
from odenet import RK4, Euler, FixedSteps, Midpoint, Mixed, ODEBlock, PiecewiseConstant, group_norm, initialize_depth
from odenet.blocks.branches import Norm
from odenet.blocks.stepping.base import Projection, Stepping
from odenet.data import ImageData
from odenet.models import ResNet, cifar_resnet

Normalization = Literal["batch", "group"]
Initialization = Literal["independent", "tied"]
TrainedWith = Literal["euler", "mixed", "rk4"]
Rates = Literal["one", "scaled"]

NORMS: Mapping[Normalization, Norm] = {"batch": nn.BatchNorm2d, "group": group_norm}
STEPPINGS: Mapping[TrainedWith, Stepping] = {
    "euler": FixedSteps(Euler()),
    "mixed": Mixed([FixedSteps(Euler()), FixedSteps(Euler(), per_piece=2), FixedSteps(Midpoint())]),
    "rk4": FixedSteps(RK4()),
}
RULES: Mapping[Rates, Literal["none", "1/h"]] = {"one": "none", "scaled": "1/h"}


@dataclass(frozen=True)
class Cell:
    """A choice of each factor.

    >>> str(Cell("group", stepping="mixed"))
    'group-independent-mixed-one'
    """

    normalization: Normalization = "batch"
    initialization: Initialization = "independent"
    stepping: TrainedWith = "euler"
    rates: Rates = "one"

    def __str__(self) -> str:
        return "-".join((self.normalization, self.initialization, self.stepping, self.rates))


@dataclass(frozen=True)
class Nets(Settings):
    """Settings of the nets of an experiment."""

    widths: tuple[int, ...] = (16, 32)
    """Channels of each stage."""
    stem_stride: int = 2
    """Stride of the first convolution; with 2, which halves the image, a net takes a quarter of the operations."""


@dataclass(frozen=True)
class Crossed(Nets):
    """Settings of an experiment whose nets are crossed over the factors."""

    seeds: Seeds = (0, 1, 2, 3, 4)
    """Seeds of the repetitions: of the initial weights, the order of images and the augmentation."""
    normalizations: tuple[Normalization, ...] = ("batch", "group")
    """Normalizations in the branches and transitions."""
    initializations: tuple[Initialization, ...] = ("independent", "tied")
    """Initializations along depth."""
    recalibration_images: int = 5000
    """Number of training images along which statistics of BatchNorm are recalibrated."""


def crossed_net(
    settings: Nets, data: ImageData, pieces: int, horizon: float, cell: Cell | None = None, *, post: bool = False
) -> ResNet:
    """Build the net of a cell, with a flow of `pieces` layers on [0, horizon] in each stage.

    Args:
        settings: Settings of the experiment.
        data: Images with their number of classes and channels.
        pieces: Number L of pieces of θ in each flow.
        horizon: Horizon T, so that h = T/L.
        cell: Choice of the factors; by default BatchNorm, independent layers and Euler's method.
        post: Whether branches are those of He et al. 2015, with the ReLU after the addition.
    """
    cell = cell or Cell()

    def flow(make_branch: Callable[[], nn.Module], _blocks: int, projection: Projection | None) -> ODEBlock:
        theta = PiecewiseConstant([make_branch() for _ in range(pieces)], horizon=horizon)
        return ODEBlock(theta, STEPPINGS[cell.stepping], projection=projection)

    net = cifar_resnet(
        2,  # a transition and a flow in each stage
        data.num_classes,
        data.in_channels,
        widths=settings.widths,
        stem_stride=settings.stem_stride,
        activation="post" if post else "pre",
        norm=NORMS[cell.normalization],
        flow=flow,
    )
    return initialize_depth(net, cell.initialization)


C = TypeVar("C", bound=Settings)


def with_rates(settings: C, cell: Cell) -> C:
    """Return the settings with the depth rule of the cell."""
    return replace(settings, training=replace(settings.training, depth_rule=RULES[cell.rates]))
