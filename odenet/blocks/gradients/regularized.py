"""Regularized dynamics: integrals of a cost along the flow, which a solve returns beside x(T), with their gradients.

The state is augmented to [x, r] with r′ = c(t, x) and r(0) = 0, and solved by the same stepping and gradient method. So
r(T) = ∫c dt by the quadrature of the solver, to its order or tolerance, and its gradient is as exact as that of x(T).
Flows with a small cost bend less, and error control solves them with fewer evaluations (Finlay et al. 2020, *How to
Train Your Neural ODE*).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from odenet.blocks.arguments import checked
from odenet.blocks.costs import AugmentedField, AugmentedProjection, Cost
from odenet.blocks.field import Field
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.integrals import Integrals
from odenet.blocks.solvers.runge_kutta import Solver
from odenet.blocks.stepping.base import Projection, Stepping
from odenet.blocks.theta.base import Piece, wants_gradient


class Regularized(GradientMethod):
    """A gradient method that also integrates costs along the flow; `penalty(model)` is then added to the loss.

    >>> from odenet import Adaptive, Checkpointed, Constant, JacobianNorm, KineticEnergy, MLPBranch, ODEBlock, penalty
    >>> block = ODEBlock(Constant(MLPBranch(2)), Adaptive("dopri5"))
    >>> block.gradient = Regularized(Checkpointed(), [KineticEnergy(0.1), JacobianNorm(0.01)])
    >>> loss = block(torch.randn(8, 2)).square().mean() + penalty(block)
    >>> {name: tuple(integral.shape) for name, integral in block.integrals.items()}
    {'kinetic_energy': (8,), 'jacobian_norm': (8,)}

    The integrals are further channels of the state (of feature maps: their density over the pixels), so they work with
    every θ, stepping, noise and projection, and error control sees their error too. `configure(model, gradient=…)`
    regularizes every flow of a model. Where gradients are disabled (`torch.no_grad`, evaluation), the flow is solved
    without costs.

    Args:
        gradient: gradient method of the augmented flow, such as `Backprop()` or `Reversible()`.
        costs: costs to integrate, of different kinds.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a cost is there twice, or the gradient method is regularized already.
    """

    @checked
    def __init__(self, gradient: GradientMethod, costs: Sequence[Cost]) -> None:
        if isinstance(gradient, Regularized):
            raise ValueError(f"{gradient!r} is regularized already: list all costs in one Regularized.")
        names = [cost.name for cost in costs]
        if len(set(names)) < len(names):
            raise ValueError(f"costs = {list(costs)!r} integrate the same cost twice: pass each kind once.")
        self.gradient, self.costs = gradient, list(costs)

    def integrate(
        self, stepping: Stepping, pieces: Iterable[Piece], field: Field, x: Tensor, projection: Projection | None
    ) -> Tensor:
        """Compute x(T), and put the integrals of the costs into the field.

        Raises:
            ValueError: if the state is complex or has no channels.
        """
        if not torch.is_grad_enabled():
            return self.gradient.integrate(stepping, pieces, field, x, projection)
        _require_real_channels(x, field.label)
        field.fall_back_to_eager("costs are integrated along the flow", "compile without Regularized")
        channels, noise = x.shape[1], None
        if any(cost.needs_product for cost in self.costs):
            noise = torch.randint_like(x, 2) * 2 - 1
        pieces = list(pieces)
        augmented = [
            piece._replace(field=AugmentedField(piece.field, channels, self.costs, noise)) if piece.nodes else piece
            for piece in pieces
        ]
        start = torch.cat([x, x.new_zeros(len(x), len(self.costs), *x.shape[2:])], dim=1)
        if noise is not None and wants_gradient(pieces, x) and not x.requires_grad:
            start.requires_grad_()  # the derivatives with respect to the state are those with respect to a tensor of it
        for index, cost in enumerate(self.costs):
            stepping = stepping.with_local_error(channels, index) if cost.is_of_steps else stepping
        end = self.gradient.integrate(stepping, augmented, field, start, _augmented_projection(projection, channels))
        integrals = end[:, channels:].flatten(2).sum(2) if x.dim() > 2 else end[:, channels:]
        found = {cost.name: integral for cost, integral in zip(self.costs, integrals.unbind(1), strict=True)}
        field.integrals = Integrals(found, {cost.name: cost.weight for cost in self.costs})
        return end[:, :channels]

    def check(self, stepping: Stepping, projection: Projection | None) -> None:
        """Refuse what the gradient method or a cost refuses, and solvers that do not solve [x, r]′ = [F, c]."""
        parts = [*getattr(stepping, "members", [stepping]), getattr(stepping, "evaluation", None)]
        for part in (part for part in parts if part is not None):
            solver = getattr(part, "solver", None)
            if isinstance(solver, Solver) and not solver.solves_any_field:
                raise ValueError(
                    f"{self!r} was asked for with {solver!r}, which solves another equation than x′ = F for a field of "
                    "any form, so that r′ = c would not be integrated: use a Runge-Kutta method or error control."
                )
            if any(cost.is_of_steps for cost in self.costs):
                part.with_local_error(1, 0)
        self.gradient.check(stepping, projection)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regularized) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"Regularized({self.gradient!r}, {self.costs!r})"


def _augmented_projection(projection: Projection | None, channels: int) -> Projection | None:
    return None if projection is None else AugmentedProjection(projection, channels)


def _require_real_channels(x: Tensor, label: str) -> None:
    if x.is_complex() or x.dim() < 2:
        raise ValueError(
            f"costs were to be integrated in {label} for a state of {x.dtype} and shape {tuple(x.shape)}; they become "
            "channels of a real state, dimension 1 of a batch: pass a real state of shape (batch, channels, …)."
        )
