"""The environment of a run: versions, machine, commit and code, as plain data for its record."""

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
    """Of Python, odenet, CUDA and the packages that decide numbers; `None` for what is not there."""
    from odenet import __version__

    return {
        "python": platform.python_version(),
        "odenet": __version__,
        **{name: _version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda,
    }


def machine() -> dict[str, Any]:
    """Its processor, the threads that torch uses, and the GPU if there is one; no names of hosts or folders."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def commit(folder: Path = Path(__file__).parent) -> str | None:
    """The commit of the code in `folder`, with "+changes" if a Python file differs from it.

    Where git is not there or does not know the code, as in a copy without its repository, the environment variable
    ODENET_COMMIT says it; without that it is `None`: an installed package that lies in somebody else's repository is
    not of its commit.

    Raises:
        ValueError: ODENET_COMMIT is needed and is no name of a commit.
    """
    here = Path(__file__).name if folder == Path(__file__).parent else "."
    if not _git(folder, "ls-files", "--error-unmatch", here):
        return _commit_of_the_environment()
    name = _git(folder, "rev-parse", "HEAD")
    return name and name + ("+changes" if _git(folder, "status", "--porcelain", "-uall", "--", ":/*.py") else "")


def code(folder: Path = Path(__file__).parents[1]) -> str:
    """A fingerprint of the Python files of the library, those in `folder`: of code that no commit names, too."""
    files = sorted(folder.rglob("*.py"))
    return fingerprint([(file.relative_to(folder).as_posix(), file) for file in files])


def _commit_of_the_environment() -> str | None:
    name = os.environ.get("ODENET_COMMIT") or None
    if name is not None and not re.fullmatch(r"[0-9a-f]{40}([+]changes)?", name):
        raise ValueError(
            f"ODENET_COMMIT={name!r} does not name a commit: records keep it, so it has to be 40 hexadecimal digits, "
            "with +changes where the code differs; set it to what `git rev-parse HEAD` prints, or to nothing."
        )
    return name


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; empty if it cannot answer."""
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
    """The model of the CPU, as Linux knows it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
