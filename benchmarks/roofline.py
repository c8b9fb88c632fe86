"""Benchmark of the share of the machine's peak performance that residual stages reach, with a profile of their time.

    python -m benchmarks.roofline     # a minute on one core; the record is runs/benchmarks/roofline-DEVICE.json

The operations of a training step (`torch.utils.flop_counter`: convolutions and products, forward and backward), divided
by its seconds, are compared with the rate of a plain matrix product on the same machine in the same rounds: this is the
share of peak performance. On a GPU there is a second limit, memory bandwidth: the bytes that all operations read and
write per second are compared with the rate of a plain copy (written, not run yet). A profile shows which operations
take the time of a step.

There is no goal. Apart from convolutions, time goes into norms, ReLUs and sums, which do few operations but read and
write the whole state; and a small convolution does not fill the vector units as a large product does.
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
"""Kinds of operations with parts of their names, of which the first match counts; all others are "rest"."""


@dataclass(frozen=True)
class Roofline:
    """Settings of the benchmark."""

    stages: tuple[Stage, ...] = (Stage(8, 16, 14, 16), Stage(32, 64, 6, 6), Stage(16, 32, 28, 8))
    """Residual stages, as in `benchmarks.fixed_steps`."""
    product: int = 1024
    """Number of rows and columns of the matrices in the product."""
    copied: int = 1 << 28
    """Number of bytes in the copy on a GPU."""
    profiled: int = 5
    """Number of steps in a profile."""
    budget: float = 10.0
    """Seconds for the rounds of each stage."""


QUICK = Roofline(stages=(Stage(2, 4, 4, 2),), product=64, copied=1 << 16, profiled=1, budget=0.0)


class Traffic(TorchDispatchMode):
    """Dispatch mode that counts the bytes that operations read and write: their inputs and outputs, without views."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and count its bytes."""
        result = func(*args, **kwargs or {})
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.nbytes for tensor in tensors)
        return result


def training_step(stage: Stage) -> Callable[[], None]:
    """Return a function that runs forward and backward pass of a stage on this device."""
    torch.manual_seed(0)
    flow = ODEBlock(PiecewiseConstant([BasicBranch(stage.channels) for _ in range(stage.blocks)])).to(device())
    x = torch.randn(stage.batch, stage.channels, stage.side, stage.side).to(device()).requires_grad_()
    return lambda: flow(x).square().sum().backward()


def measured(settings: Roofline, stage: Stage) -> dict[str, Any]:
    """Measure operations, bytes, the seconds of a step, a product and a copy, and the profile."""
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
    """Measure the seconds of a step by kind of operation with torch's profiler; "rest" is all other operations."""
    on_gpu = device() == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(times):
            step()
    seconds = dict.fromkeys([*KINDS, "rest"], 0.0)
    for event in profiler.key_averages():
        if event.device_type.name != "CPU":  # a kernel's time is counted with the operation that launched it
            continue
        taken = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        seconds[kind_of(event.key)] += taken / times / 1e6
    return seconds


def kind_of(operation: str) -> str:
    """Return the kind of an operation, given its name in the profiler.

    >>> kind_of("aten::mkldnn_convolution"), kind_of("aten::native_batch_norm_backward"), kind_of("aten::empty")
    ('convolution', 'norm backward', 'rest')
    """
    fitting = (kind for kind, parts in KINDS.items() if any(part in operation for part in parts))
    return next(fitting, "rest")


def rows(settings: Roofline, stage: Stage, result: Mapping[str, Any]) -> list[Row]:
    """Return the table rows of a stage: the share of peak performance, and the shares of time."""
    seconds = result["seconds"]
    peak = 2 * settings.product**3 / median(seconds["product"])
    reached = result["operations"] / median(seconds["step"])
    supplement = f"{reached / 1e9:.1f} of {peak / 1e9:.1f} GFLOP/s; step {milliseconds(seconds['step'])}"
    if "copy" in seconds:
        bandwidth = 2 * settings.copied / median(seconds["copy"])
        supplement += f"; {result['bytes'] / median(seconds['step']) / bandwidth:.0%} of the bandwidth of a copy"
    kinds = result["seconds_by_kind"]
    total = sum(kinds.values())
    shares = sorted(kinds.items(), key=lambda item: -item[1])
    return [
        {
            "quantity": f"training step, {stage}: operations a second over those of a matrix product",
            "goal": "–",
            "measured": f"{reached / peak:.0%}",
            "beside it": supplement,
        },
        {
            "quantity": "where its time goes",
            "goal": "–",
            "measured": ", ".join(f"{kind} {taken / total:.0%}" for kind, taken in shares),
            "beside it": f"torch's profiler, {settings.profiled} steps",
        },
    ]


def measure(settings: Roofline, run: Run) -> list[Row]:
    """Measure every stage, and return the table."""
    table = []
    for stage in settings.stages:
        table += rows(settings, stage, run.once(str(stage), partial(measured, settings, stage)))
    return table


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    run_benchmark("roofline", QUICK, Roofline(), measure)


if __name__ == "__main__":
    main()
