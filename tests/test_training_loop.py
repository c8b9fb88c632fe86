"""The training loop gives the numbers of a loop written by hand; checks and checkpoints change none of them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from odenet import CompileWarning
from odenet.blocks.errors import NonFiniteState
from odenet.training import BatchSource, NonFiniteLoss, Training, compiled, evaluate, fit, loop
from odenet.training.optimizers import make_optimizer
from odenet.training.schedules import Schedule
from tests.compilers import without_compiler
from tests.laws import Graphs
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, plain_net, train, train_batches


def equal_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(tensor, b.state_dict()[name]) for name, tensor in a.state_dict().items())


def train_by_hand(net: nn.Module, settings: Training) -> list[float]:
    """Train by a loop written by hand, and return the mean loss of each epoch."""
    optimizer, batches, means = make_optimizer(net, settings), train_batches(), []
    rates = iter([Schedule(settings, 15)(step) for step in range(15)])
    net.train()
    for epoch in range(3):
        total = 0.0
        for x, y in batches.epoch(epoch):
            for group in optimizer.param_groups:
                group["lr"] = next(rates)
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            if settings.gradient_clip is not None:
                nn.utils.clip_grad_norm_(net.parameters(), settings.gradient_clip)
            optimizer.step()
            total += len(x) * loss.item()
        means.append(total / 46)
    return means


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "lr": 0.01}, {"gradient_clip": 0.05}])
def test_training_gives_the_weights_and_losses_of_a_loop_written_by_hand(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    settings = replace(SETTINGS, **changes)
    ours, theirs = plain_net(), plain_net()
    history = train(ours, tmp_path, settings)
    assert history.column("train_loss") == pytest.approx(train_by_hand(theirs, settings), rel=1e-12)
    assert equal_weights(ours, theirs)
    assert not equal_weights(ours, plain_net())


def test_a_training_is_a_function_of_its_seed(tmp_path: Path) -> None:
    def trained(seed: int, folder: str) -> nn.Module:
        net = noisy_net()
        torch.rand(seed)  # earlier random numbers must not matter
        path = tmp_path / folder
        fit(net, TASK, train_batches(), None, SETTINGS, seed=seed, folder=path, quiet=True)
        return net

    assert equal_weights(trained(1, "a"), trained(1, "b"))
    assert not equal_weights(trained(1, "c"), trained(2, "d"))


def test_an_optimizer_goes_on_with_the_momentum_of_an_earlier_training(tmp_path: Path) -> None:
    settings, batches = replace(SETTINGS, epochs=1, warmup=0.0, schedule="constant"), train_batches()
    net, by_hand = plain_net(), plain_net()
    optimizer, reference = make_optimizer(net, settings), make_optimizer(by_hand, settings)
    for number in (1, 2):
        folder = tmp_path / str(number)
        fit(net, TASK, batches, None, settings, seed=5, folder=folder, optimizer=optimizer, quiet=True)
        for x, y in batches.epoch(0):
            reference.zero_grad()
            F.cross_entropy(by_hand(x), y).backward()
            reference.step()
    assert equal_weights(net, by_hand)
    own, expected = (o.state_dict()["state"] for o in (optimizer, reference))
    assert all(torch.equal(own[i]["momentum_buffer"], state["momentum_buffer"]) for i, state in expected.items())


def test_a_training_read_back_gives_the_optimizer_what_it_had_left_in_it(tmp_path: Path) -> None:
    def left() -> dict[str, Any]:
        net = plain_net()
        optimizer = make_optimizer(net, SETTINGS)
        fit(net, TASK, train_batches(), None, SETTINGS, seed=5, folder=tmp_path, optimizer=optimizer, quiet=True)
        return optimizer.state_dict()["state"]

    trained, read = left(), left()
    assert len(trained) == 4
    assert all(torch.equal(read[i]["momentum_buffer"], state["momentum_buffer"]) for i, state in trained.items())


def test_the_optimizer_of_another_model_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    optimizer = make_optimizer(plain_net(), SETTINGS)
    with pytest.raises(ValueError, match=r"4 parameters that are not the model's .* refine_optimizer_state"):
        fit(plain_net(), TASK, train_batches(), None, SETTINGS, seed=5, folder=tmp_path, optimizer=optimizer)
    assert list(tmp_path.iterdir()) == []


def test_each_row_says_how_the_epoch_went(tmp_path: Path) -> None:
    net = noisy_net()
    history = train(net, tmp_path)
    columns = ["epoch", "lr", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"]
    assert [list(row) for row in history.rows] == [columns] * 3
    assert history.column("epoch") == [1, 2, 3]
    assert history.column("lr") == [Schedule(SETTINGS, 15)(step) for step in (4, 9, 14)]
    assert all(0 <= value <= 1 for value in history.column("train_accuracy"))
    assert all(value > 0 for value in history.column("seconds"))
    tested = evaluate(net, TASK, evaluation_batches())
    assert history.last["test_loss"] == tested["loss"]
    assert history.last["test_accuracy"] == tested["accuracy"]


def test_the_net_learns(tmp_path: Path) -> None:
    history = train(plain_net(), tmp_path, replace(SETTINGS, epochs=30))
    assert history.last["train_loss"] < 0.5 * history.rows[0]["train_loss"]
    assert history.last["test_accuracy"] > 0.8


def test_without_test_batches_nothing_is_tested(tmp_path: Path) -> None:
    history = fit(noisy_net(), TASK, train_batches(), None, SETTINGS, seed=5, folder=tmp_path, quiet=True)
    assert not any("test" in name for name in history.last)


def test_with_validation_batches_the_test_batches_are_read_once_at_the_end(tmp_path: Path) -> None:
    net, sources = noisy_net(), {"validation": evaluation_batches(), "test": Counted(evaluation_batches())}
    history = fit(net, TASK, train_batches(), **sources, settings=SETTINGS, seed=5, folder=tmp_path, quiet=True)
    assert sources["test"].epochs == 1
    assert ["test_accuracy" in row for row in history.rows] == [False, False, True]
    assert all("validation_accuracy" in row for row in history.rows)
    assert history.last["validation_loss"] == history.last["test_loss"] == evaluate(net, TASK, sources["test"])["loss"]
    assert "validation batches" in history.made_from


def test_validation_moves_no_weight(tmp_path: Path) -> None:
    followed, alone = noisy_net(), noisy_net()
    for name, net, validation in (("a", followed, evaluation_batches()), ("b", alone, None)):
        asked = {"seed": 5, "folder": tmp_path / name, "quiet": True, "validation": validation}
        fit(net, TASK, train_batches(), None, SETTINGS, **asked)
    assert equal_weights(followed, alone)


class Counted:
    """Batches that count how often they are read."""

    def __init__(self, batches: BatchSource) -> None:
        self.batches, self.split, self.epochs = batches, batches.split, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __fingerprint__(self) -> object:
        return self.batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        self.epochs += 1
        return self.batches.epoch(epoch, start)


def test_evaluations_and_checkpoints_are_no_seconds_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, state = [0.0], loop.TrainingState

    def slowly(seconds: float, call: Any) -> Any:
        def slow(*arguments: Any) -> Any:
            now[0] += seconds
            return call(*arguments)

        return slow

    monkeypatch.setattr("odenet.training.state.time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(loop, "evaluate", slowly(1000.0, evaluate))
    monkeypatch.setattr(loop, "_save", slowly(100.0, loop._save))
    monkeypatch.setattr(state, "count", slowly(1.0, state.count))
    assert train(noisy_net(), tmp_path).column("seconds") == [5.0] * 3


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_labels_out_of_range_are_refused_before_anything_is_done(part: str, tmp_path: Path) -> None:
    class BadLabels:
        split = SimpleNamespace(labels=torch.tensor([0, 1, 2, 3]))

        def __len__(self) -> int:
            return 1

        def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
            raise AssertionError

    batches: dict[str, Any] = {"train": train_batches(), "test": evaluation_batches()} | {part: BadLabels()}
    with pytest.raises(ValueError, match="labels must be from 0 to 2 for num_classes=3, got 3"):
        fit(noisy_net(), TASK, **batches, settings=SETTINGS, seed=5, folder=tmp_path, quiet=True)
    assert list(tmp_path.iterdir()) == []


class Failing(nn.Module):
    """Network that fails in its nth forward pass."""

    def __init__(self, n: int, error: Exception | None = None) -> None:
        super().__init__()
        self.net, self.left, self.error = plain_net(), n, error

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0 and self.error is not None:
            raise self.error
        return self.net(x) * (math.nan if self.left == 0 else 1)


@pytest.mark.parametrize("read_every", [1, 2, 50])
def test_a_loss_that_is_not_finite_stops_the_training_with_its_epoch_and_step(
    read_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on an accelerator, the loss is read only every few steps; the message must still name the first bad step.
    monkeypatch.setattr(loop, "_steps_between_reads", lambda _: read_every)
    with pytest.raises(NonFiniteLoss, match=r"not finite in epoch 2, step 3 \(.*Lower lr.*gradient_clip.*32-true"):
        fit(Failing(5 + 3), TASK, train_batches(), None, SETTINGS, seed=5, folder=tmp_path, quiet=True)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert saved["epoch"] == 1
    assert all(torch.isfinite(tensor).all() for tensor in saved["model"].values())


def test_a_block_that_loses_its_state_says_so_with_the_epoch_and_step(tmp_path: Path) -> None:
    net = Failing(5 + 3, NonFiniteState("x(t) of stage1 is NaN at t = 2"))
    with pytest.raises(NonFiniteState, match="stage1 is NaN at t = 2") as error:
        fit(net, TASK, train_batches(), None, SETTINGS, seed=5, folder=tmp_path, quiet=True)
    assert error.value.__notes__ == ["in epoch 2, after 2 of its steps"]


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_and_losses_in_float32(tmp_path: Path) -> None:
    seen: set[torch.dtype] = set()
    net = noisy_net()
    net[0].register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))  # type: ignore[index]
    history = train(net, tmp_path, replace(SETTINGS, precision="bf16-mixed"))
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    exact = train(noisy_net(), tmp_path / "exact")
    assert history.last["train_loss"] == pytest.approx(exact.last["train_loss"], rel=0.05)


def test_channels_last_changes_the_layout_and_no_more(tmp_path: Path) -> None:
    def net() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(16, 3))

    layouts: set[bool] = set()
    last, first = net(), net()
    last[2].register_forward_hook(
        lambda _module, inputs, _output: layouts.add(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    history = train(last, tmp_path / "last", replace(SETTINGS, channels_last=True))
    expected = train(first, tmp_path / "first")
    assert layouts == {True}
    assert history.column("train_loss") == pytest.approx(expected.column("train_loss"), rel=1e-4)


def test_without_a_compiler_of_cpp_a_network_trains_uncompiled_and_says_so(tmp_path: Path) -> None:
    net, expected = plain_net(), plain_net()
    said = r"compile = True was asked for; .* \(.*C\+\+.*\), so the network runs uncomp"
    with without_compiler(tmp_path / "cache"), pytest.warns(CompileWarning, match=said):
        train(net, tmp_path / "asked", replace(SETTINGS, compile=True))
    train(expected, tmp_path / "not")
    torch.testing.assert_close(net.state_dict(), expected.state_dict())


def test_a_compiled_network_trains_to_the_same_weights_and_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = Graphs()  # instead of a compiler, which takes a minute
    monkeypatch.setattr(compiled, "BACKEND", graphs)
    monkeypatch.setattr(compiled, "_CALLS", OrderedDict())
    settings = replace(SETTINGS, compile=True)
    net, plain = plain_net(), plain_net()
    train(net, tmp_path / "compiled", settings)
    train(plain, tmp_path / "plain")
    assert graphs.count == 4  # two modes times two batch sizes
    assert equal_weights(net, plain)
    again = plain_net()
    train(again, tmp_path / "compiled", settings)
    assert equal_weights(again, plain)


@pytest.mark.gpu
@pytest.mark.compiles
def test_on_a_gpu_everything_at_once_trains_and_resumes(tmp_path: Path) -> None:
    settings = replace(
        SETTINGS, device="cuda", precision="bf16-mixed", compile=True, channels_last=True, deterministic=True
    )
    net = noisy_net()
    history = train(net, tmp_path, settings)
    assert next(net.parameters()).device.type == "cuda"
    again = noisy_net()
    assert train(again, tmp_path, settings) == history
    assert equal_weights(again, net)
