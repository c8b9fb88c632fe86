"""Equal Jacobians are aligned, unrelated ones are not, and singular vectors are those of the dense Jacobian."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from odenet import RK4, Autonomous, BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant, group_norm
from odenet.measure import residual_alignment, visited_states


def linear_block(*matrices: torch.Tensor) -> ODEBlock:
    nodes = []
    for matrix in matrices:
        layer = nn.Linear(*reversed(matrix.shape), bias=False).to(matrix)
        with torch.no_grad():
            layer.weight.copy_(matrix)
        nodes.append(Autonomous(layer))
    return ODEBlock(PiecewiseConstant(nodes))


def random_matrix(size: int, seed: int) -> torch.Tensor:
    return torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [10, 100])
def test_blocks_of_one_matrix_are_aligned_and_their_singular_values_are_its_own(size: int) -> None:
    matrix, x = random_matrix(size, 0), torch.randn(1, size, dtype=torch.float64)
    found = residual_alignment(linear_block(matrix, matrix / 2, matrix), x, 3)
    values = torch.linalg.svdvals(matrix).numpy()[:3]
    np.testing.assert_allclose(found.singular_values, [values, values / 2, values], rtol=1e-6)
    np.testing.assert_allclose(found.right, 1, rtol=1e-5)
    np.testing.assert_allclose(found.left, 1, rtol=1e-5)
    assert found.between_blocks("right") == pytest.approx(1, abs=1e-5)


def test_a_symmetric_matrix_aligns_left_with_right() -> None:
    matrix = random_matrix(80, 0)
    found = residual_alignment(linear_block(matrix @ matrix.T), torch.zeros(1, 80, dtype=torch.float64), 4)
    assert found.cross[0, 0] == pytest.approx(1, abs=1e-5)


def test_unrelated_blocks_overlap_as_much_as_chance() -> None:
    block = linear_block(*(random_matrix(100, seed) for seed in range(12)))
    found = residual_alignment(block, torch.zeros(1, 100, dtype=torch.float64), 10)
    assert found.chance == 0.1
    for name in ("right", "left", "cross"):
        assert found.between_blocks(name) == pytest.approx(0.1, abs=0.02)
    np.testing.assert_allclose(np.diag(found.right), 1, rtol=1e-6)


@pytest.mark.parametrize("size", [3, 6])
def test_singular_vectors_of_a_convolutional_branch_are_those_of_its_dense_jacobian(size: int) -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseConstant([BasicBranch(2, norm=group_norm).double() for _ in range(2)])).eval()
    x = torch.randn(1, 2, size, size, dtype=torch.float64)
    found, state = residual_alignment(block, x, 3), visited_states(block, x)[1]
    branch = block.theta.nodes[1]
    jacobian = torch.autograd.functional.jacobian(lambda y: branch(1.0, y), state).reshape(x.numel(), x.numel())
    np.testing.assert_allclose(found.singular_values[1], torch.linalg.svdvals(jacobian).numpy()[:3], rtol=1e-5)


def test_a_branch_that_does_not_depend_on_the_state_has_singular_values_of_zero() -> None:
    zero = torch.zeros(4, 4, dtype=torch.float64)
    found = residual_alignment(linear_block(zero, zero), torch.zeros(1, 4, dtype=torch.float64), 2)
    assert not found.singular_values.any()


@pytest.mark.parametrize(
    ("stepping", "shape", "number", "match"),
    [
        (None, (2, 3), 1, r"x of shape \(2, 3\) was given; .* pass x\[:1\]"),
        (None, (1, 3), 4, r"number = 4 singular vectors were asked for states of 3 entries: ask for fewer"),
        (FixedSteps(RK4()), (1, 3), 2, r"evaluates its branches 8 times on 2 pieces .* set FixedSteps\(Euler\(\)\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(stepping: Any, shape: Any, number: int, match: str) -> None:
    block = linear_block(random_matrix(3, 0), random_matrix(3, 1))
    if stepping is not None:
        block.stepping = stepping
    with pytest.raises(ValueError, match=match):
        residual_alignment(block, torch.zeros(shape, dtype=torch.float64), number)


def test_overlaps_of_another_name_or_of_one_block_are_refused() -> None:
    found = residual_alignment(linear_block(random_matrix(3, 0)), torch.zeros(1, 3, dtype=torch.float64), 1)
    with pytest.raises(ValueError, match=r"name = 'top'; overlaps are called 'right', 'left' and 'cross'"):
        found.between_blocks("top")
    with pytest.raises(ValueError, match="there is one: use a deeper flow"):
        found.between_blocks("left")
