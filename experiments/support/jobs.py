"""Jobs: points of a sweep side by side, each in a process of its own, on this machine or under Slurm (submitit)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from experiments.support.points import Point

SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """How many points run at a time, and where."""

    jobs: int = 1
    """Points at a time. One runs in this process; more need submitit."""
    cluster: Literal["local", "slurm"] | None = None
    """Where: processes of this machine, or jobs of Slurm. None: Slurm where it is found, for more than one job."""
    hours: float = 24.0
    """Longest time of a point; one that Slurm cuts short or preempts is queued again and goes on."""
    cpus: int = 1
    """Cores of a job of Slurm."""
    gpus: int = 0
    """GPUs of a job."""
    partition: str | None = None
    """Of Slurm; None for its default."""

    def __post_init__(self) -> None:
        if self.jobs < 1 or self.cpus < 1 or self.gpus < 0 or not 0 < self.hours < math.inf:
            raise ValueError(
                f"jobs={self.jobs}, cpus={self.cpus}, gpus={self.gpus}, hours={self.hours} cannot be: a job has time "
                "and a core; give jobs and cpus of at least 1, gpus of at least 0 and a number of hours above 0."
            )

    def outcomes(self, points: Sequence[Point], folder: Path) -> Iterator[tuple[Point, str | None]]:
        """Run all points; each as it ends, with what went wrong if anything did.

        Args:
            points: In the order in which they begin.
            folder: Of the output of jobs.

        Raises:
            ModuleNotFoundError: submitit is needed, and not installed.
        """
        if self.jobs == 1 and self.cluster is None:
            return ((point, point.run()) for point in points)
        return self._side_by_side(points, self._executor(folder))

    def _executor(self, folder: Path) -> Any:
        try:
            submitit = import_module("submitit")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"jobs={self.jobs}, cluster={self.cluster} was asked for, but submitit is not installed, which starts "
                "processes here and jobs of Slurm: pip install 'odenet[cluster]', or leave both out, and points run "
                "one after the other.",
                name=error.name,
            ) from error
        executor = submitit.AutoExecutor(folder=folder, cluster=self.cluster)
        executor.update_parameters(
            name="odenet",
            timeout_min=max(1, round(60 * self.hours)),
            cpus_per_task=self.cpus,
            gpus_per_node=self.gpus,
            **({} if self.partition is None else {"slurm_partition": self.partition}),
        )
        return executor

    def _side_by_side(self, points: Sequence[Point], executor: Any) -> Iterator[tuple[Point, str | None]]:
        waiting, running = list(reversed(points)), dict[int, tuple[Point, Any]]()
        try:
            while waiting or running:
                while waiting and len(running) < self.jobs:
                    point = waiting.pop()
                    running[len(waiting)] = point, executor.submit(Requeued(point))
                for place, (point, job) in list(running.items()):
                    if job.done():
                        del running[place]
                        yield point, _outcome(job)
                if running:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            for _, job in running.values():
                job.cancel()


@dataclass(frozen=True)
class Requeued:
    """`Point.run`, for a job of Slurm that may be preempted: it is queued again, and its run goes on."""

    point: Point
    """What is run."""

    def __call__(self) -> str | None:
        """As `Point.run`."""
        return self.point.run()

    def checkpoint(self) -> Any:
        """What submitit queues in the place of a job that was cut short."""
        return import_module("submitit").helpers.DelayedSubmission(self)


def _outcome(job: Any) -> str | None:
    """What went wrong, if anything did; where a process died, with the file of its last words."""
    error = job.exception()
    return job.result() if error is None else f"{str(error).strip().splitlines()[-1]} (see {job.paths.stderr})"
