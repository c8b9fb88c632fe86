"""Splines have the B-splines of SciPy, and knot insertion does not change them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from torch import nn

from odenet import (
    RK4,
    Autonomous,
    BasicBranch,
    FixedSteps,
    Heun,
    LinearTheta,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Spline,
    Theta,
    group_norm,
)
from odenet.blocks.theta.spline import blossom_weights, integrals, knot_insertion
from tests.laws import ThetaLaws, logistic_nodes, slope, states

DEGREES = (0, 1, 2, 3, 5)


class TestQuadratic(ThetaLaws):
    min_nodes = 3

    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        return Spline(nodes, 2, horizon)


class TestPolygon(ThetaLaws):
    min_nodes = 2

    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        return Spline(nodes, 1, horizon)


def weights_at(theta: LinearTheta, piece: int, t: float) -> np.ndarray:
    """Return the values at t of all basis functions on a closed piece."""
    values = np.zeros(len(theta.nodes))
    columns = theta.nodes_of_piece(piece)
    values[columns.start : columns.stop] = theta.weights(piece, *theta.interval(piece), t)
    return values


def scipys(degree: int, pieces: int, horizon: float) -> BSpline:
    """Return SciPy's B-splines on equal spans of [0, horizon], as one vector-valued function."""
    inner = np.linspace(0, horizon, pieces + 1)
    knots = np.concatenate([[0.0] * degree, inner, [horizon] * degree])
    return BSpline(knots, np.eye(pieces + degree), degree)


@given(st.sampled_from(DEGREES), st.integers(1, 9), st.floats(0.01, 100), st.floats(0, 1))
def test_its_basis_functions_are_those_of_scipy(degree: int, pieces: int, horizon: float, s: float) -> None:
    theta = Spline([Autonomous(nn.Identity())] * (pieces + degree), degree, horizon)
    reference = scipys(degree, pieces, horizon)
    for piece in range(pieces):
        start, end = theta.interval(piece)
        t = min(start + s * (end - start), end)
        if degree > 0 or start < t < end:  # at a jump, SciPy takes the limit from one side
            np.testing.assert_allclose(weights_at(theta, piece, t), reference(t), atol=1e-12)


@given(st.sampled_from(DEGREES), st.integers(1, 9), st.floats(0, 1))
def test_its_basis_is_positive_and_sums_to_one(degree: int, pieces: int, s: float) -> None:
    theta = Spline([Autonomous(nn.Identity())] * (pieces + degree), degree)
    for piece in range(pieces):
        weights = theta.weights(piece, *theta.interval(piece), piece + s)
        assert min(weights) >= 0
        assert sum(weights) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("horizon", [None, 0.1, 1 / 3, 49.0])
@pytest.mark.parametrize("degree", DEGREES)
def test_it_begins_at_its_first_node_and_ends_at_its_last_exactly(degree: int, horizon: float | None) -> None:
    theta = Spline(logistic_nodes(degree + 7), degree, horizon)
    last = theta.number_of_pieces - 1
    assert list(theta.weights(0, *theta.interval(0), 0.0)) == [1, *[0] * degree]
    assert list(theta.weights(last, *theta.interval(last), theta.horizon)) == [*[0] * degree, 1]


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_it_has_one_continuous_derivative_fewer_than_its_degree_at_knots(degree: int) -> None:
    theta = Spline(logistic_nodes(7), degree)
    t = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    sides = []
    for piece in (1, 2):
        total = torch.zeros((), dtype=torch.float64)
        for node, weight in zip(theta.nodes_of_piece(piece), theta.weights(piece, piece, piece + 1, t), strict=True):
            total = total + weight * (-1.7) ** node
        derivatives = [total]
        for _ in range(degree):
            derivatives += torch.autograd.grad(derivatives[-1], t, create_graph=True)
        sides.append([float(value.detach()) for value in derivatives])
    left, right = sides
    assert left[:degree] == pytest.approx(right[:degree], rel=1e-12)
    assert abs(left[degree] - right[degree]) > 1


@pytest.mark.parametrize(("degree", "kind"), [(0, PiecewiseConstant), (1, PiecewiseLinear)])
def test_degrees_zero_and_one_are_the_kinds_of_that_name(degree: int, kind: type[Theta]) -> None:
    nodes = logistic_nodes(5)
    spline, other = (ODEBlock(theta, FixedSteps(Heun(), 3)) for theta in (Spline(nodes, degree), kind(nodes)))
    assert torch.equal(spline(states()), other(states()))
    assert spline.evaluations == other.evaluations


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_every_degree_trains_batch_norm(degree: int) -> None:
    block, x = ODEBlock(Spline([BasicBranch(2) for _ in range(4)], degree)), torch.randn(2, 2, 4, 4)
    before = [buffer.clone() for buffer in block.buffers()]
    block(x).sum().backward()
    assert not all(map(torch.equal, before, block.buffers()))
    assert torch.isfinite(block.eval()(x)).all()


def test_group_norm_trains_between_its_nodes() -> None:
    block = ODEBlock(Spline([BasicBranch(2, norm=group_norm) for _ in range(5)], 3))
    block(torch.randn(2, 2, 4, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


def test_a_solver_keeps_its_order_across_the_knots() -> None:
    theta, numbers = Spline(logistic_nodes(6), 3), (32, 48, 64, 96)
    with torch.no_grad():
        exact = ODEBlock(theta, FixedSteps(RK4(), 512))(states())
        errors = [float((ODEBlock(theta, FixedSteps(RK4(), n))(states()) - exact).norm()) for n in numbers]
    assert slope(numbers, errors) == pytest.approx(4, abs=0.05)


def test_it_compiles_as_one_graph() -> None:
    torch.compiler.reset()
    block = ODEBlock(Spline(logistic_nodes(5), 3), FixedSteps(RK4()))
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(states()), block(states()), rtol=1e-14, atol=1e-14)


# Refinement


@given(st.sampled_from(DEGREES), st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_knot_insertion_does_not_change_the_function(degree: int, pieces: int, factor: int, seed: int) -> None:
    coarse = np.random.default_rng(seed).normal(size=pieces + degree)
    rows = knot_insertion(degree, pieces, factor)
    fine = [sum(float(weight) * coarse[k] for k, weight in row.items()) for row in rows]
    for t in np.linspace(0.01, pieces - 0.01, 31) * (1 - 1e-9):  # avoid the jumps of degree 0
        expected = scipys(degree, pieces, float(pieces))(t) @ coarse
        found = scipys(degree, pieces * factor, float(pieces))(t) @ np.array(fine)
        assert found == pytest.approx(expected, abs=1e-10)


def test_weights_of_knot_insertion_are_exact_fractions_that_sum_to_one() -> None:
    for degree in DEGREES:
        for row in knot_insertion(degree, 3, 3):
            assert sum(row.values()) == 1
            assert min(row.values()) > 0
    assert knot_insertion(0, 2, 2) == [{0: 1}, {0: 1}, {1: 1}, {1: 1}]
    assert [row for row in knot_insertion(1, 2, 3) if len(row) == 1] == [{0: 1}, {1: 1}, {2: 1}]


@pytest.mark.parametrize("degree", DEGREES)
def test_integrals_are_those_of_scipy(degree: int) -> None:
    for pieces in (1, 2, 7):
        expected = scipys(degree, pieces, float(pieces)).integrate(0, pieces)
        np.testing.assert_allclose([float(value) for value in integrals(degree, pieces)], expected, rtol=1e-12)
        assert sum(integrals(degree, pieces)) == pieces


def test_a_blossom_does_not_depend_on_the_order_of_its_arguments() -> None:
    weights = [blossom_weights(2, float, order) for order in ([2.1, 2.7, 4.5], [4.5, 2.1, 2.7])]
    assert weights[0] == pytest.approx(weights[1], rel=1e-12)


# Invalid arguments


@pytest.mark.parametrize("degree", [-1, 1.0, True, "3", None], ids=repr)
def test_a_degree_that_is_not_a_whole_number_is_refused(degree: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"degree must be a whole number.*, got {degree!r}"):
        Spline(logistic_nodes(5), degree)


def test_fewer_nodes_than_a_polynomial_has_coefficients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Spline was given 3 nodes; .* at least 4: add branches"):
        Spline(logistic_nodes(3), 3)


def test_nodes_of_other_architecture_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nodes 0 and 1 of Spline differ in 'net.0.bias'"):
        Spline([MLPBranch(2), MLPBranch(2, hidden=3)], 1)


def test_it_shows_its_degree() -> None:
    assert "degree=2, horizon=0.5" in repr(Spline(logistic_nodes(4), 2, 0.5))
