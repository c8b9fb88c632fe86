"""A compiled block takes the same steps in as few graphs as its steps have in common."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odenet import (
    RK4,
    BasicBranch,
    CompileWarning,
    Constant,
    Euler,
    FixedSteps,
    Galerkin,
    Heun,
    Midpoint,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    ReversibleHeun,
)
from odenet.blocks.compile import programs as compiled
from odenet.blocks.stepping import fixed_compiled
from odenet.blocks.theta.base import Time
from tests.laws import Graphs


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Graphs]:
    """Count the graphs of compiled blocks, with four evaluations in a chunk; a fall back to eager is an error."""
    torch.compiler.reset()
    counting = Graphs()
    monkeypatch.setattr(fixed_compiled, "EVALUATIONS_PER_GRAPH", 4)
    monkeypatch.setattr(compiled, "BACKEND", counting)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompileWarning)
        yield counting


def mlps(number: int) -> list[nn.Module]:
    torch.manual_seed(number)
    return [MLPBranch(2, 4).double() for _ in range(number)]


def convolutions(number: int, **options: Any) -> list[nn.Module]:
    torch.manual_seed(number)
    return [BasicBranch(2, **options).double() for _ in range(number)]


def points() -> Tensor:
    return torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def images() -> Tensor:
    return torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def require_same_results(block: ODEBlock, x: Tensor) -> None:
    """Check that the compiled block has the outputs, buffers, gradients and evaluations of the eager block."""
    reference = copy.deepcopy(block)
    reference.compiled, block.compiled = False, True
    x = x.requires_grad_()
    ours, theirs = block(x), reference(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    assert block.evaluations == reference.evaluations
    torch.testing.assert_close(block.state_dict(), reference.state_dict(), rtol=1e-10, atol=1e-12)
    gradients = (
        torch.autograd.grad(y.square().sum(), [x, *module.parameters()])
        for y, module in ((ours, block), (theirs, reference))
    )
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


class Clock(nn.Module):
    """F(t, x) = t, whose solution by the midpoint rule is exact: x(T) = x(0) + T²/2."""

    def forward(self, t: Time, x: Tensor) -> Tensor:
        return torch.zeros_like(x) + t


@pytest.mark.parametrize(
    "make",
    [
        lambda: ODEBlock(Constant(mlps(1)[0]), FixedSteps(RK4(), 2)),
        lambda: ODEBlock(PiecewiseConstant(mlps(3), horizon=0.7), FixedSteps(Heun())),
        lambda: ODEBlock(PiecewiseLinear(mlps(3)), FixedSteps(Euler(), 2)),
        lambda: ODEBlock(Constant(mlps(1)[0]), FixedSteps(ReversibleHeun(), 3)),
    ],
    ids=["constant", "constant pieces", "linear pieces", "a pair"],
)
def test_a_solve_of_few_steps_is_one_graph(make: Any, graphs: Graphs) -> None:
    require_same_results(make(), points())
    assert graphs.count == 1


@pytest.mark.parametrize("steps", [12, 120])
def test_a_solve_of_many_steps_is_one_graph(steps: int, graphs: Graphs) -> None:
    require_same_results(ODEBlock(Constant(mlps(1)[0], horizon=0.7), FixedSteps(Euler(), steps)), points())
    assert graphs.count == 1


def test_if_the_steps_do_not_divide_evenly_there_are_two_graphs(graphs: Graphs) -> None:
    require_same_results(ODEBlock(Constant(mlps(1)[0]), FixedSteps(Euler(), 41)), points())
    assert graphs.count == 2


@pytest.mark.parametrize(
    ("activation", "projection"), [("pre", None), ("post", torch.relu)], ids=["pre-activation", "post-activation"]
)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_residual_blocks_share_one_graph(activation: Any, projection: Any, training: bool, graphs: Graphs) -> None:
    theta = PiecewiseConstant(convolutions(9, activation=activation), horizon=3.3)
    require_same_results(ODEBlock(theta, projection=projection).train(training), images())
    assert graphs.count == 1  # each chunk has three residual blocks


def test_many_steps_on_many_pieces_share_one_graph(graphs: Graphs) -> None:
    require_same_results(ODEBlock(PiecewiseConstant(mlps(7), horizon=0.1), FixedSteps(Heun(), 4)), points())
    assert graphs.count == 1


def test_steps_with_parameters_that_depend_on_t_share_one_graph_on_one_piece(graphs: Graphs) -> None:
    require_same_results(ODEBlock(Galerkin(mlps(3), horizon=2.0), FixedSteps(Euler(), 16)), points())
    assert graphs.count == 1


def test_each_piece_of_interpolated_parameters_is_one_graph(graphs: Graphs) -> None:
    require_same_results(ODEBlock(PiecewiseLinear(mlps(3)), FixedSteps(Euler(), 8)), points())
    assert graphs.count == 2


def test_many_pieces_of_interpolated_parameters_run_eagerly_with_a_warning(graphs: Graphs) -> None:
    block = ODEBlock(PiecewiseLinear(mlps(11)), FixedSteps(Euler(), 10))
    block.compiled = True
    with pytest.warns(CompileWarning, match=r"θ has a different field on each of 10 pieces, .* uncompiled: use"):
        y = block(points())
    assert graphs.count == 0
    block.compiled = False
    assert torch.equal(block(points()), y)


def test_the_pair_of_a_reversible_solver_passes_from_chunk_to_chunk(graphs: Graphs) -> None:
    theta = PiecewiseConstant(mlps(4), horizon=0.7)
    require_same_results(ODEBlock(theta, FixedSteps(ReversibleHeun(), 4)), points())
    assert graphs.count == 3  # the first chunk starts the solver, and the last one finishes it


@pytest.mark.parametrize(("steps", "chunks"), [(13, 2), (12, 1)], ids=["of two lengths", "of one length"])
def test_every_step_of_every_chunk_is_taken_at_its_own_time(
    steps: int, chunks: int, graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixed_compiled, "EVALUATIONS_PER_GRAPH", 10)
    block = ODEBlock(PiecewiseConstant([Clock() for _ in range(7)], horizon=3.0), FixedSteps(Midpoint(), steps))
    block.compiled = True
    torch.testing.assert_close(block(points()), points() + 4.5, rtol=1e-14, atol=1e-14)
    assert graphs.count == chunks


def test_on_cuda_chunks_of_flows_of_images_have_one_or_two_branches() -> None:
    def chunk(device: str, dim: int) -> int:
        state: Any = SimpleNamespace(device=torch.device(device), dim=lambda: dim)
        return fixed_compiled._evaluations_in_a_chunk(state)

    assert chunk("cuda", 4) == 2
    assert chunk("cuda", 2) == chunk("cpu", 4) == fixed_compiled.EVALUATIONS_PER_GRAPH


def test_chunks_of_two_branches_are_one_graph_for_a_whole_stage(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fixed_compiled, "_evaluations_in_a_chunk", lambda _: fixed_compiled.EVALUATIONS_PER_GRAPH_ON_CUDA
    )
    require_same_results(ODEBlock(PiecewiseConstant(convolutions(18))), images())
    assert graphs.count == 1


def test_without_trainable_parameters_the_output_requires_no_gradient(graphs: Graphs) -> None:
    block = ODEBlock(Constant(mlps(1)[0]).requires_grad_(False), FixedSteps(Euler(), 40))
    block.compiled = True
    assert not block(points()).requires_grad
    block.requires_grad_(True)
    with torch.no_grad():
        assert not block(points()).requires_grad
    assert block(points()).requires_grad


def test_under_autocast_a_compiled_block_computes_in_lower_precision_too(graphs: Graphs) -> None:
    block = ODEBlock(PiecewiseConstant([branch.float() for branch in convolutions(2)]))
    reference = copy.deepcopy(block)
    block.compiled, x = True, images().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(block(x), reference(x))
        assert not torch.equal(block(x), copy.deepcopy(reference.double())(x.double()).float())
    torch.testing.assert_close(block(x), reference.float()(x))


def test_the_channels_last_format_is_kept(graphs: Graphs) -> None:
    block = ODEBlock(PiecewiseConstant(convolutions(9))).to(memory_format=torch.channels_last).eval()
    x = images().to(memory_format=torch.channels_last)
    require_same_results(block, x.detach())
    assert block(x).is_contiguous(memory_format=torch.channels_last)
