"""Energy of a computation by the counter of the GPU, or by its power; without a report there is no estimate."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean
from typing import NamedTuple

import torch

from odenet.blocks.arguments import checked

Power = Callable[[], float | None]
"""Function that returns the present power in watts, or None if nothing reports it."""

Counter = Callable[[], float | None]
"""Function that returns the energy used so far in joules, or None if nothing counts it."""

NOT_REPORTED = "nothing on this machine reports its power: energy is not measured, and not estimated either"


class Energy(NamedTuple):
    """Energy and power of one call, measured while nothing else ran."""

    joules: float
    """Energy that the whole board takes for one call, idle power included."""

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
def gpu_energy() -> float | None:
    """Return the energy in joules that the current CUDA device has used since its driver was loaded; None if unknown.

    It is NVML's counter, nvmlDeviceGetTotalEnergyConsumption, read by the package nvidia-ml-py where that is installed.
    GPUs before Volta have no counter.
    """
    if not torch.cuda.is_available() or importlib.util.find_spec("pynvml") is None:
        return None
    nvml = importlib.import_module("pynvml")
    try:
        nvml.nvmlInit()
        return nvml.nvmlDeviceGetTotalEnergyConsumption(nvml.nvmlDeviceGetHandleByUUID(_uuid())) / 1000
    except nvml.NVMLError:
        return None


@checked
def measure_energy(
    work: Callable[[], object],
    seconds: float = 3.0,
    *,
    power: Power = gpu_power,
    counter: Counter = gpu_energy,
    interval: float = 0.05,
) -> Energy | None:
    """Measure the energy of `work()`, repeated for `seconds`.

    It is the difference of the energy counter. Where there is none, it is mean power × time: the power is read at every
    `interval`, and the first half of the readings is discarded, because they lag behind the work by up to a second.

    Args:
        work: function to measure, which takes from a few milliseconds to a fraction of `seconds`.
        seconds: minimal time for which `work` is repeated.
        power: function that reads the power in watts.
        counter: function that reads the energy used so far in joules.
        interval: time between readings of the power, in seconds.

    Returns:
        The energy of one call, or None if the power is not reported.
    """
    idle = power()
    if idle is None:
        return None
    if (before := counter()) is not None:
        calls, elapsed = _repeat(work, seconds)
        joules = (counter() or math.nan) - before
    else:
        with _readings(power, interval) as watts:
            calls, elapsed = _repeat(work, seconds)
        if not watts:
            return None
        joules = fmean(watts[len(watts) // 2 :]) * elapsed
    return Energy(joules / calls, joules / elapsed, idle)


def _repeat(work: Callable[[], object], seconds: float) -> tuple[int, float]:
    """Call `work` until `seconds` have passed; return the number of calls and the seconds that they took."""
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        calls += 1
    return calls, elapsed


@contextmanager
def _readings(power: Power, interval: float) -> Iterator[list[float]]:
    """Read the power in a thread at every `interval`; the list is complete when the context ends."""
    readings: list[float] = []
    done = threading.Event()

    def read() -> None:
        while not done.wait(interval):
            if (watts := power()) is not None:
                readings.append(watts)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield readings
    finally:
        done.set()
        reader.join()


def _uuid() -> str:
    return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"


def _power_by_nvidia_smi() -> float | None:
    """Return the power in watts that `nvidia-smi` prints; None if there is no such command or no number."""
    command = ["nvidia-smi", f"--id={_uuid()}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        return float(printed)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
