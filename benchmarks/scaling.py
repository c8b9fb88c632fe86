"""How time and memory of a training step grow with steps, width, batch, side of the images, and processes.

    python -m benchmarks.scaling     # 2 minutes on two cores; the record is runs/benchmarks/scaling-DEVICE.json

A residual stage, forward and backward. One of its four sizes is doubled again and again while the others stay; what is
fitted is p in seconds ∝ sizeᵖ, over the last three of the sizes, and likewise for peak memory. Under `torchrun`, 1 and
2 processes of one thread (gloo; NCCL where there are as many GPUs) each take a batch of the same size and average their
gradients by DistributedDataParallel: images a second together, over those of one process.

Expected: time and memory grow like steps and batch (p = 1), and like the square of the side; time like the square of
the width once a convolution outweighs the rest, memory like the width. Two processes on two cores: nearly twice the
images.
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
"""The p of the time."""


@dataclass(frozen=True)
class Scaling:
    """Settings of the benchmark."""

    blocks: tuple[int, ...] = (4, 8, 16, 32, 64)
    """Residual blocks, which are Euler steps."""
    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Width."""
    batch: tuple[int, ...] = (8, 16, 32, 64)
    """Images."""
    side: tuple[int, ...] = (14, 28, 56)
    """Of the images."""
    processes: tuple[int, ...] = (1, 2)
    """Under torchrun; the first is what the others are compared with."""
    steps: int = 30
    """Of each process."""
    budget: float = 10.0
    """Seconds of the rounds of each size."""


QUICK = Scaling((1, 2), (2, 4), (1, 2), (4, 8), processes=(1,), steps=2, budget=0.0)


def grown(settings: Scaling, size: str) -> dict[str, Any]:
    """Seconds and peak bytes by value of one size."""
    works: dict[str, Callable[[], object]] = {
        str(value): training_step(replace(BASE, **{size: value})) for value in getattr(settings, size)
    }
    return {
        "seconds": side_by_side(works, settings.budget),
        "peak_bytes": {value: peak_bytes(work) for value, work in works.items()},
    }


def under_torchrun(settings: Scaling) -> dict[str, Any]:
    """Seconds of each step, by number of processes."""
    taken = {}
    for number in settings.processes:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
        command += ["-m", "benchmarks.peers.data_parallel_process", str(settings.steps)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(
                f"{number} processes were started under torchrun and ended with {ran.returncode}:\n{ran.stderr}\n"
                "Mend what is named there, or leave the number out of `processes`."
            )
        taken[str(number)] = json.loads(ran.stdout.splitlines()[-1])
    return {"seconds": taken}


def exponent(found: Mapping[str, float]) -> float:
    """The p of value ∝ sizeᵖ, over the last three sizes."""
    sizes = [int(size) for size in found][-3:]
    # An order of convergence is the same fit with the other sign.
    return -observed_order(sizes, [found[str(size)] for size in sizes])


def size_row(size: str, result: Mapping[str, Any]) -> Row:
    """Both exponents, and the ends they are between."""
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
    """Images a second of several processes over those of one."""
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
    """Every size, then the processes."""
    rows = [size_row(size, run.once(size, partial(grown, settings, size))) for size in EXPECTED]
    return rows + process_rows(run.once("processes", partial(under_torchrun, settings)))


def main() -> None:
    """Measure everything, once, and print the table."""
    run_benchmark("scaling", QUICK, Scaling(), measure)


if __name__ == "__main__":
    main()
