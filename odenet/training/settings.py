"""Settings of a training: all that determines its outcome besides the model, the task, the data and the seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from odenet.blocks.arguments import check_fields
from odenet.blocks.errors import unknown_name
from odenet.data.counts import whole_number
from odenet.training.checked import Checked, Within
from odenet.training.json_data import OMITTED_BY_DEFAULT

OptimizerName = Literal["sgd", "nesterov", "adam", "adamw"]
ScheduleName = Literal["constant", "cosine", "one-cycle", "steps"]
Precision = Literal["32-true", "bf16-mixed"]
Device = Literal["auto", "cpu", "cuda", "mps"]
DepthRule = Literal["none", "1/h", "1/sqrt(L)", "completep"]


@dataclass(frozen=True)
class ParameterGroup(Checked):
    """Factors of the learning rate and the weight decay of some parameters.

    >>> from odenet.training import Training
    >>> settings = Training(lr=0.1, groups=(ParameterGroup("head", lr=0.5), ParameterGroup("*.norm?", weight_decay=0)))

    Raises:
        ValueError: if a factor is out of bounds.
    """

    parameters: str
    """Name of a parameter, name of a module for all of its parameters, or a pattern of names in which * stands for any
    text, ? for a character and [12] for one of several."""

    lr: float = 1.0
    """Factor of the learning rate."""

    weight_decay: Annotated[float, Within(0, math.inf)] = 1.0
    """Factor of the weight decay; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of a training; the defaults are those of Zagoruyko & Komodakis (2016), except epochs and schedule.

    Raises:
        TypeError: if a count is not a whole number.
        ValueError: if a value is out of range, or a name is unknown.
    """

    epochs: int = 10
    """Number of passes over the training set."""

    batch_size: int = 128
    """Number of images per step, over all processes together (He et al. 2015)."""

    optimizer: OptimizerName = "nesterov"
    """Name of the optimizer; adamw decouples weight decay from the gradient (Loshchilov & Hutter 2019)."""

    lr: float = 0.1
    """Learning rate at the peak of the schedule. 0.1 suits sgd with BatchNorm (He et al. 2015), 0.001 adam."""

    momentum: float = 0.9
    """Momentum of sgd and nesterov; β₁ of adam and adamw (β₂ is 0.999)."""

    weight_decay: float = 5e-4
    """Weight decay λ, which adds λ·θ to the gradient (He et al. 2015: 1e-4); adamw subtracts λ·lr·θ from θ instead."""

    decay: Literal["all", "weights"] = "all"
    """Parameters that decay: all of them, or only those with at least two axes, without biases and norms."""

    depth_rule: DepthRule = field(default="none", metadata=OMITTED_BY_DEFAULT)
    """Rule by which the learning rate, weight decay and ε of the parameters in flows follow from the step h = T/L, so
    that one `lr` serves every depth: 1/h for sgd and completep for every optimizer, with a fixed horizon T; 1/sqrt(L)
    for T = √L (see `odenet.training.depth_rules`)."""

    groups: tuple[ParameterGroup, ...] = field(default=(), metadata=OMITTED_BY_DEFAULT)
    """Further factors by name of parameters; those of several entries, and of the depth rule, are multiplied. They are
    set in Python, not on the command line."""

    schedule: ScheduleName = "one-cycle"
    """Schedule of the learning rate; one-cycle falls linearly (Smith & Topin 2017), steps is cut at `milestones`."""

    warmup: float = 0.2
    """Share of all steps in which the learning rate grows linearly from 0, at the beginning of every schedule."""

    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the training after which the schedule steps cuts lr to a tenth (He et al. 2015, section 4.2)."""

    gradient_clip: float | None = None
    """Maximal Euclidean norm to which the gradient of all parameters is clipped; None for no limit."""

    precision: Precision = "32-true"
    """Precision of the computation. bf16-mixed computes the expensive operations in bfloat16: about twice as fast on
    recent GPUs, but many times slower on a processor without instructions for it, which gives an `OdenetWarning`. Error
    control computes in float32 in either case."""

    compile: bool = False
    """Whether to compile the network by torch.compile (about a minute); useful on a GPU, from a few epochs on."""

    cuda_graph: bool = False
    """Whether to run each training step as a CUDA graph, by a single launch; useful for small networks on a GPU.

    Steps that cannot be captured run eagerly, with a `GraphWarning`: those with error control, `ContinuousAdjoint`,
    `Checkpointed`, `Reversible`, stochastic depth by batch, several processes, or on other devices. The optimizer's
    step is a fused kernel, which equals the others up to rounding. Random numbers must be drawn on the device, as
    dropout does."""

    channels_last: bool = False
    """Whether to use the memory format channels_last (H, W, C), with faster convolutions on GPUs with bf16-mixed."""

    device: Device = "auto"
    """Device of the training; auto is an accelerator if there is one, else the CPU."""

    processes: Literal["auto"] | int = "auto"
    """Number of processes that share every batch: auto, or a number that is checked against that of torchrun."""

    threads: int | None = None
    """Number of CPU threads. None is torch's choice, best for large networks on an idle machine; else 1 is better."""

    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints, the most that an interruption can lose; one is also written at the end."""

    deterministic: bool = False
    """Whether to refuse nondeterministic algorithms on a GPU; a CPU has none."""

    def __post_init__(self) -> None:
        check_fields(self, bounded=False)
        for setting, known in _NAMES.items():
            if (name := getattr(self, setting)) not in known:
                raise unknown_name(setting, name, known)
        whole_number("epochs", self.epochs, 1, because="a training passes over its data at least once")
        whole_number("batch_size", self.batch_size, 1, because="a batch holds at least one image")
        if self.threads is not None:
            whole_number("threads", self.threads, 1, because="at least one thread computes")
        if self.processes != "auto":
            whole_number("processes", self.processes, 1, because="at least one process trains")
        self._check_numbers()

    def _check_numbers(self) -> None:
        _require("lr", self.lr, 0 < self.lr < math.inf, "positive and finite", "it scales the steps of the optimizer")
        _require(
            "momentum", self.momentum, 0 <= self.momentum < 1, "≥ 0 and < 1", "it is the decay rate of a moving average"
        )
        _require(
            "weight_decay",
            self.weight_decay,
            0 <= self.weight_decay < math.inf,
            "≥ 0 and finite",
            "use 0 for no weight decay",
        )
        _require("warmup", self.warmup, 0 <= self.warmup < 1, "≥ 0 and < 1", "it is a share of the training")
        _require(
            "checkpoint_seconds",
            self.checkpoint_seconds,
            0 <= self.checkpoint_seconds < math.inf,
            "≥ 0 and finite",
            "use 0 to save as often as possible",
        )
        if self.gradient_clip is not None:
            _require(
                "gradient_clip",
                self.gradient_clip,
                0 < self.gradient_clip < math.inf,
                "positive and finite",
                "it is a norm; use None for no limit",
            )
        ascending = list(self.milestones) == sorted({m for m in self.milestones if 0 < m < 1})
        _require(
            "milestones",
            self.milestones,
            ascending,
            "in ascending order, > 0 and < 1",
            "they are shares of the training",
        )


_NAMES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(ScheduleName),
    "decay": ("all", "weights"),
    "depth_rule": get_args(DepthRule),
    "precision": get_args(Precision),
    "device": get_args(Device),
}


def _require(field: str, value: object, holds: bool, bounds: str, reason: str) -> None:
    if not holds:
        raise ValueError(f"{field} must be {bounds}, got {value!r}: {reason}.")
