"""A checkpoint is resumed only by the same training: every difference that could change its outcome is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet import BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant
from odenet.data import Batches, Split
from odenet.data.augmentation import RandomCrop, RandomFlip
from odenet.training import CheckpointError, Classification, fit
from odenet.training.identity import identity_of
from odenet.training.json_data import differences
from odenet.training.optimizers import make_optimizer
from tests.training_cases import SETTINGS, TASK, noisy_net, plain_net, split

ONE_EPOCH = replace(SETTINGS, epochs=1, checkpoint_seconds=60.0)


def batches(of: Split | None = None, **options: Any) -> Batches:
    given: dict[str, Any] = {"mean": (0.5,), "std": (0.3,), "shuffle": True, "seed": 3} | options
    return Batches(of or split(), 10, **given)


def relabelled(change: Callable[[Tensor], Tensor]) -> Split:
    return Split(split().images, change(split().labels))


def repainted() -> Split:
    images = split().images.clone()
    images[5, 0, 1, 1] ^= 1
    return Split(images, split().labels)


class Scaled(nn.Module):
    """Network x ↦ net(factor·x), whose `repr` does not show the factor."""

    def __init__(self, factor: float = 1.0, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.net, self.factor, self.activation = plain_net(), factor, activation

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.activation(self.factor * x))


def frozen(net: nn.Module) -> nn.Module:
    next(net.parameters()).requires_grad = False
    return net


def with_momentum(net: nn.Module, **changes: Any) -> dict[str, Any]:
    optimizer = make_optimizer(net, replace(SETTINGS, **changes))
    for parameter in net.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    return {"model": net, "optimizer": optimizer}


def flow(horizon: float = 2.0, per_piece: int = 1) -> nn.Module:
    torch.manual_seed(0)
    theta = PiecewiseConstant([BasicBranch(1) for _ in range(2)], horizon=horizon)
    return nn.Sequential(ODEBlock(theta, FixedSteps("euler", per_piece)), nn.Flatten(), nn.Linear(16, 3))


WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "another order of the images": ({"train": batches(seed=4)}, "training batches"),
    "no order at all": ({"train": batches(shuffle=False)}, "training batches"),
    "augmentation": ({"train": batches(augmentation=RandomCrop(1))}, "training batches"),
    "another augmentation": ({"train": batches(augmentation=RandomFlip())}, "training batches"),
    "other statistics": ({"train": batches(mean=(0.4,))}, "training batches"),
    "shuffled labels": ({"train": batches(relabelled(lambda y: y.flip(0)))}, "training labels"),
    "one other label": (
        {"train": batches(relabelled(lambda y: torch.cat([(y[:1] + 1) % 3, y[1:]])))},
        "training labels",
    ),
    "one other bit of a pixel": ({"train": batches(repainted())}, "training batches"),
    "test images": ({"test": batches(shuffle=False)}, "test batches"),
    "validation images": ({"validation": batches(shuffle=False)}, "validation batches"),
    "other weights": ({"model": plain_net(seed=1)}, "initial weights"),
    "a frozen parameter": ({"model": frozen(plain_net())}, "initial weights"),
    "more of the experiment's settings": ({"context": {"scenes": 5}}, r"context\.scenes"),
    "other metrics": ({"task": Classification(3, top=(2,))}, "task"),
    "a network that prints itself alike": ({"model": Scaled(2.0)}, "modules"),
    "another activation": ({"model": Scaled(activation=torch.tanh)}, "modules"),
    "an activation without a name": ({"model": Scaled(activation=lambda x: F.relu(x) + 1)}, "modules"),
    "the momentum of another training": (with_momentum(plain_net()), "optimizer"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a complete training."""
    folder = tmp_path_factory.mktemp("training")
    trained({}, folder)
    return folder


def trained(change: dict[str, Any], folder: Path) -> list[float]:
    asked = {"model": plain_net(), "task": TASK, "train": batches(), "test": None, "settings": ONE_EPOCH} | change
    return fit(**asked, seed=5, folder=folder, quiet=True).column("train_loss")


@pytest.mark.parametrize("way", WAYS)
def test_no_other_training_takes_the_result_of_a_complete_one(way: str, folder: Path) -> None:
    change, named = WAYS[way]
    with pytest.raises(CheckpointError, match=rf"belongs to another training.*{named}"):
        trained(change, folder)


def test_the_same_training_takes_it(folder: Path) -> None:
    before = (folder / "checkpoint.pt").read_bytes()
    assert len(trained({"train": batches(device="cpu"), "model": plain_net()}, folder)) == 1
    assert (folder / "checkpoint.pt").read_bytes() == before


PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "factors": (lambda: Scaled(1.0), lambda: Scaled(2.0)),
    "lambdas": (lambda: Scaled(activation=lambda x: x), lambda: Scaled(activation=lambda x: x + 1)),
    "settings": (lambda: configured(Config(2)), lambda: configured(Config(3))),
    "arrays": (lambda: configured(np.float64(2)), lambda: configured(np.float64(3))),
    "namespaces": (lambda: configured(SimpleNamespace(x=2)), lambda: configured(SimpleNamespace(x=3))),
    "horizons": (flow, lambda: flow(horizon=1.0)),
    "steps": (flow, lambda: flow(per_piece=2)),
    "shared weights": (lambda: twice(shared=True), lambda: twice(shared=False)),
}


@dataclass
class Config:
    x: int


def configured(config: Any) -> nn.Module:
    net = Scaled()
    vars(net)["config"] = config
    return net


def test_what_is_bound_to_the_process_and_what_is_of_a_batch_counts_by_no_content() -> None:
    for value in (threading.Lock().acquire, partial(min, threading.Lock()), torch.zeros(3)):
        assert differences(identity(configured(value)), identity(configured(value))) == []


def twice(*, shared: bool) -> nn.Module:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.load_state_dict(first.state_dict())
    return nn.Sequential(first, first if shared else second)


@pytest.mark.parametrize("pair", PAIRS)
def test_networks_that_compute_something_else_are_others(pair: str) -> None:
    one, other = PAIRS[pair]
    assert differences(identity(one()), identity(one())) == []
    assert differences(identity(one()), identity(other())) != []


def identity(net: nn.Module) -> Any:
    return identity_of(
        net, TASK, batches(), None, ONE_EPOCH, seed=5, processes=1, optimizer=None, context={"widths": (1, 2)}
    )


def test_a_network_that_has_been_used_but_not_trained_is_the_same() -> None:
    net = flow()
    before = identity(net)
    net.eval()(torch.zeros(1, 1, 4, 4))
    net.train()
    assert differences(before, identity(net)) == []


def test_an_interrupted_training_does_not_go_on_with_weights_from_its_midst(tmp_path: Path) -> None:
    net = noisy_net()
    trained({"model": net}, tmp_path)
    with pytest.raises(CheckpointError, match=r"initial weights.*build it anew, under its seed"):
        trained({"model": net}, tmp_path)


class Streamed:
    """Batches that hold an object bound to the process."""

    def __init__(self) -> None:
        self.batches = batches()
        self.split, self.stream = self.batches.split, (number for number in range(3))

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches.epoch(epoch, start)


def test_batches_that_cannot_be_compared_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"of a generator was asked for.*a method __fingerprint__"):
        trained({"train": Streamed()}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_data_are_read_once_a_training_and_not_once_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Counted(Batches):
        def __fingerprint__(self) -> object:
            read.append(1)
            return vars(self)

    monkeypatch.setattr("tests.test_training_identity.Batches", Counted)
    for epochs in (1, 3):
        trained({"train": batches(), "settings": replace(ONE_EPOCH, epochs=epochs)}, tmp_path / str(epochs))
    assert len(read) == 2


def test_a_history_says_what_it_was_made_from(tmp_path: Path) -> None:
    def made_from(**change: Any) -> dict[str, str | None]:
        asked = {"model": plain_net(), "task": TASK, "train": batches(), "test": None} | change
        return fit(
            **asked, settings=ONE_EPOCH, seed=5, folder=tmp_path / str(len(list(tmp_path.iterdir()))), quiet=True
        ).made_from

    first, second = made_from(), made_from(train=batches(seed=4))
    assert {name for name, value in first.items() if second[name] != value} == {"training batches"}
