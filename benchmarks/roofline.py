"""How near residual stages come to the limit of the machine, and where the rest goes.

    python -m benchmarks.roofline     # a minute on one core; the record is runs/benchmarks/roofline-DEVICE.json

A training step of a stage does so many operations (`torch.utils.flop_counter`, convolutions and products, forward and
backward) in so many seconds. Over what a plain matrix product reaches on the same machine in the same rounds, that is
the share of the limit that is reached. On a GPU it has a second limit, the bytes that every operation reads and writes
over the bandwidth of a plain copy (written, not run yet). A profile says which operations take the time of a step.

There is no goal but to know: what is not convolutions is norms, ReLUs and sums, which do almost no operations but read
and write the whole state; a small convolution does not fill the vector units as a large product does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.command import Row, device, run_benchmark
from benchmarks.fixed_steps import Stage
from benchmarks.side_by_side import milliseconds, side_by_side
from odenet import BasicBranch, ODEBlock, PiecewiseConstant
from odenet.training import Run

KINDS = {
    "autograd": ("autograd::",),
    "convolution backward": ("convolution_backward",),
    "convolution": ("conv",),
    "norm backward": ("batch_norm_backward",),
    "norm": ("batch_norm",),
    "ReLU": ("relu", "clamp_min", "threshold"),
    "sum": ("add", "sum"),
}
"""Operations by what is in their names, the first kind that fits; all others are "rest"."""


@dataclass(frozen=True)
class Roofline:
    """Settings of the benchmark."""

    stages: tuple[Stage, ...] = (Stage(8, 16, 14, 16), Stage(32, 64, 6, 6), Stage(16, 32, 28, 8))
    """As in `benchmarks.fixed_steps`."""
    product: int = 1024
    """Rows and columns of the matrices."""
    copied: int = 1 << 28
    """Bytes of the copy on a GPU."""
    profiled: int = 5
    """Steps in a profile."""
    budget: float = 10.0
    """Seconds of the rounds of each stage."""


QUICK = Roofline(stages=(Stage(2, 4, 4, 2),), product=64, copied=1 << 16, profiled=1, budget=0.0)


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write: all their inputs and outputs, views aside."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The operation as it is, counted."""
        result = func(*args, **kwargs or {})
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def training_step(stage: Stage) -> Callable[[], None]:
    """Forward and backward of a stage on this device."""
    torch.manual_seed(0)
    flow = ODEBlock(PiecewiseConstant([BasicBranch(stage.channels) for _ in range(stage.blocks)])).to(device())
    x = torch.randn(stage.batch, stage.channels, stage.side, stage.side).to(device()).requires_grad_()
    return lambda: flow(x).square().sum().backward()


def measured(settings: Roofline, stage: Stage) -> dict[str, Any]:
    """Operations, bytes, seconds of a step, of a product and of a copy, and the profile."""
    step = training_step(stage)
    with FlopCounterMode(display=False) as counter:
        step()
    with Traffic() as traffic:
        step()
    n = settings.product
    a, b = torch.randn(n, n).to(device()), torch.randn(n, n).to(device())
    works: dict[str, Callable[[], object]] = {"step": step, "product": lambda: a @ b}
    if device() == "cuda":
        source = torch.empty(settings.copied, dtype=torch.uint8, device=device())
        works["copy"] = source.clone
    return {
        "operations": counter.get_total_flops(),
        "bytes": traffic.bytes,
        "seconds": side_by_side(works, settings.budget),
        "seconds_by_kind": by_kind(step, settings.profiled),
    }


def by_kind(step: Callable[[], object], times: int) -> dict[str, float]:
    """Seconds of a step by kind of operation, by torch's profiler; "rest" is all that it saw besides."""
    on_gpu = device() == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(times):
            step()
    seconds = dict.fromkeys([*KINDS, "rest"], 0.0)
    for event in profiler.key_averages():
        if event.device_type.name != "CPU":  # a kernel: its time is also that of the operation that started it
            continue
        taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        seconds[kind_of(event.key)] += taken / times / 1e6
    return seconds


def kind_of(operation: str) -> str:
    """Of an operation as the profiler calls it.

    >>> kind_of("aten::mkldnn_convolution"), kind_of("aten::native_batch_norm_backward"), kind_of("aten::empty")
    ('convolution', 'norm backward', 'rest')
    """
    fitting = (kind for kind, parts in KINDS.items() if any(part in operation for part in parts))
    return next(fitting, "rest")


def rows(settings: Roofline, stage: Stage, result: Mapping[str, Any]) -> list[Row]:
    """The share of the limit, and where the time goes."""
    seconds = result["seconds"]
    peak = 2 * settings.product**3 / median(seconds["product"])
    reached = result["operations"] / median(seconds["step"])
    beside = f"{reached / 1e9:.1f} of {peak / 1e9:.1f} GFLOP/s; step {milliseconds(seconds['step'])}"
    if "copy" in seconds:
        bandwidth = 2 * settings.copied / median(seconds["copy"])
        beside += f"; {result['bytes'] / median(seconds['step']) / bandwidth:.0%} of the bandwidth of a copy"
    kinds = result["seconds_by_kind"]
    total = sum(kinds.values())
    shares = sorted(kinds.items(), key=lambda item: -item[1])
    return [
        {
            "quantity": f"training step, {stage}: operations a second over those of a matrix product",
            "goal": "–",
            "measured": f"{reached / peak:.0%}",
            "beside it": beside,
        },
        {
            "quantity": "where its time goes",
            "goal": "–",
            "measured": ", ".join(f"{kind} {taken / total:.0%}" for kind, taken in shares),
            "beside it": f"torch's profiler, {settings.profiled} steps",
        },
    ]


def measure(settings: Roofline, run: Run) -> list[Row]:
    """Every stage."""
    table = []
    for stage in settings.stages:
        table += rows(settings, stage, run.once(str(stage), partial(measured, settings, stage)))
    return table


def main() -> None:
    """Measure every stage, once, and print the table."""
    run_benchmark("roofline", QUICK, Roofline(), measure)


if __name__ == "__main__":
    main()
