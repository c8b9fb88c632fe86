"""Vector fields that are hard to solve, each with what may be said of them and, where it is known, how they end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odenet import Constant, ODEBlock
from odenet.blocks.theta.base import Time


class Formula(nn.Module):
    """F(t, x) = w·f(t, x) with a weight w = 1, so that there is a gradient."""

    def __init__(self, f: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.f = f
        self.weight = nn.Parameter(torch.ones((), dtype=dtype))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.weight * self.f(torch.as_tensor(t, dtype=x.dtype), x)


@dataclass(frozen=True)
class Hard:
    """A field, where it begins and ends, and how strict its solver is."""

    name: str
    f: Callable[[Tensor, Tensor], Tensor]
    x: tuple[tuple[float, ...], ...] = ((0.5, 1.0), (1.0, -0.5))
    """One row for each sample."""
    horizon: float = 1.0
    rtol: float = 1e-3
    atol: float = 1e-6
    dtype: torch.dtype = torch.float32
    exact: Callable[[Tensor], Tensor] | None = None
    """The state at the horizon, where error control that says nothing has to be; None where it may miss a jump or a
    peak between the t at which it looks."""
    within: float = 0.05
    """How near: relative to the largest state."""
    solvable: bool = True
    """Whether a solver may come to the end without a word."""

    def block(self) -> ODEBlock:
        """A flow of this field, called by its name."""
        block = ODEBlock(Constant(Formula(self.f, self.dtype), horizon=self.horizon))
        block.label = self.name
        return block

    def start(self) -> Tensor:
        """x(0)."""
        return torch.tensor(self.x, dtype=self.dtype)

    @property
    def rounds(self) -> bool:
        """Whether more is asked for than numbers can tell."""
        return self.rtol < torch.finfo(self.dtype).eps


def of_x(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A field that does not depend on t."""
    return lambda _, x: f(x)


def van_der_pol(x: Tensor) -> Tensor:
    """μ = 1000: stiff."""
    position, speed = x.unbind(1)
    return torch.stack([speed, 1000 * (1 - position**2) * speed - position], 1)


def lorenz(x: Tensor) -> Tensor:
    """Chaotic: an error grows by e^0.9 in a unit of t."""
    a, b, c = x.unbind(1)
    return torch.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], 1)


def _decayed(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


STIFF = ((2.0, 0.0), (1.5, 0.1))
FIELDS = (
    Hard("stiff Van der Pol", of_x(van_der_pol), STIFF, horizon=2.0),
    Hard("stiff Van der Pol, rtol 1e-16, T = 1e6", of_x(van_der_pol), STIFF, 1e6, 1e-16, 0.0, solvable=False),
    Hard("the same in float64", of_x(van_der_pol), STIFF, 1e6, 1e-16, 0.0, torch.float64, solvable=False),
    Hard("decay, rtol 1e-300", of_x(lambda x: -x), rtol=1e-300, atol=0.0, dtype=torch.float64),
    Hard("decay, T = 1e6", of_x(lambda x: -x), horizon=1e6, exact=_decayed),
    Hard("decay, T = 1e100 in float32", of_x(lambda x: -x), horizon=1e100, exact=_decayed),
    Hard("decay, T = 1e300 in float64", of_x(lambda x: -x), horizon=1e300, dtype=torch.float64, exact=_decayed),
    Hard("zero field", of_x(lambda x: 0 * x), exact=lambda x: x, within=0.0),
    Hard("zero field, T = 1e100 in float32", of_x(lambda x: 0 * x), horizon=1e100, exact=lambda x: x, within=0.0),
    Hard("blow-up x² at t = 1", of_x(lambda x: x**2), ((1.0, 1.0), (0.5, 0.5)), 2.0, solvable=False),
    Hard("blow-up e^x", of_x(lambda x: x.exp()), horizon=10.0, solvable=False),
    Hard("sqrt|x|, which has many solutions", of_x(lambda x: x.abs().sqrt()), ((0.0, 0.0), (1.0, 4.0)), 2.0),
    Hard("sign of x, which jumps", of_x(lambda x: -x.sign()), horizon=3.0, exact=_decayed),
    Hard("a jump at t = 1/3", lambda t, x: torch.where(t < 1 / 3, x, -2 * x)),
    Hard("Lorenz", of_x(lorenz), ((1.0, 1.0, 1.0), (-5.0, 3.0, 20.0)), 100.0),
    Hard("NaN from t = 1/2", lambda t, x: torch.where(t > 0.5, math.nan, -x), solvable=False),
    Hard("infinite from t = 1/2", lambda t, x: torch.where(t > 0.5, math.inf, -x), solvable=False),
    Hard("NaN from the beginning", of_x(lambda x: x * math.nan), solvable=False),
    Hard("NaN for one sample", of_x(lambda x: torch.where(x < 0, math.nan, -x)), solvable=False),
    Hard("oscillates, ω = 1e5", lambda t, x: 0 * x + 1e5 * torch.cos(1e5 * t), horizon=math.pi),
    Hard("rotates, ω = 1e5", of_x(lambda x: 1e5 * torch.stack([-x[:, 1], x[:, 0]], 1))),
    Hard("huge states", of_x(lambda x: -x), ((1e37, -1e37), (1e38, 3e38)), exact=lambda x: x * math.exp(-1)),
    Hard("tiny states", of_x(lambda x: -x), ((1e-38, 1e-40), (1e-30, -1e-37)), atol=0.0),
    Hard("zero states, atol 0", of_x(lambda x: -x), ((0.0, 0.0), (0.0, 0.0)), atol=0.0, exact=_decayed, within=0.0),
    Hard("x/(t - 1/2), whose solution is a line", lambda t, x: x / (t - 0.5), exact=lambda x: -x),
    Hard("x/(t - 1/2)², whose solution is none", lambda t, x: x / (t - 0.5) ** 2, solvable=False),
    Hard("1/√|t - 1/2|, which can be integrated", lambda t, x: 0 * x + (t - 0.5).abs().rsqrt()),
    Hard("infinite at the beginning, 1/t", lambda t, x: x / t, solvable=False),
    Hard("stiff decay, λ = 1e8", of_x(lambda x: -1e8 * x), exact=_decayed),
    Hard("unstable, λ = 1e3", of_x(lambda x: 1e3 * x), solvable=False),
)
