"""`Adaptive(per_sample=True)` makes a `PerSampleAdaptive`, which refuses unsupported options."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch

from odenet import Adaptive, BasicBranch, Checkpointed, Constant, ContinuousAdjoint, ODEBlock, PiecewiseConstant
from odenet.blocks.per_sample.stepping import PerSampleAdaptive
from tests.problems import Logistic


def test_adaptive_constructs_the_stepping_per_sample() -> None:
    stepping = Adaptive("bosh3", rtol=1e-4, per_sample=True)
    assert type(stepping) is PerSampleAdaptive
    assert stepping == PerSampleAdaptive("bosh3", rtol=1e-4) == copy.deepcopy(stepping)
    assert type(Adaptive("bosh3", per_sample=False)) is Adaptive


def test_a_stepping_per_sample_can_be_pickled() -> None:
    stepping = Adaptive("tsit5", rtol=1e-5, max_evaluations=70, per_sample=True)
    found = pickle.loads(pickle.dumps(stepping))
    assert type(found) is PerSampleAdaptive
    assert found == stepping


def test_a_subclass_for_the_batch_refuses_per_sample() -> None:
    class Careful(Adaptive):
        pass

    with pytest.raises(TypeError, match=r"asked for with Careful, .*: use Adaptive\(…, per_sample=True\), or derive"):
        Careful(per_sample=True)


def test_the_repr_of_a_stepping_per_sample_says_so() -> None:
    shown = "Adaptive('tsit5', rtol=1e-06, atol=0.001, max_evaluations=50, per_sample=True)"
    assert repr(Adaptive("tsit5", 1e-6, max_evaluations=50, per_sample=True)) == shown
    assert Adaptive(per_sample=True) != Adaptive()


def test_an_unknown_pair_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown method of steps per sample 'dopri8'; did you mean 'dopri5'\?"):
        Adaptive("dopri8", per_sample=True)


def test_options_of_torchdiffeq_are_refused_per_sample() -> None:
    with pytest.raises(ValueError, match=r"options 'first_step' were given with per_sample=True; .*leave them out, or"):
        Adaptive(per_sample=True, first_step=0.1)


@pytest.mark.parametrize("value", [1, "yes", None], ids=repr)
def test_per_sample_must_be_true_or_false(value: Any) -> None:
    with pytest.raises(TypeError, match=rf"per_sample = {value!r}; .*: pass True or False"):
        Adaptive(per_sample=value)


def test_a_function_as_projection_is_refused_per_sample_too() -> None:
    theta = PiecewiseConstant([BasicBranch(2, activation="post")])
    with pytest.raises(ValueError, match=r"per_sample=True\); .* a function does not define them"):
        ODEBlock(theta, Adaptive(per_sample=True), projection=torch.relu)


def test_the_continuous_adjoint_is_refused_per_sample() -> None:
    block = ODEBlock(Constant(Logistic(1.0)), gradient=Checkpointed(), stepping=Adaptive(per_sample=True))
    message = r"torchdiffeq solves the adjoint equation backwards with one t .*: use Backprop\(\) or Checkpointed\(\)"
    with pytest.raises(ValueError, match=message):
        block.gradient = ContinuousAdjoint()
