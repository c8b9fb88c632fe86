"""Survival probabilities follow the rule of Huang et al. over all blocks and transitions of a residual network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from odenet.blocks.block import ODEBlock
from odenet.measure import count_evaluations
from odenet.models import cifar_resnet, plain20, resnet20, resnet110
from odenet.models.plain import plain_stage
from odenet.models.resnet import Transition
from odenet.models.stochastic_depth import set_stochastic_depth


def survival_of(net: nn.Module) -> list[float]:
    parts = [m for m in net.modules() if isinstance(m, ODEBlock | Transition)]
    return [p for part in parts if part.noise is not None for p in part.noise.survival]


def test_survival_decays_linearly_over_all_54_blocks_of_resnet_110():
    net = resnet110()
    set_stochastic_depth(net)
    survival = survival_of(net)
    assert survival == pytest.approx([1 - block / 54 * 0.5 for block in range(1, 55)])
    assert sum(survival) == pytest.approx(40.25)


def test_survival_is_the_same_everywhere_with_constant_decay():
    net = resnet20()
    set_stochastic_depth(net, 0.8, decay="constant")
    assert survival_of(net) == [0.8] * 9


def test_evaluation_is_that_of_the_net_without_noise():
    torch.manual_seed(0)
    net, x = resnet20().eval(), torch.randn(2, 3, 8, 8)
    expected = net(x)
    set_stochastic_depth(net)
    assert torch.equal(net(x), expected)


@torch.no_grad()
def test_training_skips_a_quarter_of_the_branches_on_average():
    torch.manual_seed(0)
    net, x = cifar_resnet(3, widths=(2, 4, 8)), torch.randn(2, 3, 4, 4)
    set_stochastic_depth(net)
    counts = []
    for _ in range(300):
        net(x)
        counts.append(count_evaluations(net))
    blocks = [p for m in net.modules() if isinstance(m, ODEBlock) and m.noise for p in m.noise.survival]
    assert sum(counts) / 300 == pytest.approx(sum(blocks), abs=0.3)


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


@pytest.mark.parametrize("per", ["batch", "sample"])
def test_a_training_step_is_the_same_when_scaled_in_training_or_in_evaluation_by_p(per):
    # With p = 1/2, dividing a halved branch by p in training equals the whole branch, which is scaled in evaluation.
    torch.manual_seed(0)
    net, x = resnet20(), torch.randn(4, 3, 8, 8)
    set_stochastic_depth(net, 0.5, decay="constant", per=per, scaling="evaluation")
    torch.manual_seed(1)
    expected = net(x)
    set_stochastic_depth(net, 0.5, decay="constant", per=per, scaling="training")
    for name, parameter in net.named_parameters():
        if "norm2" in name:
            parameter.data.mul_(0.5)
    torch.manual_seed(1)
    assert torch.equal(net(x), expected)


PLAIN = {"with transitions": plain20, "without": lambda: cifar_resnet(3, widths=(16,), flow=plain_stage)}


@pytest.mark.parametrize("make", PLAIN.values(), ids=PLAIN)
def test_a_plain_net_is_refused(make):
    with pytest.raises(ValueError, match="use a residual network"):
        set_stochastic_depth(make())


def test_a_network_without_residual_blocks_is_refused():
    with pytest.raises(ValueError, match="in a Linear, which has neither"):
        set_stochastic_depth(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"last": 0.0}, r"last = 0.0; .* \(0, 1\]"),
        ({"last": float("nan"), "decay": "constant"}, r"\(0, 1\]"),
        ({"decay": "linaer"}, "did you mean 'linear'"),
        ({"per": "samples"}, "did you mean 'sample'"),
    ],
)
def test_a_setting_that_is_refused_changes_nothing(options, message):
    net = resnet20()
    set_stochastic_depth(net, 0.9)
    before = survival_of(net)
    with pytest.raises(ValueError, match=message):
        set_stochastic_depth(net, **options)
    assert survival_of(net) == before
