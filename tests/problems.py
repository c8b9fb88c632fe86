"""Flows with closed-form solutions, for θ of every kind, to which solvers must converge.

They are in double precision, so that errors are those of the solver. Every call builds a new problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odenet import Constant, PiecewiseConstant, PiecewiseLinear, Theta
from odenet.blocks.theta.base import Time


class Linear(nn.Module):
    """F(t, x) = A·x for states of shape (batch, n)."""

    def __init__(self, matrix: list[list[float]]) -> None:
        super().__init__()
        self.matrix = nn.Parameter(_double(matrix))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return x @ self.matrix.T


class Logistic(nn.Module):
    """F(t, x) = r·x·(1 - x), so that logit(x) grows by ∫r dt for every r(t)."""

    def __init__(self, *rates: float) -> None:
        super().__init__()
        self.rates = nn.Parameter(_double(rates))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.rates * x * (1 - x)


class Bernoulli(nn.Module):
    """F(t, x) = -r·(1 + t)·x², a nonlinear field that depends on t; 1/x grows by ∫r·(1 + t) dt."""

    def __init__(self, *rates: float) -> None:
        super().__init__()
        self.rates = nn.Parameter(_double(rates))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return -self.rates * (1 + t) * x**2


@dataclass(frozen=True)
class Problem:
    """The flow of `theta` with x(0) and the exact x(T)."""

    theta: Theta
    x: Tensor
    exact: Tensor


MATRICES = ([[-1.0, 2.0], [-1.5, 0.3]], [[0.5, -1.0], [2.0, -0.8]], [[-0.4, 1.7], [0.2, 0.9]])
"""Matrices that do not commute, so that the order of the pieces matters."""

RATES = ((1.0, -0.7), (2.5, 0.4), (-1.2, 1.1))
"""Rates that change sign and size from node to node."""


def linear() -> Problem:
    """x′ = A·x on [0, 1], with x(1) = exp(A)·x(0)."""
    return _linear(Constant(Linear(MATRICES[0])), MATRICES[:1])


def jumping_linear() -> Problem:
    """x′ = A_i·x on three pieces of [0, 1]; x(1) is a product of three exponentials and x(0)."""
    return _linear(PiecewiseConstant(map(Linear, MATRICES), horizon=1.0), MATRICES)


def logistic() -> Problem:
    """x′ = r·x·(1 - x) on [0, 1]."""
    return _logistic(Constant(Logistic(*RATES[1])), _double(RATES[1]))


def jumping_logistic() -> Problem:
    """x′ = r_i·x·(1 - x) on three pieces of [0, 2]."""
    theta = PiecewiseConstant([Logistic(*r) for r in RATES], horizon=2.0)
    return _logistic(theta, 2 / 3 * _double(RATES).sum(0))


def sloping_logistic() -> Problem:
    """x′ = r(t)·x·(1 - x) on [0, 2], with a polygon r(t) through three nodes, integrated by the trapezoidal rule."""
    theta = PiecewiseLinear([Logistic(*r) for r in RATES], horizon=2.0)
    first, second, third = _double(RATES)
    return _logistic(theta, (first + second) / 2 + (second + third) / 2)


def bernoulli() -> Problem:
    """x′ = -r·(1 + t)·x² on [0, 1]."""
    rates = (0.7, 1.5)
    x = _double([[0.5, 0.4], [0.9, 0.3]])
    return Problem(Constant(Bernoulli(*rates)), x, 1 / (1 / x + 1.5 * _double(rates)))


def _double(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _linear(theta: Theta, matrices: tuple[list[list[float]], ...]) -> Problem:
    x = exact = _double([[1.0, 0.5], [-0.3, 2.0]])
    for matrix in matrices:
        exact = exact @ torch.matrix_exp(_double(matrix) / len(matrices)).T
    return Problem(theta, x, exact)


def _logistic(theta: Theta, growth: Tensor) -> Problem:
    x = _double([[0.2, 0.7], [0.45, 0.1]])
    return Problem(theta, x, torch.sigmoid(torch.logit(x) + growth))


SMOOTH: tuple[Callable[[], Problem], ...] = (linear, logistic, bernoulli)
JUMPING: tuple[Callable[[], Problem], ...] = (jumping_linear, jumping_logistic)
PROBLEMS = (*SMOOTH, *JUMPING, sloping_logistic)
