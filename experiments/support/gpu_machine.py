"""Checks of the machine before any slice runs; a failed check raises an error whose message says what to do.

The module imports only the standard library at first, because the machine may lack other packages.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = (
    *("torch", "torchdiffeq", "torchvision", "sklearn", "lightning_fabric", "torchmetrics", "tyro", "docstring_parser"),
    *("typeguard", "rich", "safetensors", "filelock", "matplotlib", "scipy", "pytest", "hypothesis"),
)
"""Modules that slices import; the last three are for tests."""

GIBIBYTE = 2**30
SMALLEST_CARD = 24 * GIBIBYTE
"""Memory in bytes of the smallest GPU, where three ResNet-50 train side by side on 128 images of 224×224."""
ROOM = 64 * 2**20
"""Free disk space in bytes that the output needs; a lent machine may return as much."""
READS_FILES = {"mnist": "mnist", "fashion-mnist": "fashion-mnist", "garments": "fashion-mnist"} | {
    name: name for name in ("cifar10", "cifar100")
}
"""Data sets that are read from files, each with the data set that the files belong to."""


class CannotStart(Exception):  # noqa: N818 (named after what happened)
    """Error raised before any slice runs; the message says what is missing and what to do."""


def require_clone(root: Path) -> None:
    """Raise an error unless the folder `root` has the tests and benchmarks, which an installed package has not.

    Raises:
        CannotStart: if one of them is missing.
    """
    if lacking := [name for name in ("tests", "benchmarks", "records") if not (root / name).is_dir()]:
        raise CannotStart(
            f"slices were to be run, but the installed package comes without {', '.join(lacking)}: run `make gpu` in a "
            "clone of the repository."
        )


def lacking_packages() -> list[str]:
    """Return the modules that slices import and that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def require_packages() -> None:
    """Raise an error if the machine lacks packages.

    Raises:
        CannotStart: if modules are lacking.
    """
    if lacking := lacking_packages():
        raise CannotStart(
            f"slices were to be run, but this Python ({sys.executable}) lacks {', '.join(lacking)}: install them "
            "(pip install -e '.[test]'), or carry their wheels as CONTRIBUTING.md says under 'On a GPU machine'."
        )


def require_room(folder: Path) -> None:
    """Raise an error if the output does not fit into the folder.

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
    """Unpack data sets that were carried as .gz, in place; return the new files.

    Raises:
        CannotStart: if a .gz file is damaged.
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
    """Raise an error if a data set is missing, or a file does not have the published MD5.

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
    """Raise an error if the machine has no GPU, or one with too little memory.

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
    """Measure the facts of the machine in a separate process, since a broken driver may hang or kill it.

    Raises:
        CannotStart: if the process hangs or dies.
    """
    command = [sys.executable, "-m", "experiments.support.machine_facts", device]
    try:
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=seconds)
        return json.loads(ran.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise CannotStart(
            f"the machine was to be measured ({' '.join(command[1:])}), but that failed: {str(said)[-500:]}"
        ) from error
