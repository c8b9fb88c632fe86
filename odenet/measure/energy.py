"""What a computation takes of energy, where the GPU reports its power; elsewhere nothing is made up."""

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
"""Watts at this moment; None where nothing reports them."""

NOT_REPORTED = "nothing on this machine reports its power: energy is not measured, and not estimated either"


class Energy(NamedTuple):
    """Of one call, over a stretch of time in which nothing else ran."""

    joules: float
    """Of one call: mean power × seconds of one call. All that the board takes counts, idle power too."""

    watts: float
    """Mean power."""

    idle_watts: float
    """Just before."""


@checked
def gpu_power() -> float | None:
    """Power of the current CUDA device in watts, as NVML reports it; None where there is no device, or no report.

    Through `torch.cuda.power_draw`, or `nvidia-smi` where NVML's Python package is not installed. NVML's figure is
    a mean over some tens of milliseconds to a second, and right to about 5 %.
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
    """Energy of `work()`, repeated for `seconds` while the power is read at every `interval`; None if nothing reads it.

    The first half of the readings does not count: the power reported lags behind the work by up to a second.

    Args:
        work: one call, of a few milliseconds to a fraction of `seconds`.
        seconds: how long it is repeated, at least.
        power: reads watts.
        interval: between readings, seconds.
    """
    idle = power()
    if idle is None:
        return None
    readings: list[float] = []
    done = threading.Event()
    reader = threading.Thread(target=_read, args=(power, interval, done, readings), daemon=True)
    reader.start()
    calls, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        calls += 1
    done.set()
    reader.join()
    if not readings:
        return None
    watts = fmean(readings[len(readings) // 2 :])
    return Energy(watts * passed / calls, watts, idle)


def _read(power: Power, interval: float, done: threading.Event, readings: list[float]) -> None:
    while not done.wait(interval):
        watts = power()
        if watts is not None:
            readings.append(watts)


def _power_by_nvidia_smi() -> float | None:
    """Watts by the driver's command; None where it is not there or does not say."""
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    command = ["nvidia-smi", f"--id=GPU-{device.uuid}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        return float(printed)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
