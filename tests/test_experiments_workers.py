"""Tests of workers: messages, output and errors of parallel tasks arrive, and no worker outlives its parent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.support.workers import Send, Task, WorkerDied, _sendable, run_tasks

ROOT = Path(__file__).parent.parent


def squares(number: int, send: Send) -> list[int]:
    """Send and print 0², 1², …, and return the sum, the process and its number of threads."""
    for n in range(number):
        send(n**2)
        print("task", number, end=" ")
        print("square", n**2)
    return [sum(n**2 for n in range(number)), os.getpid(), torch.get_num_threads()]


class ReasonedError(ValueError):
    """Error that cannot be constructed from its message alone."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"it cannot be: {reason}")


def fail(error: Callable[[], Exception], send: Send) -> None:
    raise error()


def meet(folder: Path, own: str, other: str, send: Send) -> None:
    """Wait until another task has begun."""
    (folder / own).touch()
    while not (folder / other).exists():
        time.sleep(0.01)


def die(send: Send) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(send: Send) -> None:
    send(os.getpid())
    time.sleep(600)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[int, Any]], list[str]]:
    """Return what two workers sent and printed for five tasks, the first two of which wait for each other."""
    folder = tmp_path_factory.mktemp("met")
    pair: list[Task] = [partial(meet, folder, "a", "b"), partial(meet, folder, "b", "a")]
    with redirect_stdout(io.StringIO()) as printed:
        found = list(run_tasks([*pair, *(partial(squares, number) for number in (3, 4, 5))], 2))
    return found, printed.getvalue().splitlines()


def test_every_task_sends_its_own_in_order_and_returns_last(done):
    for task, number in enumerate((3, 4, 5), start=2):
        *values, (total, _, _) = [content for place, content in done[0] if place == task]
        assert values == [n**2 for n in range(number)]
        assert total == sum(values)


def test_tasks_run_side_by_side_in_other_processes_that_share_the_threads(done):
    assert [content for task, content in done[0] if task < 2] == [None, None], "each waits for the other to begin"
    returned = [content for _, content in done[0] if isinstance(content, list)]
    assert 1 <= len({process for _, process, _ in returned} - {os.getpid()}) <= 2
    assert {threads for _, _, threads in returned} == {max(1, torch.get_num_threads() // 2)}


def test_what_tasks_print_is_printed_in_whole_lines(done):
    assert sorted(done[1]) == sorted(f"task {number} square {n**2}" for number in (3, 4, 5) for n in range(number))


def test_the_error_of_a_task_is_raised_with_the_place_where_it_arose_and_ends_the_others():
    with pytest.raises(ValueError, match="lr=-1 cannot be") as raised:
        list(run_tasks([partial(fail, partial(ValueError, "lr=-1 cannot be")), sleep], 2))
    assert str(raised.value) == "lr=-1 cannot be"
    assert "in fail" in raised.value.__notes__[0]


def test_an_error_that_cannot_be_sent_is_sent_as_one_that_says_the_same():
    error = _sendable(ReasonedError(reason="no data"))
    assert (type(error), str(error)) == (RuntimeError, "ReasonedError: it cannot be: no data")


def test_a_worker_that_is_killed_is_an_error_that_says_how_to_go_on():
    with pytest.raises(WorkerDied, match=r"code -9 .* Give the same command again .* fewer --jobs"):
        list(run_tasks([die], 1))


def test_a_killed_process_takes_its_worker_with_it():
    script = (
        "from experiments.support.workers import run_tasks\nfrom tests.test_experiments_workers import sleep\n"
        "for _, process in run_tasks([sleep], 1): print(process, flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert runs(worker)
        parent.kill()
    while runs(worker):  # a test that hangs here has found a worker that stays
        time.sleep(0.05)


def runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return False
    return state != "Z"
