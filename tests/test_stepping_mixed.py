"""A mixed stepping solves each training batch by the member that it drew, and evaluation batches by one of them."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import odenet
from odenet import (
    Adaptive,
    Backprop,
    BasicBranch,
    Checkpointed,
    Constant,
    ContinuousAdjoint,
    Euler,
    FixedSteps,
    Leapfrog,
    Midpoint,
    Mixed,
    MLPBranch,
    ODEBlock,
    PiecewiseConstant,
    Reversible,
    group_norm,
)
from odenet.models import cifar_resnet
from odenet.training.saved_models import load_model, save_model

EULER, MIDPOINT = FixedSteps(Euler()), FixedSteps(Midpoint(), per_piece=2)


def block(stepping: Any, gradient: Any = None) -> ODEBlock:
    torch.manual_seed(0)
    nodes = [BasicBranch(4, norm=group_norm).double() for _ in range(2)]
    return ODEBlock(PiecewiseConstant(nodes), stepping, gradient)


def images() -> torch.Tensor:
    return torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_members_are_drawn_with_their_probabilities() -> None:
    mixed = block(Mixed([EULER, MIDPOINT], probabilities=[3, 1]))
    counts = []
    for _ in range(200):
        mixed(images())
        counts.append(mixed.evaluations)
    assert set(counts) == {2, 8}
    assert 120 <= counts.count(2) <= 175  # 150 are expected, with a standard deviation of 6


def test_a_member_without_probability_is_never_drawn() -> None:
    mixed = block(Mixed([EULER, MIDPOINT], probabilities=[0, 1]))
    for _ in range(20):
        mixed(images())
        assert mixed.evaluations == 8


def test_evaluation_mode_takes_the_first_member_or_the_one_that_is_named() -> None:
    stepping = Mixed([EULER, MIDPOINT])
    mixed = block(stepping).eval()
    assert torch.equal(mixed(images()), block(EULER)(images()))
    stepping.evaluation = MIDPOINT
    assert torch.equal(mixed(images()), block(MIDPOINT)(images()))


@pytest.mark.parametrize("gradient", [Checkpointed(), Reversible(coupling=0.9)], ids=repr)
@pytest.mark.parametrize("other", [MIDPOINT, Adaptive("dopri5", 1e-6, 1e-6, per_sample=True)], ids=repr)
def test_a_backward_pass_takes_the_steps_of_its_forward_pass(gradient: Any, other: Any) -> None:
    x = images().requires_grad_()
    mixed = block(Mixed([EULER, other]), gradient)
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        y = mixed(x)
        ours = torch.autograd.grad(y.square().sum(), [x, *mixed.parameters()])
        for stepping in (EULER, other):
            alone = block(stepping, gradient)
            z = alone(x)
            if torch.equal(y, z):
                seen.add(repr(stepping))
                for a, b in zip(ours, torch.autograd.grad(z.square().sum(), [x, *alone.parameters()]), strict=True):
                    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert len(seen) == 2


def test_the_same_generator_draws_the_same_members() -> None:
    mixed, found = block(Mixed([EULER, MIDPOINT])), []
    for _ in range(2):
        torch.manual_seed(3)
        found.append([(mixed(images()), mixed.evaluations)[1] for _ in range(10)])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"members": []}, ValueError, r"members must be a sequence of at least one value, got \[\]"),
        ({"members": [Euler()]}, TypeError, r"members.* must be an instance of Stepping, got"),
        ({"members": [Mixed([EULER])]}, TypeError, "list the steppings of each"),
        ({"members": [EULER], "probabilities": [-1]}, ValueError, r"probabilities\[0\] must be .* got -1"),
        ({"members": [EULER], "probabilities": [1, 1]}, ValueError, r"for each of 1 members.*, got \[1.*, 1"),
        ({"members": [EULER], "probabilities": [float("nan")]}, ValueError, r"probabilities\[0\] must be"),
        ({"members": [EULER], "probabilities": [0.0]}, ValueError, r"with a positive sum, got \[0.0\]"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Mixed(**arguments)


@pytest.mark.parametrize(
    ("members", "gradient", "message"),
    [
        ([EULER, Adaptive()], Reversible(), "whose steps cannot be undone"),
        ([EULER, Adaptive(per_sample=True)], ContinuousAdjoint(), "one t for the whole batch"),
        ([EULER, FixedSteps(Leapfrog())], ContinuousAdjoint(), "Runge-Kutta"),
    ],
    ids=str,
)
def test_a_member_that_the_gradient_method_cannot_take_is_refused(members: Any, gradient: Any, message: str) -> None:
    mixed = ODEBlock(Constant(MLPBranch(2)), Mixed(members))
    with pytest.raises(ValueError, match=message):
        mixed.gradient = gradient
    assert isinstance(mixed.gradient, Backprop)


def test_it_is_a_value_that_saved_models_keep(tmp_path: Path) -> None:
    stepping = Mixed([EULER, MIDPOINT], probabilities=[1, 2], evaluation=MIDPOINT)
    assert stepping == copy.deepcopy(stepping)
    assert hash(stepping) == hash(copy.deepcopy(stepping))
    assert stepping != Mixed([EULER, MIDPOINT])
    assert eval(repr(stepping), dict(vars(odenet))) == stepping
    net = cifar_resnet(2, 3, 1, widths=(4,), stem_stride=1)
    (flow,) = (module for module in net.modules() if isinstance(module, ODEBlock))
    flow.stepping = stepping
    path = tmp_path / "net.safetensors"
    save_model(net, path, partial(cifar_resnet, 2, 3, 1, widths=(4,), stem_stride=1))
    (again,) = (module for module in load_model(path).modules() if isinstance(module, ODEBlock))
    assert again.stepping == stepping
