"""`Checkpointed` has exactly the gradient of backpropagation, within the memory of its segments."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    Backprop,
    BasicBranch,
    Checkpointed,
    Constant,
    Euler,
    FixedSteps,
    Heun,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Solver,
    Theta,
)
from odenet.blocks.gradients.checkpointed import MemoryWarning
from odenet.blocks.solvers.named import SOLVERS
from tests.laws import DropoutLaws, ExactBatchNormLaws, RecomputationLaws, Spy, logistic_nodes, states
from tests.test_solvers_runge_kutta import Leapfrog


class TestCheckpointed(RecomputationLaws, DropoutLaws, ExactBatchNormLaws):
    gradient = Checkpointed()
    closeness = 0.0


class TestCheckpointedInThreeSegments(RecomputationLaws, DropoutLaws, ExactBatchNormLaws):
    gradient = Checkpointed(3)
    closeness = 0.0
    stepping = FixedSteps(Leapfrog(), 4)
    fine = FixedSteps(Leapfrog(), 30)


class TestCheckpointedWithinABudget(RecomputationLaws, DropoutLaws, ExactBatchNormLaws):
    gradient = Checkpointed(memory=2**20)
    closeness = 0.0
    stepping = FixedSteps(Euler(), 5)


class TestCheckpointedUnderErrorControl(RecomputationLaws, ExactBatchNormLaws):
    """The laws under error control, with a given first step, whose choice `Backprop` would differentiate otherwise.

    Dropout is refused: see below.
    """

    gradient = Checkpointed()
    stepping = Adaptive("dopri5", 1e-2, 1e-2, first_step=0.2)
    fine = Adaptive("dopri5", 1e-5, 1e-5, first_step=0.1)
    closeness = 1e-10


THETAS: dict[str, Callable[[], Theta]] = {
    "Constant": lambda: Constant(MLPBranch(2, 8), 0.7),
    "PiecewiseConstant": lambda: PiecewiseConstant([MLPBranch(2, 8) for _ in range(3)], 0.7),
    "PiecewiseLinear": lambda: PiecewiseLinear([MLPBranch(2, 8) for _ in range(3)], 0.7),
}


BOTH = (Checkpointed(), Backprop())


def outcome(block: ODEBlock, x: Tensor, gradient: Any) -> list[Tensor]:
    """Return the output and the gradients."""
    block.gradient = gradient
    x = x.clone().requires_grad_()
    y = block(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *block.parameters()])]


@pytest.mark.parametrize("theta", THETAS)
@pytest.mark.parametrize("solver", [*(make() for make in SOLVERS.values()), Leapfrog()], ids=repr)
def test_gradients_equal_backpropagations_to_the_last_bit(solver: Solver, theta: str) -> None:
    block, x = ODEBlock(THETAS[theta](), FixedSteps(solver, 5)), torch.randn(7, 2)
    expected = outcome(block, x, Backprop())
    for gradient in (Checkpointed(), Checkpointed(1), Checkpointed(99)):
        assert all(map(torch.equal, outcome(block, x, gradient), expected))


def test_a_projected_flow_with_batch_norm_trains_as_with_backpropagation_to_the_last_bit() -> None:
    torch.manual_seed(0)
    branches = [BasicBranch(3, activation="post") for _ in range(7)]
    block, x = ODEBlock(PiecewiseConstant(branches), projection=torch.relu), torch.randn(4, 3, 5, 5)
    again = copy.deepcopy(block)
    assert all(map(torch.equal, outcome(block, x, Checkpointed()), outcome(again, x, Backprop())))
    assert all(map(torch.equal, block.buffers(), again.buffers()))


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun", "rk4", "midpoint"])
def test_every_step_that_error_control_accepted_is_taken_again(method: str) -> None:
    options: dict[str, Any] = {"step_size": 0.1} if method in ("rk4", "midpoint") else {"first_step": 0.1}
    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), Adaptive(method, 1e-4, 1e-4, **options))
    for ours, exact in zip(*(outcome(block, states(), m) for m in BOTH), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-11)


def test_without_a_first_step_given_the_choice_of_the_grid_is_not_differentiated() -> None:
    distances = []
    for tolerance in (1e-2, 1e-5, 1e-8):
        block = ODEBlock(PiecewiseLinear(logistic_nodes(3)), Adaptive("dopri5", tolerance, tolerance))
        ours, exact = (torch.cat([t.detach().ravel() for t in outcome(block, states(), m)]) for m in BOTH)
        distances.append(float((ours - exact).norm() / exact.norm()))
    assert distances[0] < 1e-2
    assert distances[-1] < 1e-7


def test_a_solve_that_spends_its_budget_has_the_gradient_of_the_state_reached() -> None:
    block = ODEBlock(Constant(logistic_nodes(1)[0], 9.0), Adaptive("dopri5", 1e-6, 1e-6, 40, first_step=0.1))
    with pytest.warns(UserWarning, match="torchdiffeq's dopri5 stopped at t = "):
        ours, exact = (outcome(block, states(), m) for m in BOTH)
    torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-10)


def test_a_budget_too_small_for_a_step_gives_the_gradient_of_the_identity() -> None:
    block = ODEBlock(Constant(logistic_nodes(1)[0]), Adaptive("dopri5", 1e-6, 1e-6, 3), Checkpointed())
    x = states().requires_grad_()
    with pytest.warns(UserWarning, match="stopped at t = 0"):
        block(x).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


@pytest.mark.parametrize("method", ["explicit_adams", "implicit_adams", "scipy_solver"])
def test_multistep_and_scipy_methods_are_refused(method: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{method}.*depends on the steps before it: use a Runge-Kutta method such as"
    ):
        ODEBlock(Constant(MLPBranch(2)), Adaptive(method), Checkpointed())


def test_dropout_under_error_control_is_refused() -> None:
    block = ODEBlock(Constant(Autonomous(nn.Dropout(0.5))), Adaptive("dopri5"), Checkpointed())
    with pytest.raises(ValueError, match=r"draws random numbers .* use FixedSteps, Backprop\(\), or dropout outside"):
        block(torch.ones(2, 3, requires_grad=True))


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"], ids=repr)
@pytest.mark.parametrize("name", ["segments", "memory"])
def test_a_number_that_is_not_a_positive_integer_is_refused(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"{name} must be a whole number.*, got {value!r}"):
        Checkpointed(**{name: value})


def test_segments_and_a_budget_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match=r"segments = 3 and memory = 100 were both given, .*: pass one of them"):
        Checkpointed(3, memory=100)


def evaluations_in_both_passes(steps: int, gradient: Checkpointed) -> list[int]:
    spy = Spy(Autonomous(nn.Tanh()))
    block = ODEBlock(Constant(spy), FixedSteps(Euler(), steps), gradient)
    y = block(torch.ones(3, 4, requires_grad=True))
    forward = len(spy.times)
    y.sum().backward()
    return [block.evaluations, forward, len(spy.times)]


def test_it_evaluates_each_step_twice_and_counts_it_once() -> None:
    assert evaluations_in_both_passes(16, Checkpointed()) == [16, 16, 32]


def test_a_budget_costs_the_first_step_once_more() -> None:
    assert evaluations_in_both_passes(16, Checkpointed(memory=2**20)) == [16, 17, 33]


class Meter:
    """A meter of the bytes that autograd saves for the backward pass: the present number and the largest."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def __enter__(self) -> Meter:
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda box: box.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def pack(self, tensor: Tensor) -> Box:
        return Box(self, tensor)


class Box:
    """A saved tensor, which counts for the meter while it is alive."""

    def __init__(self, meter: Meter, tensor: Tensor) -> None:
        self.meter, self.tensor = meter, tensor
        meter.now += tensor.nbytes
        meter.most = max(meter.most, meter.now)

    def __del__(self) -> None:
        self.meter.now -= self.tensor.nbytes


def peak(steps: int, gradient: Any) -> int:
    x = torch.ones(100, 10, requires_grad=True)
    block = ODEBlock(Constant(Autonomous(nn.Sequential(nn.Tanh(), nn.Tanh()))), FixedSteps(Euler(), steps), gradient)
    with Meter() as meter:
        block(x).sum().backward()
    assert meter.now == 0
    return meter.most // x.nbytes


def test_it_stores_a_state_per_segment_and_the_values_within_one_segment() -> None:
    assert peak(64, Backprop()) == 128
    # x and seven more states; two values in each of eight steps
    assert peak(64, Checkpointed()) <= 8 + 2 * 8
    assert peak(256, Checkpointed()) <= 16 + 2 * 16
    assert peak(64, Checkpointed(4)) <= 4 + 2 * 16


@pytest.mark.parametrize("states_allowed", [24, 40, 80, 200])
def test_it_keeps_to_its_budget(states_allowed: int) -> None:
    assert peak(64, Checkpointed(memory=4000 * states_allowed)) <= states_allowed


def test_a_budget_that_cannot_be_kept_gives_a_warning_and_the_least_memory() -> None:
    with pytest.warns(MemoryWarning, match=r"memory = 8000 bytes .* need at least 92000 bytes, with 11 segments"):
        least = peak(64, Checkpointed(memory=8000))
    assert least <= 23


def test_solver_states_may_hold_other_values_than_tensors() -> None:
    class Counting(Euler):
        """Euler's method with a state of x, the number of steps, and None."""

        def start(self, f: Any, t0: float, x: Tensor) -> Any:
            return {"x": x, "others": (0, None)}

        def step(self, f: Any, t0: float, t1: float, state: Any) -> Any:
            number, nothing = state["others"]
            return {"x": super().step(f, t0, t1, state["x"]) / (1 + number), "others": (number + 1, nothing)}

        def finish(self, state: Any) -> Tensor:
            return state["x"]

    block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(Counting(), 2))
    assert all(map(torch.equal, *(outcome(block, states(), m) for m in BOTH)))


def test_frozen_pieces_before_the_first_trainable_one_are_not_recomputed() -> None:
    spies = [Spy(node) for node in logistic_nodes(4)]
    spies[0].requires_grad_(False)
    spies[1].requires_grad_(False)
    block = ODEBlock(PiecewiseConstant(spies), FixedSteps(Heun()), Checkpointed(4))
    block(states()).sum().backward()
    assert [len(spy.times) for spy in spies] == [2, 2, 4, 4]


def test_the_number_of_segments_is_the_root_of_the_number_of_steps_rounded_up() -> None:
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(1)
        return tensor

    for steps in (1, 2, 4, 5, 16, 17, 100):
        kept.clear()
        block = ODEBlock(Constant(logistic_nodes(1)[0]), FixedSteps(Euler(), steps), Checkpointed())
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block(states())
        assert len(kept) == math.ceil(math.sqrt(steps))


def test_an_input_changed_in_place_before_the_backward_pass_is_noticed() -> None:
    block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), FixedSteps(RK4()), Checkpointed())
    x = states()
    y = block(x).sum()
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
