"""Processes of slices, each in its own process group, so that everything a slice has started ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress

IMPORTS = ("torch", "torchvision", "lightning_fabric", "torchmetrics", "experiments.support.command")
"""Modules that every slice imports."""


class SliceProcess:
    """Process that imports modules and waits until `begin` names the program to run.

    Args:
        environment: Environment variables of the process.
        imports: Modules that the process imports first.
    """

    def __init__(self, environment: Mapping[str, str], imports: Sequence[str] = IMPORTS) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process; a pipe might fill up)
        self._killed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.support.standby", *imports],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            process_group=0,
        )

    def begin(self, command: Sequence[str]) -> None:
        """Run a module with arguments in the process; if the process has died before, `ended` is true."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(list(command)).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def ended(self) -> bool:
        """Whether the process has ended; other processes of its group may still run."""
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the process; `None` while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the whole group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group, and wait for the process; does nothing the second time."""
        if self._killed:
            return
        self._killed = True
        self._signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def output(self) -> str:
        """Return everything that the group has printed so far."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # no process is left in the group
            os.killpg(self._process.pid, number)
