"""Devices and processes of a training: one process, or several under torchrun that share every batch."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from odenet.blocks.arguments import checked
from odenet.blocks.extras import Extra
from odenet.blocks.stochastic_depth import StochasticDepth
from odenet.training.processor import warn_of_slow_bfloat16
from odenet.training.settings import Training

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# Deterministic matrix products need a workspace of fixed size, and torch reads this variable only once, at the first
# product on a GPU. Setting it when a training asks for deterministic algorithms may therefore be too late.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@checked
def launch(settings: Training, model: nn.Module | None = None) -> Fabric:
    """Return a launched Fabric with the device, precision and processes of `settings`; cheap to call again.

    An experiment makes its batches for `fabric.device`, `fabric.global_rank` and `fabric.world_size`. Several processes
    are started by torchrun, one per device: `torchrun --nproc-per-node 2 -m experiments.NAME …`.

    Each process has its share of every batch, and the mean of their gradients is the gradient of the whole batch. So
    several processes train as one does, up to rounding and for every gradient method, provided that the output for an
    image does not depend on the other images of its batch. Otherwise the share takes the place of the batch:

    - BatchNorm normalizes by the statistics of each process's share, and its running statistics are those of rank 0. On
      GPUs, `torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)` before the training makes it use the statistics of
      the whole batch. GroupNorm is not affected.
    - Error control (`Adaptive`) chooses the steps of a share as a whole, so results differ within its tolerance.
    - Dropout and stochastic depth by sample draw different numbers in each process. Stochastic depth by batch draws the
      same numbers in all of them as in a single process (on a CPU, so does dropout in the same network).

    Args:
        settings: Settings, of which `device`, `precision`, `threads` and `processes` are used.
        model: Network to be trained, if known; DDP must be told if it skips branches, because the skipped parameters
            then have no gradient.

    Raises:
        ValueError: if the device is not available, or another number of processes was started.
    """
    with Extra("experiments"):
        from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would log "Using bfloat16 …" in every training
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
    """Restore the number of CPU threads of torch when the context ends."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def skips_branches(model: nn.Module) -> bool:
    """Whether `model` has stochastic depth by batch, so that a step skips whole branches."""
    noises = (getattr(module, "noise", None) for module in model.modules())
    return any(isinstance(noise, StochasticDepth) and noise.per == "batch" for noise in noises)


@checked
def is_main_process() -> bool:
    """Whether this process writes files and shows progress: rank 0, or the only process."""
    return os.environ.get("RANK", "0") == "0"


def _strategy(world: int, model: nn.Module | None) -> str:
    if world == 1:
        return "auto"
    return "ddp" if model is None or not skips_branches(model) else "ddp_find_unused_parameters_true"


def _process_counts() -> tuple[int, int]:
    """Return the number of processes in total and on this machine, as torchrun sets them; else (1, 1)."""
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
