"""Initial-value problems that every package solves: Van der Pol's oscillator, and an MLP with layers 2-50-2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odenet.blocks.errors import unknown_name


class VanDerPol(nn.Module):
    """Van der Pol's oscillator (x, v)′ = (v, μ(1 - x²)v - x), autonomous, for states of shape (..., 2)."""

    def __init__(self, mu: float = 2.0) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(mu))

    def forward(self, t: object, state: Tensor) -> Tensor:  # noqa: ARG002
        """Return the slope at `state`."""
        x, v = state.unbind(-1)
        return torch.stack([v, self.mu * (1 - x * x) * v - x], dim=-1)


class MLP(nn.Module):
    """MLP field x′ = W₂·tanh(W₁·x + b₁) + b₂ with a hidden layer of 50, autonomous, for states of shape (..., 2)."""

    def __init__(self, hidden: int = 50) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, hidden), nn.Linear(hidden, 2)

    def forward(self, t: object, state: Tensor) -> Tensor:  # noqa: ARG002
        """Return the slope at `state`."""
        return self.second(torch.tanh(self.first(state)))


DYNAMICS: dict[str, type[nn.Module]] = {"Van der Pol": VanDerPol, "MLP": MLP}


@dataclass(frozen=True)
class Problem:
    """Initial-value problem x′ = field(t, x) on [0, horizon] from x(0) = x, of shape (batch, 2)."""

    dynamics: str
    field: nn.Module
    x: Tensor
    horizon: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Parameters of the field; gradients are computed in each of them, and in x(0)."""
        return list(self.field.parameters())


def problem(dynamics: str, batch: int, horizon: float, dtype: torch.dtype, device: str) -> Problem:
    """Return a problem of `DYNAMICS` with `batch` states uniform on [-2, 2]², the same on every device.

    Raises:
        ValueError: if the dynamics are unknown.
    """
    if dynamics not in DYNAMICS:
        raise unknown_name("dynamics", dynamics, list(DYNAMICS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field, x = DYNAMICS[dynamics]().to(dtype), 4 * torch.rand(batch, 2, dtype=dtype) - 2
    return Problem(dynamics, field.to(device), x.to(device), horizon)
