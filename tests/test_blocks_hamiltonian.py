"""The Jacobians of the symmetric and the Hamiltonian branch have the structure of the paper."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet import HamiltonianBranch, SymmetricBranch, group_norm
from tests.laws import BranchLaws


class TestSymmetricBranch(BranchLaws):
    def make(self) -> nn.Module:
        torch.manual_seed(0)
        return SymmetricBranch(4)


class TestHamiltonianBranch(BranchLaws):
    def make(self) -> nn.Module:
        torch.manual_seed(0)
        return HamiltonianBranch(4, norm=group_norm)


def jacobian(branch: nn.Module, channels: int) -> torch.Tensor:
    torch.manual_seed(0)
    x = torch.randn(1, channels, 3, 3, dtype=torch.float64)
    of_state = torch.autograd.functional.jacobian(lambda x: branch(0.0, x), x)
    return of_state.reshape(x.numel(), x.numel())  # pyright: ignore[reportAttributeAccessIssue]


def test_the_jacobian_of_a_symmetric_branch_is_symmetric_and_negative() -> None:
    torch.manual_seed(0)
    J = jacobian(SymmetricBranch(3, norm=nn.Identity).double(), 3)
    torch.testing.assert_close(J, J.T)
    eigenvalues = torch.linalg.eigvalsh(J)
    assert eigenvalues.max() < 1e-12
    assert eigenvalues.min() < -0.1


def test_the_jacobian_of_a_hamiltonian_branch_is_that_of_a_hamiltonian_system() -> None:
    torch.manual_seed(0)
    J = jacobian(HamiltonianBranch(4, norm=nn.Identity).double(), 4)
    half = len(J) // 2
    zero, one = torch.zeros(half, half), torch.eye(half)
    symplectic = torch.cat([torch.cat([zero, one], 1), torch.cat([-one, zero], 1)]).double()
    torch.testing.assert_close((symplectic @ J).T, symplectic @ J)
    assert J[:half, :half].abs().max() == J[half:, half:].abs().max() == 0


def test_an_odd_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be even for a Hamiltonian branch, got 5; .*: pass an even number"):
        HamiltonianBranch(5)
