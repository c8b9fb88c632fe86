"""Gradients of parameters are accumulated in the order of one graph, also under DDP and autocast."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from odenet import (
    BasicBranch,
    Checkpointed,
    FixedSteps,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    PiecewiseLinear,
    Reversible,
)
from odenet.blocks.gradients.recomputation import ParameterGradients, gradient_edges, trainable_parameters
from odenet.blocks.theta.base import wants_gradient
from tests.laws import logistic_nodes, states


def test_gradients_are_accumulated_in_the_order_of_one_graph() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    scales = [1e8, 1.0, -1e8, 3.0, 1e-3]

    class Node(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = weight

    nodes, totals = (Node(),), ParameterGradients([weight])
    for scale in reversed(scales):
        totals.add(gradient_edges([weight * scale]), [torch.ones(1)], [], nodes, term_by_term=True)
    y = torch.zeros(1)
    for scale in scales:
        y = y + weight * scale
    total = totals.gradients[weight]
    assert total is not None
    assert torch.equal(total, *torch.autograd.grad(y, weight))


def test_a_parameter_shared_by_several_nodes_is_counted_once() -> None:
    theta = PiecewiseLinear(logistic_nodes(4))
    pieces = list(theta.pieces())
    assert len(trainable_parameters(pieces)) == 4
    theta.nodes[2].requires_grad_(False)
    assert len(trainable_parameters(pieces)) == 3


def test_a_gradient_is_wanted_if_x_or_a_parameter_requires_one_and_autograd_is_enabled() -> None:
    theta = PiecewiseConstant(logistic_nodes(2))
    pieces, x = list(theta.pieces()), states()
    assert wants_gradient(pieces, x)
    with torch.no_grad():
        assert not wants_gradient(pieces, x)
    theta.requires_grad_(False)
    assert not wants_gradient(pieces, x)
    assert wants_gradient(pieces, x.requires_grad_())


def train_in_a_group(rank: int, folder: str) -> None:
    """Take a step with each gradient method under DDP, on the half of a batch that belongs to `rank`."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    x = torch.randn(8, 2)[rank::2]
    for name, gradient in GRADIENTS.items():
        torch.manual_seed(1)
        block = ODEBlock(PiecewiseConstant([MLPBranch(2) for _ in range(3)]), FixedSteps("rk4", 2), gradient)
        parallel = DistributedDataParallel(block)
        parallel(x).square().mean().backward()
        torch.save([p.grad for p in block.parameters()], f"{folder}/{name}{rank}.pt")
    dist.destroy_process_group()


GRADIENTS = {"checkpointed": Checkpointed(), "reversible": Reversible()}


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this build of torch has no gloo")
def test_under_ddp_two_processes_share_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    spawn(train_in_a_group, (str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    x = torch.randn(8, 2)
    for name, gradient in GRADIENTS.items():
        torch.manual_seed(1)
        block = ODEBlock(PiecewiseConstant([MLPBranch(2) for _ in range(3)]), FixedSteps("rk4", 2), gradient)
        block(x).square().mean().backward()
        alone: list[Tensor | None] = [p.grad for p in block.parameters()]
        first, second = (torch.load(tmp_path / f"{name}{rank}.pt") for rank in (0, 1))
        assert all(map(torch.equal, first, second))
        torch.testing.assert_close(first, alone, rtol=1e-5, atol=1e-7)


def test_a_recomputed_flow_trains_under_autocast_wherever_backward_is_called() -> None:
    found = []
    for inside in (True, False):
        torch.manual_seed(0)
        block = ODEBlock(PiecewiseConstant([BasicBranch(2) for _ in range(3)]), gradient=Checkpointed())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = block(torch.randn(4, 2, 4, 4)).square().mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        found.append([p.grad for p in block.parameters()])
    torch.testing.assert_close(*found)
