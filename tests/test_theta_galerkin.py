"""Galerkin series have the basis functions of NumPy and the flow of SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from scipy.integrate import solve_ivp
from torch import nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    BasicBranch,
    FixedSteps,
    Galerkin,
    MLPBranch,
    ODEBlock,
    Theta,
    group_norm,
)
from odenet.blocks.branches import Norm
from tests.laws import ThetaLaws, logistic_nodes, states
from tests.problems import Logistic


class TestChebyshev(ThetaLaws):
    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        return Galerkin(nodes, "chebyshev", horizon)


class TestFourier(ThetaLaws):
    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        return Galerkin(nodes, "fourier", horizon)


def weights(basis: str, n: int, t: float, horizon: float = 1.0) -> list[float]:
    theta = Galerkin([Autonomous(nn.Identity())] * n, basis, horizon)
    return [float(weight) for weight in theta.weights(0, 0.0, horizon, t)]


@given(st.integers(1, 12), st.floats(0, 1), st.floats(0.1, 10))
def test_chebyshev_functions_are_those_of_numpy(n: int, s: float, horizon: float) -> None:
    expected = chebyshev.chebvander(2 * (s * horizon / horizon) - 1, n - 1)[0]
    assert weights("chebyshev", n, s * horizon, horizon) == pytest.approx(expected.tolist(), abs=1e-12)


@given(st.integers(1, 9), st.floats(0, 1))
def test_fourier_functions_are_a_constant_then_cosines_and_sines(n: int, s: float) -> None:
    pairs = [f(2 * math.pi * k * s) for k in range(1, 6) for f in (math.cos, math.sin)]
    assert weights("fourier", n, s) == pytest.approx([1.0, *pairs][:n], abs=1e-14)


@pytest.mark.parametrize("basis", ["chebyshev", "fourier"])
def test_time_may_be_a_tensor_or_a_number(basis: str) -> None:
    theta = Galerkin(logistic_nodes(5), basis, 2.0)
    (piece,) = theta.pieces()
    number, tensor = piece.field(0.7, states()), piece.field(torch.tensor(0.7, dtype=torch.float64), states())
    torch.testing.assert_close(tensor, number, rtol=1e-14, atol=1e-14)


def test_fourier_is_periodic_and_chebyshev_ends_at_the_sum_of_its_nodes() -> None:
    assert weights("fourier", 5, 1.0) == pytest.approx(weights("fourier", 5, 0.0), abs=1e-14)
    assert weights("chebyshev", 5, 1.0) == [1] * 5
    assert weights("chebyshev", 5, 0.0) == [1, -1, 1, -1, 1]


@pytest.mark.parametrize("basis", ["chebyshev", "fourier"])
def test_its_flow_is_that_of_scipy(basis: str) -> None:
    rates = [0.9, -0.6, 0.4, 1.1]
    theta = Galerkin([Logistic(rate) for rate in rates], basis, horizon=2.0)

    def field(t: float, x: np.ndarray) -> np.ndarray:
        return np.dot(weights(basis, 4, t, 2.0), rates) * x * (1 - x)

    expected = solve_ivp(field, (0, 2), [0.3], rtol=1e-11, atol=1e-12).y[0, -1]
    x = torch.tensor([[0.3]], dtype=torch.float64)
    assert float(ODEBlock(theta, FixedSteps(RK4(), 256))(x).detach()) == pytest.approx(expected, abs=1e-9)
    assert float(ODEBlock(theta, Adaptive(rtol=1e-9, atol=1e-9))(x).detach()) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("basis", ["chebyshev", "fourier"])
def test_it_compiles_as_one_graph(basis: str) -> None:
    torch.compiler.reset()
    block = ODEBlock(Galerkin(logistic_nodes(4), basis), FixedSteps(RK4(), 2))
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(states()), block(states()), rtol=1e-14, atol=1e-14)


def test_a_series_of_one_node_is_constant() -> None:
    (node,) = logistic_nodes(1)
    (piece,) = Galerkin([node]).pieces()
    assert piece.field is node


@pytest.mark.parametrize("norm", [group_norm, nn.BatchNorm2d], ids=["group", "batch"])
def test_normalizations_train_and_a_combined_variance_is_never_negative(norm: Norm) -> None:
    x = torch.randn(2, 2, 4, 4)
    block = ODEBlock(Galerkin([BasicBranch(2, norm=norm) for _ in range(3)]), FixedSteps(RK4(), per_piece=4))
    for _ in range(5):
        block(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())
    assert torch.isfinite(block.eval()(x)).all()


def test_an_unknown_basis_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"unknown basis 'tchebyshev'; did you mean 'chebyshev'\? Known: chebyshev, f"):
        Galerkin(logistic_nodes(2), "tchebyshev")


def test_nodes_of_other_architecture_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nodes 0 and 1 of Galerkin differ in 'net.0.bias'"):
        Galerkin([MLPBranch(2), MLPBranch(2, hidden=3)])


def test_it_shows_its_basis() -> None:
    assert "basis='fourier', horizon=0.5" in repr(Galerkin(logistic_nodes(2), "fourier", 0.5))
