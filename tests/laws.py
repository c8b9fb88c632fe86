"""Contract tests for every solver, θ, stepping, gradient method and branch.

A test file names an implementation in a subclass and inherits the tests:

    class TestRK4(RungeKuttaLaws):
        solver = RK4()
"""

from __future__ import annotations

import copy
import math
import os
import pickle
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import odenet
from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    Backprop,
    BasicBranch,
    Constant,
    Euler,
    FixedSteps,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    RungeKutta,
    Solver,
    StochasticDepth,
    Theta,
    group_norm,
    recalibrate,
)
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.theta.base import Time
from tests.peculiar import CASES, Case, require_right_or_refused
from tests.problems import PROBLEMS, Logistic, Problem, jumping_linear, jumping_logistic, sloping_logistic

STEP_COUNTS = (32, 48, 64, 96, 128)
"""Numbers of steps per piece: few enough for the error of a method of order 4 to be far above rounding, and many enough
for it to be far above the next term of its expansion."""

AWKWARD_HORIZONS = (0.1, 0.7, 1.0, 3.3, 1e-3, 49.0, math.pi, 1 / 3)
"""Horizons for which, in floating point, T·n/n ≠ T for some n, or T·i/n is not exact."""

PECULIAR_CASES = 600 if "ODENET_DRILLS" in os.environ else 30
"""Cases of peculiar branches that are drawn for each gradient method."""

SLOW_AND_INHERITED = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.differing_executors]


def name_of(value: object) -> str:
    """Return a test id: the name of a function, or the repr of any other object."""
    return getattr(value, "__name__", repr(value))


def slope(numbers: Sequence[int], errors: Sequence[float]) -> float:
    """Return p in errors ≈ C·numbers⁻ᵖ, by least squares on logarithms."""
    return -float(np.polyfit(np.log(numbers), np.log(errors), 1)[0])


class Spy(nn.Module):
    """A branch that records the t of each of its evaluations."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.times: list[float] = []

    def forward(self, t: Time, x: Tensor) -> Tensor:
        self.times.append(float(t.detach() if isinstance(t, Tensor) else t))
        return self.branch(t, x)


class Graphs:
    """A backend of torch.compile that counts the graphs it receives and runs them uncompiled."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.count += 1
        return graph.forward


def logistic_nodes(number: int, size: int = 2) -> list[nn.Module]:
    """Return different logistic branches in float64."""
    source = random.Random(number)
    return [Logistic(*(source.uniform(-1, 2) for _ in range(size))) for _ in range(number)]


def states(rows: int = 3, size: int = 2) -> Tensor:
    """Return a batch of states between 0 and 1, in float64."""
    return torch.rand(rows, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def spies(number: int) -> list[Spy]:
    """Return branches with slopes between 0 and 1 that record their evaluations."""
    return [Spy(Autonomous(nn.Sigmoid())) for _ in range(number)]


def require_each_on_its_own_piece(block: ODEBlock) -> None:
    """Require that every spy was evaluated, within its own closed piece only, and that all evaluations were counted."""
    seen = [node.times for node in block.theta.nodes if isinstance(node, Spy)]
    for times, piece in zip(seen, block.theta.pieces(), strict=True):
        assert piece.start <= min(times)
        assert max(times) <= piece.end
    assert block.evaluations == sum(map(len, seen))


class SolverLaws:
    """Laws of solvers: the order of convergence, evaluations within the piece, compilation, and value semantics."""

    solver: Solver

    def error(self, problem: Problem, per_piece: int) -> float:
        block = ODEBlock(problem.theta, FixedSteps(self.solver, per_piece))
        with torch.no_grad():
            return float(torch.linalg.vector_norm(block(problem.x) - problem.exact))

    @pytest.mark.parametrize("make", PROBLEMS, ids=name_of)
    def test_it_converges_with_its_order_and_no_faster(self, make: Callable[[], Problem]) -> None:
        problem = make()
        errors = [self.error(problem, per_piece) for per_piece in STEP_COUNTS]
        assert slope(STEP_COUNTS, errors) == pytest.approx(self.solver.order, abs=0.05)

    @pytest.mark.parametrize("horizon", AWKWARD_HORIZONS)
    def test_it_evaluates_each_branch_only_within_its_closed_piece(self, horizon: float) -> None:
        for n in (1, 3, 7):
            block = ODEBlock(PiecewiseConstant(spies(n), horizon), FixedSteps(self.solver, per_piece=3))
            block(states())
            require_each_on_its_own_piece(block)

    def test_a_zero_field_leaves_the_state_unchanged_bit_for_bit(self) -> None:
        block = ODEBlock(PiecewiseConstant([Logistic(0.0), Logistic(0.0)], horizon=0.3), FixedSteps(self.solver, 3))
        x = states(rows=50, size=1)
        assert torch.equal(block(x), x)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_it_computes_in_the_precision_of_the_state(self, dtype: torch.dtype) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2), 0.3), FixedSteps(self.solver, 2)).to(dtype)
        assert block(states().to(dtype)).dtype == dtype

    def test_its_steps_are_differentiated_exactly(self) -> None:
        block = ODEBlock(PiecewiseLinear(logistic_nodes(3)), FixedSteps(self.solver, per_piece=2))
        inputs = states().requires_grad_(), *block.parameters()
        assert torch.autograd.gradcheck(lambda x, *_: block(x), inputs)

    @pytest.mark.parametrize(
        ("make", "per_piece"),
        [
            (lambda: Constant(*logistic_nodes(1), horizon=0.7), 1),
            (lambda: PiecewiseConstant(logistic_nodes(2), horizon=0.7), 2),
            (lambda: PiecewiseLinear(logistic_nodes(2), horizon=0.7), 2),
        ],
        ids=["Constant", "PiecewiseConstant", "PiecewiseLinear"],
    )
    def test_it_compiles_as_one_graph_once(self, make: Callable[[], Theta], per_piece: int) -> None:
        torch.compiler.reset()
        block, graphs = ODEBlock(make(), FixedSteps(self.solver, per_piece)), Graphs()
        expected, evaluations = block(states()), block.evaluations
        compiled = torch.compile(block, fullgraph=True, backend=graphs)
        for _ in range(2):
            block.evaluations = 0
            torch.testing.assert_close(compiled(states()), expected, rtol=1e-14, atol=1e-14)
            assert (graphs.count, block.evaluations) == (1, evaluations)

    def test_it_has_value_semantics(self) -> None:
        again = eval(repr(self.solver), {**vars(odenet), type(self.solver).__name__: type(self.solver)})
        assert again == self.solver
        assert hash(again) == hash(self.solver)
        assert pickle.loads(pickle.dumps(self.solver)) == self.solver
        assert self.solver != _Other()


class _Other(Solver):
    order = 1

    def step(self, f: Any, t0: float, t1: float, state: Any) -> Any:
        return state


class RungeKuttaLaws(SolverLaws):
    """Laws of Runge-Kutta methods: the cost is the number of stages, and polynomials below the order are exact."""

    def test_a_step_costs_as_many_evaluations_as_it_has_stages(self) -> None:
        assert isinstance(self.solver, RungeKutta)
        block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), FixedSteps(self.solver, per_piece=5))
        block(states())
        assert block.evaluations == 3 * 5 * self.solver.stages

    def test_a_step_integrates_polynomials_below_its_order_exactly(self) -> None:
        for degree in range(self.solver.order):
            found = self.solver.step(lambda t, x, n=degree: t**n + 0 * x, 0.5, 2.0, torch.zeros(1, dtype=torch.float64))
            assert found.item() == pytest.approx((2.0 ** (degree + 1) - 0.5 ** (degree + 1)) / (degree + 1), rel=1e-14)


class ThetaLaws(ABC):
    """Laws of θ: adjacent pieces cover [0, T], nodes are modules, and invalid arguments are refused."""

    min_nodes = 1

    @abstractmethod
    def make(self, nodes: Sequence[nn.Module], horizon: float | None = None) -> Theta:
        """Return a θ with these nodes."""

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of nodes to test."""
        yield from (n for n in (1, 2, 3, 7, 49, 50) if n >= self.min_nodes)

    @pytest.mark.parametrize("horizon", AWKWARD_HORIZONS)
    def test_its_pieces_are_adjacent_and_cover_the_interval_exactly(self, horizon: float) -> None:
        for n in self.numbers():
            pieces = list(self.make(logistic_nodes(n), horizon).pieces())
            assert pieces[0].start == 0
            assert pieces[-1].end == horizon
            assert all(piece.start < piece.end for piece in pieces)
            assert [piece.end for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]

    def test_its_pieces_are_equally_long(self) -> None:
        lengths = [piece.end - piece.start for piece in self.make(logistic_nodes(7), 3.3).pieces()]
        assert lengths == pytest.approx([lengths[0]] * len(lengths), rel=1e-14)

    def test_by_default_a_piece_has_length_one_exactly(self) -> None:
        for n in self.numbers():
            theta = self.make(logistic_nodes(n))
            assert {piece.end - piece.start for piece in theta.pieces()} == {1.0}
            assert theta.horizon == theta.number_of_pieces

    def test_the_horizon_moves_the_step_continuously(self) -> None:
        theta = self.make(logistic_nodes(4))
        block = ODEBlock(theta)
        moved = []
        for horizon in (2.0, 2.0 + 1e-6):
            theta.horizon = horizon
            assert sum(piece.end - piece.start for piece in theta.pieces()) == pytest.approx(horizon)
            moved.append(block(states()))
        assert 0 < (moved[1] - moved[0]).abs().max() < 1e-5

    def test_a_horizon_that_is_not_a_positive_number_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"horizon = .*pass a positive real number"):
            self.make(logistic_nodes(3), -1.0)

    def test_its_nodes_are_modules_under_their_numbers(self) -> None:
        theta = self.make([BasicBranch(2) for _ in range(self.min_nodes + 3)])
        if len(theta.nodes) > 3:
            assert "nodes.3.conv1.weight" in theta.state_dict()
        assert {name.split(".")[0] for name in theta.state_dict()} == {"nodes"}

    def test_it_evaluates_only_the_nodes_that_a_piece_names(self) -> None:
        for piece in self.make(logistic_nodes(4)).pieces():
            middle = (piece.start + piece.end) / 2
            read = {id(parameter) for node in piece.nodes for parameter in node.parameters()}
            found: set[int] = set()
            _leaves(piece.field(middle, states()).grad_fn, found)
            assert found == read

    def test_the_gradient_reaches_every_node(self) -> None:
        theta = self.make(logistic_nodes(5))
        ODEBlock(theta, FixedSteps(RK4()))(states()).sum().backward()
        assert all(parameter.grad is not None and parameter.grad.abs().min() > 0 for parameter in theta.parameters())

    def test_a_node_that_is_not_a_module_is_refused(self) -> None:
        nodes: list[Any] = [*logistic_nodes(self.min_nodes), torch.relu][-self.min_nodes :]
        with pytest.raises(TypeError, match=rf"node {len(nodes) - 1} of \w+ is a builtin.*pass torch\.nn\.Module"):
            self.make(nodes)

    def test_it_shows_its_horizon(self) -> None:
        assert "horizon=0.5" in repr(self.make(logistic_nodes(3), 0.5))


def _leaves(function: Any, found: set[int]) -> None:
    """Add to `found` the ids of the leaf tensors of an autograd graph."""
    if hasattr(function, "variable"):
        found.add(id(function.variable))
    for following, _ in getattr(function, "next_functions", ()):
        _leaves(following, found)


class SteppingLaws:
    """Laws of steppings: each piece is solved with its own branch, evaluations count, dtypes stay, value semantics."""

    stepping: Stepping
    error = 1e-5
    """Largest error on the problems in which θ jumps or bends."""

    @pytest.mark.parametrize("make", [jumping_linear, jumping_logistic, sloping_logistic], ids=name_of)
    def test_it_arrives_at_the_exact_flow(self, make: Callable[[], Problem]) -> None:
        problem = make()
        with torch.no_grad():
            found = ODEBlock(problem.theta, self.stepping)(problem.x)
        torch.testing.assert_close(found, problem.exact, rtol=0, atol=self.error)

    @pytest.mark.parametrize("horizon", AWKWARD_HORIZONS)
    def test_it_evaluates_each_branch_only_on_its_closed_piece(self, horizon: float) -> None:
        block = ODEBlock(PiecewiseConstant(spies(7), horizon), self.stepping)
        with torch.no_grad():
            block(states())
        require_each_on_its_own_piece(block)

    def test_evaluations_are_those_of_the_last_pass(self) -> None:
        block = ODEBlock(Constant(Logistic(1.0)), self.stepping)
        counts = []
        for _ in range(2):
            with torch.no_grad():
                block(states())
            counts.append(block.evaluations)
        assert counts[0] == counts[1] > 0

    def test_a_pass_without_gradient_gives_the_same_numbers(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), self.stepping)
        with torch.no_grad():
            without = block(states())
        assert torch.equal(block(states()), without)

    def test_it_keeps_float32(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), self.stepping).float()
        with torch.no_grad():
            assert block(states().float()).dtype == torch.float32

    def test_it_has_value_semantics(self) -> None:
        again = eval(repr(self.stepping), dict(vars(odenet)))
        assert again == self.stepping
        assert hash(again) == hash(self.stepping)
        assert pickle.loads(pickle.dumps(self.stepping)) == self.stepping
        assert again != FixedSteps(Euler(), per_piece=1234)
        assert again != Adaptive(rtol=0.1234)


def batch_norm_branch(momentum: float | None = 0.1) -> nn.Module:
    return BasicBranch(2, norm=lambda channels: nn.BatchNorm2d(channels, momentum=momentum)).double()


class GradientLaws(ABC):
    """Laws of every gradient method: the gradient of backpropagation, and evaluations as in the forward pass.

    Methods that take batch statistics inherit `BatchNormLaws` too, and those that take dropout `DropoutLaws`.
    """

    gradient: GradientMethod
    stepping: Stepping = FixedSteps(RK4(), per_piece=3)
    closeness = 1e-12
    """Largest difference from the gradients of backpropagation, relative and absolute, with the stepping `fine`."""
    fine: Stepping = FixedSteps(RK4(), per_piece=32)

    def gradients(self, block: ODEBlock, x: Tensor, gradient: GradientMethod) -> list[Tensor]:
        block.gradient = gradient
        x = x.clone().requires_grad_()
        y = block(x)
        inputs = [x, *(p for p in block.parameters() if p.requires_grad)]
        loss = (y * torch.linspace(1, 2, y.numel()).view_as(y)).sum()
        # Branches that stochastic depth skips have no gradient.
        return list(torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True))

    def compare(self, block: ODEBlock, x: Tensor) -> None:
        found = self.gradients(block, x, self.gradient)
        for ours, exact in zip(found, self.gradients(block, x, Backprop()), strict=True):
            torch.testing.assert_close(ours, exact, rtol=self.closeness, atol=self.closeness)

    @pytest.mark.parametrize("make", PROBLEMS, ids=name_of)
    def test_its_gradient_is_that_of_backpropagation(self, make: Callable[[], Problem]) -> None:
        problem = make()
        self.compare(ODEBlock(problem.theta, self.fine), problem.x)

    def test_a_shared_node_gets_the_sum_of_its_gradients(self) -> None:
        first, second = logistic_nodes(2)
        self.compare(ODEBlock(PiecewiseConstant([first, second, first]), self.fine), states())
        self.compare(ODEBlock(PiecewiseLinear([first, second, second]), self.fine), states())

    def test_frozen_parameters_get_no_gradient_and_the_others_get_theirs(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), self.fine, self.gradient)
        block.theta.nodes[1].requires_grad_(False)
        self.compare(block, states())
        block(states()).sum().backward()
        assert [parameter.grad is None for parameter in block.parameters()] == [False, True, False]

    def test_the_input_gets_a_gradient_only_if_it_requires_one(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient)
        x = states()
        block(x).sum().backward()
        assert x.grad is None
        block.requires_grad_(False)
        assert not block(x).requires_grad
        block(x.requires_grad_()).sum().backward()
        assert x.grad is not None

    def test_without_grad_nothing_is_recorded(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient)
        with torch.no_grad():
            assert not block(states().requires_grad_()).requires_grad

    def test_its_forward_pass_is_that_of_backpropagation(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(3)), self.stepping)
        expected, evaluations = block(states()), block.evaluations
        block.gradient = self.gradient
        torch.testing.assert_close(block(states()), expected, rtol=1e-14, atol=1e-14)
        assert block.evaluations == evaluations

    def test_the_backward_pass_can_be_run_twice(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient)
        y = block(states()).sum()
        first, second = (torch.autograd.grad(y, list(block.parameters()), retain_graph=True) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))

    def test_under_autocast_both_passes_compute_in_bfloat16_unless_errors_are_controlled(self) -> None:
        branch = RecordingDtypes(BasicBranch(2, norm=group_norm))
        block = ODEBlock(Constant(branch), self.stepping, self.gradient)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = block(torch.randn(2, 2, 4, 4))
        y.sum().backward()
        assert set(branch.kinds) == {torch.float32 if self.stepping.controls_error else torch.bfloat16}
        assert len(branch.kinds) > block.evaluations or isinstance(self.gradient, Backprop)
        assert y.dtype == torch.float32

    def test_weights_used_after_it_under_the_same_autocast_are_trained(self) -> None:
        block = ODEBlock(Constant(BasicBranch(2, norm=group_norm)), self.stepping, self.gradient)
        convolution = block.theta.nodes[0].conv1
        assert isinstance(convolution, nn.Conv2d)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = block(torch.randn(2, 2, 4, 4)).detach()
            convolution(y).sum().backward()
        assert convolution.weight.grad is not None

    def test_forward_hooks_are_called_once_per_evaluation_of_the_forward_pass(self) -> None:
        block, calls = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient), []
        for node in block.theta.nodes:
            node.register_forward_hook(lambda *_: calls.append(1))
        block(states()).sum().backward()
        assert len(calls) == block.evaluations > 0
        block(states()).sum().backward()
        assert len(calls) == 2 * block.evaluations

    def test_a_hook_that_changes_the_result_of_a_branch_acts_in_both_passes(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.fine)
        block.theta.nodes[0].register_forward_hook(_halve)
        block.theta.nodes[1].register_forward_pre_hook(lambda _module, inputs: (inputs[0], inputs[1] / 2))
        self.compare(block, states())

    def test_hooks_on_a_parameter_see_its_whole_gradient_once(self) -> None:
        block = ODEBlock(Constant(Logistic(1.0)), self.stepping, self.gradient)
        (parameter,) = block.parameters()
        seen: list[Tensor] = []
        parameter.register_hook(seen.append)
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
        block(states()).sum().backward()
        assert len(seen) == 2
        assert torch.equal(seen[0], seen[1])

    @hypothesis.settings(max_examples=PECULIAR_CASES, suppress_health_check=SLOW_AND_INHERITED)
    @hypothesis.given(case=CASES)
    @pytest.mark.filterwarnings("ignore::odenet.blocks.errors.OdenetWarning")
    def test_peculiar_branches_have_the_right_gradient_or_are_refused(self, case: Case) -> None:
        require_right_or_refused(case, self.gradient)

    def test_its_repr_can_be_evaluated(self) -> None:
        assert repr(eval(repr(self.gradient), dict(vars(odenet)))) == repr(self.gradient)


class BatchNormLaws(GradientLaws):
    """Laws of gradient methods with batch statistics: each batch is counted once."""

    def test_batch_norm_statistics_are_updated_once_per_evaluation_of_the_forward_pass(self) -> None:
        torch.manual_seed(0)
        block = ODEBlock(PiecewiseConstant([batch_norm_branch() for _ in range(2)], horizon=0.2), self.stepping)
        x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
        reference = copy.deepcopy(block)
        reference(x)
        block.gradient = self.gradient
        block(x).sum().backward()
        buffers, expected = dict(block.named_buffers()), dict(reference.named_buffers())
        torch.testing.assert_close(buffers, expected, rtol=1e-12, atol=1e-12)
        counts = [int(count) for name, count in buffers.items() if name.endswith("norm1.num_batches_tracked")]
        assert sum(counts) == block.evaluations

    def test_batch_norm_continues_to_track_statistics_afterwards(self) -> None:
        block = ODEBlock(PiecewiseConstant([batch_norm_branch()]), self.stepping, self.gradient)
        block(torch.randn(3, 2, 4, 4, dtype=torch.float64)).sum().backward()
        norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
        assert all(norm.track_running_stats and norm.training for norm in norms)


class ExactGradientLaws(GradientLaws):
    """Laws of exact gradient methods: the same random numbers in both passes, and exact second derivatives."""

    closeness = 1e-13
    closeness_on_random_branches = 1e-13

    def compare_on_random_branches(self, block: ODEBlock) -> None:
        found, ends = [], []
        for gradient in (self.gradient, Backprop()):
            torch.manual_seed(1)
            found.append(self.gradients(block, states(8, 3), gradient))
            ends.append(torch.rand(2))
        for ours, exact in zip(*found, strict=True):
            within = self.closeness_on_random_branches
            torch.testing.assert_close(ours, exact, rtol=within, atol=within)
        assert torch.equal(*ends)

    @pytest.mark.parametrize("per", ["batch", "sample"])
    def test_the_random_model_of_stochastic_depth_is_the_same_in_both_passes(self, per: Any) -> None:
        theta = PiecewiseConstant(logistic_nodes(6, size=3), horizon=2.0)
        self.compare_on_random_branches(ODEBlock(theta, self.stepping, noise=StochasticDepth(0.5, per=per)))

    def test_the_derivative_of_its_gradient_is_right(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient)
        inputs = states().requires_grad_(), *block.parameters()
        assert torch.autograd.gradgradcheck(lambda x, *_: block(x), inputs, fast_mode=True)

    def test_compiled_code_around_it_gives_the_same_gradients(self) -> None:
        torch.compiler.reset()
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient)
        modules = block, torch.compile(block, backend=Graphs())
        found = [torch.autograd.grad(module(states()).sum(), list(block.parameters())) for module in modules]
        torch.testing.assert_close(*found, rtol=1e-14, atol=1e-14)


class ExactBatchNormLaws(BatchNormLaws):
    """Laws of exact gradient methods with batch statistics: averages over all batches are equal bit for bit."""

    def test_batch_norm_that_averages_over_all_batches_counts_each_once(self) -> None:
        block = ODEBlock(PiecewiseConstant([batch_norm_branch(momentum=None)], 0.2), self.stepping)
        again, x = copy.deepcopy(block), torch.randn(3, 2, 4, 4, dtype=torch.float64)
        block.gradient = self.gradient
        for _ in range(3):
            block(x).sum().backward()
            again(x).sum().backward()
        assert all(map(torch.equal, block.buffers(), again.buffers()))

    def test_statistics_along_the_solve_are_those_of_the_same_evaluations_in_both_passes(self) -> None:
        torch.manual_seed(0)
        nodes = [batch_norm_branch() for _ in range(2)]
        block = ODEBlock(PiecewiseConstant(nodes, horizon=0.2), self.stepping, self.gradient).eval()
        x = torch.randn(8, 2, 4, 4, dtype=torch.float64)
        recalibrate(block, [x])
        reference = copy.deepcopy(block)
        reference.gradient, reference.stepping = Backprop(), self.gradient.forward_stepping(self.stepping)
        found, exact = (self.gradients(each, x, each.gradient) for each in (block, reference))
        for ours, theirs in zip(found, exact, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


class DropoutLaws(ExactGradientLaws):
    """Laws of exact gradient methods with dropout: its masks are those of the forward pass."""

    def test_dropout_draws_the_same_masks_in_both_passes_and_leaves_the_generator_as_backpropagation_does(self) -> None:
        branches = [nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.4), nn.Tanh(), nn.Dropout(0.2)) for _ in range(3)]
        theta = PiecewiseConstant([Autonomous(branch.double()) for branch in branches])
        self.compare_on_random_branches(ODEBlock(theta, self.stepping))


class RecomputationLaws(ExactGradientLaws):
    """Laws of recomputing gradient methods: they refuse a backward pass through another function."""

    def test_an_optimizer_step_before_the_backward_pass_is_refused(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient)
        y = block(states()).sum()
        with torch.no_grad():
            next(block.parameters()).mul_(2)
        with pytest.raises(RuntimeError, match=r"parameters of the flow were changed .*: call backward before"):
            y.backward()

    def test_parameters_replaced_for_the_forward_pass_only_are_refused(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient)
        lent = {name: 2 * parameter for name, parameter in block.named_parameters()}
        y = torch.func.functional_call(block, lent, (states(),)).sum()
        with pytest.raises(RuntimeError, match=r"or replaced.* within the same functional_call, or use Backprop\(\)"):
            y.backward()

    def test_gradients_have_the_precision_of_their_parameters(self) -> None:
        block = ODEBlock(PiecewiseConstant(logistic_nodes(2)), self.stepping, self.gradient).float()
        block(states().float()).sum().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in block.parameters())


def _halve(module: nn.Module, inputs: object, slope: Tensor) -> Tensor:
    return slope / 2


class RecordingDtypes(nn.Module):
    """A branch that records the dtype of its first convolution in every evaluation."""

    def __init__(self, branch: BasicBranch) -> None:
        super().__init__()
        self.branch, self.kinds = branch, []

    def forward(self, t: Time, x: Tensor) -> Tensor:
        self.kinds.append(self.branch.conv1(x).dtype)
        return self.branch(t, x)


class BranchLaws(ABC):
    """Laws of branches: shape and dtype of the state are kept at every t, parameters train, and copies work."""

    shape: tuple[int, ...] = (2, 4, 5, 6)
    depends_on_time = False

    @abstractmethod
    def make(self) -> nn.Module:
        """Return a branch for states of `shape`."""

    def state(self) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("t", [0.0, 1.5, torch.tensor(0.5)], ids=str)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_it_keeps_the_shape_and_dtype_of_its_state(self, t: Time, dtype: torch.dtype) -> None:
        slope = self.make().to(dtype)(t, self.state().to(dtype))
        assert (slope.shape, slope.dtype) == (self.shape, dtype)

    def test_it_depends_on_time_as_declared(self) -> None:
        branch = self.make().eval()
        assert torch.equal(branch(0.0, self.state()), branch(1.0, self.state())) != self.depends_on_time

    def test_time_may_be_a_tensor_or_a_number(self) -> None:
        branch = self.make().eval()
        assert torch.equal(branch(0.75, self.state()), branch(torch.tensor(0.75), self.state()))

    def test_every_parameter_gets_a_gradient(self) -> None:
        branch = self.make()
        (branch(0.5, self.state()) ** 3).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in branch.parameters())

    def test_it_can_be_copied_and_pickled(self) -> None:
        branch = self.make().eval()
        expected = branch(0.5, self.state())
        for again in (copy.deepcopy(branch), pickle.loads(pickle.dumps(branch))):
            assert torch.equal(again(0.5, self.state()), expected)
