"""Workers: processes of this machine that do tasks one after the other, side by side, and tell what comes of them."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias, cast

import torch

Tell: TypeAlias = Callable[[Any], None]
"""Sends something to the process that started the workers."""
Task: TypeAlias = Callable[[Tell], Any]
"""What a worker does; can be pickled, as a `partial` of a function of a module can."""


class WorkerDied(RuntimeError):  # noqa: N818 (it says what happened)
    """A worker was killed before its task was done."""


def told(tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Any]]:
    """What the tasks tell and, last for each, what they return, as it comes: the number of the task, and that.

    Tasks are begun in their order; what they print, this process prints, whole lines at a time. The workers end with
    the iterator, and with this process, even if it is killed. Torch's threads are divided among them.

    Raises:
        WorkerDied: A worker was killed.
        Exception: What a task raised: the first ends all of them.
    """
    waiting = list(reversed(range(len(tasks))))
    with _processes(tasks, min(workers, len(tasks))) as processes:
        busy = dict(processes)
        for connection in processes:
            connection.send(waiting.pop())
        while busy:
            for connection in cast(list[Connection], wait(list(busy))):
                kind, number, content = _received(connection, busy[connection])
                if kind == "failed":
                    raise content
                if kind == "said":
                    sys.stdout.write(content)
                    sys.stdout.flush()
                    continue
                yield number, content
                if kind == "returned" and waiting:
                    connection.send(waiting.pop())
                elif kind == "returned":
                    connection.send(None)
                    del busy[connection]


@contextmanager
def _processes(tasks: Sequence[Task], workers: int) -> Iterator[dict[Connection, BaseProcess]]:
    """Workers by the connections to them; all of them are ended with the context."""
    # Spawned, for the fork of a process with threads or a GPU may hang; bytes, so that no tensor takes shared memory.
    context, pickled = get_context("spawn"), pickle.dumps(list(tasks))
    threads, processes = max(1, torch.get_num_threads() // workers), dict[Connection, BaseProcess]()
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, pickled, threads), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


def _received(connection: Connection, process: BaseProcess) -> tuple[str, int, Any]:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise WorkerDied(
            f"a worker ended with code {process.exitcode} before its task was done: it was killed, by the system if "
            "memory ran out. Give the same command again and it goes on, with fewer --jobs if memory is short."
        ) from None


def _work(connection: Connection, pickled: bytes, threads: int) -> None:
    """The worker: does the tasks whose numbers come, until None comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    sys.stdout = _Said(connection)
    tasks: list[Task] = pickle.loads(pickled)
    while (number := connection.recv()) is not None:
        connection.send(_outcome(tasks[number], number, connection))


def _outcome(task: Task, number: int, connection: Connection) -> tuple[str, int, Any]:
    """What the task returned, or raised."""
    try:
        return "returned", number, task(lambda content: connection.send(("told", number, content)))
    except Exception as error:
        return "failed", number, _sendable(error)


def _end_with_parent() -> None:
    """End this process when the one that started it ends, even killed: both would write the same checkpoints."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error with the lines where it arose; where it cannot be pickled, one that says the same."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its constructor makes of other arguments
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Said(io.TextIOBase):
    """Standard output of a worker: sends whole lines, so that those of two workers do not mix."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._line = connection, ""

    def write(self, text: str) -> int:
        """Keep the text, and send what ends with a line."""
        lines, separator, self._line = (self._line + text).rpartition("\n")
        if separator:
            self._connection.send(("said", -1, lines + separator))
        return len(text)
