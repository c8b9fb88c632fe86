"""A penalty is asked of networks whose flows integrated costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from odenet import Backprop, Constant, KineticEnergy, MLPBranch, ODEBlock, Regularized, penalty


def test_a_network_without_integrated_costs_has_no_penalty() -> None:
    block = ODEBlock(Constant(MLPBranch(2)))
    block(torch.zeros(1, 2))
    for model in (block, nn.Linear(2, 2)):
        with pytest.raises(ValueError, match=r"none of its flows integrated costs .*: set gradient=Regularized"):
            penalty(model)


def test_it_belongs_to_the_graph_of_the_last_forward_pass() -> None:
    block = ODEBlock(Constant(MLPBranch(2)), gradient=Regularized(Backprop(), [KineticEnergy(2.0)]))
    x = torch.randn(3, 2)
    found = []
    for scale in (1.0, 3.0):
        block(scale * x)
        found.append(penalty(block))
        torch.testing.assert_close(found[-1], 2 * block.integrals["kinetic_energy"].mean())
    assert not torch.equal(*found)
    found[1].backward()


@pytest.mark.parametrize("model", [None, "block", 3, nn.Linear], ids=repr)
def test_what_is_no_module_is_refused(model: Any) -> None:
    with pytest.raises(TypeError, match="model must be a module, got"):
        penalty(model)
