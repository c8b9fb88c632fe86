"""Benchmark of the growth of time and memory with steps, width, batch size, image size, and number of processes.

    python -m benchmarks.scaling     # 2 minutes on two cores; the record is runs/benchmarks/scaling-DEVICE.json

A training step of a residual stage is a forward and a backward pass. One of its four sizes is doubled repeatedly while
the others stay fixed, and p is fitted in seconds ∝ sizeᵖ, and in peak memory ∝ sizeᵖ, over the last three sizes. Under
`torchrun`, 1 and 2 processes of one thread (gloo; NCCL with as many GPUs) each take a batch of the same size and
average their gradients by DistributedDataParallel; their images per second are compared with those of one process.

Expected: time and memory grow like steps and batch size (p = 1), and like the square of the side; time grows like the
square of the width once convolutions dominate, memory like the width. Two processes on two cores should process nearly
twice as many images per second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

from benchmarks.command import Row, run_benchmark
from benchmarks.fixed_steps import Stage
from benchmarks.roofline import training_step
from benchmarks.side_by_side import side_by_side
from odenet.measure import observed_order, peak_bytes
from odenet.training import Run

BASE = Stage(batch=8, channels=16, side=14, blocks=4)
EXPECTED = {"blocks": "1", "channels": "≤ 2", "batch": "≤ 1", "side": "≤ 2"}
"""Expected exponent p of the time, by size."""


@dataclass(frozen=True)
class Scaling:
    """Settings of the benchmark."""

    blocks: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Numbers of residual blocks, which are Euler steps."""
    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Numbers of channels (width)."""
    batch: tuple[int, ...] = (8, 16, 32, 64)
    """Batch sizes."""
    side: tuple[int, ...] = (14, 28, 56)
    """Sides of the images, in pixels."""
    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes under torchrun; the first is the baseline of the others."""
    steps: int = 30
    """Number of steps of each process."""
    budget: float = 10.0
    """Seconds for the rounds of each size."""


QUICK = Scaling((1, 2), (2, 4), (1, 2), (4, 8), processes=(1,), steps=2, budget=0.0)


def measure_size(settings: Scaling, size: str) -> dict[str, Any]:
    """Measure seconds and peak bytes for each value of one size."""
    works: dict[str, Callable[[], object]] = {
        str(value): training_step(replace(BASE, **{size: value})) for value in getattr(settings, size)
    }
    return {
        "seconds": side_by_side(works, settings.budget),
        "peak_bytes": {value: peak_bytes(work) for value, work in works.items()},
    }


def under_torchrun(settings: Scaling) -> dict[str, Any]:
    """Measure the seconds of each step under torchrun, by number of processes.

    Raises:
        RuntimeError: if a process failed.
    """
    taken = {}
    for number in settings.processes:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
        command += ["-m", "benchmarks.peers.data_parallel_process", str(settings.steps)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(
                f"{number} processes were started under torchrun and failed with exit status {ran.returncode}:\n"
                f"{ran.stderr}\nFix the error shown there, or leave the number out of `processes`."
            )
        taken[str(number)] = json.loads(ran.stdout.splitlines()[-1])
    return {"seconds": taken}


def exponent(found: Mapping[str, float]) -> float:
    """Fit p in value ∝ sizeᵖ over the last three sizes."""
    sizes = [int(size) for size in found][-3:]
    # An order of convergence is the same fit with the opposite sign.
    return -observed_order(sizes, [found[str(size)] for size in sizes])


def size_row(size: str, result: Mapping[str, Any]) -> Row:
    """Return the table row of a size: both exponents, and the values at the smallest and largest size."""
    seconds = {value: median(taken) for value, taken in result["seconds"].items()}
    memory = result["peak_bytes"]
    first, *_, last = seconds
    return {
        "quantity": f"time of a training step ∝ {size}ᵖ, {size} {first} to {last}: p",
        "goal": EXPECTED[size],
        "measured": f"{exponent(seconds):.2f}",
        "beside it": f"{1e3 * seconds[first]:.3g} to {1e3 * seconds[last]:.3g} ms; memory p = {exponent(memory):.2f}, "
        f"{memory[first] / 1e6:.2f} to {memory[last] / 1e6:.2f} MB",
    }


def process_rows(result: Mapping[str, Any]) -> list[Row]:
    """Return the table rows of images per second of several processes relative to one."""
    seconds = {number: median(taken) for number, taken in result["seconds"].items()}
    one, *others = seconds
    return [
        {
            "quantity": f"images a second of {number} processes over those of {one}",
            "goal": "–",
            "measured": f"{int(number) / int(one) * seconds[one] / seconds[number]:.2f}",
            "beside it": f"a step takes {1e3 * seconds[one]:.3g} and {1e3 * seconds[number]:.3g} ms",
        }
        for number in others
    ]


def measure(settings: Scaling, run: Run) -> list[Row]:
    """Measure every size, then the processes, and return the table."""
    rows = [size_row(size, run.once(size, partial(measure_size, settings, size))) for size in EXPECTED]
    return rows + process_rows(run.once("processes", partial(under_torchrun, settings)))


def main() -> None:
    """Measure the results that the record lacks, and print the table."""
    run_benchmark("scaling", QUICK, Scaling(), measure)


if __name__ == "__main__":
    main()
