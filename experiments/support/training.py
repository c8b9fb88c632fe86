"""Training of the networks of an experiment; a continued run reads trained ones back from their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Generic, TypeVar

from torch import nn
from torch.optim import Optimizer

from experiments.support.command import Settings
from odenet.data import Batches, ImageData
from odenet.training import Classification, History, Run, Task, evaluate, launch


def train(
    net: nn.Module,
    key: str,
    settings: Settings,
    data: ImageData,
    seed: int,
    run: Run,
    task: Task | None = None,
    optimizer: Optimizer | None = None,
    tested: bool = True,
) -> History:
    """Train `net` in place, or, if the run has its finished checkpoint, load the trained weights.

    The history has the metrics on the validation images after each epoch, and those on the test images after the last.

    Args:
        net: Network, initialized under `seed`.
        key: Name of the training in the run.
        settings: Settings of the experiment.
        data: Images and labels of the training, the validation and the test.
        seed: Seed of the order of the images and their augmentation.
        run: Run beside whose record the checkpoint is kept.
        task: Loss and metrics; by default those of one label per image.
        optimizer: Optimizer that continues with the momentum of an earlier training; by default a new one.
        tested: Whether to evaluate on the test images at the end; not in the middle of a training of several parts.
            Data without a validation split are evaluated on the test images after each epoch in either case.
    """
    fabric = launch(settings.training)
    net.to(fabric.device)
    share: dict[str, Any] = {"device": fabric.device, "rank": fabric.global_rank, "world_size": fabric.world_size}
    batches = data.train_batches(
        settings.training.batch_size,
        seed=seed,
        augment=settings.augment,
        drop_last=True,  # a smaller last batch would give its images more weight
        **share,
    )
    test = data.test_batches(1000, **share) if tested or data.validation is None else None
    task, options = task or Classification(data.num_classes), {"optimizer": optimizer, "label": f"{key:22}"}
    options["validation"] = data.validation_batches(1000, **share)
    return run.fit(key, net, task, batches, test, settings.training, seed=seed, **options)


Net = TypeVar("Net", bound=nn.Module)


class LazyTraining(Generic[Net]):
    """Network that is trained, or read back from its checkpoint, when it is first needed.

    A run whose record has all results that need the net trains nothing, even where its checkpoints are lost.

    Args:
        make: Function that builds the network, initialized under `seed`.
        key: Name of the training in the run.
        settings: Settings of the experiment.
        data: Images and labels of the training and the test.
        seed: Seed of the order of the images and their augmentation.
        run: Run beside whose record the checkpoint is kept.
        task: Loss and metrics; by default those of one label per image.
    """

    def __init__(
        self,
        make: Callable[[], Net],
        key: str,
        settings: Settings,
        data: ImageData,
        seed: int,
        run: Run,
        task: Task | None = None,
    ) -> None:
        self.key, self.settings, self.data = key, settings, data
        self._make, self._rest = make, (seed, run, task)

    @cached_property
    def _trained(self) -> tuple[Net, History]:
        net = self._make()
        return net, train(net, self.key, self.settings, self.data, *self._rest)

    @property
    def net(self) -> Net:
        """Trained network."""
        return self._trained[0]

    @property
    def history(self) -> History:
        """History of the training."""
        return self._trained[1]


def on_test_images(net: nn.Module, data: ImageData) -> Batches:
    """Return batches of the test images on the device of `net`."""
    return data.test_batches(1000, device=next(net.parameters()).device)


def training_error(net: nn.Module, data: ImageData) -> float:
    """Measure the share of wrong answers on the training images, without augmentation, in evaluation mode."""
    device = next(net.parameters()).device
    images = data.train_batches(1000, augment=False, shuffle=False, device=device)
    return 1 - evaluate(net, Classification(data.num_classes), images)["accuracy"]
