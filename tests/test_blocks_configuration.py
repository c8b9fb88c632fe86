"""`configure` sets every block of a network or none, for good or within a context."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

from odenet import (
    RK4,
    Adaptive,
    Backprop,
    BasicBranch,
    Constant,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    Heun,
    Midpoint,
    ODEBlock,
    PiecewiseConstant,
    configure,
)
from odenet.blocks.stepping.base import Stepping


def network() -> nn.Sequential:
    return nn.Sequential(
        ODEBlock(PiecewiseConstant([BasicBranch(2)]), FixedSteps(Heun())),
        nn.Sequential(nn.ReLU(), ODEBlock(Constant(BasicBranch(2)), FixedSteps(RK4()))),
    )


def settings(model: nn.Module) -> list[tuple[Stepping, str]]:
    return [(m.stepping, repr(m.gradient)) for m in model.modules() if isinstance(m, ODEBlock)]


def test_configure_sets_every_block_of_a_network() -> None:
    model = network()
    configure(model, stepping=FixedSteps(Euler(), 2), gradient=ContinuousAdjoint())
    assert settings(model) == [(FixedSteps(Euler(), 2), "ContinuousAdjoint()")] * 2


def test_configure_leaves_other_settings_unchanged() -> None:
    model = network()
    configure(model, gradient=ContinuousAdjoint())
    assert [stepping for stepping, _ in settings(model)] == [FixedSteps(Heun()), FixedSteps(RK4())]


def test_a_single_block_can_be_configured() -> None:
    block = ODEBlock(Constant(BasicBranch(2)))
    configure(block, stepping=FixedSteps(RK4()))
    assert block.stepping == FixedSteps(RK4())


def test_configure_restores_the_settings_of_each_block_at_the_exit_of_its_context() -> None:
    model = network()
    before = settings(model)
    with configure(model, stepping=Adaptive(), gradient=ContinuousAdjoint()):
        assert settings(model) == [(Adaptive(), "ContinuousAdjoint()")] * 2
        with configure(model, stepping=FixedSteps(Midpoint())):
            assert settings(model) == [(FixedSteps(Midpoint()), "ContinuousAdjoint()")] * 2
        assert settings(model) == [(Adaptive(), "ContinuousAdjoint()")] * 2
    assert settings(model) == before


def test_configure_restores_the_settings_after_an_exception_too() -> None:
    model = network()
    before = settings(model)
    with pytest.raises(KeyError), configure(model, stepping=Adaptive()):
        raise KeyError
    assert settings(model) == before


def test_if_one_block_refuses_no_block_changes() -> None:
    projected = ODEBlock(PiecewiseConstant([BasicBranch(2, activation="post")]), projection=torch.relu)
    model = nn.Sequential(network(), projected)
    before = settings(model)
    with pytest.raises(ValueError, match="a function does not define them"):
        configure(model, stepping=Adaptive())
    with pytest.raises(ValueError, match="adjoint equation holds for smooth flows only"):
        configure(model, gradient=ContinuousAdjoint())
    assert settings(model) == before


def test_settings_that_are_only_valid_together_can_be_set_together() -> None:
    model = network()
    configure(model, stepping=Adaptive(), gradient=ContinuousAdjoint(rtol=1e-2))
    with pytest.raises(ValueError, match="without tolerances"):
        configure(model, stepping=FixedSteps())
    configure(model, stepping=FixedSteps(), gradient=Backprop())


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("steping", "did you mean 'stepping'?"),
        ("grad", "did you mean 'gradient'?"),
        ("xyz", ": pass stepping, gradient or compile"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(option: str, hint: str) -> None:
    with pytest.raises(TypeError) as refused:
        configure(network(), **cast(Any, {option: FixedSteps()}))
    assert f"configure has no option {option!r}" in str(refused.value)
    assert hint in str(refused.value)


def test_a_model_without_blocks_or_nothing_to_set_is_refused() -> None:
    with pytest.raises(ValueError, match="given a Linear without an ODEBlock: there is nothing to set"):
        configure(nn.Linear(2, 2), stepping=FixedSteps())
    with pytest.raises(ValueError, match="neither stepping nor gradient nor compile: pass at least one"):
        configure(network())
    wrong: Any = [network()]
    with pytest.raises(TypeError, match=r"given a list; .*: pass a network"):
        configure(wrong, stepping=FixedSteps())


def test_settings_of_the_wrong_type_are_refused_before_anything_is_set() -> None:
    model = network()
    before = settings(model)
    wrong: Any = RK4()
    with pytest.raises(TypeError, match="pass a Stepping"):
        configure(model, stepping=wrong)
    assert settings(model) == before
