"""The settings of a training: everything but the model, the task and the data that decides its outcome."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from odenet.blocks.arguments import check_fields
from odenet.blocks.errors import unknown_name
from odenet.data.counts import whole_number

OptimizerName = Literal["sgd", "nesterov", "adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "one-cycle", "steps"]
Precision = Literal["32-true", "bf16-mixed"]
Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained. The defaults are those of Zagoruyko & Komodakis (2016), but for length and schedule.

    Raises:
        TypeError: A count is not a whole number.
        ValueError: A value lies outside its bounds, or a name is unknown.
    """

    epochs: int = 10
    """Passes over the training set."""

    batch_size: int = 128
    """Images per step, over all processes together (He et al. 2015)."""

    optimizer: OptimizerName = "nesterov"
    """sgd and nesterov take momentum; adamw decays the weights apart from the gradient (Loshchilov & Hutter 2019)."""

    lr: float = 0.1
    """Learning rate at the peak of the schedule. 0.1 suits sgd with BatchNorm (He et al. 2015), 0.001 adam."""

    momentum: float = 0.9
    """Of sgd and nesterov; β₁ of adam and adamw (β₂ is 0.999)."""

    weight_decay: float = 5e-4
    """λ: the gradient gains λ·θ (He et al. 2015 have 1e-4); with adamw, λ·lr·θ is taken off the weights instead."""

    decay: Literal["all", "weights"] = "all"
    """Which parameters decay: all of them, or none with fewer than two axes, that is no biases and no norms."""

    schedule: ScheduleName = "one-cycle"
    """Learning rate over the steps. one-cycle falls linearly to 0 (Smith & Topin 2017), steps is cut at milestones."""

    warmup: float = 0.2
    """Share of all steps in which the learning rate first grows linearly from 0, for every schedule."""

    milestones: tuple[float, ...] = (0.5, 0.75)
    """Of the schedule steps: shares of the training after which lr is cut to a tenth (He et al. 2015, section 4.2)."""

    gradient_clip: float | None = None
    """Largest Euclidean norm of the gradient of all parameters; longer ones are shortened to it. None: no limit."""

    precision: Precision = "32-true"
    """bf16-mixed computes the expensive operations in bfloat16: about twice as fast on recent GPUs, and many times
    slower on a processor that has no instructions for it, of which an `OdenetWarning` tells. Error control computes in
    float32 all the same."""

    compile: bool = False
    """Whether torch.compile makes kernels for the network first (a minute): pays on a GPU, from a few epochs on."""

    cuda_graph: bool = False
    """Whether the host starts a whole training step by one launch, as a CUDA graph: pays for small networks on a GPU.

    What cannot be captured is taken eagerly, with a `GraphWarning`: error control, `ContinuousAdjoint`, `Checkpointed`,
    `Reversible`, stochastic depth by batch, several processes, and other devices. The optimizer's step is one fused
    kernel, equal to the others to rounding. Random numbers must be drawn on the device, as dropout draws them."""

    channels_last: bool = False
    """Whether images lie in memory as (H, W, C): faster convolutions on GPUs with bf16-mixed."""

    device: Device = "auto"
    """auto takes an accelerator where there is one."""

    processes: Literal["auto"] | int = "auto"
    """How many processes share every batch: auto, or the number that torchrun must have started (a guard)."""

    threads: int | None = None
    """CPU threads. None leaves torch its choice: best for large nets on an idle machine; 1 beside other work."""

    checkpoint_seconds: float = 60.0
    """Longest time that a kill can cost, give or take a step. A training that ends leaves a checkpoint as well."""

    deterministic: bool = False
    """Whether to refuse GPU algorithms whose results vary from run to run. A CPU's do not vary: no effect there."""

    def __post_init__(self) -> None:
        check_fields(self, bounded=False)
        for field, known in _NAMES.items():
            if (name := getattr(self, field)) not in known:
                raise unknown_name(field, name, known)
        whole_number("epochs", self.epochs, 1, because="a training passes over its data at least once")
        whole_number("batch_size", self.batch_size, 1, because="a batch holds at least one image")
        if self.threads is not None:
            whole_number("threads", self.threads, 1, because="at least one thread computes")
        if self.processes != "auto":
            whole_number("processes", self.processes, 1, because="at least one process trains")
        self._check_numbers()

    def _check_numbers(self) -> None:
        _require("lr", self.lr, 0 < self.lr < math.inf, "positive and finite")
        _require("momentum", self.momentum, 0 <= self.momentum < 1, "at least 0 and less than 1")
        _require("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "at least 0 and finite")
        _require("warmup", self.warmup, 0 <= self.warmup < 1, "a share of the training: at least 0 and less than 1")
        _require(
            "checkpoint_seconds",
            self.checkpoint_seconds,
            0 <= self.checkpoint_seconds < math.inf,
            "at least 0 and finite",
        )
        if self.gradient_clip is not None:
            _require(
                "gradient_clip", self.gradient_clip, 0 < self.gradient_clip < math.inf, "positive, or None for no limit"
            )
        ascending = list(self.milestones) == sorted({m for m in self.milestones if 0 < m < 1})
        _require(
            "milestones", self.milestones, ascending, "shares of the training: between 0 and 1, in ascending order"
        )


_NAMES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(ScheduleName),
    "decay": ("all", "weights"),
    "precision": get_args(Precision),
    "device": get_args(Device),
}


def _require(field: str, value: object, holds: bool, bounds: str) -> None:
    if not holds:
        raise ValueError(f"{field}={value!r} cannot train a network: it is {bounds}; give such a value.")
