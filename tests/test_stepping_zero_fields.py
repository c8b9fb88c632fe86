"""Zero fields and zero states, for which torchdiffeq's error control would divide by zero."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
import torch
from scipy.integrate import LSODA, Radau
from torch import Tensor, nn
from torchdiffeq._impl.odeint import SOLVERS

from odenet import Adaptive, Backprop, BudgetWarning, Checkpointed, Constant, ContinuousAdjoint, MLPBranch, ODEBlock
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.theta.base import Time

ERROR_CONTROL = sorted(method for method, solver in SOLVERS.items() if hasattr(solver, "tableau"))
METHODS: list[tuple[str, dict[str, Any]]] = [(method, {}) for method in sorted(SOLVERS)]
METHODS += [("scipy_solver", {"solver": name}) for name in ("RK45", "RK23", "DOP853", "Radau", "BDF")]
REAL = [torch.float32, torch.float64]
COMPLEX = [torch.complex64, torch.complex128]
TOLERANCES = [(1e-3, 1e-3), (1e-3, 0.0), (1e-12, 1e-3)]


class Scaled(nn.Module):
    """F(t, x) = rate·x."""

    def __init__(self, rate: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate, dtype=dtype))

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return self.rate * x


class Shifted(nn.Module):
    """F(t, x) = 1."""

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return torch.ones_like(x)


def start(of: str, dtype: torch.dtype) -> Tensor:
    x = {"zeros": [0.0, 0.0, 0.0], "some zeros": [0.0, -2.0, 0.5], "no zeros": [1.0, -2.0, 0.5]}[of]
    return torch.tensor([x, x], dtype=dtype) * (1 if dtype in REAL else 1 - 2j)


def supports(dtype: torch.dtype, method: str, options: dict[str, Any]) -> bool:
    """Whether the solver supports the dtype; all but two of SciPy's solvers support complex numbers."""
    return dtype in REAL or method != "scipy_solver" or options.get("solver", "LSODA") not in ("LSODA", "Radau")


@pytest.mark.filterwarnings("ignore:The following arguments have no effect")  # torchdiffeq's `min_step`
@pytest.mark.parametrize("dtype", [*REAL, *COMPLEX], ids=str)
@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
def test_a_zero_field_leaves_the_state_unchanged(method: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    for tolerances, of in itertools.product(TOLERANCES, ("zeros", "some zeros", "no zeros")):
        block = ODEBlock(Constant(Scaled(0.0, dtype)), Adaptive(method, *tolerances, **options))
        x = start(of, dtype)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error", BudgetWarning)
            if supports(dtype, method, options):
                assert torch.equal(block(x), x), (tolerances, of)
            else:
                with pytest.raises(ValueError, match=r"by SciPy's (LSODA|Radau) was asked for .*: pass solver="):
                    block(x)


@pytest.mark.parametrize("dtype", [*REAL, *COMPLEX], ids=str)
@pytest.mark.parametrize("method", ERROR_CONTROL)
def test_a_state_with_zeros_is_solved_with_a_relative_tolerance_alone(method: str, dtype: torch.dtype) -> None:
    block = ODEBlock(Constant(Scaled(-0.5, dtype)), Adaptive(method, 1e-5, 0.0))
    x = start("some zeros", dtype)
    with torch.no_grad():
        torch.testing.assert_close(block(x), x * torch.e**-0.5, rtol=1e-3, atol=0)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize("dtype", [*REAL, *COMPLEX], ids=str)
@pytest.mark.parametrize("of", ["zeros", "no zeros"])
def test_the_gradient_of_a_zero_field_is_that_of_the_identity(
    of: str, dtype: torch.dtype, gradient: GradientMethod
) -> None:
    for method in ERROR_CONTROL:
        require_gradient_of_the_identity(method, dtype, of, gradient)


def require_gradient_of_the_identity(method: str, dtype: torch.dtype, of: str, gradient: GradientMethod) -> None:
    """Require that a solve by the method has the gradient of the identity, or refuses the state."""
    block = ODEBlock(Constant(Scaled(0.0, dtype)), Adaptive(method), gradient)
    x = start(of, dtype).requires_grad_()
    if dtype in COMPLEX and isinstance(gradient, ContinuousAdjoint):
        with pytest.raises(ValueError, match=r"ContinuousAdjoint was asked for with a state of torch\.complex"):
            block(x)
        return
    y = block(x)
    for_x, for_rate = torch.autograd.grad((y * y.conj()).real.sum(), [x, *block.parameters()])
    torch.testing.assert_close(for_x, 2 * x.detach(), rtol=1e-5, atol=1e-5, msg=lambda said: f"{method}: {said}")
    # ∂x(1)/∂rate = x(0).
    expected = 2 * x.detach().abs().square().sum()
    expected = expected.to(for_rate.real.dtype)
    torch.testing.assert_close(for_rate.real, expected, rtol=1e-4, atol=1e-4, msg=lambda said: f"{method}: {said}")


@pytest.mark.parametrize("norm", [lambda x: x.abs().max(), lambda x: x.abs().pow(2).mean().sqrt()])
def test_a_users_norm_may_measure_complex_states(norm: Any) -> None:
    x = start("no zeros", torch.complex64)
    block = ODEBlock(Constant(Scaled(0.0, torch.complex64)), Adaptive(norm=norm))
    with torch.no_grad():
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
@pytest.mark.parametrize("method", ERROR_CONTROL)
def test_a_stop_because_of_a_relative_tolerance_alone_advises_an_absolute_one(
    method: str, gradient: GradientMethod
) -> None:
    block = ODEBlock(Constant(Shifted()), Adaptive(method, 1e-3, 0.0), gradient)
    for dtype in (torch.float32, torch.complex64):
        with pytest.warns(BudgetWarning, match=r"before t = 1: underflow .*: pass atol > 0, because a relative"):
            block(start("zeros", dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("method", ERROR_CONTROL)
def test_in_double_precision_a_solve_can_start_from_zero_with_a_relative_tolerance_alone(
    method: str, dtype: torch.dtype
) -> None:
    block = ODEBlock(Constant(Shifted()), Adaptive(method, 1e-3, 0.0))
    x = start("zeros", dtype)
    torch.testing.assert_close(block(x), x + 1, rtol=1e-9, atol=0)


def test_an_adjoint_with_a_relative_tolerance_alone_advises_an_absolute_one() -> None:
    torch.manual_seed(0)
    block = ODEBlock(Constant(MLPBranch(3)), Adaptive("dopri5", 1e-3, 1e-3), ContinuousAdjoint(atol=0.0))
    y = block(start("no zeros", torch.float32))
    with pytest.raises(RuntimeError, match=r"or the tolerances \(atol > 0, as the gradients of parameters start from"):
        y.sum().backward()


@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
@pytest.mark.parametrize("solver", [{}, {"solver": "LSODA"}, {"solver": LSODA}, {"solver": "Radau"}, {"solver": Radau}])
def test_scipys_solvers_for_real_numbers_refuse_complex_states(solver: dict[str, Any], dtype: torch.dtype) -> None:
    block = ODEBlock(Constant(Scaled(0.0, dtype)), Adaptive("scipy_solver", **solver))
    message = (
        r"SciPy's (LSODA|Radau) was asked for with a state of torch\.complex.* in ODEBlock, but .*: pass solver='RK45'"
    )
    with torch.no_grad(), pytest.raises(ValueError, match=message):
        block(start("no zeros", dtype))
