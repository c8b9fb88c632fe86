"""Jobs that run the points of a sweep in parallel processes, on this machine or under Slurm (submitit)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from experiments.support.points import Point
from odenet.training.checked import Checked

SECONDS_BETWEEN_POLLS = 0.5


@dataclass(frozen=True, kw_only=True)
class Jobs(Checked):
    """Number of points that run at a time, and where they run."""

    jobs: int = 1
    """Number of points at a time. One runs in this process; more need submitit."""
    cluster: Literal["local", "slurm"] | None = None
    """Processes of this machine or jobs of Slurm; None runs one job in this process, and more under Slurm if found."""
    hours: float = 24.0
    """Maximal hours of a point; if Slurm stops or preempts it, it is queued again and continues."""
    cpus: int = 1
    """Number of cores of a job of Slurm."""
    gpus: int = 0
    """Number of GPUs of a job."""
    partition: str | None = None
    """Partition of Slurm; None for the default of the cluster."""

    def outcomes(self, points: Sequence[Point], folder: Path) -> Iterator[tuple[Point, str | None]]:
        """Run all points, and yield each as it ends, with the message of its error or None.

        Args:
            points: Points in the order in which they start.
            folder: Folder for the output of the jobs.

        Raises:
            ModuleNotFoundError: if submitit is needed but not installed.
        """
        if self.jobs == 1 and self.cluster is None:
            return ((point, point.run()) for point in points)
        return self._run_in_parallel(points, self._executor(folder))

    def _executor(self, folder: Path) -> Any:
        try:
            submitit = import_module("submitit")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"jobs={self.jobs}, cluster={self.cluster} was asked for, but submitit, which starts the processes, is "
                "not installed: pip install 'odenet[cluster]', or leave both out to run one point after the other.",
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

    def _run_in_parallel(self, points: Sequence[Point], executor: Any) -> Iterator[tuple[Point, str | None]]:
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
                    time.sleep(SECONDS_BETWEEN_POLLS)
        finally:
            for _, job in running.values():
                job.cancel()


@dataclass(frozen=True)
class Requeued:
    """The call of `Point.run` in a job of Slurm, which is queued again when it is preempted."""

    point: Point
    """Point to run."""

    def __call__(self) -> str | None:
        """Run the point; return the message of its error, or None."""
        return self.point.run()

    def checkpoint(self) -> Any:
        """Return the call that submitit queues in place of a job that was stopped."""
        return import_module("submitit").helpers.DelayedSubmission(self)


def _outcome(job: Any) -> str | None:
    """Return the message of the error, or None; if the process died, with the file of its error output."""
    error = job.exception()
    return job.result() if error is None else f"{str(error).strip().splitlines()[-1]} (see {job.paths.stderr})"
