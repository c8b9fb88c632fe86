"""Stability functions agree with exp and with a real step, and eigenvalues with those of a known matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from odenet import RK4, ClassicalRK4, Euler, Heun, Heun3, Midpoint, Ralston, RungeKutta
from odenet.measure import largest_eigenvalues, stability_function


@pytest.mark.parametrize("solver", [Euler(), Midpoint(), Heun(), Ralston(), Heun3(), RK4(), ClassicalRK4()], ids=repr)
def test_the_stability_function_is_a_step_of_the_solver_on_a_linear_equation(solver: RungeKutta) -> None:
    rates = np.array([-2.5, -0.3, 0.4])
    field = torch.tensor(rates)
    step = solver.step(lambda _, x: field * x, 0.0, 0.7, torch.ones(3, dtype=torch.float64))
    np.testing.assert_allclose(stability_function(solver.tableau, 0.7 * rates), step.numpy(), rtol=1e-14)


@pytest.mark.parametrize("solver", [Euler(), Midpoint(), Heun3(), RK4()], ids=repr)
def test_it_is_the_exponential_to_the_order_of_the_solver(solver: RungeKutta) -> None:
    z = np.array([0.02, 0.01]) * (1 + 2j)
    errors = np.abs(stability_function(solver.tableau, z) - np.exp(z))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(solver.order + 1, abs=0.05)


def test_euler_is_stable_in_the_unit_circle_around_minus_one_and_rk4_a_little_on_the_imaginary_axis() -> None:
    circle = -1 + np.exp(1j * np.linspace(0, 2 * np.pi, 9))
    np.testing.assert_allclose(np.abs(stability_function(Euler.tableau, circle)), 1)
    assert np.abs(stability_function(RK4.tableau, np.array([2.82j])))[0] < 1
    assert np.abs(stability_function(RK4.tableau, np.array([2.83j])))[0] > 1


def matrix(size: int) -> torch.Tensor:
    return torch.randn(size, size, generator=torch.Generator().manual_seed(0)).double() / size**0.5


@pytest.mark.parametrize(("size", "number"), [(5, 5), (5, 3), (5, 9), (60, 4)])
def test_eigenvalues_are_numpys_in_the_order_of_their_modulus(size: int, number: int) -> None:
    a = matrix(size) + torch.diag(torch.arange(size, dtype=torch.float64))
    found = largest_eigenvalues(lambda x: x @ a.T, torch.zeros(1, size, dtype=torch.float64), number)
    expected = np.linalg.eigvals(a.numpy()).astype(complex)
    expected = expected[np.argsort(-np.abs(expected))][:number]
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3)
    np.testing.assert_allclose(np.sort(np.real(found)), np.sort(np.real(expected)), rtol=1e-3)


def test_the_jacobian_is_that_at_the_state() -> None:
    x = torch.tensor([[0.5, -1.0, 2.0, 3.0]])
    found = largest_eigenvalues(lambda x: x**3, x, 4)
    np.testing.assert_allclose(found, [27, 12, 3, 0.75], rtol=1e-6)


def test_a_convolutional_field_has_the_eigenvalues_of_its_matrix() -> None:
    torch.manual_seed(0)
    field = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh()).double()
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda v: field(v.view_as(x)).flatten())(x.flatten()).detach().numpy()
    expected = np.sort(np.abs(np.linalg.eigvals(jacobian)))[::-1][:3]
    np.testing.assert_allclose(np.abs(largest_eigenvalues(field, x, 3)), expected, rtol=1e-3)
