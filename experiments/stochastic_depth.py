"""What does stochastic depth save, and gain?

Residual nets of constant depth are compared with the same nets with stochastic depth: in a training step, block l of L
is skipped with probability (l/L)·(1 - p_L), transitions included, and then costs nothing (Huang et al. 2016). For each
depth and p_L, the record has training and test error, and seconds per epoch beside the share of blocks that is skipped
on average, (1 - p_L)·(L + 1)/(2L). In evaluation every net uses all its blocks.

    python -m experiments.stochastic_depth cpu    # Fashion-MNIST, 10,000 images, 20 and 56 layers: 15 minutes, one core
    python -m experiments.stochastic_depth gpu    # all of it at 28×28, 110 layers, 12 epochs: 76 s a seed on an H100
    python -m experiments.stochastic_depth full   # 56 and 110 layers, p_L = 0.8, 0.5, 0.2: one GPU

Surviving blocks are scaled by 1/p in training, as in timm and torchvision; Huang et al. scale by p in evaluation, with
the same mean. As in those libraries, the optimizer ignores parameters without a gradient: in a step that skips a block,
neither decay nor momentum changes its weights (in the code of Huang et al. both do).

Expected (Huang et al. 2016, CIFAR-10, 110 layers, 500 epochs): test error 6.41 % with constant depth, 5.25 % with
p_L = 0.5, at a higher training loss and with 24 to 27 % of the time saved where 25 % of the blocks are skipped; p_L =
0.2 saves 40 % at the error of constant depth. The gain in error is that of a regularizer and needs a net that overfits:
after few epochs every net still underfits, and stochastic depth should raise both errors. Seen: as expected. The times
in the `cpu` record were disturbed by other work; `python -m benchmarks.stochastic_depth` measures them side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

import torch

from experiments.support.command import Experiment, Settings, on_images
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import train, training_error
from odenet import linear_decay
from odenet.data import ImageData
from odenet.measure import count_layers, count_parameters
from odenet.models import ResNet, cifar_resnet, set_stochastic_depth
from odenet.training import Record, Run, Training


@dataclass(frozen=True)
class StochasticDepths(Settings):
    """Settings of the experiment."""

    blocks: tuple[int, ...] = (3, 9)
    """Numbers n of residual blocks in each of three stages; a net has 6n + 2 layers and L = 3n blocks."""
    survival: tuple[float, ...] = (1.0, 0.5)
    """Probabilities p_L that the last block survives; 1 is constant depth."""
    widths: tuple[int, ...] = (8, 16, 32)
    """Channels of each stage."""
    stem_stride: int = 2
    """Stride of the first convolution; with 2, which halves the image, a net takes a quarter of the operations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if 1.0 not in self.survival:
            raise ValueError(
                f"survival must contain 1.0, got {self.survival}: savings are relative to constant depth; add 1.0."
            )


TRAINING = Training(epochs=6, batch_size=64, weight_decay=1e-4, threads=1)
"""Nesterov momentum and weight decay of Huang et al. 2016, section 4; the schedule is shorter."""
GPU = StochasticDepths(
    blocks=(18,),
    survival=(1.0, 0.5, 0.2),
    seeds=(0, 1),
    widths=(16, 32, 64),
    stem_stride=1,
    training=replace(TRAINING, epochs=12, lr=0.3, **ON_A_GPU),
)

PRESETS = {
    "smoke": StochasticDepths(
        data="digits",
        train_images=256,
        seeds=(0,),
        blocks=(1, 2),
        widths=(4, 8, 16),
        stem_stride=1,
        training=replace(TRAINING, epochs=2),
    ),
    "cpu": StochasticDepths(train_images=10_000, augment=False, training=TRAINING),
    "gpu": GPU,
    "full": replace(GPU, blocks=(9, 18), survival=(1.0, 0.8, 0.5, 0.2)),
}
GPU_SECONDS = 76  # estimated for one seed of the preset gpu on an H100


def stochastic_depth(settings: StochasticDepths, data: ImageData, run: Run) -> None:
    """Train every net with every p_L for every seed, one after the other, and make the table."""
    for seed in settings.seeds:
        for blocks in settings.blocks:
            for last in settings.survival:
                torch.manual_seed(seed)
                net, key = network(blocks, last, settings, data), f"seed{seed}/p{last:g}/{6 * blocks + 2}"
                run.once(key, partial(_trained, key, net, last, settings, data, seed, run))
    run.finish(table=table(run.record))


def network(blocks: int, last: float, settings: StochasticDepths, data: ImageData) -> ResNet:
    """Build the residual net of 6·blocks + 2 layers whose last block survives with probability `last`."""
    shape = {"widths": settings.widths, "stem_stride": settings.stem_stride}
    net = cifar_resnet(blocks, data.num_classes, data.in_channels, **shape)
    set_stochastic_depth(net, last)
    return net


def _trained(
    key: str, net: ResNet, last: float, settings: StochasticDepths, data: ImageData, seed: int, run: Run
) -> dict[str, Any]:
    """Train `net` in place, or read it back, and return its errors and times."""
    history = train(net, key, settings, data, seed, run)
    layers = count_layers(net)
    return {
        "layers": layers,
        "last": last,
        "parameters": count_parameters(net),
        "expected_saving": 1 - fmean(linear_decay((layers - 2) // 2, last)),
        "train_error": training_error(net, data),
        "test_error": 1 - history.last["test_accuracy"],
        "seconds_per_epoch": history.seconds_per_epoch,
        "history": history.rows,
    }


def savings(record: Record, key: str) -> list[float]:
    """Return the share of the time of constant depth that is saved, for each seed of the result called "seed…/key"."""
    constant = f"p1/{key.partition('/')[2]}"
    seconds = (over_seeds(record.results, name, "seconds_per_epoch") for name in (key, constant))
    return [1 - a / b for a, b in zip(*seconds, strict=True)]


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each depth and p_L: means and standard deviations over the seeds."""
    keys = dict.fromkeys(name.partition("/")[2] for name in record.results)
    return [_row(record, key) for key in keys]


def _row(record: Record, key: str) -> dict[str, Any]:
    def values(entry: str) -> list[Any]:
        return over_seeds(record.results, key, entry)

    return {
        "layers": values("layers")[0],
        "p_L": values("last")[0],
        "train error %": spread([100 * error for error in values("train_error")]),
        "test error %": spread([100 * error for error in values("test_error")]),
        "s/epoch": spread(values("seconds_per_epoch")),
        "time saved %": spread([100 * saved for saved in savings(record, key)]),
        "blocks skipped %": f"{100 * values('expected_saving')[0]:.1f}",
    }


EXPERIMENT = Experiment("stochastic_depth", PRESETS, on_images(stochastic_depth))
if __name__ == "__main__":
    EXPERIMENT.main()
