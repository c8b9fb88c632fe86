"""Programs that are killed: `python -m MODULE ARGUMENTS`, started many times without importing torch each time.

python -m tests.drills.program
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, NoReturn, Self

ROOT = Path(__file__).parents[2]
FIGURES = "paper_figs"
"""The program that draws all figures; it and those that draw one find the records in the folder of the repository."""
IMPORTED = (
    "experiments.depth_refinement",
    "experiments.segmentation",
    "paper_figs.support.command",
    "lightning_fabric",
    "rich.table",
    "sklearn.datasets",
    "torchdiffeq",
    "torchmetrics.classification",
)
"""What they import, sooner or later."""


class Started(NamedTuple):
    """A program under way, or one that has ended."""

    pid: int
    folder: Path

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return (self.folder / ".said").read_text()


class Program:
    """A process in which all imports are done; every program that it starts is a copy of it, one at a time."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.drills.program"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True)
        self._ended: int | None = None
        assert self._read() == "ready"

    def start(self, module: str, folder: Path, arguments: Sequence[str]) -> Started:
        """Begin `python -m MODULE ARGUMENTS` in that folder; figures find their records in that of the repository."""
        self._ended = None
        self._write([module, str(folder), *arguments])
        return Started(int(self._read()), folder)

    def status(self) -> int | None:
        """The exit status of the one that was started last, minus the signal, if that was its end; None before it."""
        if self._ended is None:
            self._write([])
            answer = self._read()
            self._ended = None if answer == "running" else int(answer)
        return self._ended

    def wait(self) -> int:
        """The exit status, once there is one."""
        while (status := self.status()) is None:
            time.sleep(0.005)
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def _write(self, words: list[str]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def main() -> None:
    """Import all; for each line of the standard input start a program, or say what became of the last one."""
    for module in IMPORTED:
        importlib.import_module(module)
    importlib.import_module("paper_figs.support.command").scripts()
    print("ready", flush=True)
    child = 0
    for line in sys.stdin:
        words = json.loads(line)
        if not words:
            ended, status = os.waitpid(child, os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if ended else "running", flush=True)
            continue
        child = os.fork()
        if child == 0:
            _run(*words)
        print(child, flush=True)


def _run(module: str, folder: str, *arguments: str) -> NoReturn:
    """Be that program, to the end of the process."""
    said = os.open(Path(folder) / ".said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.argv = [module, *arguments]
    status = 0
    try:
        if not module.startswith(FIGURES):
            os.chdir(folder)
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy's, that the module was imported before
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = 0 if end.code is None else 1
        print(end.code or "")
    except BaseException:
        traceback.print_exc()
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
