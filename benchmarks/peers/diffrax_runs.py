"""diffrax as a contestant that runs in a separate process, only when it is its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from benchmarks.peers.dynamics import Problem


class DiffraxRun:
    """A solve that is compiled in the other process; a call runs it once.

    Attributes:
        answer: The solution x(T), or the gradient in x(0).
        seconds: Seconds of every run, measured in the other process.
    """

    def __init__(self, process: DiffraxProcess, name: str, answer: Tensor) -> None:
        self.process, self.name, self.answer = process, name, answer
        self.seconds: list[float] = []

    def __call__(self) -> Tensor:
        """Run the solve once, wait for its end, and return its answer."""
        self.seconds.append(self.process.ask(run=self.name)["seconds"])
        return self.answer


class DiffraxProcess:
    """Context manager of the process `benchmarks.peers.diffrax_process`, with as many threads as torch has here."""

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        flags = os.environ.get("XLA_FLAGS", "") + f" --xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.diffrax_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NPROC": str(threads), "XLA_FLAGS": flags.strip()},
        )
        self._solves = 0

    def solve(self, problem: Problem, method: str, setting: float, *, gradient: bool) -> DiffraxRun:
        """Compile a solve in the other process.

        Args:
            problem: Problem to solve.
            method: Name in `METHODS` of `benchmarks.peers.diffrax_process`.
            setting: Tolerance of "dopri5", or number of steps of the other methods.
            gradient: Whether to compute the gradient of Σ x(T)² in x(0) and the parameters instead of x(T).
        """
        self._solves += 1
        name = str(self._solves)
        answer = self.ask(
            prepare=name,
            dynamics=problem.dynamics,
            method=method,
            setting=setting,
            horizon=problem.horizon,
            gradient=gradient,
            dtype=str(problem.x.dtype).removeprefix("torch."),
            x=problem.x.tolist(),
            parameters=[parameter.tolist() for parameter in problem.parameters],
        )
        return DiffraxRun(self, name, torch.tensor(answer["value"], dtype=problem.x.dtype))

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            RuntimeError: if the other process ended; its error message is on the terminal.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(
                "diffrax was asked to solve a problem, but its process ended with the message shown above: repair the "
                "installation of jax and diffrax, or remove diffrax to continue without it."
            )
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
