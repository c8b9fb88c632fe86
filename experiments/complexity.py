"""What does accuracy cost, in operations, parameters, memory, time and energy?

After Canziani et al. 2016, who compared nets for ImageNet. For published nets at 224×224, with published accuracies,
parameters, multiply-adds and memory are counted without computing anything, and the time of an image is measured for
each batch size, with its energy if the GPU reports its power. Small nets of the same kinds are trained on Fashion-MNIST
for the same number of epochs, so that their accuracies are our own; one is trained for longer, to be good.

    python -m experiments.complexity smoke    # digits: seconds
    python -m experiments.complexity cpu      # Fashion-MNIST: 45 minutes on one core
    python -m experiments.complexity gpu      # ResNet-18 for 30 epochs (full: 40), energy: 70 s a seed on an H100

Expected: the time of an ImageNet net is nearly linear in its operations (Canziani et al.), except for AlexNet, whose
time in small batches is that of reading the weights of its linear layers. Accuracy per parameter: GoogLeNet is first,
VGG last. On Fashion-MNIST accuracy rises ever more slowly with operations, plain nets fall behind at 20 layers, and the
ODE-Net has the fewest parameters, but not the fewest operations. The net that is trained for longer reaches 92.5 % or
more (ResNet-18 on a GPU: 95.5 %; the table of the data set's authors has 94.9 %).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import nan
from statistics import fmean
from typing import Annotated, Any

import torch

from experiments.support import published
from experiments.support.command import Experiment, Seeds, Settings, on_images
from experiments.support.costs import counts, counts_of_published, per_image, timings
from experiments.support.presets import ON_A_GPU
from experiments.support.statistics import over_seeds, spread
from experiments.support.training import train
from experiments.support.zoo import CHEN, CIFAR, IMAGENET, OTHERS, published_net, small_net
from odenet.data import Compose, ImageData, RandomErasing
from odenet.measure import gpu_power, latencies
from odenet.measure.energy import NOT_REPORTED
from odenet.training import Classification, Record, Run, Training, launch
from odenet.training.checked import Within


@dataclass(frozen=True)
class Complexity(Settings):
    """Settings of the experiment."""

    seeds: Seeds = (0,)
    """Seeds of the repetitions of all trainings."""
    counted: tuple[str, ...] = (*IMAGENET, *OTHERS, *CIFAR, *CHEN)
    """Published nets whose parameters, multiply-adds and memory are counted."""
    timed: tuple[str, ...] = tuple(IMAGENET)
    """Published nets whose time per image at 224×224 is measured."""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of images in a batch at which nets are timed (Canziani et al. 2016: 1 to 64)."""
    repetitions: int = 3
    """Number of repetitions of each timing, of which the median counts."""
    zoo: tuple[str, ...] = ()
    """Small nets that are trained, all for the same number of epochs."""
    best: str = "conv6"
    """Small net that is trained for longer."""
    best_epochs: int = 12
    """Number of epochs of the net that is trained for longer."""
    label_smoothing: Annotated[float, Within(0, 1)] = 0.0
    """Label smoothing in the training of the best net."""
    erasing: Annotated[float, Within(0, 1)] = 0.0
    """Share of the training images of the best net in which a rectangle is erased (Zhong et al. 2017: 0.5)."""


PROBE = 100
"""Number of test images in the batch on which the costs of a small net are measured."""
ZOO = ("linear", "plain8/2", "resnet8/2", "plain20/2", "resnet20/2", "vgg6", "conv6", "inception")
GPU = Complexity(
    seeds=(0, 1, 2),
    batch_sizes=(1, 2, 4, 8, 16, 32, 64),
    repetitions=11,
    zoo=("linear", "vgg6", "conv6", "inception", "plain20", "resnet20"),
    best="resnet18",
    best_epochs=30,
    label_smoothing=0.1,
    erasing=0.5,
    training=Training(epochs=8, lr=0.2, **ON_A_GPU),
)
PRESETS = {
    "smoke": Complexity(
        data="digits",
        train_images=256,
        counted=("alexnet", "googlenet_bn", "resnet18", "resnet20", "plain20"),
        timed=("alexnet", "googlenet_bn", "resnet18"),
        batch_sizes=(1, 2),
        repetitions=1,
        zoo=("linear", "resnet8/2", "inception"),
        best="resnet8/2",
        best_epochs=2,
        training=Training(epochs=1, threads=1),
    ),
    "cpu": Complexity(
        zoo=(*ZOO, "res_net16", "rk_net16", "ode_net16"), training=Training(epochs=2, threads=1, channels_last=True)
    ),
    "gpu": GPU,
    "full": replace(GPU, zoo=(*GPU.zoo, "res_net", "rk_net", "ode_net"), best_epochs=40),
}
GPU_SECONDS = 70  # estimated for one seed of the preset gpu on an H100


def complexity(settings: Complexity, data: ImageData, run: Run) -> None:
    """Train the best net and the small nets, measure the costs of the published nets, and make the table."""
    device = launch(settings.training).device
    longer = replace(settings, training=replace(settings.training, epochs=settings.best_epochs))
    for seed in settings.seeds:
        _trained(settings.best, f"seed{seed}/best", longer, _erased(data, settings.erasing), seed, run)
        for name in settings.zoo:
            _trained(name, f"seed{seed}/{name}", settings, data, seed, run)
    for name in settings.counted:
        run.once(f"counted/{name}", partial(counts_of_published, name))
    for name in settings.timed:
        run.once(f"timed/{name}", lambda name=name: _timed(name, settings, device))
    run.finish(
        table=table(run.record),
        published={name: accuracy._asdict() for name, accuracy in published.IMAGENET.items()},
        densities=published.DENSITY,
        winners=[winner._asdict() for winner in published.WINNERS],
        energy=NOT_REPORTED if device.type != "cuda" or gpu_power() is None else "joules of an image by NVML",
    )


def _timed(name: str, settings: Complexity, device: torch.device) -> dict[str, Any]:
    make, shape = published_net(name)
    torch.manual_seed(0)
    return {"seconds": timings(make().to(device), shape, settings.batch_sizes, settings.repetitions)}


def _erased(data: ImageData, probability: float) -> ImageData:
    """Return the data with a rectangle erased in each training image with this probability."""
    parts = [data.augmentation] if data.augmentation else []
    return replace(data, augmentation=Compose(*parts, RandomErasing(probability))) if probability else data


def _trained(name: str, key: str, settings: Complexity, data: ImageData, seed: int, run: Run) -> None:
    """Train a small net, and record its accuracy, and its time and other costs per test image."""
    torch.manual_seed(seed)
    net = small_net(name, data)
    task = Classification(data.num_classes, settings.label_smoothing if key.endswith("/best") else 0.0)

    def compute() -> dict[str, Any]:
        history = train(net, key, settings, data, seed, run, task)
        images = next(data.test_batches(PROBE, device=next(net.parameters()).device).epoch(0))[0]
        seconds = latencies(net, images.shape[1:], [PROBE], settings.repetitions)[PROBE] / PROBE
        accuracy = {"net": name, "epochs": settings.training.epochs, "accuracy": history.last["test_accuracy"]}
        measured = {"seconds_per_epoch": history.seconds_per_epoch, "seconds_per_image": seconds}
        return accuracy | per_image(counts(net, images), len(images)) | measured | {"history": history.rows}

    run.once(key, compute)


def table(record: Record) -> list[dict[str, Any]]:
    """Return a row for each published and then each small net: means and standard deviations over the seeds."""
    return [*_published_rows(record), *_zoo_rows(record)]


def _published_rows(record: Record) -> Iterator[dict[str, Any]]:
    """Yield the row of each published net: accuracy, counts, and the time per image in the largest batch."""
    for name in record.settings["counted"]:
        top1 = published.IMAGENET[name].top1 if name in IMAGENET else 100 - published.CIFAR10_ERROR.get(name, nan)
        by_batch = record.results.get(f"timed/{name}", {"seconds": {"by_batch": {}}})["seconds"]["by_batch"]
        seconds = [taken / int(size) for size, taken in by_batch.items()]
        images = "×".join(str(side) for side in published_net(name)[1][1:])
        yield _row(name, images, [top1], record.results[f"counted/{name}"], seconds[-1:])


def _zoo_rows(record: Record) -> Iterator[dict[str, Any]]:
    """Yield the row of each small net."""
    for key in dict.fromkeys(key.partition("/")[2] for key in record.results if key.startswith("seed")):
        accuracy, seconds, names, epochs = (
            over_seeds(record.results, key, entry) for entry in ("accuracy", "seconds_per_image", "net", "epochs")
        )
        needs = record.results[f"seed{record.settings['seeds'][0]}/{key}"]
        percent = [100 * value for value in accuracy]
        yield _row(f"{names[0]}, {epochs[0]} epochs", record.settings["data"], percent, needs, seconds)


def _row(
    name: str, images: str, accuracy: list[float | None], needs: dict[str, Any], seconds: list[float]
) -> dict[str, Any]:
    known = [value for value in accuracy if value is not None and value == value]
    return {
        "net": name,
        "images": images,
        "top-1 %": spread(known) if known else "–",
        "params": f"{needs['parameters']:,}",
        "M multiply-adds": f"{needs['multiply_adds'] / 1e6:,.1f}",
        "MB for training": f"{needs['activation_bytes'] / 1e6:.2f}",
        "MB in use": f"{needs['peak_bytes'] / 1e6:.2f}",
        "ms/image": f"{1000 * fmean(seconds):.2f}" if seconds else "–",
    }


EXPERIMENT = Experiment("complexity", PRESETS, on_images(complexity))
if __name__ == "__main__":
    EXPERIMENT.main()
