"""Facts of a machine: processor, GPU and versions, and the speed of a copy and a matrix product.

python -m experiments.support.machine_facts cuda    # prints them as JSON
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from experiments.support.gpu_machine import GIBIBYTE
from odenet.training.environment import machine, versions


def facts(device: str) -> dict[str, Any]:
    """Return processor, GPU, versions and compilers, and the speed of a copy and of a matrix product on `device`."""
    there = device == "cuda" and torch.cuda.is_available()
    found: dict[str, Any] = {"device": device, "card": torch.cuda.get_device_name() if there else None}
    found |= {"memory_bytes": torch.cuda.get_device_properties(0).total_memory if there else None}
    found |= {"torch": torch.__version__, "driver": driver() if there else None, "machine": machine()}
    found |= {"versions": versions(), "compilers": compilers()}
    if device == "cpu" or there:
        found |= {"copy_bytes_per_second": copy_rate(device), "product_flops_per_second": product_rate(device)}
    return found | {"system": platform.platform(terse=True)}


def copy_rate(device: str) -> float:
    """Return the bytes per second that a copy of 1 GiB reads and writes (64 MiB on a CPU)."""
    source = torch.empty(GIBIBYTE if device == "cuda" else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / seconds_of(lambda: target.copy_(source), device)


def product_rate(device: str) -> float:
    """Return the FLOP/s of an 8192³ matrix product in bfloat16 (512³ in float32 on a CPU)."""
    size, kind = (8192, torch.bfloat16) if device == "cuda" else (512, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, device)


def seconds_of(work: Callable[[], object], device: str, repetitions: int = 10) -> float:
    """Return the mean seconds of a call, after three warm-up calls."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(3):
        work()
    wait()
    begun = time.perf_counter()
    for _ in range(repetitions):
        work()
    wait()
    return (time.perf_counter() - begun) / repetitions


def compilers() -> dict[str, bool]:
    """Return, for each compiler that torch.compile may call, whether it is installed."""
    return {name: shutil.which(name) is not None for name in ("cc", "gcc", "g++", "nvcc")}


def driver() -> str | None:
    """Return the version of the GPU driver, from nvidia-smi; `None` if that does not answer."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


if __name__ == "__main__":
    print(json.dumps(facts(sys.argv[1])))
