"""Costs along a flow are those of a dense quadrature, with the same gradients under every gradient method."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    AsynchronousLeapfrog,
    Autonomous,
    Backprop,
    BasicBranch,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    Coupled,
    Euler,
    FixedSteps,
    Heun,
    JacobianNorm,
    KineticEnergy,
    Leapfrog,
    Mixed,
    MLPBranch,
    MomentumEuler,
    Nonnegative,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Regularized,
    Reversible,
    StochasticDepth,
    SymmetricBranch,
    SymplecticEuler,
    configure,
    group_norm,
    penalty,
    refine_steps,
)
from odenet.blocks.theta.base import Piece
from odenet.training import load_model, save_model
from tests.laws import logistic_nodes, states
from tests.problems import MATRICES, Linear

COSTS = [KineticEnergy(0.3), JacobianNorm(0.2)]
FINE = FixedSteps(RK4(), 100)


def regularized(gradient: Any = None, costs: Any = None) -> Regularized:
    return Regularized(Backprop() if gradient is None else gradient, COSTS if costs is None else costs)


def solved(block: ODEBlock, x: Tensor) -> tuple[Tensor, ...]:
    """Return x(T), the integrals, and the gradients of a loss that has both with respect to x(0) and θ."""
    torch.manual_seed(7)  # of the noise of Hutchinson's estimator
    x = x.detach().requires_grad_()
    y = block(x)
    gradients = torch.autograd.grad(y.square().sum() + penalty(block), [x, *block.parameters()])
    return y, *block.integrals.values(), *gradients


def dense_quadrature(pieces: list[Piece], x: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return x(T), ∫‖F‖² dt and ∫‖∂F/∂x‖² dt of elementwise fields, by RK4 and Simpson's rule on its grid."""
    kinetic = jacobian = torch.zeros(len(x), dtype=x.dtype)
    for piece in pieces:
        h = (piece.end - piece.start) / steps
        for k in range(steps):
            f = partial(piece.field, piece.start + k * h)
            path = [x]
            for _ in range(2):  # two half steps, for the state in the middle
                y, half = path[-1], h / 2
                k1 = f(y)
                k2 = f(y + half / 2 * k1)
                k3 = f(y + half / 2 * k2)
                path.append(y + half / 6 * (k1 + 2 * k2 + 2 * k3 + f(y + half * k3)))
            for weight, y in zip((1 / 6, 4 / 6, 1 / 6), path, strict=True):
                inner = y if y.requires_grad else y.detach().requires_grad_()
                slope = f(inner)
                (diagonal,) = torch.autograd.grad(slope.sum(), inner, create_graph=True)
                kinetic = kinetic + h * weight * slope.square().sum(1)
                jacobian = jacobian + h * weight * diagonal.square().sum(1)
            x = path[-1]
    return x, kinetic, jacobian


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Reversible()], ids=repr)
def test_integrals_and_gradients_are_those_of_a_dense_quadrature(gradient: Any) -> None:
    # The Jacobian of an elementwise field is diagonal, for which the estimate with signs has no variance.
    block, x = ODEBlock(PiecewiseConstant(logistic_nodes(3), 2.0), FINE, regularized(gradient)), states()
    y, kinetic, jacobian, *gradients = solved(block, x)
    start = x.clone().requires_grad_()
    expected = dense_quadrature(list(block.theta.pieces()), start, 60)
    for found, wanted in zip((y, kinetic, jacobian), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    loss = expected[0].square().sum() + 0.3 * expected[1].mean() + 0.2 * expected[2].mean()
    for found, wanted in zip(gradients, torch.autograd.grad(loss, [start, *block.parameters()]), strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 1e-6


@pytest.mark.parametrize("per_sample", [False, True])
def test_under_error_control_the_energy_of_a_linear_flow_is_that_of_scipy(per_sample: bool) -> None:
    matrix, x = np.array(MATRICES[0]), states()
    stepping = Adaptive("dopri5", rtol=1e-9, atol=1e-9, per_sample=per_sample)
    block = ODEBlock(Constant(Linear(MATRICES[0]), 1.5), stepping, regularized(costs=[KineticEnergy()]))
    block(x)
    for sample, found in zip(x.numpy(), block.integrals["kinetic_energy"], strict=True):
        energy, _ = scipy.integrate.quad(
            lambda t, sample=sample: float(np.sum((matrix @ scipy.linalg.expm(matrix * t) @ sample) ** 2)), 0, 1.5
        )
        assert float(found.detach()) == pytest.approx(energy, rel=1e-7)


STEPPINGS = [
    FixedSteps(Euler()),
    FixedSteps(Heun(), 3),
    FixedSteps(Coupled(Heun()), 3),
    FixedSteps(AsynchronousLeapfrog(), 4),
    Adaptive("dopri5", rtol=1e-4, atol=1e-4),
    Adaptive("bosh3", rtol=1e-4, atol=1e-4, per_sample=True),
]


@pytest.mark.parametrize("stepping", STEPPINGS, ids=repr)
@pytest.mark.parametrize("theta", [PiecewiseConstant, PiecewiseLinear])
def test_checkpointed_and_reversible_have_the_gradients_of_backpropagation(stepping: Any, theta: Any) -> None:
    torch.manual_seed(0)
    block, x = ODEBlock(theta([MLPBranch(3, 8) for _ in range(3)]).double(), stepping), torch.randn(4, 3).double()
    block.gradient = regularized(Backprop())
    expected = solved(block, x)
    block.gradient = regularized(Checkpointed())
    # Backpropagation through torchdiffeq also differentiates the lengths of its steps.
    closeness = 1e-3 if "Adaptive('dopri5'" in repr(stepping) else 1e-9
    for found, wanted in zip(solved(block, x), expected, strict=True):
        assert float((found - wanted).detach().norm()) <= closeness * float(wanted.detach().norm())
    if stepping in STEPPINGS[2:4]:  # under other steppings Reversible takes coupled steps
        block.gradient = regularized(Reversible())
        for found, wanted in zip(solved(block, x), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-11)


def test_the_coupled_steps_of_reversible_have_the_gradients_of_backpropagation_through_them() -> None:
    torch.manual_seed(0)
    block, x = ODEBlock(PiecewiseConstant([MLPBranch(3, 8) for _ in range(2)]).double()), torch.randn(4, 3).double()
    block.stepping, block.gradient = FixedSteps(Coupled(Heun()), 8), regularized(Backprop())
    expected = solved(block, x)
    block.gradient, block.stepping = regularized(Reversible()), FixedSteps(Heun(), 8)
    for found, wanted in zip(solved(block, x), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-11)


def test_the_continuous_adjoint_approaches_them() -> None:
    torch.manual_seed(0)
    stepping = Adaptive("dopri5", rtol=1e-8, atol=1e-8)
    block, x = ODEBlock(Constant(MLPBranch(3, 8)), stepping).double(), torch.randn(4, 3).double()
    block.gradient = regularized(Backprop())
    expected = solved(block, x)
    block.gradient = regularized(ContinuousAdjoint())
    for found, wanted in zip(solved(block, x), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)


def test_hutchinsons_estimate_is_right_on_average() -> None:
    matrix = torch.tensor(MATRICES[0])
    block = ODEBlock(Constant(Linear(MATRICES[0]), 2.0), FixedSteps(RK4()), regularized(costs=[JacobianNorm()]))
    torch.manual_seed(0)
    block(torch.randn(20000, 2, dtype=torch.float64))
    assert float(block.integrals["jacobian_norm"].mean().detach()) == pytest.approx(
        2 * float(matrix.square().sum()), rel=0.03
    )


@pytest.mark.parametrize("stepping", [FixedSteps(Heun(), 2), FixedSteps(Euler())], ids=repr)
def test_the_state_and_the_evaluations_are_those_of_the_flow_without_costs(stepping: Any) -> None:
    torch.manual_seed(0)
    block, x = ODEBlock(PiecewiseConstant([MLPBranch(3) for _ in range(2)]), stepping), torch.randn(4, 3)
    plain, evaluations = block(x), block.evaluations
    block.gradient = regularized()
    torch.testing.assert_close(block(x), plain)
    assert block.evaluations == evaluations


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed()], ids=repr)
def test_feature_maps_with_batch_norm_noise_and_projection_are_regularized(gradient: Any) -> None:
    torch.manual_seed(0)
    branches = [BasicBranch(2, activation="post") for _ in range(3)]
    block = ODEBlock(PiecewiseConstant(branches), projection=Nonnegative(), noise=StochasticDepth([1.0, 1.0, 0.01]))
    plain, x = copy.deepcopy(block), torch.rand(2, 2, 4, 4)
    block.gradient = regularized(gradient)
    torch.manual_seed(0)
    expected = plain(x)
    torch.manual_seed(0)
    torch.testing.assert_close(block(x), expected)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(block.state_dict()[name], value)
    steps = [branch(0.0, x) for branch in branches[:1]]
    assert float(block.integrals["kinetic_energy"].sum().detach()) > float(steps[0].square().sum().detach()) * 0.99
    penalty(block).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in branches[0].parameters())


def test_the_energy_of_a_feature_map_is_summed_over_channels_and_pixels() -> None:
    torch.manual_seed(0)
    branch, x = BasicBranch(3, norm=group_norm), torch.randn(2, 3, 5, 5)
    block = ODEBlock(Constant(branch), FixedSteps(Euler()), regularized(costs=[KineticEnergy()]))
    block(x)
    torch.testing.assert_close(block.integrals["kinetic_energy"], branch(0.0, x).square().sum((1, 2, 3)))


def test_error_control_with_a_projection_is_regularized() -> None:
    block = ODEBlock(Constant(Autonomous(nn.Linear(2, 2))), Adaptive(), projection=Nonnegative())
    block.gradient = regularized(costs=[KineticEnergy()])
    y = block(torch.rand(4, 2))
    assert (y >= 0).all()
    assert (block.integrals["kinetic_energy"] > 0).all()


def test_a_flow_with_less_energy_is_learned_and_takes_fewer_evaluations() -> None:
    points = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    targets, evaluations, energies = 1.5 * points.roll(1, dims=1), [], []
    for weight in (None, 0.02):
        torch.manual_seed(0)
        block = ODEBlock(Constant(MLPBranch(2, 16)), FixedSteps(RK4(), 4))
        block.gradient = Backprop() if weight is None else regularized(costs=[KineticEnergy(weight)])
        optimizer = torch.optim.Adam(block.parameters(), 0.03)
        for _ in range(60):
            optimizer.zero_grad()
            loss = (block(points) - targets).square().mean()
            (loss if weight is None else loss + penalty(block)).backward()
            optimizer.step()
        block.gradient = regularized(costs=[KineticEnergy()])
        block(points)
        energies.append(float(block.integrals["kinetic_energy"].mean().detach()))
        with torch.no_grad(), configure(block, stepping=Adaptive("dopri5", rtol=1e-5, atol=1e-5)):
            block(points)
            evaluations.append(block.evaluations)
    assert energies[1] < energies[0]
    assert evaluations[1] <= evaluations[0]


def test_without_gradients_the_flow_is_solved_without_costs() -> None:
    block, x = ODEBlock(Constant(MLPBranch(2)), gradient=regularized()), torch.randn(3, 2)
    block(x)
    assert block.integrals
    with torch.no_grad():
        block(x)
        assert not block.integrals
        assert float(penalty(block)) == 0


def test_the_penalty_of_a_network_is_the_weighted_sum_over_its_flows() -> None:
    blocks = [ODEBlock(Constant(MLPBranch(2))) for _ in range(2)]
    net = nn.Sequential(*blocks)
    configure(net, gradient=regularized())
    net(torch.randn(3, 2))
    expected = sum(
        0.3 * block.integrals["kinetic_energy"].mean() + 0.2 * block.integrals["jacobian_norm"].mean()
        for block in blocks
    )
    torch.testing.assert_close(penalty(net), torch.as_tensor(expected))


def test_a_block_can_be_copied_refined_and_saved_after_a_solve(tmp_path: Path) -> None:
    block = ODEBlock(Constant(MLPBranch(2, 3)), gradient=regularized(Reversible()))
    block(torch.randn(3, 2))
    assert not copy.deepcopy(block).integrals
    assert refine_steps(block).gradient == block.gradient == regularized(Reversible())
    assert block.gradient != regularized()
    save_model(block, tmp_path / "block.safetensors", partial(MLPBranch, 2, 3))
    assert load_model(tmp_path / "block.safetensors").gradient == block.gradient


def test_a_field_that_does_not_depend_on_the_state_has_no_jacobian() -> None:
    still = nn.Linear(2, 2)
    nn.init.zeros_(still.weight)
    for parameter in still.parameters():
        parameter.requires_grad_(False)
    block = ODEBlock(Constant(Autonomous(still)), FixedSteps(Euler()), regularized())
    block(torch.randn(3, 2))
    assert not block.integrals["jacobian_norm"].any()


@pytest.mark.parametrize(
    ("branch", "solver"),
    [
        (SymmetricBranch(2, norm=nn.Identity), Leapfrog()),
        (MLPBranch(2), MomentumEuler()),
        (MLPBranch(2), SymplecticEuler()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_solvers_of_other_equations_are_refused(branch: nn.Module, solver: Any) -> None:
    with pytest.raises(ValueError, match=rf"asked for with {type(solver).__name__}\(.*which solves another equation"):
        ODEBlock(Constant(branch), FixedSteps(solver), regularized())
    with pytest.raises(ValueError, match="which solves another equation"):
        ODEBlock(Constant(branch), Mixed([FixedSteps(Euler()), FixedSteps(solver)]), regularized())
    with pytest.raises(ValueError, match="which solves another equation"):
        ODEBlock(Constant(branch), Mixed([FixedSteps(Euler())], evaluation=FixedSteps(solver)), regularized())


def test_what_the_gradient_method_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="a projection cannot be undone"):
        ODEBlock(Constant(MLPBranch(2)), gradient=regularized(Reversible()), projection=torch.relu)


def test_costs_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"is regularized already: list all costs in one Regularized"):
        Regularized(regularized(), COSTS)
    with pytest.raises(ValueError, match=r"integrate the same cost twice: pass each kind once"):
        Regularized(Backprop(), [KineticEnergy(), KineticEnergy(2.0)])
    with pytest.raises(ValueError, match="weight must be a finite number greater than 0, got -1"):
        KineticEnergy(-1)


@pytest.mark.parametrize("x", [torch.randn(3), torch.randn(3, 2, dtype=torch.complex64)], ids=["vector", "complex"])
def test_states_without_channels_or_of_complex_numbers_are_refused(x: Tensor) -> None:
    block = ODEBlock(Constant(Autonomous(nn.Identity())), gradient=regularized())
    with pytest.raises(ValueError, match=r"costs were to be integrated in ODEBlock for .* pass a real state of shape"):
        block(x)
