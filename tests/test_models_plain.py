"""Plain nets have the parameters and multiply-adds of residual nets, and no identity."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from odenet import BasicBranch, FixedSteps, ODEBlock
from odenet.models import ResNet, plain18, plain20, plain32, plain34, plain44, plain56, plain110
from odenet.models.plain import Substitution, plain_stage
from odenet.models.resnet import Transition
from tests.network_cases import multiply_adds
from tests.test_models_resnet import CIFAR, by_hand, on_meta, parameters, with_statistics

CIFAR_COUNTS = {make.__name__.removeprefix("resnet"): numbers for make, numbers in CIFAR.items()}


@pytest.mark.parametrize("make", [plain20, plain32, plain44, plain56, plain110], ids=lambda make: make.__name__)
def test_a_plain_net_has_the_parameters_and_multiply_adds_of_the_residual_one(make: Callable[..., ResNet]) -> None:
    three, one, at_32, at_28 = CIFAR_COUNTS[make.__name__.removeprefix("plain")]
    assert parameters(on_meta(make)) == three
    assert parameters(on_meta(make, in_channels=1)) == one
    assert multiply_adds(on_meta(make), 1, 3, 32, 32) / 1e6 == pytest.approx(at_32, abs=0.005)
    assert multiply_adds(on_meta(make, in_channels=1), 1, 1, 28, 28) / 1e6 == pytest.approx(at_28, abs=0.005)


@pytest.mark.parametrize(("make", "residual"), [(plain18, 11_689_512), (plain34, 21_797_672)])
def test_a_plain_imagenet_net_lacks_the_projected_shortcuts_alone(make: Callable[..., ResNet], residual: int) -> None:
    shortcuts = sum(a * b + 2 * b for a, b in ((64, 128), (128, 256), (256, 512)))
    assert parameters(on_meta(make)) == residual - shortcuts


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_plain20_is_the_one_written_by_hand_to_the_last_bit(training: bool) -> None:
    torch.manual_seed(0)
    model = with_statistics(plain20()).train(training)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        expected = by_hand(iter(model.state_dict().values()), x, 3, training, identity=False)
        assert torch.equal(model(x), expected)


def test_there_is_no_identity_anywhere() -> None:
    model = on_meta(plain20)
    assert all(module.shortcut is None for module in model.modules() if isinstance(module, Transition))
    assert {m.stepping for m in model.modules() if isinstance(m, ODEBlock)} == {FixedSteps(Substitution())}


def test_a_stage_is_one_branch_after_the_other() -> None:
    torch.manual_seed(0)
    stage = plain_stage(lambda: BasicBranch(2), 3, None).eval()
    x = y = torch.randn(2, 2, 4, 4)
    for branch in stage.theta.nodes:
        y = branch(0.0, y)
    assert torch.equal(stage(x), y)
    assert stage.evaluations == 3


def test_a_substitution_has_no_step_that_could_be_smaller() -> None:
    x = torch.ones(3)
    for t1 in (0.1, 5.0):
        assert torch.equal(Substitution().step(lambda t, x: 2 * x + t, 0.5, t1, x), 2 * x + 0.5)
    assert Substitution.order == 0
