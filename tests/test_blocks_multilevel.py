from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    BasicBranch,
    Constant,
    Euler,
    FixedSteps,
    Galerkin,
    Midpoint,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    RungeKutta,
    Spline,
    Theta,
    coarsen_steps,
    coarsen_theta,
    configure,
    project_theta,
    refine_steps,
    refine_theta,
)
from odenet.models import cifar_resnet
from tests.laws import logistic_nodes, name_of, slope, states

OPERATORS = (refine_steps, coarsen_steps, refine_theta, coarsen_theta)


def image() -> Tensor:
    return torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def basic_nodes(number: int) -> list[nn.Module]:
    """Branches with weights and BatchNorm statistics of their own."""
    torch.manual_seed(0)
    nodes = [BasicBranch(2) for _ in range(number)]
    for node in nodes:
        node(0.0, torch.randn(8, 2, 4, 4))
    return list(nodes)


def constant_pieces(number: int = 4, per_piece: int = 1, horizon: float | None = None) -> ODEBlock:
    return ODEBlock(PiecewiseConstant(basic_nodes(number), horizon), FixedSteps(Euler(), per_piece)).eval()


def linear_pieces(number: int = 4, per_piece: int = 1, horizon: float | None = None) -> ODEBlock:
    return ODEBlock(PiecewiseLinear(basic_nodes(number + 1), horizon), FixedSteps(Euler(), per_piece)).eval()


def require_equal_tensors(one: nn.Module, other: nn.Module) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("horizon", [None, 2.0, 0.5])
@pytest.mark.parametrize("factor", [2, 4])
def test_refining_theta_moves_nothing_to_the_last_bit_where_h_is_dyadic(factor: int, horizon: float | None) -> None:
    block = constant_pieces(per_piece=factor, horizon=horizon)
    finer = refine_theta(block, factor)
    assert torch.equal(finer(image()), block(image()))
    assert (finer.theta.number_of_pieces, finer.stepping) == (4 * factor, FixedSteps(Euler(), 1))
    assert finer.theta.horizon == block.theta.horizon
    assert finer.evaluations == block.evaluations


def spline_pieces(number: int = 4, per_piece: int = 1, horizon: float | None = None, *, degree: int = 3) -> ODEBlock:
    theta = Spline(basic_nodes(number + degree), degree, horizon)
    return ODEBlock(theta, FixedSteps(Euler(), per_piece)).eval()


@pytest.mark.parametrize("make", [constant_pieces, linear_pieces, spline_pieces])
@pytest.mark.parametrize("factor", [2, 3, 6])
def test_refining_theta_moves_nothing_but_by_rounding(make: Callable[..., ODEBlock], factor: int) -> None:
    block = make(per_piece=6, horizon=0.7).double()
    finer = refine_theta(block, factor)
    torch.testing.assert_close(finer(image().double()), block(image().double()), rtol=1e-12, atol=1e-12)
    assert finer.evaluations == block.evaluations


@pytest.mark.parametrize("solver", [Euler(), Midpoint(), RK4()], ids=repr)
def test_refining_the_steps_moves_the_output_with_the_order_of_the_solver(solver: RungeKutta) -> None:
    numbers = (16, 24, 32, 48, 64)
    moves = []
    for number in numbers:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), FixedSteps(solver, number))
        finer = refine_steps(block)
        assert finer.stepping == FixedSteps(solver, 2 * number)
        moves.append(float((finer(states()) - block(states())).detach().norm()))
    assert slope(numbers, moves) == pytest.approx(solver.order, abs=0.05)


def test_the_prolongation_of_a_residual_network_has_twice_the_layers_at_half_the_step() -> None:
    block = constant_pieces(3)
    deeper = refine_theta(refine_steps(block))
    assert (deeper.theta.number_of_pieces, deeper.theta.horizon, deeper.stepping) == (6, 3.0, FixedSteps())
    assert len(list(deeper.parameters())) == 2 * len(list(block.parameters()))
    for index, node in enumerate(deeper.theta.nodes):
        require_equal_tensors(node, block.theta.nodes[index // 2])


@pytest.mark.parametrize("make", [constant_pieces, linear_pieces])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_coarsening_undoes_refining_to_the_last_bit(make: Callable[..., ODEBlock], factor: int) -> None:
    block = make(per_piece=factor)
    again = coarsen_theta(refine_theta(block, factor), factor)
    require_equal_tensors(again, block)
    assert torch.equal(again(image()), block(image()))
    assert (again.stepping, again.theta.horizon) == (block.stepping, block.theta.horizon)
    assert coarsen_steps(refine_steps(block, factor), factor).stepping == block.stepping


@pytest.mark.parametrize("degree", [0, 1])
def test_splines_of_low_degree_come_back_to_the_last_bit_too(degree: int) -> None:
    block = spline_pieces(per_piece=3, degree=degree)
    require_equal_tensors(coarsen_theta(refine_theta(block, 3), 3), block)


@pytest.mark.parametrize("degree", [2, 3, 4])
@pytest.mark.parametrize("factor", [2, 3])
def test_splines_of_higher_degree_come_back_to_rounding(factor: int, degree: int) -> None:
    block = spline_pieces(per_piece=factor, degree=degree).double()
    again = coarsen_theta(refine_theta(block, factor), factor)
    torch.testing.assert_close(again.state_dict(), block.state_dict(), rtol=1e-10, atol=1e-10)
    assert (again.stepping, again.theta.horizon) == (block.stepping, block.theta.horizon)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.floats(0.1, 10), st.integers(0, 2))
def test_refining_and_coarsening_are_inverse_whatever_the_numbers(
    pieces: int, factor: int, per_piece: int, horizon: float, degree: int
) -> None:
    theta = Spline(logistic_nodes(pieces + degree), degree, horizon)
    block = ODEBlock(theta, FixedSteps(Euler(), per_piece))
    finer = refine_theta(refine_steps(block, factor), factor)
    assert (finer.theta.number_of_pieces, finer.stepping) == (pieces * factor, block.stepping)
    again = coarsen_steps(coarsen_theta(finer, factor), factor)
    torch.testing.assert_close(again.state_dict(), block.state_dict(), rtol=1e-10, atol=1e-10)
    if degree < 2:
        require_equal_tensors(again, block)
    assert (again.theta.number_of_pieces, again.stepping) == (pieces, block.stepping)
    x = states()
    torch.testing.assert_close(finer(x), refine_steps(block, factor)(x), rtol=1e-10, atol=1e-10)


def test_a_spline_that_is_no_refinement_is_coarsened_to_the_nearest_in_the_mean() -> None:
    block = ODEBlock(Spline(logistic_nodes(9), 3))
    nearest = project_theta(block.theta, partial(Spline, degree=3), 6)
    require_equal_tensors(coarsen_theta(block).theta, nearest)


def test_refined_linear_nodes_lie_on_the_polygon() -> None:
    left, right = MLPBranch(2), MLPBranch(2)
    finer = refine_theta(ODEBlock(PiecewiseLinear([left, right]), FixedSteps(Euler(), 4)), 4)
    for k, node in enumerate(finer.theta.nodes):
        for parameter, a, b in zip(node.parameters(), left.parameters(), right.parameters(), strict=True):
            torch.testing.assert_close(parameter, (1 - k / 4) * a + k / 4 * b)


def test_coarsening_what_was_never_refined_keeps_every_second_node() -> None:
    block = constant_pieces(6)
    coarser = coarsen_theta(block)
    assert (coarser.theta.number_of_pieces, coarser.stepping) == (3, FixedSteps(Euler(), 2))
    for index, node in enumerate(coarser.theta.nodes):
        require_equal_tensors(node, block.theta.nodes[2 * index])


@pytest.mark.parametrize("make", [constant_pieces, linear_pieces, spline_pieces])
@pytest.mark.parametrize("operator", OPERATORS, ids=name_of)
def test_the_original_is_untouched_and_shares_nothing(operator: Any, make: Callable[..., ODEBlock]) -> None:
    block = make(per_piece=2)
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    shown, y = repr(block), block(image())
    new = operator(block)
    with torch.no_grad():
        for tensor in new.state_dict().values():
            tensor.fill_(7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in block.state_dict().items())
    assert repr(block) == shown
    assert torch.equal(block(image()), y)


def test_nodes_that_were_one_are_several_after_refining() -> None:
    node = MLPBranch(2)
    finer = refine_theta(ODEBlock(PiecewiseConstant([node, node]), FixedSteps(Euler(), 2)))
    assert len({id(parameter) for parameter in finer.parameters()}) == 4 * len(list(node.parameters()))


@pytest.mark.parametrize("training", [True, False])
def test_modes_are_kept(training: bool) -> None:
    block = constant_pieces(per_piece=2).train(training)
    block.theta.nodes[1].train(not training)
    for new in (refine_theta(block), coarsen_theta(block)):
        assert new.theta.training == new.theta.nodes.training == training
    assert [node.training for node in refine_theta(block).theta.nodes][1:4] == [training, not training, not training]
    linear = linear_pieces(per_piece=2)
    assert torch.isfinite(refine_theta(linear)(image())).all()


def test_label_gradient_and_projection_are_kept() -> None:
    block = ODEBlock(PiecewiseConstant(basic_nodes(2)), FixedSteps(Euler(), 2), projection=torch.relu)
    block.label = "block 'here'"
    for operator in OPERATORS:
        new = operator(block)
        assert (new.label, new.projection, repr(new.gradient)) == ("block 'here'", torch.relu, "Backprop()")


def test_whole_networks_are_refined_and_coarsened() -> None:
    torch.manual_seed(0)
    model = cifar_resnet(3, widths=(4, 4, 8), activation="pre").eval()
    x = torch.randn(2, 3, 8, 8)
    finer = refine_theta(refine_steps(model))
    flows = [module.theta.number_of_pieces for module in finer.modules() if isinstance(module, ODEBlock)]
    assert flows == [6, 4, 4]
    assert [m.label for m in finer.modules() if isinstance(m, ODEBlock)][1] == "block 'stages.1.flow'"
    with configure(model, stepping=FixedSteps(Euler(), 2)):
        assert torch.equal(finer(x), model(x))
    again = coarsen_steps(coarsen_theta(finer))
    assert torch.equal(again(x), model(x))
    require_equal_tensors(again, model)


@pytest.mark.parametrize("factor", [0, -2, 1.5, 2.0, True, "2", None], ids=repr)
@pytest.mark.parametrize("operator", OPERATORS, ids=name_of)
def test_a_factor_that_is_no_positive_integer_is_refused(operator: Any, factor: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"factor must be a whole number.*, got {factor!r}"):
        operator(constant_pieces(2, per_piece=2), factor)


@pytest.mark.parametrize(("operator", "steps"), [(refine_theta, 3), (coarsen_steps, 3), (refine_theta, 1)])
def test_steps_that_cannot_be_shared_out_are_refused(operator: Any, steps: int) -> None:
    with pytest.raises(ValueError, match=rf"takes {steps} steps on a piece, not a multiple of 2; .*refine_steps first"):
        operator(constant_pieces(2, per_piece=steps))


def test_pieces_that_cannot_be_joined_are_refused() -> None:
    with pytest.raises(ValueError, match=r"θ has 3 pieces, not a multiple of 2; .* use a factor that divides them"):
        coarsen_theta(constant_pieces(3))


@pytest.mark.parametrize(
    "theta", [Constant(MLPBranch(2)), Galerkin([MLPBranch(2), MLPBranch(2)])], ids=["Constant", "Galerkin"]
)
@pytest.mark.parametrize("operator", [refine_theta, coarsen_theta], ids=name_of)
def test_a_theta_without_pieces_is_refused(operator: Any, theta: Theta) -> None:
    said = (
        rf"θ is {type(theta).__name__}, which has no pieces to refine or join; use PiecewiseConstant, .*project_theta"
    )
    with pytest.raises(ValueError, match=said):
        operator(ODEBlock(theta, FixedSteps(Euler(), 2)))


def test_steps_of_a_theta_without_pieces_are_refined_all_the_same() -> None:
    block = refine_steps(ODEBlock(Galerkin([MLPBranch(2), MLPBranch(2)]), FixedSteps(Euler(), 2)), 3)
    assert block.stepping == FixedSteps(Euler(), 6)


@pytest.mark.parametrize("operator", OPERATORS, ids=name_of)
def test_steps_that_are_chosen_by_error_control_are_refused(operator: Any) -> None:
    block = ODEBlock(PiecewiseConstant(basic_nodes(2)), Adaptive())
    block.label = "block 'flow'"
    with pytest.raises(ValueError, match=r"block 'flow' steps by Adaptive\('dopri5'.* set stepping=FixedSteps"):
        operator(block)


@pytest.mark.parametrize("operator", OPERATORS, ids=name_of)
def test_a_model_without_a_flow_is_refused(operator: Any) -> None:
    with pytest.raises(ValueError, match="a Linear without an ODEBlock was given: there is no flow to refine"):
        operator(nn.Linear(2, 2))
