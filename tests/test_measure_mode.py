"""Modes are set for the moment, and afterwards each module has its own again."""

from __future__ import annotations

import pytest
from torch import nn

from odenet.measure.mode import in_mode


@pytest.mark.parametrize("training", [False, True])
def test_each_module_is_afterwards_in_the_mode_that_it_was_in(training):
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout().eval()))
    before = [module.training for module in net.modules()]
    with in_mode(net, training=training):
        assert {module.training for module in net.modules()} == {training}
    assert [module.training for module in net.modules()] == before


def test_also_after_an_error():
    net = nn.Dropout()
    with pytest.raises(RuntimeError, match="stop"), in_mode(net, training=False):
        raise RuntimeError("stop")
    assert net.training
