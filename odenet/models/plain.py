"""Plain networks: the residual networks of `resnet` without the identity, x[k+1] = F(x[k]; θ[k]) (He et al. 2015).

In the solver's language the step of a plain net is a substitution, not an increment. It has no limit of small steps, so
a plain net is no discretization of anything; everything else (branches, widths, parameters, operations) is the same.
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
    """x₁ = f(t₀, x): the layer of a plain net. It approximates no flow (order 0), whatever the step."""

    order = 0

    def step(self, f: VectorField, t0: float, t1: float, state: Tensor) -> Tensor:  # noqa: ARG002
        """f(t₀, x)."""
        return f(t0, state)


def plain_stage(make_branch: Callable[[], nn.Module], blocks: int, projection: Projection | None) -> ODEBlock:
    """`blocks` branches one after the other, without the identity."""
    theta = PiecewiseConstant([make_branch() for _ in range(blocks)])
    return ODEBlock(theta, FixedSteps(Substitution()), projection=projection)


def _plain_cifar(blocks: int, num_classes: int, in_channels: int, **options: Any) -> ResNet:
    return cifar_resnet(blocks, num_classes, in_channels, shortcut=None, flow=plain_stage, **options)


def _plain_imagenet(blocks: Sequence[int], num_classes: int, in_channels: int, **options: Any) -> ResNet:
    return imagenet_resnet(blocks, num_classes, in_channels, shortcut=None, flow=plain_stage, **options)


@checked
def plain20(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """He et al. 2015, n = 3: the 269,722 parameters of ResNet-20."""
    return _plain_cifar(3, num_classes, in_channels, **options)


@checked
def plain32(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """He et al. 2015, n = 5: the parameters of ResNet-32."""
    return _plain_cifar(5, num_classes, in_channels, **options)


@checked
def plain44(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """He et al. 2015, n = 7: the parameters of ResNet-44."""
    return _plain_cifar(7, num_classes, in_channels, **options)


@checked
def plain56(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """He et al. 2015, n = 9: the parameters of ResNet-56."""
    return _plain_cifar(9, num_classes, in_channels, **options)


@checked
def plain110(num_classes: int = 10, in_channels: int = 3, **options: Any) -> ResNet:
    """He et al. 2015, n = 18: the parameters of ResNet-110; more than 60 % error on CIFAR-10."""
    return _plain_cifar(18, num_classes, in_channels, **options)


@checked
def plain18(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """He et al. 2015, table 1: the 18-layer plain net, 27.94 % top-1 on ImageNet."""
    return _plain_imagenet([2, 2, 2, 2], num_classes, in_channels, **options)


@checked
def plain34(num_classes: int = 1000, in_channels: int = 3, **options: Any) -> ResNet:
    """He et al. 2015, table 1: the 34-layer plain net, 28.54 % top-1 on ImageNet, worse than the 18-layer one."""
    return _plain_imagenet([3, 4, 6, 3], num_classes, in_channels, **options)
