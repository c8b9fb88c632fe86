"""A compiled block gives the same numbers and gradients, and falls back to eager mode with a warning."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch.profiler import ProfilerActivity, profile

from odenet import (
    RK4,
    Adaptive,
    Autonomous,
    BasicBranch,
    Checkpointed,
    CompileWarning,
    Constant,
    ContinuousAdjoint,
    FixedSteps,
    MLPBranch,
    NonFiniteState,
    ODEBlock,
    PiecewiseConstant,
    StochasticDepth,
    configure,
    group_norm,
)
from odenet.blocks.compile import programs as compiled
from odenet.blocks.compile.programs import Programs
from odenet.blocks.field import Field
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.per_sample import solve as per_sample
from odenet.blocks.stepping import fixed_compiled as fixed_steps
from odenet.blocks.stepping.base import Stepping
from odenet.blocks.theta.base import Time
from tests.compilers import without_compiler
from tests.laws import Graphs


def block() -> ODEBlock:
    return ODEBlock(Constant(MLPBranch(2, 3)))


def test_compilation_is_off_by_default_and_can_be_configured_within_a_context() -> None:
    flows = block(), block()
    flows[1].compiled = True
    net = nn.Sequential(*flows)
    with configure(net, compile=True):
        assert [flow.compiled for flow in flows] == [True, True]
    assert [flow.compiled for flow in flows] == [False, True]
    configure(net, compile=False)
    assert [flow.compiled for flow in flows] == [False, False]
    configure(net, compile="reduce-overhead")
    assert [flow.compiled for flow in flows] == ["reduce-overhead"] * 2


@pytest.mark.parametrize("value", [1, "yes", None])
def test_compiled_must_be_true_false_or_reduce_overhead(value: bool) -> None:
    with pytest.raises(TypeError, match=f"compiled = {value!r}; .* pass True or False, or 'reduce-overhead'"):
        block().compiled = value


def test_the_field_of_an_uncompiled_block_returns_functions_unchanged() -> None:
    assert Field("it").program("double", torch.add) is torch.add


def test_a_program_is_kept_under_its_key() -> None:
    field = Field("it", programs=Programs())
    assert field.program(("add", 1), torch.add) is field.program(("add", 1), torch.add)
    assert field.program(("add", 1), torch.add) is not field.program(("add", 2), torch.add)


def test_copies_and_pickles_keep_the_setting_but_no_programs() -> None:
    original = block()
    original.compiled = True
    original._programs.compiled("add", torch.add, "it")
    for again in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert again.compiled
        assert again._programs is not original._programs
        assert not again._programs._programs


def test_the_programs_of_a_mode_stay_until_the_mode_changes() -> None:
    flow = block()
    flow.compiled = True
    programs = flow._programs
    flow.compiled = False
    flow.compiled = True
    assert flow._programs is programs
    flow.compiled = "reduce-overhead"
    assert flow._programs.cuda_graphs
    again = copy.deepcopy(flow)
    assert again._programs.cuda_graphs


# Compiled programs


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """Return a backend that counts the graphs of compiled blocks and runs them uncompiled."""
    torch.compiler.reset()
    counting = Graphs()
    monkeypatch.setattr(compiled, "BACKEND", counting)
    return counting


def compiled_block(branch: nn.Module | None = None, stepping: Stepping | None = None, **options: Any) -> ODEBlock:
    torch.manual_seed(0)
    flow = ODEBlock(Constant(branch or MLPBranch(2, 3)), stepping or FixedSteps(per_piece=3), **options)
    flow.compiled = True
    return flow


def as_it_is(flow: ODEBlock) -> ODEBlock:
    again = copy.deepcopy(flow)
    again.compiled = False
    return again


def test_compiled_steps_have_the_same_numbers_and_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(fixed_steps, "EVALUATIONS_PER_GRAPH", 2)
    flow, x = compiled_block(MLPBranch(2, 8), FixedSteps(per_piece=24)), torch.randn(16, 2)
    reference = as_it_is(flow)
    flow(x).square().sum().backward()
    reference(x).square().sum().backward()
    torch.testing.assert_close(flow(x), reference(x), rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(flow.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)
    assert flow.evaluations == 24


class OneMemory:
    """A backend whose graphs return the same memory at every call, as CUDA graphs do, but run uncompiled."""

    def __call__(self, graph: fx.GraphModule, example: list[Tensor]) -> Any:
        return aot_autograd(fw_compiler=self.keeping_memory)(graph, example)

    @staticmethod
    def keeping_memory(graph: fx.GraphModule, example: list[Tensor]) -> Callable[..., list[Tensor]]:
        del example
        memory: list[Tensor] = []

        def run(*arguments: Tensor) -> list[Tensor]:
            results = graph(*arguments)
            if not memory:
                memory.extend(result.clone() for result in results)
            return [kept.copy_(result) for kept, result in zip(memory, results, strict=True)]

        return make_boxed_func(run)


@pytest.mark.parametrize("mode", [True, "reduce-overhead"])
def test_the_output_of_a_cuda_graph_stays_when_it_is_launched_again(monkeypatch: pytest.MonkeyPatch, mode: Any) -> None:
    torch.compiler.reset()
    monkeypatch.setattr(compiled, "BACKEND", OneMemory())
    flow = compiled_block()
    flow.compiled = mode
    with torch.no_grad():
        x = torch.randn(5, 2)
        y = flow(x)
        flow(x + 1)
        assert torch.equal(y, as_it_is(flow)(x)) == (mode == "reduce-overhead")


def solved_in(mode: Any, stepping: Stepping) -> list[Tensor]:
    """Return the values, gradients and weights of training steps and predictions of a small network on a GPU."""
    torch.manual_seed(0)
    thetas = (PiecewiseConstant([BasicBranch(4, norm=group_norm) for _ in range(3)]) for _ in range(2))
    net = nn.Sequential(*(ODEBlock(theta, stepping) for theta in thetas)).double().to("cuda")
    configure(net, compile=mode)
    optimizer, found = torch.optim.SGD(net.parameters(), 0.01), list[Tensor]()
    batches = torch.randn(8, 8, 4, 6, 6, dtype=torch.float64).to("cuda")
    for x in batches[:4]:  # a CUDA graph is recorded in the second call, and launched from the third
        y = net(x.requires_grad_())
        y.square().mean().backward()
        optimizer.step()
        found += [y.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]
        optimizer.zero_grad()
    with torch.no_grad():
        return [*found, *map(net, batches[4:]), *net.state_dict().values()]


@pytest.mark.gpu
@pytest.mark.compiles
@pytest.mark.parametrize(
    "stepping", [FixedSteps(), FixedSteps(RK4(), 7), Adaptive("dopri5", 1e-8, 1e-8, per_sample=True)], ids=repr
)
def test_on_a_gpu_cuda_graphs_give_the_same_numbers(stepping: Stepping) -> None:
    for ours, plain in zip(solved_in("reduce-overhead", stepping), solved_in(False, stepping), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.compiles
def test_on_a_gpu_a_stage_is_launched_as_one_cuda_graph() -> None:
    flow, x = compiled_block(BasicBranch(4)).to("cuda").eval(), torch.randn(8, 4, 6, 6, device="cuda")
    flow.compiled = "reduce-overhead"
    with torch.no_grad():
        for _ in range(3):
            flow(x)
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            flow(x)
    names = [event.name for event in profiled.events() or []]
    assert names.count("cudaGraphLaunch") == 1


def test_without_a_cpp_compiler_a_block_runs_uncompiled_with_a_warning(tmp_path: Path) -> None:
    flow, x = compiled_block(Autonomous(nn.Tanh())), torch.randn(5, 2)
    said = r"ODEBlock was to be compiled; torch.compile failed with InductorError \(.*C\+\+.*\), so it runs uncompiled"
    with without_compiler(tmp_path), pytest.warns(CompileWarning, match=said):
        y = flow(x)
    assert torch.equal(y, as_it_is(flow)(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(flow(x), y)


class Forked(nn.Module):
    """A branch with control flow that depends on its state, which one graph cannot express."""

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_branch_that_torch_cannot_trace_runs_uncompiled(graphs: Graphs) -> None:
    flow = compiled_block(Forked())
    with pytest.warns(CompileWarning, match="torch.compile failed with .*: correct the cause, or set compiled = False"):
        y = flow(torch.ones(2, 2))
    assert torch.equal(y, as_it_is(flow)(torch.ones(2, 2)))
    assert torch.equal(flow(-torch.ones(2, 2)), as_it_is(flow)(-torch.ones(2, 2)))


def test_under_a_function_transform_a_block_runs_uncompiled(graphs: Graphs) -> None:
    flow, x = compiled_block(), torch.randn(4, 3, 2)
    with pytest.warns(CompileWarning, match="functorch"):
        y = torch.vmap(flow)(x)
    torch.testing.assert_close(y, torch.stack([flow(part) for part in x]))


def test_each_shape_has_its_own_graph_and_many_shapes_share_one(graphs: Graphs) -> None:
    flow = compiled_block()
    reference = as_it_is(flow)
    counts = []
    for rows in range(2, 16):
        x = torch.randn(rows, 2)
        torch.testing.assert_close(flow(x), reference(x))
        counts.append(graphs.count)
    assert counts == [1, 2, 3, 4, 5, 6, 7, 8, *[9] * 6]


def test_a_replaced_setting_is_compiled_again(graphs: Graphs) -> None:
    flow, x = compiled_block(), torch.randn(5, 2)
    for change in ({"stepping": FixedSteps(RK4())}, {"projection": torch.relu}, {"theta": Constant(MLPBranch(2, 3))}):
        flow(x)
        for name, value in change.items():
            setattr(flow, name, value)
        torch.testing.assert_close(flow(x), as_it_is(flow)(x))
    horizon, flow.theta.horizon = flow.theta.horizon, 2.0
    torch.testing.assert_close(flow(x), as_it_is(flow)(x))
    before = graphs.count
    flow.theta.horizon = horizon
    flow(x)
    assert graphs.count == before


def test_in_other_compiled_code_the_setting_has_no_effect(graphs: Graphs) -> None:
    flow, x, outer = compiled_block(), torch.randn(5, 2), Graphs()
    y = torch.compile(flow, fullgraph=True, backend=outer)(x)
    torch.testing.assert_close(y, as_it_is(flow)(x))
    assert (outer.count, graphs.count) == (1, 0)


@pytest.mark.parametrize("gradient", [Checkpointed(), ContinuousAdjoint()], ids=repr)
def test_a_gradient_method_with_its_own_loop_runs_uncompiled(gradient: GradientMethod, graphs: Graphs) -> None:
    flow, x = compiled_block(gradient=gradient), torch.randn(5, 2)
    said = r"to be compiled; the gradient method takes the steps one by one, so it runs uncompiled: use Backp"
    with pytest.warns(CompileWarning, match=said):
        y = flow(x)
    assert torch.equal(y, as_it_is(flow)(x))
    assert graphs.count == 0


def test_stochastic_depth_draws_the_same_masks_and_is_compiled_in_evaluation_mode(graphs: Graphs) -> None:
    flow, x = compiled_block(noise=StochasticDepth(0.5)), torch.randn(5, 2)
    reference = as_it_is(flow)
    torch.manual_seed(1)
    with pytest.warns(CompileWarning, match="stochastic depth draws which branches are evaluated, so"):
        y = flow(x)
    torch.manual_seed(1)
    assert torch.equal(y, reference(x))
    torch.testing.assert_close(flow.eval()(x), reference.eval()(x))
    assert graphs.count == 1


class Misfit(nn.Module):
    """A branch that changes the shape of its state."""

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return x[:, :1]


def test_faults_of_a_branch_are_reported_with_their_place_and_not_as_compiler_errors(graphs: Graphs) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=r"in ODEBlock, at t = 0 \(piece 0, step 0, evaluation 1\), the branch"):
            compiled_block(Misfit())(torch.ones(2, 2))
        flow = compiled_block(Autonomous(nn.Linear(2, 2)), FixedSteps(per_piece=100))
        with torch.no_grad():
            flow.theta.nodes[0].get_parameter("module.weight").fill_(torch.inf)
        with pytest.raises(NonFiniteState, match=r"slope F\(t, x\) of ODEBlock is .* at t = 0 \(piece 0, step 0"):
            flow(torch.ones(2, 2))


class Oscillator(nn.Module):
    """The oscillator of van der Pol, with the parameter ω."""

    def __init__(self) -> None:
        super().__init__()
        self.omega = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def forward(self, t: object, x: Tensor) -> Tensor:
        del t
        position, velocity = x.unbind(-1)
        return torch.stack((velocity, (1 - position**2) * velocity - self.omega * position), dim=-1)


def test_compiled_steps_by_columns_are_the_same_with_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(per_sample, "ATTEMPTS_PER_GRAPH", 2)
    torch.compiler.reset()
    block = ODEBlock(Constant(Oscillator(), 2.0), Adaptive("adaptive_heun", 1e-3, 1e-3, per_sample=True))
    found = []
    for block.compiled in (False, True):
        x = torch.linspace(-2, 2, 14, dtype=torch.float64).view(7, 2).requires_grad_()
        y = block(x)
        gradients = torch.autograd.grad(y.square().sum(), [x, *block.parameters()])
        assert block.last_solve is not None
        found.append((y, *block.last_solve, *gradients))
    torch.testing.assert_close(found[1], found[0], rtol=1e-11, atol=1e-12)
