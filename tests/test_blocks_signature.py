"""A module that does not take (t, x) is refused as a branch, with advice on how to make it one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from odenet import Autonomous, Constant, ODEBlock, PiecewiseConstant
from odenet.blocks.signature import signature_error


class OfStateAlone(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Keyword(nn.Module):
    def forward(self, t: float, x: Tensor, *, scale: float = 1.0) -> Tensor:
        return scale * x


class Anything(nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[1]


@pytest.mark.parametrize("branch", [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Tanh()), OfStateAlone()])
def test_a_module_of_the_state_alone_is_refused_with_advice_to_wrap_it_in_autonomous(branch: nn.Module) -> None:
    for make in (lambda: Constant(branch), lambda: PiecewiseConstant([Keyword(), branch])):
        with pytest.raises(TypeError, match=r"was given as a branch; .*F\(t, x\).*: wrap .* in Autonomous\(module\)"):
            make()
    Constant(Autonomous(branch))


@pytest.mark.parametrize("branch", [Keyword(), Anything(), Autonomous(nn.Tanh())])
def test_a_module_that_takes_t_and_x_is_accepted(branch: nn.Module) -> None:
    assert signature_error(branch) is None


def test_a_module_whose_hook_may_change_its_arguments_is_accepted() -> None:
    layer = nn.Linear(2, 2)
    layer.register_forward_pre_hook(lambda _, inputs: inputs[1:])
    ODEBlock(Constant(layer))(torch.zeros(3, 2))


def test_a_branch_replaced_later_is_refused_when_it_is_called() -> None:
    block = ODEBlock(Constant(Keyword()))
    block.theta.nodes[0] = OfStateAlone()
    with pytest.raises(TypeError, match=r"a OfStateAlone, whose forward takes \(x: .*Autonomous"):
        block(torch.zeros(3, 2))


def test_another_type_error_of_a_branch_is_raised_unchanged() -> None:
    class Wrong(nn.Module):
        def forward(self, t: float, x: Tensor) -> Tensor:
            return x + "1"  # pyright: ignore[reportOperatorIssue]

    with pytest.raises(TypeError, match=r"unsupported operand|must be Tensor"):
        ODEBlock(Constant(Wrong()))(torch.zeros(3, 2))
