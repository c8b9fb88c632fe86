"""Energy is the difference of a counter, or mean power times time; it is None if the GPU reports neither."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from odenet.measure import gpu_power, measure_energy
from odenet.measure.energy import _power_by_nvidia_smi, gpu_energy


class Meter:
    """Fake power meter with given readings, and work that advances a fake clock after all readings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *watts: float) -> None:
        self.watts, self.read, self.now = watts, 0, 0.0
        monkeypatch.setattr("odenet.measure.energy.time", SimpleNamespace(perf_counter=lambda: self.now))

    def power(self) -> float:
        self.read += 1
        return self.watts[min(self.read, len(self.watts)) - 1]

    def work(self, seconds: float) -> None:
        """Wait until the last of the watts has been read, then advance the clock."""
        while self.read < len(self.watts):
            time.sleep(0.001)
        self.now += seconds


def test_at_a_constant_power_a_call_takes_power_times_its_time(monkeypatch):
    meter = Meter(monkeypatch, 100.0, 100.0)
    energy = measure_energy(lambda: meter.work(0.25), 1.0, power=meter.power, interval=0.001)
    assert energy == (25.0, 100.0, 100.0)


def test_the_first_half_of_the_readings_does_not_count(monkeypatch):
    meter = Meter(monkeypatch, 10.0, 50.0, 50.0, 200.0, 200.0)
    energy = measure_energy(lambda: meter.work(0.5), 1.0, power=meter.power, interval=0.001)
    assert energy == (100.0, 200.0, 10.0)


@pytest.mark.parametrize("readings", [iter(lambda: None, 0), iter([30.0, *[None] * 1000])], ids=["never", "no more"])
def test_where_nothing_reports_power_there_is_no_energy(readings):
    assert measure_energy(lambda: time.sleep(0.001), 0.02, power=lambda: next(readings), interval=0.005) is None


def test_with_a_counter_the_energy_is_its_difference_and_no_power_is_read_meanwhile(monkeypatch):
    meter, counted = Meter(monkeypatch, 30.0), iter([7000.0, 7100.0])
    energy = measure_energy(lambda: meter.work(0.25), 1.0, power=meter.power, counter=lambda: next(counted))
    assert energy == (25.0, 100.0, 30.0)
    assert meter.read == 1, "the idle power alone"


def nvml(joules: float | None) -> SimpleNamespace:
    """Stand-in for pynvml, of a GPU that has used so much energy, or has no counter."""

    class NVMLError(Exception):
        """Not Supported"""

    def total(handle: str) -> int:
        assert handle == "GPU-0-1"
        if joules is None:
            raise NVMLError
        return round(1000 * joules)

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


@pytest.mark.parametrize("joules", [1234.5, None])
def test_the_counter_is_that_of_nvml_where_the_gpu_has_one(monkeypatch, joules):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="0-1"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: "found")
    monkeypatch.setitem(sys.modules, "pynvml", nvml(joules))
    assert gpu_energy() == joules


def test_without_nvmls_package_there_is_no_counter(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert gpu_energy() is None


def test_without_cuda_no_power_and_no_energy_are_reported(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_power() is None
    assert gpu_energy() is None


@pytest.mark.parametrize("error", [ModuleNotFoundError("pynvml"), RuntimeError("no driver")], ids=str)
def test_without_nvmls_package_the_drivers_command_is_asked(monkeypatch, error):
    def refuse() -> int:
        raise error

    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "power_draw", refuse)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="0-1"))
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: asked.append(command) or SimpleNamespace(stdout="123.45\n")
    )
    assert gpu_power() == 123.45
    assert "--id=GPU-0-1" in asked[0]


@pytest.mark.parametrize("answer", [FileNotFoundError("nvidia-smi"), "[N/A]\n"], ids=str)
def test_a_driver_that_does_not_say_gives_none(monkeypatch, answer):
    def run(*_: object, **__: object) -> SimpleNamespace:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=answer)

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="0-1"))
    monkeypatch.setattr(subprocess, "run", run)
    assert _power_by_nvidia_smi() is None


@pytest.mark.gpu
def test_a_gpu_that_reports_its_power_takes_more_at_work_than_nothing():
    if gpu_power() is None:
        pytest.skip("this GPU reports no power")
    a = torch.randn(4096, 4096, device="cuda")
    energy = measure_energy(lambda: a @ a, 1.0)
    assert energy is not None
    assert energy.joules > 0
