"""Paths end where the block ends, fields are those of the branches, and principal components those of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from odenet import (
    RK4,
    Adaptive,
    AsynchronousLeapfrog,
    BasicBranch,
    Coupled,
    Euler,
    FixedSteps,
    Heun,
    MLPBranch,
    Nonnegative,
    ODEBlock,
    PiecewiseConstant,
    StochasticDepth,
)
from odenet.measure import (
    evaluation_points,
    plane_grid,
    principal_path,
    require_plane,
    solve_path,
    vector_field,
    visited_states,
)
from tests.laws import logistic_nodes, states


def block_of(stepping: Any = None, **options: Any) -> ODEBlock:
    return ODEBlock(PiecewiseConstant(logistic_nodes(3)), stepping, **options)


@pytest.mark.parametrize("solver", [Euler(), RK4(), Coupled(Heun()), AsynchronousLeapfrog()], ids=repr)
def test_a_path_starts_at_the_state_and_ends_at_the_output(solver: Any) -> None:
    block, x = block_of(FixedSteps(solver, 4)), states()
    times, path = solve_path(block, x)
    assert times == pytest.approx([k / 4 for k in range(13)])
    assert torch.equal(path[0], x)
    assert torch.equal(path[-1], block(x))


def test_the_path_of_a_residual_network_is_made_of_its_states() -> None:
    block, x = block_of(projection=Nonnegative()), states()
    for found, expected in zip(solve_path(block, x).states, visited_states(block, x), strict=True):
        assert torch.equal(found, expected)


def test_a_path_is_one_of_evaluation_mode() -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([BasicBranch(2) for _ in range(3)]), noise=StochasticDepth(0.5))
    before, x = {name: value.clone() for name, value in block.state_dict().items()}, torch.randn(2, 2, 4, 4)
    path = solve_path(block, x).states
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    assert block.training
    assert torch.equal(path[-1], block.eval()(x))


def test_an_adaptive_block_is_told_of_trajectory() -> None:
    with pytest.raises(ValueError, match=r"steps are not known beforehand: set FixedSteps\(…\), or use trajectory"):
        solve_path(block_of(Adaptive()), states())


@pytest.mark.parametrize(("t", "node"), [(0.0, 0), (0.9, 0), (1.0, 1), (2.5, 2), (3.0, 2)])
def test_the_vector_field_is_that_of_the_branch_at_this_time(t: float, node: int) -> None:
    block, x = block_of(), states()
    assert torch.equal(vector_field(block, x, t), block.theta.nodes[node](t, x))


@pytest.mark.parametrize("t", [-0.1, 3.1])
def test_a_time_outside_of_the_solve_is_refused(t: float) -> None:
    with pytest.raises(ValueError, match=rf"t must be .*, got {t}"):
        vector_field(block_of(), states(), t)


@pytest.mark.parametrize(
    "stepping",
    [FixedSteps(RK4(), 2), Adaptive("dopri5"), Adaptive("dopri5", per_sample=True)],
    ids=["fixed", "adaptive", "per sample"],
)
def test_every_evaluation_is_noted_under_every_stepping(stepping: Any) -> None:
    block, x = block_of(stepping), states()
    found = evaluation_points(block, x)
    assert len(found) == block.evaluations
    assert torch.equal(found[0].x, x)
    times = torch.cat([torch.as_tensor(t).flatten() for t, _ in found])
    assert float(times.min()) >= 0
    assert float(times.max()) <= 3
    assert not any(node._forward_pre_hooks for node in block.theta.nodes)


def test_a_grid_holds_the_corners_and_is_read_row_by_row() -> None:
    grid = plane_grid(-2.0, 1.0, 4)
    assert grid.shape == (16, 2)
    assert torch.equal(grid[[0, 3, 12, 15]], torch.tensor([[-2.0, -2.0], [1.0, -2.0], [-2.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(ValueError, match=r"low = 1 and high = 0 were given, which is no interval"):
        plane_grid(1.0, 0.0)


def test_principal_components_are_those_of_scikit_learn() -> None:
    torch.manual_seed(0)
    path = torch.randn(5, 7, 3, 2, dtype=torch.float64) * torch.tensor([1.0, 3.0], dtype=torch.float64)
    found, reference = principal_path(path, 3), PCA(3)
    expected = reference.fit_transform(path.reshape(35, 6).numpy()).reshape(5, 7, 3)
    np.testing.assert_allclose(np.abs(found.path.numpy()), np.abs(expected), atol=1e-10)
    np.testing.assert_allclose(found.explained.numpy(), reference.explained_variance_ratio_, atol=1e-10)


def test_the_path_of_feature_maps_on_a_line_has_one_component() -> None:
    direction, steps = torch.randn(1, 1, 2, 4, 4), torch.arange(5.0).view(5, 1, 1, 1, 1)
    found = principal_path(steps * direction)
    assert found.path.shape == (5, 1, 2)
    assert float(found.explained[0]) == pytest.approx(1)
    assert torch.all(found.path[:, 0, 0].diff().sign() == found.path[1, 0, 0].sub(found.path[0, 0, 0]).sign())


def test_a_state_that_never_moves_explains_nothing() -> None:
    assert principal_path(torch.ones(3, 2, 4)).explained.tolist() == [0, 0]


def test_more_components_than_entries_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"components = 3 were asked for with 10 states of 2 entries: ask for at most 2"
    ):
        principal_path(torch.zeros(5, 2, 2), 3)


@pytest.mark.parametrize("shape", [(4, 3), (2,), (4,)], ids=str)
def test_points_of_other_dimensions_are_no_picture_of_the_plane(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"grid must hold points of the plane, of shape \(…, 2\), got .*principal_path"
    ):
        require_plane(torch.zeros(shape), "grid")
    require_plane(MLPBranch(2)(0.0, torch.zeros(3, 2)))
