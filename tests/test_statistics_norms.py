"""Normalizations work on other buffers and modes for a while, and a snapshot puts statistics back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet import RK4, BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant, recalibrate
from odenet.blocks.statistics.norms import Snapshot, normalizing_by_batch, own_buffers_lent


def test_within_the_contexts_statistics_are_averaged_and_then_nothing_has_changed() -> None:
    norm, x = nn.BatchNorm1d(2, momentum=0.3).eval(), torch.randn(8, 2)
    buffers, values = dict(norm.named_buffers()), [buffer.clone() for buffer in norm.buffers()]
    with own_buffers_lent([norm]), normalizing_by_batch([norm]):
        norm(x)
        norm(3 * x)
        torch.testing.assert_close(norm.running_mean, 2 * x.mean(0))
    assert all(norm.get_buffer(name) is buffer for name, buffer in buffers.items())
    assert all(map(torch.equal, values, norm.buffers()))
    assert (norm.training, norm.momentum) == (False, 0.3)


def test_an_error_within_the_contexts_changes_nothing_either() -> None:
    norm = nn.BatchNorm1d(2).eval()
    with pytest.raises(KeyError), own_buffers_lent([norm]), normalizing_by_batch([norm]):
        raise KeyError
    assert (norm.training, norm.momentum) == (False, 0.1)
    assert torch.equal(norm.get_buffer("running_var"), torch.ones(2))


@pytest.mark.parametrize("stepping", [FixedSteps(), FixedSteps(RK4())], ids=str)
def test_a_snapshot_puts_back_what_was_recalibrated(stepping: FixedSteps) -> None:
    net = nn.Sequential(nn.BatchNorm2d(2), ODEBlock(PiecewiseConstant([BasicBranch(2)]), stepping)).eval()
    names = list(net.state_dict())
    x = torch.randn(4, 2, 5, 5)
    before, snapshot = net(x), Snapshot(net)
    recalibrate(net, [x])
    assert not torch.equal(net(x), before)
    snapshot.restore()
    assert torch.equal(net(x), before)
    assert list(net.state_dict()) == names
