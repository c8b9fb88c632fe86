"""Costs along a flow, and the field and the projection of the state [x, r] that is augmented by their integrals r."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from odenet.blocks.arguments import checked
from odenet.blocks.projections import ConvexProjection
from odenet.blocks.properties import Value
from odenet.blocks.theta.base import Time


class Cost(Value, ABC):
    """Base class of costs c(t, x) ≥ 0 whose integral over depth-time is a term of the loss.

    Args:
        weight: factor of the integral in the penalty.
    """

    name: ClassVar[str]
    """Name of the integral in `ODEBlock.integrals`."""
    needs_product = False
    """Whether the cost is made of the product εᵀ·∂F/∂x with a random vector ε."""
    is_of_steps = False
    """Whether the cost is one of the steps, which add it to the integral, and not a function c(t, x)."""

    @checked
    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    @abstractmethod
    def density(self, slope: Tensor, product: Tensor | None) -> Tensor:
        """Return the contribution of each entry of a state to the cost, of the shape of x.

        Args:
            slope: F(t, x).
            product: εᵀ·∂F/∂x for the ε of this solve, if a cost needs it.
        """


class KineticEnergy(Cost):
    """∫‖F(t, x(t))‖² dt of each sample: the cost of optimal transport (Finlay et al. 2020, equation 4)."""

    name = "kinetic_energy"

    def density(self, slope: Tensor, product: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return F²."""
        return slope.square()


class JacobianNorm(Cost):
    """∫‖∂F/∂x‖² dt of each sample, the squared Frobenius norm, by Hutchinson's estimator (Finlay et al. 2020).

    The estimate is ‖εᵀ·∂F/∂x‖² with a random sign ε for each entry of the state, drawn once for a solve. Its expected
    value is the norm. An evaluation of F also takes a backward pass through it, and the gradient a second one. Where F
    couples samples, as by BatchNorm in training mode, a sample has the derivatives of the others too.
    """

    name = "jacobian_norm"
    needs_product = True

    def density(self, slope: Tensor, product: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return (εᵀ·∂F/∂x)²."""
        assert product is not None
        return product.square()


class LocalError(Cost):
    """Σ h·‖error/h‖² over the steps of each sample, the estimates of an embedded pair (Pal et al. 2021).

    It needs fixed steps of a pair, such as `FixedSteps(Dopri5(), 2)`, and evaluates the last stage of the pair, which
    such steps leave out. Where it is small, error control takes large steps.
    """

    name = "local_error"
    is_of_steps = True

    def density(self, slope: Tensor, product: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return zeros, because the steps add the cost."""
        return torch.zeros_like(slope)


class AugmentedField(NamedTuple):
    """(t, [x, r]) ↦ [F(t, x), c(t, x)], with the costs of each pixel summed over its channels."""

    field: Callable[[Time, Tensor], Tensor]
    channels: int
    costs: list[Cost]
    noise: Tensor | None

    def __call__(self, t: Time, state: Tensor) -> Tensor:
        """Return the slope of the augmented state."""
        x = state[:, : self.channels]
        slope, product = (self.field(t, x), None) if self.noise is None else self._with_product(t, x, self.noise)
        if not isinstance(slope, Tensor) or slope.shape != x.shape:
            return slope  # the field of the block raises a clear error
        slope = slope.to(x.dtype)
        return torch.cat([slope, *(cost.density(slope, product).sum(1, keepdim=True) for cost in self.costs)], dim=1)

    def _with_product(self, t: Time, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return F(t, x) and εᵀ·∂F/∂x, by one evaluation of F."""
        recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if recorded and x.requires_grad else x.detach().requires_grad_()
            slope = self.field(t, x)
            if not isinstance(slope, Tensor) or not slope.requires_grad or slope.shape != x.shape:
                return slope, torch.zeros_like(x)
            noise = noise.expand_as(slope).to(slope.dtype)
            (product,) = torch.autograd.grad(
                slope, x, noise, create_graph=recorded, retain_graph=True, materialize_grads=True
            )
        return (slope, product) if recorded else (slope.detach(), product)


class AugmentedProjection(ConvexProjection):
    """[x, r] ↦ [P(x), r], and the tangent [v, w] ↦ [Π(x, v), w]."""

    def __init__(self, projection: Any, channels: int) -> None:
        self.projection, self.channels = projection, channels

    def __call__(self, x: Tensor) -> Tensor:
        """Return [P(x), r]."""
        return torch.cat([self.projection(x[:, : self.channels]), x[:, self.channels :]], dim=1)

    def tangent(self, x: Tensor, slope: Tensor) -> Tensor:
        """Return [Π(x, v), w]."""
        kept = self.projection.tangent(x[:, : self.channels], slope[:, : self.channels])
        return torch.cat([kept, slope[:, self.channels :]], dim=1)
