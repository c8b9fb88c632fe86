"""A replayed evaluation repeats the forward pass in output, mode and precision, and changes no statistics."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet import BasicBranch
from odenet.blocks.replay.replay import Replay, frozen_buffers
from tests.problems import Logistic


def image() -> torch.Tensor:
    return torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def test_a_replayed_evaluation_gives_the_same_output_and_does_not_change_the_statistics() -> None:
    branch = BasicBranch(2)
    replay = Replay([branch], "cpu")
    with replay.first():
        first = branch(0.0, image())
    before = {name: buffer.clone() for name, buffer in branch.named_buffers()}
    with replay.again(), replay.evaluating():
        assert torch.equal(branch(0.0, image()), first)
    assert all(torch.equal(buffer, before[name]) for name, buffer in branch.named_buffers())


def test_in_evaluation_mode_a_replay_uses_the_running_statistics() -> None:
    branch = BasicBranch(2)
    branch(0.0, image())
    branch.eval()
    first = branch(0.0, image())
    with Replay([branch], "cpu").again():
        assert torch.equal(branch(0.0, image()), first)


def test_a_replay_computes_in_the_precision_of_the_forward_pass() -> None:
    layer = nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = Replay([layer], "cpu")
    wide = Replay([layer], "cpu")
    with narrow.evaluating():
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16), wide.evaluating():
        assert layer(torch.ones(1, 2)).dtype == torch.float32


def test_a_module_given_twice_tracks_statistics_again_afterwards() -> None:
    norm = nn.BatchNorm2d(2)
    with Replay([norm, nn.Sequential(norm), norm], "cpu").again():
        assert not norm.track_running_stats
    assert norm.track_running_stats


def test_statistics_are_tracked_again_after_an_exception() -> None:
    norm = nn.BatchNorm2d(2)
    with pytest.raises(RuntimeError, match="stop"), frozen_buffers(norm):
        raise RuntimeError("stop")
    assert norm.track_running_stats


def test_a_norm_without_statistics_or_in_evaluation_mode_is_not_changed() -> None:
    stateless, evaluating = nn.BatchNorm2d(2, track_running_stats=False), nn.BatchNorm2d(2).eval()
    for norm in (stateless, evaluating):
        with frozen_buffers(norm):
            assert norm.track_running_stats == (norm is evaluating)
        assert norm.track_running_stats == (norm is evaluating)


def test_hooks_that_only_observe_are_not_called_again_and_those_that_change_the_output_are() -> None:
    layer, calls = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda *_: calls.append("observes"))
    layer.register_forward_hook(lambda _module, _inputs, output: calls.append("changes") or 2 * output)
    layer.register_forward_pre_hook(lambda *_: calls.append("before"))
    replay = Replay([nn.Sequential(layer)], "cpu")
    with replay.first():
        first = layer(torch.ones(1, 2))
    with replay.again():
        assert torch.equal(layer(torch.ones(1, 2)), first)
    layer(torch.ones(1, 2))
    assert calls == ["before", "observes", "changes", "before", "changes", "before", "observes", "changes"]


def test_forward_hooks_may_take_keyword_arguments() -> None:
    layer, calls = nn.Linear(2, 2), []
    layer.register_forward_hook(lambda _module, _inputs, given, _output: calls.append(given), with_kwargs=True)
    replay = Replay([layer], "cpu")
    with replay.first():
        layer(input=torch.ones(1, 2))
    with replay.again():
        layer(input=torch.ones(1, 2))
    assert [list(given) for given in calls] == [["input"]]


def test_hooks_on_gradients_are_not_called_during_a_replay_and_are_called_afterwards() -> None:
    node, seen = Logistic(1.0), []
    node.rates.register_hook(seen.append)
    with Replay([node, node], "cpu").again():
        torch.autograd.grad(node(0.0, torch.ones(1) / 2), node.rates)
    assert seen == []
    torch.autograd.grad(node(0.0, torch.ones(1) / 2), node.rates)
    assert len(seen) == 1
