"""The machine that slices run on: what it is, how fast its memory and products are, and what it lacks.

    python -m experiments.support.gpu_machine cuda    # prints its facts as JSON

Nothing here is imported that such a machine may lack before it has been asked for it.
"""

from __future__ import annotations

import gzip
import json
import platform
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "torchdiffeq", "torchvision", "sklearn", "lightning_fabric", "torchmetrics", "tyro", "docstring_parser"),
    *("typeguard", "rich", "safetensors", "filelock", "matplotlib", "scipy", "pytest", "hypothesis"),
)
"""Modules that slices import; the last three for tests."""

GIBIBYTE = 2**30
SMALLEST_CARD = 24 * GIBIBYTE
"""Bytes of memory of the smallest GPU: three ResNet-50 take their steps on 128 images of 224×224 side by side."""
ROOM = 64 * 2**20
"""Free bytes that the output needs; what comes back from a lent machine may be as large."""
READS_FILES = {"mnist": "mnist", "fashion-mnist": "fashion-mnist", "garments": "fashion-mnist"} | {
    name: name for name in ("cifar10", "cifar100")
}
"""Data sets that are read from files, and those whose files they are."""


class CannotStart(Exception):  # noqa: N818 (it says what is the case)
    """Slices cannot be run on this machine as it was asked for; the message says why, and what to do."""


def lacking_packages() -> list[str]:
    """Modules that slices import and that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def require_packages() -> None:
    """Refuse a machine without the packages.

    Raises:
        CannotStart: if modules are lacking.
    """
    if lacking := lacking_packages():
        raise CannotStart(
            f"slices were to be run, but this Python ({sys.executable}) lacks {', '.join(lacking)}: install them "
            "(pip install -e '.[test]'), or carry their wheels as CONTRIBUTING.md says under 'On a GPU machine'."
        )


def require_room(folder: Path) -> None:
    """Refuse a folder that the output does not fit into.

    Raises:
        CannotStart: if the folder cannot be made, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise CannotStart(
            f"the output was to go to '{folder}', which cannot be made: {error.strerror}; give another --out."
        ) from error
    if free < ROOM:
        raise CannotStart(
            f"the output was to go to '{folder}', where {free / 2**20:.0f} MiB are free and {ROOM / 2**20:.0f} are "
            "needed: free some space, or give another --out."
        )


def unpack(folder: Path) -> list[Path]:
    """Unpack data sets that travelled as .gz, in place; return the files that were made.

    Raises:
        CannotStart: if a file is no whole .gz.
    """
    from odenet.training.files import write_atomically

    made = []
    for packed in sorted(folder.glob("*/raw/*.gz")):
        if not (whole := packed.with_suffix("")).exists():
            try:
                write_atomically(whole, gzip.decompress(packed.read_bytes()), what="data file")
            except (OSError, EOFError, zlib.error) as error:
                raise CannotStart(
                    f"'{packed}' was to be unpacked, but cannot be ({error}): pack it again, as CONTRIBUTING.md says."
                ) from error
            made.append(whole)
    return made


def require_data(names: set[str], root: Path) -> None:
    """Refuse a machine whose data sets are not there, or not as published: every file is compared by its MD5.

    Raises:
        CannotStart: if a data set cannot be read.
    """
    from odenet.data import load

    for name in sorted({READS_FILES[name] for name in names if name in READS_FILES}):
        try:
            load(name, root, download=False)
        except (OSError, ValueError) as error:
            raise CannotStart(f"{error} (On a machine without a network, see CONTRIBUTING.md.)") from error


def require_card(facts: dict[str, Any]) -> None:
    """Refuse a machine without a GPU, or with one that is too small.

    Raises:
        CannotStart: if there is no CUDA device, or it has too little memory.
    """
    if facts["device"] != "cuda":
        return
    if facts["card"] is None:
        raise CannotStart(
            f"slices for a GPU were to be run, but torch {facts['torch']} finds no CUDA device here: run the command "
            "on a machine with one, or try it with --device cpu --preset smoke."
        )
    if facts["memory_bytes"] < SMALLEST_CARD:
        raise CannotStart(
            f"slices were to be run on {facts['card']}, which has {facts['memory_bytes'] / GIBIBYTE:.0f} GiB of "
            f"memory, and they need {SMALLEST_CARD / GIBIBYTE:.0f}: take a larger GPU, or run experiments alone with a "
            "smaller --training.batch-size."
        )


def measured_facts(device: str, environment: dict[str, str], seconds: float = 120.0) -> dict[str, Any]:
    """What `facts` returns in a process of its own, which may hang or die with a broken driver.

    Raises:
        CannotStart: if it does.
    """
    command = [sys.executable, "-m", "experiments.support.gpu_machine", device]
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=seconds)
        return json.loads(ran.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise CannotStart(
            f"the machine was to be measured ({' '.join(command[1:])}), and that failed: {str(said)[-500:]}"
        ) from error


def facts(device: str) -> dict[str, Any]:
    """The machine: its processor, its GPU, versions, compilers, and on the device a copy and a product."""
    import torch

    from odenet.training.environment import machine, versions

    there = device == "cuda" and torch.cuda.is_available()
    found: dict[str, Any] = {"device": device, "card": torch.cuda.get_device_name() if there else None}
    found |= {"memory_bytes": torch.cuda.get_device_properties(0).total_memory if there else None}
    found |= {"torch": torch.__version__, "driver": driver() if there else None, "machine": machine()}
    found |= {"versions": versions(), "compilers": compilers()}
    if device == "cpu" or there:
        found |= {"copy_bytes_per_second": copy_rate(device), "product_flops_per_second": product_rate(device)}
    return found | {"system": platform.platform(terse=True)}


def copy_rate(device: str) -> float:
    """Bytes a second that a copy of 1 GiB reads and writes (of 64 MiB on a CPU)."""
    import torch

    source = torch.empty(GIBIBYTE if device == "cuda" else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * len(source) / seconds_of(lambda: target.copy_(source), device)


def product_rate(device: str) -> float:
    """Floating-point operations a second of an 8192³ product in bfloat16 (512³ in float32 on a CPU)."""
    import torch

    size, kind = (8192, torch.bfloat16) if device == "cuda" else (512, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, device)


def seconds_of(work: Callable[[], object], device: str, repetitions: int = 10) -> float:
    """Mean seconds of a call, after three that do not count."""
    import torch

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
    """Which of the compilers that torch.compile may call are there."""
    return {name: shutil.which(name) is not None for name in ("cc", "gcc", "g++", "nvcc")}


def driver() -> str | None:
    """The version of the driver, as nvidia-smi says it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


if __name__ == "__main__":
    print(json.dumps(facts(sys.argv[1])))
