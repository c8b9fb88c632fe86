"""Linear stability: the eigenvalues of a vector field's Jacobian, and what a step of a solver makes of them.

On x′ = λx a Runge-Kutta step multiplies x by R(hλ), R(z) = 1 + z·bᵀ(I - zA)⁻¹·1. Where Re λ < 0 the flow decays; a step
with |R(hλ)| > 1 grows all the same, and the network does what its ODE does not (Hairer and Wanner, *Solving Ordinary
Differential Equations II*, section IV.2).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from odenet.blocks.arguments import checked
from odenet.blocks.solvers.tableau import ButcherTableau


@checked
def stability_function(tableau: ButcherTableau, z: np.ndarray) -> np.ndarray:
    """R(z) for complex z of any shape.

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
    """The `number` eigenvalues of largest modulus of ∂F/∂x at x, by Arnoldi's method on products.

    Args:
        field: x ↦ F(x), the same in each call: BatchNorm in evaluation mode.
        x: one state, of shape (1, …); the Jacobian is that of all its numbers.
        number: how many; all of them where the state has no more than two others.

    Returns:
        Complex eigenvalues in the order of falling modulus.
    """
    from scipy.sparse.linalg import LinearOperator, eigs

    x = x.detach().requires_grad_()
    with torch.enable_grad():
        slope = field(x)
    size = x.numel()

    def product(direction: np.ndarray) -> np.ndarray:
        # With the transpose, which has the same eigenvalues and costs one backward pass.
        cotangent = torch.as_tensor(direction.reshape(x.shape), dtype=x.dtype, device=x.device)
        (product,) = torch.autograd.grad(slope, x, cotangent, retain_graph=True, materialize_grads=True)
        return product.flatten().double().cpu().numpy()

    if number >= size - 2:  # where ARPACK has no room
        values = np.linalg.eigvals(np.stack([product(column) for column in np.eye(size)], axis=1))
    else:
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        values = eigs(operator, number, v0=np.ones(size), return_eigenvectors=False, tol=1e-4)  # pyright: ignore[reportArgumentType]
    return values[np.argsort(-np.abs(values))][:number]
