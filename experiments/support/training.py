"""Training the networks of an experiment: each once, and read back where a run goes on."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer

from experiments.support.command import Settings
from odenet.data import ImageData
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
) -> History:
    """Train `net` in place; where that is done already, give it its trained weights.

    Args:
        net: The network, initialized under `seed`.
        key: Names the training in the run.
        settings: Of the experiment.
        data: Images.
        seed: Of the order of the images and their augmentation.
        run: Beside whose record the checkpoint is kept.
        task: By default, one label an image.
        optimizer: With the momentum of an earlier training; by default a new one.
    """
    fabric = launch(settings.training)
    net.to(fabric.device)
    device, rank, processes = fabric.device, fabric.global_rank, fabric.world_size
    batches = data.train_batches(
        settings.training.batch_size,
        seed=seed,
        device=device,
        augment=settings.augment,
        drop_last=True,  # a smaller last batch would give its images more weight
        rank=rank,
        world_size=processes,
    )
    test = data.test_batches(1000, device=device, rank=rank, world_size=processes)
    task, options = task or Classification(data.num_classes), {"optimizer": optimizer, "label": f"{key:22}"}
    return run.fit(key, net, task, batches, test, settings.training, seed=seed, **options)


def training_error(net: nn.Module, data: ImageData) -> float:
    """The share of wrong answers on the training images as they are, in evaluation mode."""
    device = next(net.parameters()).device
    images = data.train_batches(1000, augment=False, shuffle=False, device=device)
    return 1 - evaluate(net, Classification(data.num_classes), images)["accuracy"]
