from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import Tensor, nn

from odenet import (
    RK4,
    BasicBranch,
    Constant,
    FixedSteps,
    Galerkin,
    LinearTheta,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Spline,
    Theta,
    project_theta,
    refine_steps,
    refine_theta,
)
from odenet.blocks.theta.convert import combine
from tests.laws import logistic_nodes, name_of, states
from tests.problems import Logistic

CUBIC = partial(Spline, degree=3)
FOURIER = partial(Galerkin, basis="fourier")
KINDS = (PiecewiseConstant, PiecewiseLinear, CUBIC, Galerkin, FOURIER)


def made(kind: Callable[..., LinearTheta], nodes: int, horizon: float = 2.0, seed: int = 0) -> LinearTheta:
    """A θ of random logistic rates."""
    rates = np.random.default_rng(seed).normal(size=nodes)
    return kind([Logistic(float(rate)) for rate in rates], horizon=horizon)


def rates(theta: LinearTheta) -> np.ndarray:
    """The one number of each node."""
    return np.array([float(node.get_parameter("rates").detach()) for node in theta.nodes])


def value(theta: LinearTheta, t: float) -> float:
    """The rate at t."""
    for index in range(theta.number_of_pieces):
        start, end = theta.interval(index)
        if start <= t <= end:
            weights = [float(weight) for weight in theta.weights(index, start, end, t)]
            return float(np.dot(weights, rates(theta)[theta.nodes_of_piece(index)]))
    raise AssertionError(t)


def distance(one: LinearTheta, other: LinearTheta) -> float:
    """∫(θ - θ̂)² dt, by another quadrature."""
    ends = sorted({end for theta in (one, other) for i in range(theta.number_of_pieces) for end in theta.interval(i)})
    gaps = [(a + 1e-12, b - 1e-12) for a, b in pairwise(ends) if b - a > 1e-9]
    return sum(quad(lambda t: (value(one, t) - value(other, t)) ** 2, a, b, epsabs=1e-12)[0] for a, b in gaps)


CONTAINED = [
    (Constant, 1, Constant, 1),
    (Constant, 1, PiecewiseConstant, 5),
    (Constant, 1, CUBIC, 6),
    (Constant, 1, Galerkin, 4),
    (Constant, 1, FOURIER, 5),
    (PiecewiseConstant, 3, PiecewiseConstant, 6),
    (PiecewiseConstant, 4, partial(Spline, degree=0), 4),
    (PiecewiseLinear, 4, partial(Spline, degree=1), 4),
    (PiecewiseLinear, 3, PiecewiseLinear, 5),
    (PiecewiseLinear, 2, CUBIC, 4),
    (CUBIC, 4, Galerkin, 4),
    (CUBIC, 5, CUBIC, 7),
    (Galerkin, 4, CUBIC, 7),
    (Galerkin, 30, Galerkin, 30),
    (FOURIER, 21, FOURIER, 23),
]


def built(kind: Any, nodes: int) -> LinearTheta:
    return Constant(Logistic(0.7), horizon=2.0) if kind is Constant else made(kind, nodes)


@pytest.mark.parametrize(("kind", "nodes", "other", "number"), CONTAINED)
def test_a_kind_that_contains_theta_gives_it_back(kind: Any, nodes: int, other: Any, number: int) -> None:
    theta = built(kind, nodes)
    found = project_theta(theta, other, number)
    assert len(found.nodes) == number
    assert found.horizon == theta.horizon
    for t in np.linspace(0.01, 1.99, 23):
        assert value(found, t) == pytest.approx(value(theta, t), abs=1e-11)


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_the_same_kind_and_number_are_copies_to_the_last_bit(kind: Callable[..., LinearTheta]) -> None:
    theta = kind([BasicBranch(2) for _ in range(6)])
    found = project_theta(theta, kind, 6)
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in theta.state_dict().items())
    pointers = {tensor.data_ptr() for tensor in theta.state_dict().values()}
    assert pointers.isdisjoint(tensor.data_ptr() for tensor in found.state_dict().values())


@pytest.mark.parametrize("other", KINDS, ids=name_of)
@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_what_it_finds_is_nearest_in_the_mean_over_depth(
    kind: Callable[..., LinearTheta], other: Callable[..., LinearTheta]
) -> None:
    theta = made(kind, 7)
    found = project_theta(theta, other, 5)
    least = distance(theta, found)
    for j in range(5):
        for step in (-1e-3, 1e-3):
            moved = project_theta(found, other, 5)
            with torch.no_grad():
                moved.nodes[j].get_parameter("rates").add_(step)
            assert distance(theta, moved) > least


def test_fewer_pieces_have_the_means_of_those_they_join() -> None:
    theta = made(PiecewiseConstant, 12)
    np.testing.assert_allclose(rates(project_theta(theta, PiecewiseConstant, 4)), rates(theta).reshape(4, 3).mean(1))
    np.testing.assert_allclose(rates(project_theta(theta, PiecewiseConstant, 1)), rates(theta).mean())
    (mean,) = rates(project_theta(theta, Constant, 1))
    assert mean == pytest.approx(rates(theta).mean())


def test_pieces_that_overlap_count_by_their_overlap() -> None:
    found = rates(project_theta(made(PiecewiseConstant, 3), PiecewiseConstant, 2))
    first, second, third = rates(made(PiecewiseConstant, 3))
    np.testing.assert_allclose(found, [(2 * first + second) / 3, (second + 2 * third) / 3])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_projecting_twice_is_projecting_once(old: int, new: int, seed: int) -> None:
    nodes = min(old, new)
    once = project_theta(made(PiecewiseConstant, old, seed=seed), Galerkin, nodes)
    np.testing.assert_allclose(rates(project_theta(once, Galerkin, nodes)), rates(once), atol=1e-11)


def test_a_block_with_the_same_function_has_the_same_output() -> None:
    theta = Galerkin([MLPBranch(2) for _ in range(4)], horizon=1.5).double()
    found = project_theta(theta, CUBIC, 4)
    outputs = [ODEBlock(kind, FixedSteps(RK4(), 8))(states()) for kind in (theta, found)]
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-12)


def test_statistics_are_projected_counts_and_modes_copied() -> None:
    torch.manual_seed(0)
    nodes = [BasicBranch(2) for _ in range(4)]
    for index, node in enumerate(nodes):
        for _ in range(index):
            node(0.0, torch.randn(8, 2, 4, 4))
    nodes[2].eval()
    theta = PiecewiseConstant(nodes)
    found = project_theta(theta, PiecewiseConstant, 2)
    for j, (left, right) in enumerate(((0, 1), (2, 3))):
        for name in ("norm1.running_mean", "norm2.running_var", "conv1.weight"):
            mean = (theta.state_dict()[f"nodes.{left}.{name}"] + theta.state_dict()[f"nodes.{right}.{name}"]) / 2
            torch.testing.assert_close(found.state_dict()[f"nodes.{j}.{name}"], mean)
        assert found.state_dict()[f"nodes.{j}.norm1.num_batches_tracked"] == left
    assert [node.training for node in found.nodes] == [True, False]
    assert found.training
    assert not project_theta(theta.eval(), PiecewiseConstant, 2).training


def test_theta_is_left_as_it_is() -> None:
    theta = made(PiecewiseConstant, 6)
    before = rates(theta)
    project_theta(theta, PiecewiseLinear, 3)
    assert (rates(theta) == before).all()


def test_a_combination_is_computed_in_double_precision() -> None:
    nodes = [nn.Linear(1, 1) for _ in range(3)]
    for node, number in zip(nodes, (1e8, 1.0, -1e8), strict=True):
        nn.init.constant_(node.weight, number)
    combine(nodes[0], nodes, {0: 1.0, 1: 1.0, 2: 1.0})
    assert float(nodes[0].weight) == 1.0


# Bad input


@pytest.mark.parametrize(("kind", "nodes"), [(PiecewiseLinear, 5), (CUBIC, 8), (Galerkin, 5), (PiecewiseConstant, 6)])
def test_more_nodes_than_the_data_determine_are_refused(kind: Callable[..., LinearTheta], nodes: int) -> None:
    said = (
        rf"{nodes} nodes of \w+ were asked for out of 4 .* do not determine {nodes}\. .*4 nodes or fewer, then refine"
    )
    with pytest.raises(ValueError, match=said):
        project_theta(made(PiecewiseConstant, 4), kind, nodes)


@pytest.mark.parametrize("nodes", [0, -1, 2.0, True], ids=repr)
def test_a_number_of_nodes_that_is_no_positive_integer_is_refused(nodes: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"nodes must be a whole number.*, got {nodes!r}"):
        project_theta(made(PiecewiseConstant, 4), PiecewiseConstant, nodes)


def test_fewer_nodes_than_the_kind_needs_are_refused() -> None:
    with pytest.raises(ValueError, match="Spline was given 3 nodes"):
        project_theta(made(PiecewiseConstant, 4), CUBIC, 3)


def test_several_nodes_of_a_constant_are_refused() -> None:
    with pytest.raises(ValueError, match="2 nodes of Constant were asked for, which has one: pass nodes=1"):
        project_theta(made(PiecewiseConstant, 4), Constant, 2)


def test_nodes_of_different_architectures_are_refused() -> None:
    theta = PiecewiseConstant([MLPBranch(2), MLPBranch(2, hidden=3)])
    with pytest.raises(ValueError, match=r"nodes 0 and 1 of PiecewiseConstant differ in 'net.0.bias'"):
        project_theta(theta, PiecewiseConstant, 1)


class Backwards(Theta):
    """A θ that says nothing of weights."""

    @property
    def number_of_pieces(self) -> int:
        return len(self.nodes)

    def field_of_piece(self, index: int, start: float, end: float) -> Any:
        del start, end
        return self.nodes[-1 - index], (self.nodes[-1 - index],)


def test_what_is_no_combination_of_nodes_is_refused_on_either_side() -> None:
    with pytest.raises(TypeError, match=r"project_theta was given a Backwards; .* pass Constant, PiecewiseConstant"):
        project_theta(Backwards(logistic_nodes(2)), PiecewiseConstant, 1)
    with pytest.raises(TypeError, match=r"kind = <class .*Backwards'> makes a Backwards; "):
        project_theta(made(PiecewiseConstant, 2), Backwards, 1)  # pyright: ignore[reportArgumentType]


class Turning(nn.Module):
    """x′ = a·x with a complex number a."""

    def __init__(self, a: complex) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.complex128))

    def forward(self, t: object, x: Tensor) -> Tensor:
        return self.a * x


@pytest.mark.parametrize("kind", [PiecewiseLinear, partial(Spline, degree=2), partial(Galerkin, basis="chebyshev")])
def test_complex_parameters_are_combined_as_real_ones_are(kind: Any) -> None:
    nodes = [1j, 3.0, 0.5 - 1j]
    found = ODEBlock(kind([Turning(a) for a in nodes], horizon=1.0), FixedSteps("rk4", 64))(
        torch.ones(1, 1, dtype=torch.complex128)
    )
    parts = [
        ODEBlock(kind([Real(part) for part in each], horizon=1.0), FixedSteps("rk4", 64))
        for each in ([complex(a).real for a in nodes], [complex(a).imag for a in nodes])
    ]
    growth, angle = (block(torch.zeros(1, 1, dtype=torch.float64)) for block in parts)
    torch.testing.assert_close(found, torch.polar(growth.exp(), angle), rtol=1e-7, atol=1e-7)


class Real(nn.Module):
    """x′ = a, so that x(1) is the integral of a."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def forward(self, t: object, x: Tensor) -> Tensor:
        return self.a.expand_as(x)


def test_complex_parameters_are_projected_and_refined() -> None:
    theta = PiecewiseLinear([Turning(1j), Turning(3.0)])
    refined = refine_theta(refine_steps(ODEBlock(theta)))
    assert refined.theta.nodes[1].a.item() == (1j + 3) / 2  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    spline = project_theta(theta, partial(Spline, degree=1), 2)
    assert torch.equal(spline.nodes[0].a, theta.nodes[0].a)  # pyright: ignore[reportArgumentType]
