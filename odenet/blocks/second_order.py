"""Flows of second order, x″ = F, as branches on the pair [x, v] of position and velocity v = x′.

The pair is one state of twice the channels, so every θ, stepping, gradient method and noise works on it. `Augment` of
`odenet.layers` makes the pair before the flow, with velocity zero or a learned one, and `DropChannels` returns the
position behind it:

    nn.Sequential(Augment(16), ODEBlock(Constant(HeavyBall(BasicBranch(16)))), DropChannels(16))

`Leapfrog` and `MomentumEuler` are solvers that make a flow of second order of an ordinary branch, with x′(0) = 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import NumberFromZero
from odenet.blocks.arguments import checked
from odenet.blocks.signature import signature_error
from odenet.blocks.theta.base import Time


class HeavyBall(nn.Module):
    """[x, v] ↦ [v, F(t, x) - γ·v]: the flow of x″ = F(t, x) - γ·x′, a heavy ball with friction γ.

    For F = -∇f it is the heavy-ball method for the minimum of f in continuous time (Polyak 1964; Xia et al. 2021,
    *Heavy Ball Neural Ordinary Differential Equations*). Without friction the system is separable, and `Verlet` and
    `SymplecticEuler` solve it; with friction they refuse it, and Runge-Kutta methods and error control remain.

    >>> from odenet import Autonomous, Constant, FixedSteps, ODEBlock, Verlet
    >>> falling = Autonomous(nn.Threshold(float("inf"), -9.81))  # F = -9.81, whatever x is
    >>> block = ODEBlock(Constant(HeavyBall(falling), horizon=2.0), FixedSteps(Verlet(), 10))
    >>> block(torch.zeros(1, 2))
    tensor([[-19.6200, -19.6200]])

    Args:
        branch: acceleration F(t, x), a branch of the position.
        friction: friction γ ≥ 0, or a parameter of shape () that is learned; its sign is then free.

    Raises:
        TypeError: if `branch` does not take (t, x).
        ValueError: if the friction is negative, or not a single number.
    """

    @checked
    def __init__(self, branch: nn.Module, friction: NumberFromZero | nn.Parameter = 0.0) -> None:
        super().__init__()
        if error := signature_error(branch):
            raise error
        if isinstance(friction, Tensor) and friction.shape != ():
            raise ValueError(
                f"friction must be a single number, got a parameter of shape {tuple(friction.shape)}: pass "
                "nn.Parameter(torch.tensor(0.1)), for example."
            )
        self.branch = branch
        self.friction = friction

    @property
    def is_separable(self) -> bool:
        """Whether x′ depends on v alone and v′ on x alone, as partitioned solvers require."""
        return isinstance(self.friction, float) and self.friction == 0.0

    def forward(self, t: Time, x: Tensor) -> Tensor:
        """Compute the slope of the pair, of shape (batch, 2·channels, …)."""
        position, velocity = halves(x, "HeavyBall")
        acceleration = self.branch(t, position)
        if not self.is_separable:
            acceleration = acceleration - self.friction * velocity
        return torch.cat([velocity, acceleration], dim=1)

    def extra_repr(self) -> str:
        """Return the friction, as shown by `print(model)`."""
        return f"friction={'learned' if isinstance(self.friction, Tensor) else self.friction}"


class SecondOrder(nn.Module):
    """[x, v] ↦ [v, F(t, x, v)]: the flow of x″ = F(t, x, x′) (Norcliffe et al. 2020, *On Second Order Behaviour*).

    Args:
        acceleration: module with `forward(t, x, v)`, which keeps the shape of x.

    Raises:
        TypeError: if `acceleration` does not take (t, x, v).
    """

    is_separable = False

    @checked
    def __init__(self, acceleration: nn.Module) -> None:
        super().__init__()
        if error := signature_error(acceleration, ("t", "x", "v")):
            raise error
        self.acceleration = acceleration

    def forward(self, t: Time, x: Tensor) -> Tensor:
        """Compute the slope of the pair, of shape (batch, 2·channels, …)."""
        position, velocity = halves(x, "SecondOrder")
        return torch.cat([velocity, self.acceleration(t, position, velocity)], dim=1)


def halves(x: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return position and velocity of a pair, two halves of dimension 1.

    Raises:
        ValueError: if the number of channels is odd.
    """
    if x.dim() < 2 or x.shape[1] % 2:
        raise ValueError(
            f"{name} was given a state of shape {tuple(x.shape)}; it is a pair of position and velocity, two halves of "
            "dimension 1: pass an even number of channels, e.g. by Augment(channels) before the flow."
        )
    position, velocity = x.chunk(2, dim=1)
    return position, velocity
