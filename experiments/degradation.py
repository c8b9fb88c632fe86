"""Does a deeper plain net get worse on its *training* set, and a residual one not?

Plain and residual nets of growing depth are trained; they have the same parameters and differ only by the identity. He
et al. argue that degradation is a fault of training and not of the nets: a deeper net as good as a shallow one exists.
It is built here from a trained net of medium depth by adding identity layers; its logits are the same, bit for bit. It
is then trained further, and so is the net of medium depth, to see whether training keeps it as good.

    python -m experiments.degradation cpu    # Fashion-MNIST, 10,000 images, 8 to 56 layers: 22 minutes on one core
    python -m experiments.degradation gpu    # all of it at 28×28, 20, 56, 110 layers, 6 epochs: 82 s a seed on an H100
    python -m experiments.degradation full   # 20, 32, 44, 56, 110 layers, 10 epochs: one GPU

The training error in the table is measured after the last epoch in evaluation mode, on training images without
augmentation. The curves over epochs show the running error instead: in training mode, while the weights change.

Expected (He et al. 2015, figure 6, CIFAR-10): the training and test errors of plain nets rise from 20 to 56 layers, and
with 110 layers the error is above 60 %; those of residual nets fall (test: 8.75 % with 20 layers, 6.97 % with 56, 6.43
% with 110). In so few epochs residual nets may gain nothing from depth, but should lose little. In training mode the
added layers of a plain net are no identities, because BatchNorm normalizes by the batch: the error may rise at first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import LazyTraining, training_error
from odenet.data import ImageData
from odenet.measure import count_layers, count_parameters
from odenet.models import ResNet, add_identity_layers, cifar_resnet
from odenet.models.plain import plain_stage
from odenet.models.resnet import PaddedShortcut, residual_flow
from odenet.training import Record, Run, Training

KINDS: dict[str, dict[str, Any]] = {
    "plain": {"shortcut": None, "flow": plain_stage},
    "resnet": {"shortcut": PaddedShortcut, "flow": residual_flow},
}
"""Options of the nets without and with the identity; everything else is the same."""


@dataclass(frozen=True)
class Degradation(Settings):
    """Settings of the experiment."""

    blocks: tuple[int, ...] = (1, 3, 9)
    """Numbers n of blocks in each of three stages, in ascending order; a net has 6n + 2 layers."""
    grown_from: int = 3
    """Number n of the trained net to which identity layers are added until it is as deep as the deepest net; 2 or more,
    so that no stage consists of its transition only."""
    widths: tuple[int, ...] = (8, 16, 32)
    """Channels of each stage."""
    stem_stride: int = 2
    """Stride of the first convolution; with 2, which halves the image, a net takes a quarter of the operations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.blocks) != sorted(set(self.blocks)) or not 2 <= self.grown_from < max(self.blocks, default=0):
            raise ValueError(
                f"blocks must be ascending and grown_from ≥ 2 and below the last of them, got blocks = {self.blocks}, "
                f"grown_from = {self.grown_from}, because a shallow net is grown to the deepest: give such numbers."
            )
        if self.grown_from not in self.blocks:
            raise ValueError(
                f"grown_from = {self.grown_from} is not among blocks = {self.blocks}, but the net that is "
                "grown must be trained first: give one of them."
            )


TRAINING = Training(epochs=5, batch_size=64, optimizer="sgd", weight_decay=1e-4, threads=1)
"""Momentum, decay and lr of He et al. 2015, section 4.2; a short schedule, with a warm-up for the deepest nets."""
GPU = Degradation(
    blocks=(3, 9, 18),
    grown_from=9,
    widths=(16, 32, 64),
    stem_stride=1,
    training=replace(TRAINING, epochs=6, lr=0.2, **ON_A_GPU),
)

PRESETS = {
    "smoke": Degradation(
        data="digits",
        train_images=256,
        seeds=(0,),
        blocks=(2, 3),
        grown_from=2,
        widths=(4, 8, 16),
        stem_stride=1,
        training=replace(TRAINING, epochs=2),
    ),
    "cpu": Degradation(train_images=10_000, augment=False, training=TRAINING),
    "gpu": GPU,
    "full": replace(GPU, blocks=(3, 5, 7, 9, 18), training=replace(GPU.training, epochs=10)),
}
GPU_SECONDS = 82  # estimated for one seed of the preset gpu on an H100


def degradation(settings: Degradation, data: ImageData, run: Run) -> None:
    """Train every net for every seed, grow one net of each kind, and make the table."""
    for seed in settings.seeds:
        for kind in KINDS:
            nets: dict[int, LazyTraining[ResNet]] = {}
            for blocks in settings.blocks:
                torch.manual_seed(seed)
                net = network(kind, blocks, settings, data)
                key = f"seed{seed}/{kind}/{6 * blocks + 2}"
                nets[blocks] = _recorded(key, lambda net=net: net, settings, data, seed, run)
            shallow = nets[settings.grown_from]
            _grown(f"seed{seed}/{kind}-grown", shallow, settings, data, seed, run)
            key = f"seed{seed}/{kind}-longer/{6 * settings.grown_from + 2}"
            _recorded(key, lambda shallow=shallow: copy.deepcopy(shallow.net), settings, data, seed, run)
    run.finish(table=table(run.record))


def network(kind: str, blocks: int, settings: Degradation, data: ImageData) -> ResNet:
    """Build the plain or residual net of 6·blocks + 2 layers."""
    shape = {"widths": settings.widths, "stem_stride": settings.stem_stride}
    return cifar_resnet(blocks, data.num_classes, data.in_channels, **shape, **KINDS[kind])


def _recorded(
    key: str, make: Callable[[], ResNet], settings: Degradation, data: ImageData, seed: int, run: Run
) -> LazyTraining[ResNet]:
    """Record the errors of the net that `make` builds, after its training."""
    trained = LazyTraining(make, key, settings, data, seed, run)
    run.once(
        key,
        lambda: {
            "layers": count_layers(trained.net),
            "parameters": count_parameters(trained.net),
            "train_error": training_error(trained.net, data),
            "test_error": 1 - trained.history.last["test_accuracy"],
            "seconds_per_epoch": trained.history.seconds_per_epoch,
            "history": trained.history.rows,
        },
    )
    return trained


def _grown(
    key: str, shallow: LazyTraining[ResNet], settings: Degradation, data: ImageData, seed: int, run: Run
) -> None:
    """Add identity layers to a trained net, compare its outputs before and after, and train the deeper net."""
    layers = 6 * max(settings.blocks) + 2
    deeper = cache(lambda: add_identity_layers(shallow.net, max(settings.blocks) - settings.grown_from))
    run.once(f"{key}/{layers}/before", lambda: _compared(shallow.net, deeper(), data))
    _recorded(f"{key}/{layers}", deeper, settings, data, seed, run)


@torch.no_grad()
def _compared(shallow: ResNet, deeper: ResNet, data: ImageData) -> dict[str, Any]:
    """Compare the logits of all test images bit for bit, and both test errors; on a CPU, which has no TF32."""
    nets = [copy.deepcopy(net).cpu().eval() for net in (shallow, deeper)]
    equal, wrong = True, [0, 0]
    for images, labels in data.test_batches(1000).epoch(0):
        logits = [net(images) for net in nets]
        equal = equal and torch.equal(*logits)
        wrong = [n + int((found.argmax(dim=1) != labels).sum()) for n, found in zip(wrong, logits, strict=True)]
    errors = [n / len(data.test) for n in wrong]
    return {"logits_equal": equal, "shallow_test_error": errors[0], "deeper_test_error": errors[1]}


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each net: means and standard deviations over the seeds."""
    keys = dict.fromkeys(name.partition("/")[2] for name in record.results if not name.endswith("/before"))
    return [_row(key, record) for key in keys]


def _row(key: str, record: Record) -> dict[str, Any]:
    train_errors, test_errors = (
        [100 * error for error in over_seeds(record.results, key, entry)] for entry in ("train_error", "test_error")
    )
    return {
        "net": key.partition("/")[0],
        "layers": over_seeds(record.results, key, "layers")[0],
        "params": f"{over_seeds(record.results, key, 'parameters')[0]:,}",
        "train error %": spread(train_errors),
        "test error %": spread(test_errors),
        "s/epoch": spread(over_seeds(record.results, key, "seconds_per_epoch")),
    }


EXPERIMENT = Experiment("degradation", PRESETS, on_images(degradation))
if __name__ == "__main__":
    EXPERIMENT.main()
