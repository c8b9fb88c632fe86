"""Environment of a run: versions, machine, commit and code, as plain data for its record."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from odenet.training.fingerprints import fingerprint

_PACKAGES = ("torch", "torchvision", "torchdiffeq", "numpy")


def versions() -> dict[str, str | None]:
    """Return the versions of Python, odenet, CUDA and the numerical packages; `None` for what is not installed."""
    from odenet import __version__

    return {
        "python": platform.python_version(),
        "odenet": __version__,
        **{name: _version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda,
    }


def machine() -> dict[str, Any]:
    """Return the processor, the number of threads of torch, and the GPU if any; no names of hosts or folders."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """Return the commit of the code in `folder`, followed by "+changes" if a Python file differs from it.

    If git is not installed or does not track the code, as in a copy without its repository or an installed package in
    another repository, the value of the environment variable ODENET_COMMIT is returned, or `None` if it is not set.

    Raises:
        ValueError: if ODENET_COMMIT is needed and is not the name of a commit.
    """
    here = Path(__file__).name if folder == Path(__file__).parent else "."
    if not _git(folder, "ls-files", "--error-unmatch", here):
        return _commit_of_the_environment()
    name = _git(folder, "rev-parse", "HEAD")
    return name and name + ("+changes" if _git(folder, "status", "--porcelain", "-uall", "--", ":/*.py") else "")


def code(folder: Path = Path(__file__).parents[1]) -> str:
    """Return a fingerprint of the Python files in `folder`, which identifies uncommitted code too."""
    files = sorted(folder.rglob("*.py"))
    return fingerprint([(file.relative_to(folder).as_posix(), file) for file in files])


def _commit_of_the_environment() -> str | None:
    name = os.environ.get("ODENET_COMMIT") or None
    if name is not None and not re.fullmatch(r"[0-9a-f]{40}([+]changes)?", name):
        raise ValueError(
            f"ODENET_COMMIT={name!r} does not name a commit: it is written to records and must be 40 hexadecimal "
            "digits, followed by +changes if the code differs; set it to the output of `git rev-parse HEAD`, or unset "
            "it."
        )
    return name


def _git(folder: Path, *arguments: str) -> str:
    """Return the output of git; empty if it fails."""
    try:
        answer = subprocess.run(("git", *arguments), cwd=folder, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Return the model of the CPU, from Linux or else from Python's `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
