"""Stochastic depth in whole residual networks: the rule of Huang et al., over blocks and transitions alike."""

from __future__ import annotations

import pytest
import torch

from odenet.blocks.block import ODEBlock
from odenet.measure import count_evaluations
from odenet.models import plain20, resnet20, resnet110
from odenet.models.resnet import Transition
from odenet.models.stochastic_depth import set_stochastic_depth


def test_survival_decays_linearly_over_all_54_blocks_of_resnet_110():
    net = resnet110()
    set_stochastic_depth(net)
    parts = [m for m in net.modules() if isinstance(m, ODEBlock | Transition)]
    survival = [p for part in parts if part.noise is not None for p in part.noise.survival]
    assert survival == pytest.approx([1 - block / 54 * 0.5 for block in range(1, 55)])
    assert sum(survival) == pytest.approx(40.25)


def test_evaluation_is_that_of_the_net_without_noise():
    torch.manual_seed(0)
    net, x = resnet20().eval(), torch.randn(2, 3, 8, 8)
    expected = net(x)
    set_stochastic_depth(net)
    assert torch.equal(net(x), expected)


def test_training_skips_a_quarter_of_the_branches_on_average():
    torch.manual_seed(0)
    net, x = resnet20(), torch.randn(2, 3, 8, 8)
    set_stochastic_depth(net)
    counts = []
    for _ in range(200):
        net(x)
        counts.append(count_evaluations(net))
    blocks = [p for m in net.modules() if isinstance(m, ODEBlock) and m.noise for p in m.noise.survival]
    assert sum(counts) / 200 == pytest.approx(sum(blocks), abs=0.3)


def test_a_skipped_transition_leaves_its_shortcut():
    torch.manual_seed(0)
    net = resnet20()
    transition = next(m for m in net.modules() if isinstance(m, Transition))
    set_stochastic_depth(net, last=1e-9)
    assert transition.noise is not None
    assert transition.shortcut is not None
    transition.noise.survival = [1e-9]
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(transition(x), transition.shortcut(x))


def test_a_plain_net_is_refused():
    with pytest.raises(ValueError, match="use a residual network"):
        set_stochastic_depth(plain20())
