"""Every net in figures has a family, a colour and a distinct display name."""

from __future__ import annotations

import pytest

from experiments.support.zoo import CIFAR, IMAGENET, SMALL
from paper_figs.support.families import FAMILIES, KINDS, colour, family, written
from paper_figs.support.style import COLOURS


@pytest.mark.parametrize("net", sorted({*SMALL, *IMAGENET, *CIFAR}))
def test_every_net_of_the_zoo_has_a_kind_a_colour_and_a_name(net):
    assert family(net) in FAMILIES.keys() & KINDS.keys()
    assert colour(net) == COLOURS[family(net)]
    assert written(net)


@pytest.mark.parametrize(
    ("net", "kind"),
    [
        ("res_net16", "resnet"),
        ("rk_net", "ode_net"),
        ("googlenet_bn", "googlenet"),
        ("conv6", "vgg"),
        ("plain8/2", "plain"),
    ],
)
def test_the_beginning_of_a_name_gives_the_family(net, kind):
    assert family(net) == kind


def test_no_two_nets_of_imagenet_are_written_alike():
    assert len({written(net) for net in IMAGENET}) == len(IMAGENET)
