"""The settings of one training: frozen, comparable, and the source of an experiment's command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Training:
    """How a network is trained; the defaults are those of the CIFAR ResNets in the length of a coffee break."""

    epochs: int = 10
    """Passes over the training images."""
    batch_size: int = 128
    """Images in a step, over all processes (He et al. 2015)."""
    optimizer: str = "nesterov"
    """sgd, nesterov, adam or adamw."""
    lr: float = 0.1
    """The largest learning rate (He et al. 2015)."""
    momentum: float = 0.9
    """Of sgd and nesterov."""
    weight_decay: float = 5e-4
    """L2 penalty on all parameters; decoupled in adamw."""
    schedule: str = "linear"
    """constant, linear, cosine, or steps (÷10 after 1/2 and 3/4)."""
    warmup: float = 0.2
    """Fraction of the training in which the learning rate rises from 0."""
    label_smoothing: float = 0.0
    """Weight of the uniform distribution in the target."""
    gradient_clip: float | None = None
    """Largest norm of the gradient."""
    augment: bool = True
    """Shift (and flip) training images as is usual for the data set."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Arithmetic of forward and backward pass; bf16-mixed keeps weights in float32."""
    compile: bool = False
    """Compile the network with torch.compile."""
    channels_last: bool = False
    """Memory layout of images and weights: faster on tensor cores and for wide nets on CPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes an accelerator where there is one."""
    threads: int | None = None
    """CPU threads."""
    checkpoint_seconds: float = 60.0
    """A checkpoint after every epoch, and within one when this time has passed."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} = {value}; a training has at least {least}: pass a positive whole number.")
        for name in ("lr", "momentum", "weight_decay", "checkpoint_seconds"):
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"{name} = {value}; it cannot be negative or NaN: pass 0 or more.")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup = {self.warmup}; it is a fraction of the training: pass a number in [0, 1).")
