"""An evaluation returns the metrics of a whole split and leaves the network unchanged."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet.measure.mode import in_mode
from odenet.training import evaluate
from tests.training_cases import TASK, evaluation_batches, noisy_net, split


def test_loss_and_accuracy_count_every_image_the_same_whatever_the_batches() -> None:
    net = noisy_net().eval()
    images = ((split().images.float() / 255) - 0.5) / 0.3
    labels = split().labels
    with torch.no_grad():
        outputs = net(images)
    values = evaluate(net, TASK, evaluation_batches())  # 46 images by 20
    assert values["accuracy"] == pytest.approx(float((outputs.argmax(1) == labels).float().mean()))
    assert values["loss"] == pytest.approx(float(F.cross_entropy(outputs, labels)), rel=1e-5)
    assert set(values) == {"loss", "accuracy"}


def test_every_module_has_its_own_mode_back_also_after_an_error() -> None:
    net = noisy_net().train()
    net[1].eval()  # type: ignore[index]  (statistics may be frozen in training)
    modes = [module.training for module in net.modules()]
    evaluate(net, TASK, evaluation_batches())
    assert [module.training for module in net.modules()] == modes
    with in_mode(net, training=False):
        assert not any(module.training for module in net.modules())
    with pytest.raises(ZeroDivisionError), in_mode(net, training=False):
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == modes


def test_nothing_of_the_network_changes() -> None:
    net = noisy_net().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    evaluate(net, TASK, evaluation_batches())
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_network_can_be_trained_after_it_was_evaluated() -> None:
    net = noisy_net()
    evaluate(net, TASK, evaluation_batches())
    net(torch.zeros(4, 1, 4, 4)).sum().backward()


class Diverged(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 3), math.nan)


def test_a_loss_that_is_not_finite_is_told_not_left_out() -> None:
    assert math.isnan(evaluate(Diverged(), TASK, evaluation_batches())["loss"])
