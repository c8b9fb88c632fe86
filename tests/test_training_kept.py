"""A training restores what its user has set: modes of modules, learning rates, generators and threads."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn, optim
from torch.optim.lr_scheduler import LambdaLR

from odenet.measure import activation_bytes
from odenet.measure.mode import as_in_training, in_mode
from odenet.training import CheckpointError, History, Training, evaluate, fit
from odenet.training.schedules import Schedule
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, plain_net, train_batches

ONCE = replace(SETTINGS, epochs=1, checkpoint_seconds=1e9)


def run(net: nn.Module, folder: Path, settings: Training = ONCE, **options: Any) -> History:
    given = {"seed": 5, "folder": folder, "quiet": True} | options
    return fit(net, TASK, train_batches(), evaluation_batches(), settings, **given)


def modes(net: nn.Module) -> list[bool]:
    return [module.training for module in net.modules()]


def with_modes(net: nn.Sequential, still: tuple[int, ...]) -> nn.Sequential:
    """Put these modules of `net` into evaluation mode; -1 is the net itself."""
    for index in still:
        (net if index < 0 else net[index]).training = False
    return net


SUBSETS = list(chain.from_iterable(combinations((-1, 0, 1, 3), n) for n in range(5)))


@pytest.mark.parametrize("still", SUBSETS)
def test_parts_in_evaluation_mode_are_trained_in_it_and_left_in_it(still: tuple[int, ...], tmp_path: Path) -> None:
    seen: list[Any] = []
    before: list[bool] = []
    for _ in range(2):  # the first training runs, the second is read from its checkpoint
        net = with_modes(noisy_net(), still)  # type: ignore[arg-type]
        before, statistics = modes(net), net[1].running_mean.clone()  # type: ignore[union-attr]
        net.register_forward_pre_hook(
            lambda module, _: seen.append((torch.is_inference_mode_enabled(), modes(module)))  # type: ignore[arg-type]
        )
        run(net, tmp_path, replace(ONCE, epochs=2))
        assert modes(net) == before
    trained = [found for evaluated, found in seen if not evaluated]
    assert len(trained) == 10
    assert all(found == before for found in trained)
    assert not any(any(found) for evaluated, found in seen if evaluated)
    assert torch.equal(net[1].running_mean, statistics) == (1 in still)  # type: ignore[arg-type]


def test_a_model_in_evaluation_mode_as_a_whole_is_trained_in_training_mode_and_left_as_it_was(tmp_path: Path) -> None:
    net, expected = noisy_net().eval(), noisy_net()
    run(net, tmp_path / "eval")
    run(expected, tmp_path / "train")
    assert not any(modes(net))
    assert all(modes(expected))
    assert all(map(torch.equal, net.state_dict().values(), expected.state_dict().values()))


class Stopped(Exception):  # noqa: N818  (nothing went wrong)
    """Error that stands for the end of a process."""


@pytest.mark.parametrize("after", [3, 5, 8])
def test_a_training_of_a_frozen_net_goes_on_frozen_after_an_interruption(after: int, tmp_path: Path) -> None:
    def frozen() -> nn.Module:
        return with_modes(noisy_net(), (1, 3))  # type: ignore[arg-type]

    uninterrupted, stopped, resumed = frozen(), frozen(), frozen()
    before, calls = modes(stopped), []

    def stop(module: nn.Module, _inputs: object) -> None:
        calls.append(module)
        if len(calls) > after:
            raise Stopped

    stopped.register_forward_pre_hook(stop)
    run(uninterrupted, tmp_path / "a", SETTINGS)
    with pytest.raises(Stopped):
        run(stopped, tmp_path / "b", SETTINGS)
    assert modes(stopped) == before
    run(resumed, tmp_path / "b", SETTINGS)
    assert modes(resumed) == before
    assert all(map(torch.equal, uninterrupted.state_dict().values(), resumed.state_dict().values()))


@pytest.mark.parametrize("freeze", [lambda net: net[1].eval(), lambda net: net[0].weight.requires_grad_(False)])
def test_a_checkpoint_of_other_frozen_parts_is_refused(freeze: Callable[[Any], object], tmp_path: Path) -> None:
    net = noisy_net()
    freeze(net)
    run(net, tmp_path)
    with pytest.raises(CheckpointError, match="frozen"):
        run(noisy_net(), tmp_path)


class Merging(nn.Module):
    """Module whose `train` does more than set a mode, like adapters that merge their weights in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.merged = plain_net(), False

    def train(self, mode: bool = True) -> Any:
        self.merged = not mode
        return super().train(mode)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert self.merged is not self.training
        return self.net(x)


def test_a_module_is_told_of_its_mode_also_where_it_gets_that_back(tmp_path: Path) -> None:
    net = Merging()
    run(net, tmp_path, replace(ONCE, epochs=2))
    with in_mode(net, training=False):
        assert net.merged
    assert not net.merged


def test_a_module_with_two_parents_has_its_own_mode_back() -> None:
    shared = nn.Dropout()
    net = nn.Sequential(nn.Sequential(shared), nn.Sequential(shared))
    net[1].training = False
    before = modes(net)
    with in_mode(net, training=False):
        assert not any(modes(net))
    assert modes(net) == before


def test_measures_of_training_keep_frozen_parts_and_statistics() -> None:
    net = with_modes(noisy_net(), (3,))  # type: ignore[arg-type]
    before, state = modes(net), {name: value.clone() for name, value in net.state_dict().items()}
    activation_bytes(net, torch.randn(4, 1, 4, 4))
    assert modes(net) == before
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())
    with as_in_training(net):
        assert modes(net) == before


def optimizer_of(net: nn.Module) -> optim.Optimizer:
    """Make an optimizer whose head has ten times the learning rate and no weight decay."""
    parts = [{"params": net[1].parameters()}, {"params": net[3].parameters(), "lr": 0.3, "weight_decay": 0.0}]  # type: ignore[index]
    return optim.SGD(parts, lr=0.03, momentum=0.9, weight_decay=0.1)


def rates(optimizer: optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "steps"])
def test_groups_of_parameters_have_their_own_rates_as_under_torchs_lambda_lr(schedule: Any, tmp_path: Path) -> None:
    settings = replace(SETTINGS, schedule=schedule, lr=7.0)  # the given optimizer ignores this rate
    net, by_hand = plain_net(), plain_net()
    optimizer, reference = optimizer_of(net), optimizer_of(by_hand)
    factor = Schedule(settings, 15)
    scheduler = LambdaLR(reference, lambda step: factor(min(step, 14), 1.0))
    expected, found = [], []
    for epoch in range(3):
        for x, y in train_batches().epoch(epoch):
            expected.append(rates(reference))
            reference.zero_grad()
            nn.functional.cross_entropy(by_hand(x), y).backward()
            reference.step()
            scheduler.step()
    optimizer.register_step_pre_hook(lambda *_: found.append(rates(optimizer)))
    history = run(net, tmp_path, settings, optimizer=optimizer)
    assert np.allclose(found, expected, rtol=1e-12)
    assert history.column("lr") == [found[step][0] for step in (4, 9, 14)]
    torch.testing.assert_close(net.state_dict(), by_hand.state_dict())
    assert rates(optimizer) == [0.03, 0.3]


def test_a_training_read_back_or_resumed_has_the_rates_of_the_optimizer_that_it_is_given(tmp_path: Path) -> None:
    def trained(folder: str, settings: Training, stop: bool = False) -> nn.Module:
        net = plain_net()
        optimizer, steps = optimizer_of(net), []

        def count(*_: object) -> None:
            steps.append(rates(optimizer))
            if stop and len(steps) == 8:
                raise Stopped

        optimizer.register_step_pre_hook(count)
        try:
            run(net, tmp_path / folder, settings, optimizer=optimizer)
        except Stopped:
            assert stop
        assert rates(optimizer) == [0.03, 0.3]
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
        return net

    nets = [trained("a", SETTINGS), trained("a", SETTINGS)]
    trained("b", SETTINGS, stop=True)
    nets.append(trained("b", SETTINGS))
    first = nets[0].state_dict().values()
    assert all(all(map(torch.equal, first, net.state_dict().values())) for net in nets)


@pytest.mark.parametrize("change", [{"lr": 0.1}, {"weight_decay": 0.2}, {"momentum": 0.5}])
def test_a_checkpoint_of_another_optimizer_is_refused(change: dict[str, float], tmp_path: Path) -> None:
    net = plain_net()
    run(net, tmp_path, optimizer=optimizer_of(net))
    other = optimizer_of(net)
    other.param_groups[0].update(change)
    with pytest.raises(CheckpointError, match=next(iter(change))):
        run(net, tmp_path, optimizer=other)
    with pytest.raises(CheckpointError, match="optimizer"):
        run(net, tmp_path)


def drawn() -> list[float]:
    """Return the next number of each global generator."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]  # noqa: NPY002


def stop(*_: object) -> None:
    """Error that ends a training."""
    raise Stopped


@pytest.mark.parametrize("how", ["trained", "read back", "stopped"])
def test_generators_and_threads_are_afterwards_as_before(how: str, tmp_path: Path) -> None:
    net, threads = noisy_net(), torch.get_num_threads()
    if how == "read back":
        run(noisy_net(), tmp_path)
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = drawn()
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.set_num_threads(threads + 1)
    try:
        if how == "stopped":
            net.register_forward_pre_hook(stop)
            with pytest.raises(Stopped):
                run(net, tmp_path)
        else:
            run(net, tmp_path)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert drawn() == expected


def test_an_evaluation_draws_nothing() -> None:
    torch.manual_seed(1)
    expected = drawn()
    torch.manual_seed(1)
    evaluate(noisy_net_without_seed(), TASK, evaluation_batches())
    assert drawn()[2] == expected[2]


def noisy_net_without_seed() -> nn.Module:
    """Make the network without changing the generators."""
    with torch.random.fork_rng(devices=[]):
        return noisy_net()
