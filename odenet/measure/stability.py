"""Linear stability: eigenvalues of a vector field's Jacobian, and the stability function of Runge-Kutta methods.

For x′ = λx a Runge-Kutta step multiplies x by R(hλ), R(z) = 1 + z·bᵀ(I - zA)⁻¹·1. If Re λ < 0 the flow decays, but a
step with |R(hλ)| > 1 grows, so that the network behaves unlike its ODE (Hairer and Wanner, *Solving Ordinary
Differential Equations II*, section IV.2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from odenet.blocks.arguments import checked
from odenet.blocks.extras import Extra
from odenet.blocks.solvers.tableau import ButcherTableau


@checked
def stability_function(tableau: ButcherTableau, z: np.ndarray) -> np.ndarray:
    """Evaluate the stability function R(z) of a Runge-Kutta method for complex z of any shape.

    >>> from odenet import Euler
    >>> stability_function(Euler.tableau, np.array([-1.0, -2.5]))
    array([ 0. +0.j, -1.5+0.j])
    """
    stages: list[np.ndarray] = []
    for row in tableau.a:
        stages.append(1 + z * sum((float(a) * k for a, k in zip(row, stages, strict=True)), np.zeros_like(z)))
    return (1 + z * sum((float(b) * k for b, k in zip(tableau.b, stages, strict=True)), np.zeros_like(z))).astype(
        complex
    )


@checked
def largest_eigenvalues(field: Callable[[Tensor], Tensor], x: Tensor, number: int = 12) -> np.ndarray:
    """Compute the `number` eigenvalues of largest modulus of ∂F/∂x at x, by Arnoldi iteration.

    Args:
        field: function x ↦ F(x), the same in each call, so with BatchNorm in evaluation mode.
        x: single state of shape (1, …); the Jacobian is with respect to all of its entries.
        number: number of eigenvalues; at most all of them.

    Returns:
        Complex eigenvalues in order of decreasing modulus.
    """
    with Extra("experiments"):
        from scipy.sparse.linalg import LinearOperator, eigs

    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = field(x)
    size = x.numel()

    def product(direction: np.ndarray) -> np.ndarray:
        # A product with the transpose, which has the same eigenvalues, costs one backward pass.
        cotangent = torch.as_tensor(direction.reshape(x.shape), dtype=x.dtype, device=x.device)
        (product,) = torch.autograd.grad(y, x, cotangent, retain_graph=True, materialize_grads=True)
        return product.flatten().double().cpu().numpy()

    if number >= size - 2:  # ARPACK needs number < size - 1
        values = np.linalg.eigvals(np.stack([product(column) for column in np.eye(size)], axis=1))
    else:
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        values = eigs(operator, number, v0=np.ones(size), return_eigenvectors=False, tol=1e-4)  # pyright: ignore[reportArgumentType]
    return values[np.argsort(-np.abs(values))][:number]
