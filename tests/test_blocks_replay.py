from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet import BasicBranch
from odenet.blocks.replay import Replay, resting_statistics


def image() -> torch.Tensor:
    return torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def test_a_replayed_evaluation_gives_the_same_numbers_and_leaves_the_statistics_alone() -> None:
    branch = BasicBranch(2)
    replay = Replay("cpu")
    first = branch(0.0, image())
    before = {name: buffer.clone() for name, buffer in branch.named_buffers()}
    with replay([branch]):
        assert torch.equal(branch(0.0, image()), first)
    assert all(torch.equal(buffer, before[name]) for name, buffer in branch.named_buffers())


def test_in_evaluation_mode_a_replay_uses_the_running_statistics() -> None:
    branch = BasicBranch(2)
    branch(0.0, image())
    branch.eval()
    first = branch(0.0, image())
    with Replay("cpu")([branch]):
        assert torch.equal(branch(0.0, image()), first)


def test_a_replay_computes_in_the_precision_of_the_forward_pass() -> None:
    layer = nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = Replay("cpu")
    wide = Replay("cpu")
    with narrow([layer]):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16), wide([layer]):
        assert layer(torch.ones(1, 2)).dtype == torch.float32


def test_a_module_named_twice_tracks_again_afterwards() -> None:
    norm = nn.BatchNorm2d(2)
    with Replay("cpu")([norm, nn.Sequential(norm)]):
        assert not norm.track_running_stats
    assert norm.track_running_stats


def test_statistics_go_on_after_an_exception() -> None:
    norm = nn.BatchNorm2d(2)
    with pytest.raises(RuntimeError, match="stop"), resting_statistics(norm):
        raise RuntimeError("stop")
    assert norm.track_running_stats


def test_a_norm_without_statistics_or_in_evaluation_is_left_as_it_is() -> None:
    stateless, evaluating = nn.BatchNorm2d(2, track_running_stats=False), nn.BatchNorm2d(2).eval()
    for norm in (stateless, evaluating):
        with resting_statistics(norm):
            assert norm.track_running_stats == (norm is evaluating)
        assert norm.track_running_stats == (norm is evaluating)
