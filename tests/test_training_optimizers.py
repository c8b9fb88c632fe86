"""Optimizers made by name step as those of torch do, and only the chosen parameters decay."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from odenet.training import Training
from odenet.training.optimizers import describe_optimizer, learning_rates, make_optimizer, set_learning_rates
from odenet.training.settings import OptimizerName

REFERENCES: dict[OptimizerName, Callable[[Iterable[Tensor]], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.05, betas=(0.8, 0.999), weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.05, betas=(0.8, 0.999), weight_decay=0.01),
}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 1))


def after_three_steps(model: nn.Module, optimizer: optim.Optimizer) -> list[Tensor]:
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    return list(model.parameters())


@pytest.mark.parametrize("name", REFERENCES)
def test_an_optimizer_by_name_is_torchs_with_the_settings(name: OptimizerName) -> None:
    settings = Training(optimizer=name, lr=0.05, momentum=0.8, weight_decay=0.01)
    ours, theirs = net(), net()
    expected = after_three_steps(theirs, REFERENCES[name](theirs.parameters()))
    assert all(map(torch.equal, after_three_steps(ours, make_optimizer(ours, settings)), expected))


def groups(**settings: Any) -> list[tuple[float, list[torch.Size]]]:
    optimizer = make_optimizer(net(), Training(weight_decay=0.01, **settings))
    return [(group["weight_decay"], [p.shape for p in group["params"]]) for group in optimizer.param_groups]


def test_all_parameters_decay_unless_only_weights_are_asked_for() -> None:
    shapes = [parameter.shape for parameter in net().parameters()]
    assert groups() == [(0.01, shapes)]
    weights, biases_and_norms = groups(decay="weights")
    assert weights == (0.01, [shape for shape in shapes if len(shape) > 1])
    assert biases_and_norms == (0.0, [shape for shape in shapes if len(shape) == 1])


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1, dtype=torch.float64)])
def test_each_group_is_given_its_learning_rate_also_one_that_is_a_tensor(lr: float | Tensor) -> None:
    model: Any = net()
    groups = [{"params": list(part.parameters()), "lr": copy.deepcopy(lr)} for part in (model[0], model[1])]
    optimizer = optim.Adam(groups)
    held = [group["lr"] for group in optimizer.param_groups]
    set_learning_rates(optimizer, [0.25, 0.5])
    assert learning_rates(optimizer) == [0.25, 0.5]
    if isinstance(lr, Tensor):
        assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, held, strict=True))


def test_an_optimizer_is_described_by_its_settings_as_plain_data() -> None:
    model: Any = net()
    fast = {"params": model[0].parameters(), "lr": torch.tensor(0.5), "betas": (torch.tensor(0.5), 0.75)}
    described = describe_optimizer(optim.Adam([fast, {"params": model[1].parameters()}], lr=0.25))
    assert json.loads(json.dumps(described)) == described
    first, second = described["groups"]
    assert described["kind"] == "Adam"
    assert (first["lr"], first["betas"], first["parameters"]) == (0.5, [0.5, 0.75], 2)
    assert (second["lr"], second["betas"]) == (0.25, [0.9, 0.999])


def test_frozen_parameters_are_left_out() -> None:
    model = net()
    model[0].requires_grad_(False)  # type: ignore[index]
    assert sum(len(group["params"]) for group in make_optimizer(model, Training()).param_groups) == 4


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ValueError, match="without a parameter that requires a gradient cannot be trained: unfreeze"):
        make_optimizer(net().requires_grad_(False), Training())


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match=r"nesterov with momentum=0 is sgd.*use sgd, or a momentum > 0"):
        make_optimizer(net(), Training(optimizer="nesterov", momentum=0.0))
