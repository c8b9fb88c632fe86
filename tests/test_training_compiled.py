"""Networks of one structure share their compiled kernels, and the caches of kernels stay bounded."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo import config

from odenet import Checkpointed, ODEBlock, StochasticDepth, configure
from odenet.models import ode_net, resnet20, resnet56
from odenet.training import compiled
from odenet.training.compiled import MAX_GRAPHS, MAX_STRUCTURES
from tests.laws import Graphs

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """Backend that counts the graphs of whole networks."""
    counting = Graphs()
    monkeypatch.setattr(compiled, "BACKEND", counting)
    monkeypatch.setattr(compiled, "_CALLS", OrderedDict())
    return counting


def net(seed: int, width: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(4 * width, 3))


def used(network: nn.Module, modes: tuple[bool, ...] = (True, False), sizes: tuple[int, ...] = (4, 2)) -> None:
    """Call the network as a training does: in both modes, with whole batches and a smaller one."""
    with compiled.compiled(network, CPU) as call:
        for mode in modes:
            call.train(mode)
            for n in sizes:
                x = torch.randn(n, 1, 4, 4)
                expected = network(x)
                torch.testing.assert_close(call(x), expected)


def test_the_second_network_of_a_structure_is_not_compiled_again(graphs: Graphs) -> None:
    for seed in range(3):
        used(net(seed))
    assert graphs.count == MAX_GRAPHS


def test_more_structures_than_torch_keeps_graphs_for_a_function_all_run_compiled(graphs: Graphs) -> None:
    for width in range(1, MAX_STRUCTURES + 3):
        used(net(0, width), modes=(True,), sizes=(4,))
    assert graphs.count == MAX_STRUCTURES + 2 > config.recompile_limit
    assert len(compiled._CALLS) == MAX_STRUCTURES


def test_a_network_of_many_sizes_of_batches_runs_compiled_in_each_training(graphs: Graphs) -> None:
    network = net(0)
    for size in range(3, 13):
        with compiled.compiled(network, CPU) as call:
            call(torch.randn(size, 1, 4, 4))
    assert graphs.count == 10 > config.recompile_limit


def test_where_torch_does_not_say_what_it_keeps_every_training_compiles(
    graphs: Graphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo.eval_frame", None)
    assert compiled._number_of_graphs(net) > MAX_GRAPHS
    monkeypatch.undo()
    assert graphs.count == 0


def test_what_else_is_compiled_stays_so(graphs: Graphs) -> None:
    other = Graphs()
    double = torch.compile(lambda x: 2 * x, backend=other)
    double(torch.ones(3))
    used(net(0))
    double(torch.ones(3))
    assert (other.count, graphs.count) == (1, MAX_GRAPHS)


def test_the_wrapper_has_the_weights_and_modes_of_the_network(graphs: Graphs) -> None:
    network = net(0)
    with compiled.compiled(network, CPU) as call:
        assert list(map(id, call.parameters())) == list(map(id, network.parameters()))
        call.eval()
        assert not network.training
    assert graphs.count == 0


def test_on_cuda_a_deep_network_is_compiled_branch_by_branch_and_a_shallow_one_as_a_whole() -> None:
    deep = resnet56(num_classes=3)
    with compiled.compiled(deep, CUDA) as call:
        assert call is deep
        assert all(block.compiled for block in blocks(deep))
    assert not any(block.compiled for block in blocks(deep))
    with compiled.compiled(resnet20(num_classes=3), CUDA) as call:
        assert not isinstance(call, type(deep))
    with compiled.compiled(deep, CPU) as call:
        assert call is not deep


def blocks(network: nn.Module) -> list[ODEBlock]:
    return [module for module in network.modules() if isinstance(module, ODEBlock)]


def with_noise() -> nn.Module:
    network = resnet56(num_classes=3)
    blocks(network)[0].noise = StochasticDepth(0.5)
    return network


def checkpointed() -> nn.Module:
    network = resnet56(num_classes=3)
    configure(network, gradient=Checkpointed())
    return network


@pytest.mark.parametrize("make", [with_noise, checkpointed, ode_net, partial(net, 0), resnet20])
def test_flows_that_a_block_does_not_compile_are_compiled_with_the_network(make: Callable[[], nn.Module]) -> None:
    network = make()
    with compiled.compiled(network, CUDA) as call:
        assert call is not network
