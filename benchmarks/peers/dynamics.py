"""Initial-value problems that every package solves: Van der Pol's oscillator, and an MLP of 2-50-2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odenet.blocks.errors import unknown_name


class VanDerPol(nn.Module):
    """(x, v)′ = (v, μ(1 - x²)v - x), for states of shape (..., 2); the same at every t."""

    def __init__(self, mu: float = 2.0) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(mu))

    def forward(self, t: object, state: Tensor) -> Tensor:  # noqa: ARG002
        """The slope at `state`."""
        x, v = state.unbind(-1)
        return torch.stack([v, self.mu * (1 - x * x) * v - x], dim=-1)


class MLP(nn.Module):
    """x′ = W₂·tanh(W₁·x + b₁) + b₂ with a hidden layer of 50, for states of shape (..., 2); the same at every t."""

    def __init__(self, hidden: int = 50) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, hidden), nn.Linear(hidden, 2)

    def forward(self, t: object, state: Tensor) -> Tensor:  # noqa: ARG002
        """The slope at `state`."""
        return self.second(torch.tanh(self.first(state)))


DYNAMICS: dict[str, type[nn.Module]] = {"Van der Pol": VanDerPol, "MLP": MLP}


@dataclass(frozen=True)
class Problem:
    """x′ = field(t, x) on [0, horizon] from x(0) = x, of shape (batch, 2)."""

    dynamics: str
    field: nn.Module
    x: Tensor
    horizon: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of the field; a gradient is wanted in each of them, and in x(0)."""
        return list(self.field.parameters())


def problem(dynamics: str, batch: int, horizon: float, dtype: torch.dtype, device: str) -> Problem:
    """The problem of `DYNAMICS` from `batch` states uniform on [-2, 2]²: the same on every device.

    Raises:
        ValueError: unknown dynamics.
    """
    if dynamics not in DYNAMICS:
        raise unknown_name("dynamics", dynamics, list(DYNAMICS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field, x = DYNAMICS[dynamics]().to(dtype), 4 * torch.rand(batch, 2, dtype=dtype) - 2
    return Problem(dynamics, field.to(device), x.to(device), horizon)
