"""Devices: where a training runs, as one process or, under torchrun, as several that share every batch."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from odenet.blocks.arguments import checked
from odenet.blocks.stochastic_depth import StochasticDepth
from odenet.training.processor import warn_of_slow_bfloat16
from odenet.training.settings import Training

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Deterministic matrix products need a workspace of one size, and torch reads this variable once, at the first product
# on a GPU, whether that is to be deterministic or not: when a training asks for it, it may be too late.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@checked
def launch(settings: Training, model: nn.Module | None = None) -> Fabric:
    """The device, precision and processes of `settings`, as a launched Fabric; cheap to call again.

    An experiment calls it for `fabric.device`, `fabric.global_rank` and `fabric.world_size`, with which it makes its
    batches. Several processes are started by torchrun, one per device:
    `torchrun --nproc-per-node 2 -m experiments.NAME …`.

    Each process has its share of every batch, and the mean of their gradients is that of the whole batch. So a training
    by several processes is that by one, to rounding, whatever the gradient method, as long as the answer for an image
    does not depend on the others of its batch. Where it does, the share takes the place of the batch:

    - BatchNorm normalizes by the statistics of each process's share, and the running ones are those of rank 0. On GPUs,
      `torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)` before the training gives it those of the whole batch;
      GroupNorm needs nothing.
    - Error control (`Adaptive`) judges a share as a whole, so the steps differ, and the results do by its tolerance.
    - Dropout and stochastic depth by sample draw numbers of their own in each process. Stochastic depth by batch draws
      the same in all of them, those of a single process (and so, on a CPU, does dropout beside it).

    Args:
        settings: Their `device`, `precision`, `threads`, `processes` and `deterministic` count.
        model: What is trained, as far as it is known: one that skips branches leaves parameters without a gradient,
            which DDP has to be told.

    Raises:
        ValueError: The device is not there, or another number of processes was started.
    """
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would say "Using bfloat16 …" at every training
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    _check_device(settings.device)
    world, local = _process_counts()
    _check_processes(settings.processes, world)
    fabric = Fabric(
        accelerator=settings.device,
        devices=local,
        num_nodes=world // local,
        strategy=_strategy(world, model),
        precision=settings.precision,
    )
    fabric.launch()
    if settings.precision == "bf16-mixed" and fabric.device.type == "cpu":
        warn_of_slow_bfloat16()
    return fabric


@contextmanager
def threads_kept() -> Iterator[None]:
    """Afterwards torch computes with as many CPU threads as now."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def skips_branches(model: nn.Module) -> bool:
    """Whether `model` has stochastic depth by batch: branches that no sample of a batch passes through."""
    noises = (getattr(module, "noise", None) for module in model.modules())
    return any(isinstance(noise, StochasticDepth) and noise.per == "batch" for noise in noises)


@checked
def is_main_process() -> bool:
    """Whether this process is the one that writes files and progress: rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _strategy(world: int, model: nn.Module | None) -> str:
    if world == 1:
        return "auto"
    return "ddp" if model is None or not skips_branches(model) else "ddp_find_unused_parameters_true"


def _process_counts() -> tuple[int, int]:
    """The number of processes in all, and on this machine: what torchrun says, else one."""
    if not torch.distributed.is_available() or not torch.distributed.is_torchelastic_launched():
        return 1, 1
    return int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])


def _check_device(device: str) -> None:
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}.get(device, lambda: True)
    if not there():
        raise ValueError(
            f"device={device!r} was asked for, but torch {torch.__version__} sees no such device here; "
            "use device='auto' or 'cpu', or install the driver and a torch that was built for it."
        )


def _check_processes(asked: str | int, world: int) -> None:
    if asked not in ("auto", world):
        raise ValueError(
            f"processes={asked} was asked for, but {world} started: a training does not start processes itself; "
            f"run `torchrun --nproc-per-node {asked} -m …`, or leave it at 'auto'."
        )
