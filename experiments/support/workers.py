"""Worker processes on this machine, which run tasks in parallel and send their messages and results."""

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

Send: TypeAlias = Callable[[Any], None]
"""Function that sends a message to the process that started the workers."""
Task: TypeAlias = Callable[[Send], Any]
"""Function that a worker runs; it must be picklable, such as a `partial` of a module's function."""


class WorkerDied(RuntimeError):  # noqa: N818 (named after what happened)
    """Raised when a worker process was killed before its task was done."""


def run_tasks(tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Any]]:
    """Run the tasks, and yield pairs (number of the task, message); the last message is the task's return value.

    Tasks start in their order; this process prints their output, whole lines at a time. The workers end with the
    iterator, and with this process, even if it is killed. Torch's threads are divided among the workers.

    Raises:
        WorkerDied: if a worker was killed.
        Exception: if a task raised it; the first one ends all tasks.
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
    """Start worker processes, and end them with the context; yields them by their connections."""
    # Spawned, because a fork of a process with threads or a GPU may hang. Pickled here, so that no tensor goes through
    # shared memory.
    context, pickled = get_context("spawn"), pickle.dumps(list(tasks))
    threads, processes = max(1, torch.get_num_threads() // workers), dict[Connection, BaseProcess]()
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, pickled, threads), daemon=True)
            with _interrupts_ignored():  # a process inherits it, and is quiet from its first line on
                process.start()
            theirs.close()
            processes[ours] = process
        yield processes
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C in the block, where this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _received(connection: Connection, process: BaseProcess) -> tuple[str, int, Any]:
    try:
        return connection.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise WorkerDied(
            f"a worker ended with code {process.exitcode} before its task was done: it was killed, perhaps by the "
            "system because memory ran out. Give the same command again to continue, with fewer --jobs if memory is "
            "short."
        ) from None


def _work(connection: Connection, pickled: bytes, threads: int) -> None:
    """Run in the worker the tasks whose numbers it receives, until it receives None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    sys.stdout = _LineWriter(connection)
    tasks: list[Task] = pickle.loads(pickled)
    while (number := connection.recv()) is not None:
        connection.send(_outcome(tasks[number], number, connection))


def _outcome(task: Task, number: int, connection: Connection) -> tuple[str, int, Any]:
    """Run a task, and return the message with its result or error."""
    try:
        return "returned", number, task(lambda content: connection.send(("sent", number, content)))
    except Exception as error:
        return "failed", number, _sendable(error)


def _end_with_parent() -> None:
    """End this process when its parent ends, even if killed: a new run would write the same checkpoints."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    """Return the error with its traceback as a note, or a RuntimeError of the same text if it cannot be pickled."""
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # its constructor may raise anything when it is called by pickle
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _LineWriter(io.TextIOBase):
    """Standard output of a worker, which sends whole lines, so that the lines of two workers do not mix."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._line = connection, ""

    def write(self, text: str) -> int:
        """Buffer the text, and send its complete lines."""
        lines, separator, self._line = (self._line + text).rpartition("\n")
        if separator:
            self._connection.send(("said", -1, lines + separator))
        return len(text)
