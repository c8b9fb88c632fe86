"""Parameter groups have the factors of the depth rule and of their names, and keep them through a training."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

from odenet import MLPBranch, ODEBlock, PiecewiseConstant
from odenet.training import CheckpointError, History, ParameterGroup, Training, fit, parameter_groups
from odenet.training.json_data import to_json_data
from odenet.training.optimizers import capturable, learning_rates, make_optimizer, set_learning_rates
from odenet.training.steps import Steps
from tests.training_cases import SETTINGS, TASK, evaluation_batches, train_batches, without_clock


def net(pieces: int = 4) -> nn.Module:
    torch.manual_seed(0)
    flow = ODEBlock(PiecewiseConstant([MLPBranch(8, 4) for _ in range(pieces)], horizon=1.0))
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), flow, nn.Linear(8, 3))


def rates(optimizer: optim.Optimizer, model: nn.Module) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: float(group["lr"]) for group in optimizer.param_groups for parameter in group["params"]
    }


def train(model: nn.Module, folder: Path, settings: Training, **options: Any) -> History:
    return fit(
        model, TASK, train_batches(), evaluation_batches(), settings, seed=5, folder=folder, quiet=True, **options
    )


RULED = replace(SETTINGS, depth_rule="1/h", groups=(ParameterGroup("3", lr=0.5, weight_decay=0),))


def test_factors_of_depth_and_names_are_multiplied() -> None:
    model = net()
    groups = (ParameterGroup("*.bias", lr=0.5, weight_decay=0), ParameterGroup("2.theta.nodes.1", lr=0.1))
    optimizer = make_optimizer(model, Training(lr=0.2, depth_rule="1/h", groups=groups, weight_decay=0.01))
    found = rates(optimizer, model)
    assert found["1.weight"] == pytest.approx(0.2)
    assert found["1.bias"] == pytest.approx(0.1)
    biases = [name for name in found if name.startswith("2.theta.nodes.1") and name.endswith("bias")]
    assert biases
    assert [found[name] for name in biases] == pytest.approx([0.2 * 4 * 0.5 * 0.1] * len(biases))
    decays = {float(group["weight_decay"]) for group in optimizer.param_groups}
    assert decays == {0.0, 0.01}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_the_first_group_has_the_learning_rate_of_the_settings() -> None:
    assert learning_rates(make_optimizer(net(), replace(RULED, lr=0.2)))[0] == 0.2


def test_eps_of_adam_follows_the_rule() -> None:
    for name in ("adam", "adamw"):
        groups = parameter_groups(net(), Training(optimizer=name, depth_rule="completep"))
        assert sorted({group["eps"] for group in groups}) == pytest.approx([0.25e-8, 1e-8])


def test_without_factors_the_groups_are_as_before() -> None:
    (group,) = parameter_groups(net(), Training(lr=0.2))
    assert (group["lr"], group["weight_decay"], group.keys()) == (0.2, 5e-4, {"lr", "weight_decay", "params"})


@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
def test_a_training_that_is_resumed_keeps_the_factors(
    optimizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(RULED, optimizer=optimizer, lr=0.01)
    whole, interrupted = net(), net()
    rows = without_clock(train(whole, tmp_path / "whole", settings).rows)
    original, steps = Steps.take, itertools.count(1)

    def take(self: Steps, batch: Any) -> Any:
        if next(steps) == 8:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(Steps, "take", take)
    with pytest.raises(KeyboardInterrupt):
        train(interrupted, tmp_path / "cut", settings)
    again = net()
    assert without_clock(train(again, tmp_path / "cut", settings).rows) == rows
    assert all(map(torch.equal, again.parameters(), whole.parameters()))


def test_the_schedule_multiplies_the_rate_of_each_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[float]] = []
    original = set_learning_rates
    monkeypatch.setattr(
        "odenet.training.loop.set_learning_rates",
        lambda optimizer, values: (seen.append(list(values)), original(optimizer, values)),
    )
    train(net(), tmp_path, RULED)
    ratios = {tuple(round(rate / values[0], 9) for rate in values) for values in seen}
    assert ratios == {(1.0, 0.5, 4.0)} or ratios == {(1.0, 4.0, 0.5)}
    assert len({values[0] for values in seen}) > 3


def test_rates_of_an_optimizer_of_ones_own_are_peaks_and_come_back(tmp_path: Path) -> None:
    model = net()
    optimizer = optim.SGD(parameter_groups(model, RULED), momentum=0.9)
    before = learning_rates(optimizer)
    history = train(model, tmp_path / "own", replace(RULED, lr=123.0), optimizer=optimizer)
    assert learning_rates(optimizer) == before
    expected = train(net(), tmp_path / "made", replace(RULED, optimizer="sgd"))
    assert without_clock(history.rows) == without_clock(expected.rows)


def test_rates_in_the_memory_of_a_graph_keep_their_factors() -> None:
    model = net()
    optimizer = make_optimizer(model, replace(RULED, optimizer="adamw"))
    before = copy.deepcopy([{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups])
    with capturable(optimizer, torch.device("cpu")):
        held = [group["lr"] for group in optimizer.param_groups]
        halves = [rate / 2 for rate in learning_rates(optimizer)]
        set_learning_rates(optimizer, halves)
        assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, held, strict=True))
        assert learning_rates(optimizer) == pytest.approx(halves)
    set_learning_rates(optimizer, [group["lr"] for group in before])
    assert [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups] == before


@pytest.mark.parametrize(
    "other",
    [
        {"depth_rule": "completep"},
        {"depth_rule": "none"},
        {"groups": ()},
        {"groups": (ParameterGroup("3", lr=0.25, weight_decay=0),)},
    ],
)
def test_a_checkpoint_of_other_factors_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    train(net(), tmp_path, RULED)
    with pytest.raises(CheckpointError, match="settings"):
        train(net(), tmp_path, replace(RULED, **other))


def test_settings_without_factors_are_those_of_earlier_records() -> None:
    assert not {"depth_rule", "groups"} & to_json_data(Training()).keys()
    data = to_json_data(RULED)
    assert data["depth_rule"] == "1/h"
    assert data["groups"] == [{"parameters": "3", "lr": 0.5, "weight_decay": 0}]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("haed", r"groups\[1\] must name a trained parameter of the Sequential, and 'haed' names none: use a name"),
        ("2.theta.node.0", r"names none: .*such as '2.theta.nodes"),
        ("1", r"'1' names only the frozen 1.bias, 1.weight: use a name"),
    ],
)
def test_a_group_that_names_no_parameter_is_refused_and_the_net_is_unchanged(
    name: str, message: str, tmp_path: Path
) -> None:
    model = net()
    model[1].requires_grad_(False)  # type: ignore[index]
    before = copy.deepcopy(model.state_dict())
    settings = replace(SETTINGS, groups=(ParameterGroup("3"), ParameterGroup(name)))
    with pytest.raises(ValueError, match=message):
        train(model, tmp_path, settings)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not list(tmp_path.iterdir())


def test_a_depth_rule_for_frozen_flows_is_refused() -> None:
    model = net()
    model[2].requires_grad_(False)  # type: ignore[index]
    with pytest.raises(ValueError, match="all parameters of flows are frozen: unfreeze some, or use depth_rule='none'"):
        parameter_groups(model, Training(depth_rule="1/h"))


def test_an_optimizer_that_was_made_without_the_rule_is_refused(tmp_path: Path) -> None:
    model = net()
    with pytest.raises(ValueError, match=r"the SGD that was passed has no group of that rule.*parameter_groups\(model"):
        train(model, tmp_path, replace(SETTINGS, depth_rule="1/h"), optimizer=optim.SGD(model.parameters(), 0.1))


@pytest.mark.parametrize(("field", "value"), [("lr", 0.0), ("lr", -1.0), ("weight_decay", -0.1), ("lr", float("nan"))])
def test_factors_out_of_bounds_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        ParameterGroup("head", **{field: value})  # type: ignore[arg-type]
