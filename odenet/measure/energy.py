"""Energy of a computation, where the GPU reports its power; without a report there is no estimate."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

import torch

from odenet.blocks.arguments import checked

Power = Callable[[], float | None]
"""Function that returns the present power in watts, or None if nothing reports it."""

NOT_REPORTED = "nothing on this machine reports its power: energy is not measured, and not estimated either"


class Energy(NamedTuple):
    """Energy and power of one call, measured while nothing else ran."""

    joules: float
    """Energy of one call: mean power of the whole board, idle power included, × seconds of one call."""

    watts: float
    """Mean power during the calls."""

    idle_watts: float
    """Power just before the calls."""


@checked
def gpu_power() -> float | None:
    """Return the power of the current CUDA device in watts, as NVML reports it; None without a device or a report.

    It is read by `torch.cuda.power_draw`, or by `nvidia-smi` if NVML's Python package is not installed. NVML averages
    over some tens of milliseconds to a second, and is accurate to about 5 %.
    """
    if not torch.cuda.is_available():
        return None
    try:
        return torch.cuda.power_draw() / 1000
    except (ImportError, RuntimeError):
        return _power_by_nvidia_smi()


@checked
def measure_energy(
    work: Callable[[], object], seconds: float = 3.0, *, power: Power = gpu_power, interval: float = 0.05
) -> Energy | None:
    """Measure the energy of `work()`, repeated for `seconds`, by reading the power at every `interval`.

    The first half of the readings is discarded, because the reported power lags behind the work by up to a second.

    Args:
        work: function to measure, which takes from a few milliseconds to a fraction of `seconds`.
        seconds: minimal time for which `work` is repeated.
        power: function that reads the power in watts.
        interval: time between readings, in seconds.

    Returns:
        The energy of one call, or None if the power is not reported.
    """
    idle = power()
    if idle is None:
        return None
    readings: list[float] = []
    done = threading.Event()
    reader = threading.Thread(target=_read, args=(power, interval, done, readings), daemon=True)
    reader.start()
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        calls += 1
    done.set()
    reader.join()
    if not readings:
        return None
    watts = fmean(readings[len(readings) // 2 :])
    return Energy(watts * elapsed / calls, watts, idle)


def _read(power: Power, interval: float, done: threading.Event, readings: list[float]) -> None:
    while not done.wait(interval):
        watts = power()
        if watts is not None:
            readings.append(watts)


def _power_by_nvidia_smi() -> float | None:
    """Return the power in watts that `nvidia-smi` prints; None if there is no such command or no number."""
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    command = ["nvidia-smi", f"--id=GPU-{device.uuid}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        return float(printed)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
