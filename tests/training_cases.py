"""A training in miniature: small, but with all that has a state; also a program, so that tests can kill it.

python -m tests.training_cases FOLDER [--kill-at-sync N]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from odenet.data import Batches, Split
from odenet.training import (
    Classification,
    History,
    Record,
    Training,
    fit,
    launch,
    save_weights,
    seed_everything,
)

TASK = Classification(3)
SETTINGS = Training(
    epochs=3, batch_size=10, optimizer="nesterov", lr=0.05, warmup=0.2, device="cpu", threads=1, checkpoint_seconds=0.0
)
"""A checkpoint after every step."""


def split(n: int = 46) -> Split:
    """Images of noise, with labels that can be told from them."""
    images = torch.randint(0, 256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)
    return Split(images, images.float().mean(dim=(1, 2, 3)).sub(118).div(6).floor().clamp(0, 2).long())


def train_batches(**options: Any) -> Batches:
    """Five shuffled batches, the last one smaller."""
    return Batches(split(), SETTINGS.batch_size, mean=(0.5,), std=(0.3,), shuffle=True, seed=3, **options)


def evaluation_batches(**options: Any) -> Batches:
    """The same images, in order."""
    return Batches(split(), 20, mean=(0.5,), std=(0.3,), **options)


def noisy_net(seed: int = 0) -> nn.Module:
    """Statistics, masks and weights: everything that a checkpoint must not forget."""
    seed_everything(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 3)
    )


def plain_net(seed: int = 0) -> nn.Module:
    """A function of each image alone, so that a batch may be cut anywhere."""
    seed_everything(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


def train(net: nn.Module, folder: Path, settings: Training = SETTINGS) -> History:
    """Train `net` quietly on all processes that there are."""
    fabric = launch(settings)
    share = {"device": fabric.device, "rank": fabric.global_rank, "world_size": fabric.world_size}
    train, test = train_batches(**share), evaluation_batches(**share)
    return fit(net, TASK, train, test, settings, seed=5, folder=folder, quiet=True)


def without_clock(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """The rows of a history but for the time that they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def damages(content: bytes, count: int) -> Iterator[bytes]:
    """The content of a file with one bit turned, anywhere, `count` times, and cut short, a tenth as often."""
    drawn = random.Random(0)
    for place in (drawn.randrange(8 * len(content)) for _ in range(count)):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)
    yield from (content[: drawn.randrange(len(content))] for _ in range(count // 10))


def unfinish(path: Path, **entries: Any) -> Record:
    """Make the record what it was before its end, with other `entries`; returns what it had been."""
    whole = Record.load(path)
    replace(whole, finished=False, summary={}, **entries).save(path)
    return whole


def _kill_at_sync(n: int) -> None:
    """Let the nth attempt to bring a file to the disk be the end: its bytes are written, its name is not changed."""
    count, sync = itertools.count(1), os.fsync

    def deadly(descriptor: int) -> None:
        if next(count) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    os.fsync = deadly


def main() -> None:
    """Train, and leave weights and history in the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kill-at-sync", type=int)
    given = parser.parse_args()
    if given.kill_at_sync:
        _kill_at_sync(given.kill_at_sync)
    net = noisy_net()
    history = train(net, given.folder / "training")
    save_weights(net, given.folder / "weights.safetensors")
    (given.folder / "history.json").write_text(json.dumps(history.rows))


if __name__ == "__main__":
    main()
