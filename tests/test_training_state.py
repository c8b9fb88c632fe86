"""A training that is killed and started again ends with the numbers of one that was not."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from odenet.data import Batches
from odenet.training import History, fit, load_weights
from odenet.training.checkpoints import Checkpoint
from tests.training_cases import SETTINGS, TASK, evaluation_batches, noisy_net, train, train_batches, without_clock

ROOT = Path(__file__).parents[1]

Outcome = tuple[nn.Module, History]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    net = noisy_net()
    return net, train(net, tmp_path_factory.mktemp("uninterrupted"))


def require_equal(net: nn.Module, rows: list[dict[str, float]], expected: Outcome) -> None:
    for name, tensor in expected[0].state_dict().items():
        assert torch.equal(net.state_dict()[name], tensor), name
    assert without_clock(rows) == without_clock(expected[1].rows)


class Interrupted(Exception):  # noqa: N818
    pass


class Interrupting:
    """Batches of another source up to batch (epoch, index), at which the training is interrupted."""

    def __init__(self, batches: Batches, epoch: int, index: int) -> None:
        self.batches, self.split, self.last = batches, batches.split, (epoch, index)

    def __fingerprint__(self) -> Batches:
        return self.batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for index, batch in enumerate(self.batches.epoch(epoch, start), start):
            if (epoch, index) == self.last:
                raise Interrupted
            yield batch


def train_until(epoch: int, index: int, net: nn.Module, folder: Path) -> History:
    batches = Interrupting(train_batches(), epoch, index)
    return fit(net, TASK, batches, evaluation_batches(), SETTINGS, seed=5, folder=folder, quiet=True)


@pytest.mark.parametrize(("epoch", "index"), [(0, 0), (0, 1), (0, 4), (1, 0), (1, 2), (2, 4)])
def test_a_training_interrupted_at_any_step_ends_bit_for_bit_as_if_it_had_not_been(
    epoch: int, index: int, tmp_path: Path, uninterrupted: Outcome
) -> None:
    with pytest.raises(Interrupted):
        train_until(epoch, index, noisy_net(), tmp_path)
    net = noisy_net()
    require_equal(net, train(net, tmp_path).rows, uninterrupted)


def test_interrupted_after_every_single_step_it_ends_the_same(tmp_path: Path, uninterrupted: Outcome) -> None:
    for epoch, index in itertools.product(range(3), range(5)):
        with pytest.raises(Interrupted):
            train_until(epoch, index, noisy_net(), tmp_path)
    net = noisy_net()
    require_equal(net, train(net, tmp_path).rows, uninterrupted)


def test_a_training_interrupted_in_its_evaluation_ends_the_same(tmp_path: Path, uninterrupted: Outcome) -> None:
    test = Interrupting(evaluation_batches(), 0, 1)
    with pytest.raises(Interrupted):
        fit(noisy_net(), TASK, train_batches(), test, SETTINGS, seed=5, folder=tmp_path, quiet=True)
    net = noisy_net()
    require_equal(net, train(net, tmp_path).rows, uninterrupted)


def test_a_process_killed_while_it_writes_a_checkpoint_goes_on_and_ends_bit_for_bit_the_same(
    tmp_path: Path, uninterrupted: Outcome
) -> None:
    command = [sys.executable, "-m", "tests.training_cases", str(tmp_path)]
    # Each checkpoint takes two calls of fsync, for file and folder; the 13th interrupts the 7th before its rename.
    killed = subprocess.run([*command, "--kill-at-sync", "13"], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "history.json").exists()
    assert len(list((tmp_path / "training").glob(".*.part"))) == 1  # the process was killed while it wrote

    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    net = noisy_net(seed=9)
    load_weights(net, tmp_path / "weights.safetensors")
    require_equal(net, json.loads((tmp_path / "history.json").read_text()), uninterrupted)
    assert list((tmp_path / "training").glob(".*.part")) == []


def test_a_complete_training_is_not_run_again_but_read(tmp_path: Path, uninterrupted: Outcome) -> None:
    train(noisy_net(), tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    net = noisy_net()
    history = train_until(0, 0, net, tmp_path)
    require_equal(net, history.rows, uninterrupted)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (3600.0, [(3, 0)]),
        (0.0, [place for epoch in range(3) for place in [*((epoch, step) for step in range(1, 6)), (epoch + 1, 0)]]),
    ],
)
def test_checkpoints_are_written_when_they_are_due_and_at_the_end(
    seconds: float, expected: list[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, int]] = []
    monkeypatch.setattr(Checkpoint, "write", lambda _, state: written.append((state["epoch"], state["step"])))
    train(noisy_net(), tmp_path, replace(SETTINGS, checkpoint_seconds=seconds))
    assert written == expected


@pytest.mark.parametrize("at", [0, 8, 14])
def test_a_training_without_a_checkpoint_that_was_due_begins_anew_and_ends_the_same(
    at: int, tmp_path: Path, uninterrupted: Outcome
) -> None:
    settings = replace(SETTINGS, checkpoint_seconds=3600.0)
    batches, test = Interrupting(train_batches(), *divmod(at, 5)), evaluation_batches()
    with pytest.raises(Interrupted):
        fit(noisy_net(), TASK, batches, test, settings, seed=5, folder=tmp_path, quiet=True)
    assert list(tmp_path.iterdir()) == []
    net = noisy_net()
    require_equal(net, train(net, tmp_path, settings).rows, uninterrupted)
