"""A block uses the statistics of each evaluation under every gradient method, and says if they are of another solve."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    AsynchronousLeapfrog,
    Backprop,
    BasicBranch,
    Checkpointed,
    ClassicalRK4,
    ContinuousAdjoint,
    Coupled,
    Euler,
    FixedSteps,
    Galerkin,
    HamiltonianBranch,
    Heun,
    Midpoint,
    Mixed,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Reversible,
    ReversibleHeun,
    StatisticsWarning,
    StochasticDepth,
    SymplecticEuler,
    Theta,
    coarsen_steps,
    coarsen_theta,
    project_theta,
    recalibrate,
    refine_steps,
    refine_theta,
    trajectory,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping

ADAPTIVE = Adaptive("dopri5", rtol=1e-6, atol=1e-6)
PER_SAMPLE = Adaptive("tsit5", rtol=1e-6, atol=1e-6, per_sample=True)
FIXED = (
    FixedSteps(Euler(), per_piece=3),
    FixedSteps(RK4()),
    FixedSteps(ClassicalRK4(), per_piece=2),
    FixedSteps(Coupled(Heun()), per_piece=2),
    FixedSteps(AsynchronousLeapfrog(), per_piece=2),
    FixedSteps(ReversibleHeun()),
)
"""Steppings with evaluations at the same time, in the same step and in neighbouring ones."""


def images(number: int = 64, seed: int = 0) -> Tensor:
    return torch.randn(number, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def flow(stepping: Stepping, kind: Callable[..., Theta] = PiecewiseConstant, nodes: int = 2) -> ODEBlock:
    """A block in evaluation mode with statistics along its solve of `images()`."""
    torch.manual_seed(0)
    branches = [BasicBranch(4).double() for _ in range(nodes)]
    block = ODEBlock(kind(branches, horizon=1.0), stepping).eval()
    recalibrate(block, [images()])
    return block


def by_batch(block: ODEBlock, x: Tensor) -> Tensor:
    """The result of a block that normalizes every evaluation by its batch."""
    again = copy.deepcopy(block)
    again.statistics = None
    for module in again.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.training = True
    return again(x)


@contextmanager
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", StatisticsWarning)
        yield


@pytest.mark.parametrize("kind", [PiecewiseConstant, PiecewiseLinear])
@pytest.mark.parametrize("stepping", [*FIXED, ADAPTIVE, Adaptive("rk4", step_size=0.125)], ids=str)
def test_evaluation_mode_is_like_normalizing_each_evaluation_by_the_population(
    stepping: Stepping, kind: Callable[..., Theta]
) -> None:
    block, x = flow(stepping, kind), images()
    with no_warning():
        found, exact = block(x), by_batch(block, x)
    assert (found - exact).norm() < 2e-3 * (exact - x).norm()  # a batch of n·5·5 has n/(n - 1) of its variance


def test_steps_of_each_sample_read_statistics_at_the_time_of_each() -> None:
    block, x = flow(PER_SAMPLE, nodes=3), images()
    with no_warning():
        found = block(x)
    block.stepping = ADAPTIVE
    torch.testing.assert_close(found, block(x), rtol=1e-4, atol=1e-4)


def gradients(block: ODEBlock, gradient: GradientMethod) -> list[Tensor]:
    block.gradient = gradient
    x = images(3).requires_grad_()
    with no_warning():
        y = block(x)
    loss = (y * torch.linspace(1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum()
    return [y, *torch.autograd.grad(loss, [x, *block.parameters()])]


@pytest.mark.parametrize("kind", [PiecewiseConstant, PiecewiseLinear, Galerkin])
@pytest.mark.parametrize("stepping", FIXED, ids=str)
@pytest.mark.parametrize("gradient", [Checkpointed(), Checkpointed(3), Checkpointed(memory=100_000)], ids=repr)
def test_segments_taken_again_have_the_statistics_of_their_evaluations(
    gradient: Checkpointed, stepping: Stepping, kind: Callable[..., Theta]
) -> None:
    block = flow(stepping, kind)
    for ours, exact in zip(gradients(block, gradient), gradients(block, Backprop()), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "stepping",
    [step for step in FIXED if isinstance(step.solver, Coupled | AsynchronousLeapfrog | ReversibleHeun)],
    ids=str,
)
def test_steps_undone_have_the_statistics_of_their_evaluations(stepping: Stepping) -> None:
    block = flow(stepping)
    for ours, exact in zip(gradients(block, Reversible()), gradients(block, Backprop()), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)


def test_a_hamiltonian_branch_is_undone_with_the_statistics_of_both_halves() -> None:
    torch.manual_seed(0)
    block = ODEBlock(
        PiecewiseConstant([HamiltonianBranch(4).double() for _ in range(2)]), FixedSteps(SymplecticEuler(), 2)
    )
    recalibrate(block.eval(), [images()])
    for ours, exact in zip(gradients(block, Reversible()), gradients(block, Backprop()), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", [Euler(), Heun(), RK4()], ids=repr)
def test_the_coupled_method_of_reversible_has_statistics_of_its_own(solver: Euler | Heun | RK4) -> None:
    block = flow(FixedSteps(solver, per_piece=2))
    block.gradient = Reversible()
    with pytest.warns(StatisticsWarning, match="Coupled"):
        block(images())
    recalibrate(block, [images()])
    found = gradients(block, Reversible())
    block.gradient, block.stepping = Backprop(), FixedSteps(Coupled(solver), per_piece=2)
    for ours, exact in zip(found, gradients(block, Backprop()), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stepping", [FixedSteps(RK4(), per_piece=16), ADAPTIVE], ids=repr)
def test_the_adjoint_equation_is_solved_with_statistics_as_functions_of_t(stepping: Stepping) -> None:
    block = flow(stepping)
    found, exact = gradients(block, ContinuousAdjoint()), gradients(block, Backprop())
    torch.testing.assert_close(found[0], exact[0], rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(found[1:], exact[1:], strict=True):
        assert (ours - theirs).norm() < 0.02 * theirs.norm() + 1e-6


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Reversible()], ids=repr)
def test_steps_of_each_sample_are_differentiated(gradient: GradientMethod) -> None:
    block = flow(PER_SAMPLE)
    for ours, exact in zip(gradients(block, gradient), gradients(block, Checkpointed()), strict=True):
        assert (ours - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize(
    "change", [copy.deepcopy, lambda block: pickle.loads(pickle.dumps(block))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("stepping", [FIXED[1], ADAPTIVE], ids=str)
def test_copies_have_the_statistics(change: Callable[[ODEBlock], ODEBlock], stepping: Stepping) -> None:
    block = flow(stepping)
    with no_warning():
        assert torch.equal(change(block)(images()), block(images()))


@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("stepping", [FIXED[1], ADAPTIVE], ids=str)
def test_a_state_dict_brings_them_to_a_block_that_has_none_or_others(stepping: Stepping, assign: bool) -> None:
    block = flow(stepping)
    fresh = ODEBlock(PiecewiseConstant([BasicBranch(4).double() for _ in range(2)], horizon=1.0), stepping).eval()
    others = copy.deepcopy(fresh)
    recalibrate(others, [3 * images()])
    for other in (fresh, nn.Sequential(others)):
        state = block.state_dict()
        other.load_state_dict(state if other is fresh else {f"0.{k}": v for k, v in state.items()}, assign=assign)
        with no_warning():
            assert torch.equal(other(images()), block(images()))


def test_a_state_dict_without_them_leaves_none_and_one_of_other_modules_changes_nothing() -> None:
    block, head = flow(FIXED[1]), nn.Linear(2, 2)
    net = nn.ModuleList([block, head])
    net.load_state_dict({f"1.{name}": value for name, value in head.state_dict().items()}, strict=False)
    assert block.statistics is not None
    block.load_state_dict(ODEBlock(PiecewiseConstant([BasicBranch(4) for _ in range(2)])).state_dict())
    assert block.statistics is None


def test_a_block_without_statistics_has_the_state_dict_that_it_had() -> None:
    block = ODEBlock(PiecewiseConstant([BasicBranch(4)]))
    assert {name.split(".")[0] for name in block.state_dict()} == {"theta"}
    assert [name for name, _ in block.named_children()] == ["theta"]
    assert block.statistics is None


def test_a_changed_stepping_is_said_once_in_evaluation_mode() -> None:
    block = flow(FIXED[1])
    block.stepping = FixedSteps(Midpoint())
    block.label = "block 'a'"
    block.train()
    with no_warning():
        block(images())
    block.eval()
    with pytest.warns(
        StatisticsWarning, match=r"block 'a' is solved by FixedSteps\(Midpoint.*: call recalibrate\(net, b"
    ):
        block(images())
    with no_warning():
        block(images())
    block.stepping = FixedSteps(Euler())
    with pytest.warns(StatisticsWarning, match="Euler"):
        block(images())


def test_statistics_of_one_evaluation_a_piece_are_missed_too() -> None:
    block = flow(FixedSteps(Euler()))
    assert block.statistics is None
    with no_warning():
        block(images())
    block.stepping = FixedSteps(RK4())
    with pytest.warns(StatisticsWarning, match="one set is used at all t: call recalibrate"):
        block(images())
    recalibrate(block, [images()])
    with no_warning():
        block(images())


@pytest.mark.parametrize("change", ["horizon", "training", "theta"])
def test_another_horizon_further_training_and_another_theta_are_said_too(change: str) -> None:
    block = flow(ADAPTIVE)
    if change == "horizon":
        block.theta.horizon = 2.0
    elif change == "theta":
        block.theta = project_theta(block.theta, PiecewiseConstant, 1)
    else:
        block.train()(images())
        block.eval()
    with pytest.warns(StatisticsWarning, match="were collected for"):
        block(images())


def test_any_tolerance_and_method_of_error_control_has_the_same_statistics() -> None:
    block = flow(ADAPTIVE)
    for stepping in (Adaptive("bosh3", rtol=1e-5, atol=1e-5), PER_SAMPLE):
        block.stepping = stepping
        with no_warning():
            found = block(images())
        torch.testing.assert_close(found, flow(ADAPTIVE)(images()), rtol=1e-3, atol=1e-3)


def test_other_steps_interpolate_and_come_near_their_own_statistics() -> None:
    block, own = flow(FixedSteps(RK4(), per_piece=4)), flow(FixedSteps(Midpoint(), per_piece=8))
    block.stepping = own.stepping
    with pytest.warns(StatisticsWarning, match="they are interpolated in t"):
        torch.testing.assert_close(block(images()), own(images()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", [PiecewiseConstant, PiecewiseLinear])
@pytest.mark.parametrize("solver", [Euler(), RK4(), AsynchronousLeapfrog()], ids=repr)
def test_more_pieces_with_the_same_steps_keep_every_evaluation(solver: Euler, kind: Callable[..., Theta]) -> None:
    block, x = flow(FixedSteps(solver, per_piece=4), kind, nodes=3), images()
    with no_warning():
        finer = refine_theta(block)
        torch.testing.assert_close(finer(x), block(x), rtol=1e-12, atol=1e-12)
        assert torch.equal(coarsen_theta(finer)(x), block(x))
        torch.testing.assert_close(refine_theta(finer)(x), block(x), rtol=1e-12, atol=1e-12)


def test_joined_pieces_keep_the_statistics_that_were_written_into_the_nodes() -> None:
    node = BasicBranch(4).double()
    block = ODEBlock(PiecewiseConstant([node, copy.deepcopy(node)])).eval()
    recalibrate(block, [images()])
    assert block.statistics is None
    with no_warning():
        assert torch.equal(coarsen_theta(block)(images()), block(images()))


def test_smaller_steps_interpolate_with_a_warning_and_the_former_steps_are_exact() -> None:
    block, x = flow(FixedSteps(RK4(), per_piece=2)), images()
    finer = refine_steps(block)
    with pytest.warns(StatisticsWarning, match="per_piece=4"):
        assert (finer(x) - by_batch(finer, x)).norm() < 0.05 * (x - block(x)).norm()
    with no_warning():
        assert torch.equal(coarsen_steps(finer)(x), block(x))
    both = coarsen_steps(coarsen_theta(refine_theta(finer)))
    with no_warning():
        assert torch.equal(both(x), block(x))


def test_joined_pieces_that_lose_nodes_say_so() -> None:
    coarse = coarsen_theta(flow(FIXED[1]))
    with pytest.warns(StatisticsWarning, match="trained further or replaced"):
        coarse(images())


def test_a_projected_theta_reads_them_as_functions_of_t() -> None:
    block, x = flow(ADAPTIVE, PiecewiseLinear, nodes=3), images()
    exact = block(x)
    block.theta = project_theta(block.theta, PiecewiseLinear, 5)
    with pytest.warns(StatisticsWarning):
        torch.testing.assert_close(block(x), exact, rtol=1e-3, atol=1e-3)


def test_another_theta_of_other_normalizations_has_none() -> None:
    block = flow(FIXED[1])
    block.theta = PiecewiseConstant([BasicBranch(4, norm=lambda channels: nn.BatchNorm2d(channels)).double()])
    assert block.statistics is not None
    block.theta = PiecewiseConstant([BasicBranch(4, norm=lambda channels: nn.GroupNorm(1, channels)).double()])
    assert block.statistics is None


def test_a_trajectory_reads_them() -> None:
    block, x = flow(PER_SAMPLE), images(5)
    with no_warning():
        states = trajectory(block, x, [0.0, 0.5, 1.0])
    assert torch.equal(states[-1], block(x))
    block.statistics = None
    assert not torch.equal(states[-1], block(x))


def test_stochastic_depth_and_mixed_steppings_have_those_of_evaluation_mode() -> None:
    plain = flow(FIXED[1])
    block = copy.deepcopy(plain)
    block.statistics, block.noise = None, StochasticDepth(0.5)
    block.stepping = Mixed([FixedSteps(Euler()), FixedSteps(Heun())], evaluation=FIXED[1])
    recalibrate(block, [images()])
    with no_warning():
        assert torch.equal(block(images()), plain(images()))
    block.noise = StochasticDepth(0.5, scaling="evaluation")
    recalibrate(block, [images()])
    with no_warning():
        assert (block(images()) - by_batch(block, images())).norm() < 1e-2


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Checkpointed(1), Reversible()], ids=repr)
@pytest.mark.parametrize("kind", [PiecewiseConstant, PiecewiseLinear])
def test_training_moves_the_statistics_of_each_evaluation_once(
    gradient: GradientMethod, kind: Callable[..., Theta]
) -> None:
    stepping = FixedSteps(Coupled(RK4()), per_piece=2)
    block, x = flow(stepping, kind).train(), images(seed=1)
    again = copy.deepcopy(block)
    again(x)
    block.gradient = gradient
    before = copy.deepcopy(block.statistics)
    block(x).sum().backward()
    assert before is not None
    for moved, expected, former in zip(
        *([*each.get_submodule("statistics").buffers()] for each in (block, again)), before.buffers(), strict=True
    ):
        torch.testing.assert_close(moved, expected)
        assert moved.dtype == torch.uint8 or not torch.equal(moved, former)
    own = [b for name, b in block.theta.named_buffers() if name.endswith("running_mean")]
    assert all(torch.equal(mean, torch.zeros_like(mean)) for mean in own)
    with no_warning():
        block.eval()(x)


@pytest.mark.parametrize("gradient", [Backprop(), Checkpointed(), Reversible(), ContinuousAdjoint()], ids=repr)
@pytest.mark.parametrize("kind", [PiecewiseLinear, Galerkin])
def test_between_nodes_running_statistics_move_once_a_training_step(
    gradient: GradientMethod, kind: Callable[..., Theta]
) -> None:
    torch.manual_seed(0)
    stepping = FixedSteps(Coupled(Heun()), per_piece=2) if isinstance(gradient, Reversible) else FixedSteps(Heun(), 2)
    block = ODEBlock(kind([BasicBranch(4).double() for _ in range(3)]), stepping)
    again = copy.deepcopy(block)
    again(images())
    block.gradient = gradient
    block(images()).sum().backward()
    torch.testing.assert_close(dict(block.named_buffers()), dict(again.named_buffers()))
    assert not torch.equal(block.theta.nodes[1].get_buffer("norm1.running_mean"), torch.zeros(4).double())


def test_running_statistics_between_nodes_approach_those_of_the_batches() -> None:
    torch.manual_seed(0)
    block = ODEBlock(PiecewiseLinear([BasicBranch(4).double() for _ in range(3)], horizon=1.0), FixedSteps(Heun(), 4))
    for _ in range(300):
        with torch.no_grad():
            block(images())
    exact = by_batch(block, images())
    assert (block.eval()(images()) - exact).norm() < 0.05 * (exact - images()).norm()


def test_a_compiled_block_has_the_same_results() -> None:
    block, x = flow(FIXED[1]).float(), images(5).float()
    exact = block(x)
    block.compiled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.testing.assert_close(block(x), exact)


def test_statistics_of_the_wrong_type_are_refused() -> None:
    block = flow(FIXED[1])
    with pytest.raises(TypeError, match=r"were set to a str; recalibrate\(net, batches\) collects them: pass"):
        block.statistics = "a"  # pyright: ignore[reportAttributeAccessIssue]
    assert block.statistics is not None
