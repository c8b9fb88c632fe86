"""Plain networks: the residual networks of `resnet` without the identity, x[k+1] = F(x[k]; θ[k]) (He et al. 2015).

As a solver, a plain net replaces the state by F(x) instead of adding an increment to it. This has no limit for small
steps, so a plain net discretizes no ODE; branches, widths, parameters and operations are those of the residual net.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from odenet.blocks.arguments import checked
from odenet.blocks.block import ODEBlock
from odenet.blocks.solvers.runge_kutta import Solver, VectorField
from odenet.blocks.stepping.base import Projection
from odenet.blocks.stepping.fixed import FixedSteps
from odenet.blocks.theta.base import PiecewiseConstant
from odenet.models.resnet import ResNet, cifar_resnet, imagenet_resnet


class Substitution(Solver):
    """x₁ = f(t₀, x), a layer of a plain net as a solver of order 0: it approximates no flow, whatever the step size."""

    order = 0

    def step(self, f: VectorField, t0: float, t1: float, state: Tensor) -> Tensor:  # noqa: ARG002
        """Return f(t₀, x), whatever t₁."""
        return f(t0, state)


def plain_stage(make_branch: Callable[[], nn.Module], blocks: int, projection: Projection | None) -> ODEBlock:
    """Build the stage of a plain net: `blocks` branches composed, without identity shortcuts."""
    theta = PiecewiseConstant([make_branch() for _ in range(blocks)])
    return ODEBlock(theta, FixedSteps(Substitution()), projection=projection)


def _plain_cifar(blocks: int, num_classes: int, in_channels: int, **options: Any) -> ResNet:
    return cifar_resnet(blocks, num_classes, in_channels, shortcut=None, flow=plain_stage, **options)


def _plain_imagenet(blocks: Sequence[int], num_classes: int, in_channels: int, **options: Any) -> ResNet:
    return imagenet_resnet(blocks, num_classes, in_channels, shortcut=None, flow=plain_stage, **options)


@checked
def plain20(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build the plain 20-layer net (He et al. 2015, n = 3), with the 269,722 parameters of ResNet-20."""
    return _plain_cifar(3, num_classes, in_channels, **options)


@checked
def plain32(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build the plain 32-layer net (He et al. 2015, n = 5), with the parameters of ResNet-32."""
    return _plain_cifar(5, num_classes, in_channels, **options)


@checked
def plain44(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build the plain 44-layer net (He et al. 2015, n = 7), with the parameters of ResNet-44."""
    return _plain_cifar(7, num_classes, in_channels, **options)


@checked
def plain56(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build the plain 56-layer net (He et al. 2015, n = 9), with the parameters of ResNet-56."""
    return _plain_cifar(9, num_classes, in_channels, **options)


@checked
def plain110(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """Build the plain 110-layer net (He et al. 2015, n = 18), with the parameters of ResNet-110.

    It has more than 60 % error on CIFAR-10.
    """
    return _plain_cifar(18, num_classes, in_channels, **options)


@checked
def plain18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build the plain 18-layer net (He et al. 2015, table 1): 27.94 % top-1 error on ImageNet."""
    return _plain_imagenet([2, 2, 2, 2], num_classes, in_channels, **options)


@checked
def plain34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """Build the plain 34-layer net (He et al. 2015, table 1): 28.54 % top-1 error on ImageNet.

    The error is larger than that of the 18-layer net.
    """
    return _plain_imagenet([3, 4, 6, 3], num_classes, in_channels, **options)
