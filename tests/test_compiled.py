from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from odenet import Constant, MLPBranch, ODEBlock, configure
from odenet.blocks.compiled import Programs
from odenet.blocks.field import Field


def block() -> ODEBlock:
    return ODEBlock(Constant(MLPBranch(2, 3)))


def test_compilation_is_off_until_it_is_asked_for_and_can_be_had_for_a_while() -> None:
    net = nn.Sequential(block(), block())
    net[1].compiled = True
    with configure(net, compile=True):
        assert [flow.compiled for flow in net] == [True, True]
    assert [flow.compiled for flow in net] == [False, True]
    configure(net, compile=False)
    assert [flow.compiled for flow in net] == [False, False]


@pytest.mark.parametrize("value", [1, "yes", None])
def test_compiled_is_true_or_false(value: bool) -> None:
    with pytest.raises(TypeError, match=f"compiled = {value!r}; .* pass True or False"):
        block().compiled = value


def test_a_field_of_a_block_that_is_not_compiled_hands_functions_back() -> None:
    assert Field("it").program("double", torch.add) is torch.add


def test_a_program_is_kept_under_its_key() -> None:
    field = Field("it", programs=Programs())
    assert field.program(("add", 1), torch.add) is field.program(("add", 1), torch.add)
    assert field.program(("add", 1), torch.add) is not field.program(("add", 2), torch.add)


def test_copies_and_pickles_take_the_setting_along_and_no_programs() -> None:
    original = block()
    original.compiled = True
    original._programs.compiled("add", torch.add, "it")
    for again in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert again.compiled
        assert again._programs is not original._programs
        assert not again._programs._of
