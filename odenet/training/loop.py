"""The one training loop: seeds, devices, precision, checkpoints and resumption for every experiment.

Devices, bf16 and several processes come from lightning-fabric; the loop itself is here, from top to bottom in `fit`.
Under `torchrun` each process takes its share of every batch.
"""

from __future__ import annotations

import copy
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from odenet.data import Batches, ImageData
from odenet.training.checkpoints import load_checkpoint, save_checkpoint
from odenet.training.optimizers import make_optimizer, make_schedule
from odenet.training.progress import TrainingProgress
from odenet.training.settings import Training
from odenet.training.tasks import Task

CHECKPOINT = "checkpoint.pt"
LOOK_EVERY = 50
"""Steps between two looks at the loss: each makes the host wait for the accelerator."""


@dataclass
class History:
    """What a training went through: for each epoch loss, lr, seconds of training, and the metrics on the test set."""

    epochs: list[dict[str, float]] = field(default_factory=list)

    @property
    def last(self) -> dict[str, float]:
        """The last epoch."""
        return self.epochs[-1]

    @property
    def seconds_per_epoch(self) -> float:
        """The median over epochs, of training alone."""
        seconds = sorted(epoch["seconds"] for epoch in self.epochs)
        middle = len(seconds) // 2
        return seconds[middle] if len(seconds) % 2 else (seconds[middle - 1] + seconds[middle]) / 2


@dataclass
class _Position:
    """Where a training stands: epoch, step within it, and what the epoch has added up so far."""

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: nn.Module, task: Task, data: ImageData, settings: Training, *, seed: int, folder: Path, title: str = ""
) -> History:
    """Train `model` in place, or go on from the checkpoint in `folder`; the result is the same, bit for bit on a CPU.

    Args:
        model: the network, initialized; it is moved to the device.
        task: loss and metrics.
        data: training and test images.
        settings: how.
        seed: of the order of images, their augmentation, and random layers.
        folder: where the checkpoint is kept, of this training alone.
        title: for the progress bar.

    Raises:
        FloatingPointError: the loss became NaN or infinite; the message says in which epoch and step.
        ValueError: labels that do not fit, or a checkpoint of another training in the folder.
    """
    fabric = launch(settings)
    torch.manual_seed(seed)
    model.to(fabric.device)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = make_optimizer(model, settings)
    share: dict[str, Any] = {"device": fabric.device, "rank": fabric.global_rank, "world_size": fabric.world_size}
    whole = len(data.train) > settings.batch_size  # a last batch of another size would weigh its images differently
    train = data.train_batches(settings.batch_size, seed=seed, augment=settings.augment, drop_last=whole, **share)
    test = data.test_batches(_evaluation_batch(settings, fabric.world_size), **share)
    schedule = make_schedule(optimizer, settings, settings.epochs * len(train))
    identity = {"settings": asdict(settings), "seed": seed, "data": data.name, "train_images": len(data.train)}
    at = _resume(folder / CHECKPOINT, identity, model, optimizer, schedule)
    compiled: Any = torch.compile(model) if settings.compile else model
    network, optimizer = fabric.setup(compiled, optimizer)

    def checkpoint() -> None:
        if fabric.is_global_zero:
            parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
            states = {name: part.state_dict() for name, part in parts.items()}
            content = {"identity": identity, "at": asdict(at), "random": _random_state(), **states}
            save_checkpoint(folder / CHECKPOINT, content)

    done = at.epoch * len(train) + at.step
    with TrainingProgress(title, settings.epochs * len(train), done, visible=fabric.is_global_zero) as progress:
        while at.epoch < settings.epochs:
            network.train()
            total = torch.tensor(at.loss, dtype=torch.float64, device=fabric.device)
            saved = start = time.perf_counter()
            for images, targets in train.epoch(at.epoch, at.step):
                outputs = network(_as(images, settings))
                if at.epoch == at.step == 0:
                    task.check(outputs, targets)
                loss = task.loss(outputs, targets)
                optimizer.zero_grad()
                fabric.backward(loss)
                if settings.gradient_clip is not None:
                    fabric.clip_gradients(network, optimizer, max_norm=settings.gradient_clip)
                optimizer.step()
                schedule.step()
                total += loss.detach()
                at.step += 1
                if fabric.device.type == "cpu" or at.step % LOOK_EVERY == 0 or at.step == len(train):
                    at.loss = float(total)
                    _require_finite(at, model, images)
                    progress.step(f"epoch {at.epoch + 1}/{settings.epochs}  loss {at.loss / at.step:.3f}")
                else:
                    progress.step()
                now = time.perf_counter()
                if now - saved > settings.checkpoint_seconds and at.step < len(train):
                    at.seconds, at.loss, start = at.seconds + now - start, float(total), now
                    checkpoint()
                    saved = start = time.perf_counter()
            at.seconds += time.perf_counter() - start
            scores = evaluate(network, task, test, settings)
            mean = fabric.all_reduce(total / len(train))
            lr = float(schedule.get_last_lr()[0])
            at.history.append({"loss": float(mean), "lr": lr, "seconds": at.seconds, **scores})  # pyright: ignore
            at.epoch, at.step, at.loss, at.seconds = at.epoch + 1, 0, 0.0, 0.0
            checkpoint()
            progress.line(_summary(at, settings, task))
    return History(at.history)


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, batches: Batches, settings: Training | None = None) -> dict[str, float]:
    """The task's metrics over all `batches`, in evaluation mode; the model's own mode is restored.

    Args:
        model: the network, on the device of the batches.
        task: names the metrics.
        batches: the images; under several processes each has its share and all get the result over all.
        settings: whose memory layout the images are given; None for the plain one.

    Returns:
        Fractions by name, e.g. `{"accuracy": 0.91}`.
    """
    mode = model.training
    model.eval()
    metrics = None
    try:
        for images, targets in batches.epoch(0):
            metrics = metrics or task.metrics().to(images.device)
            metrics.update(model(_as(images, settings)), targets)
    finally:
        model.train(mode)
    if metrics is None:
        raise ValueError("there are no batches to evaluate on: the split is empty; give it images.")
    return {name: float(value) for name, value in metrics.compute().items()}


def launch(settings: Training) -> Fabric:
    """Fabric on the device that `settings` ask for, one process, or as many as `torchrun` started."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    local, world = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ.get("WORLD_SIZE", 1))
    strategy = "ddp" if world > 1 else "auto"
    fabric = Fabric(
        accelerator=settings.device,
        devices=local,
        num_nodes=world // local,
        strategy=strategy,
        precision=settings.precision,
    )
    fabric.launch()
    return fabric


def _evaluation_batch(settings: Training, world_size: int) -> int:
    """Without gradients a batch takes a fraction of the memory, so it may be larger; a multiple of the processes."""
    return max(settings.batch_size, 250 * world_size)


def _as(images: Tensor, settings: Training | None) -> Tensor:
    channels_last = settings is not None and settings.channels_last
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images


def _require_finite(at: _Position, model: nn.Module, images: Tensor) -> None:
    """Raise where the loss is not finite; on a CPU, blocks say by themselves at which t and step their state broke."""
    if math.isfinite(at.loss):
        return
    copy.deepcopy(model).cpu()(images.cpu().float())
    raise FloatingPointError(
        f"the loss is {at.loss} at or before epoch {at.epoch + 1}, step {at.step}; training cannot go on from there: "
        "lower lr, raise warmup, or clip the gradient (gradient-clip)."
    )


def _resume(path: Path, identity: dict[str, Any], model: nn.Module, optimizer: Any, schedule: Any) -> _Position:
    if not path.exists():
        return _Position()
    content = load_checkpoint(path, identity)
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        raise ValueError(
            f"the checkpoint {path} is of another network: {error}; use another folder (--record), or delete it."
        ) from error
    optimizer.load_state_dict(content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    _set_random_state(content["random"])
    return _Position(**content["at"])


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def _summary(at: _Position, settings: Training, task: Task) -> str:
    last = at.history[-1]
    return (
        f"epoch {at.epoch}/{settings.epochs}  loss {last['loss']:.3f}  {task.headline} {last[task.headline]:.2%}  "
        f"{last['seconds']:.1f} s"
    )
