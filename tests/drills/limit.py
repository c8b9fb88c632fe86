"""A limit on the processor time of what is hard or hostile: a clock would blame it for what else the machine does."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import torch

SECONDS = 20.0
"""Of processor time: the longest that any dynamics or file may take, however hard."""

Limit: TypeAlias = Callable[[], AbstractContextManager[None]]


class TookTooLong(BaseException):
    """What was tried did not end within `SECONDS` of processor time."""


@contextmanager
def limits() -> Iterator[Limit]:
    """Make a `with` statement whose body has `SECONDS` of processor time on one core, or raises `TookTooLong`."""
    threads, former = torch.get_num_threads(), signal.getsignal(signal.SIGPROF)

    def stop(*_: Any) -> None:
        raise TookTooLong(f"more than {SECONDS:g} s of processor time")

    @contextmanager
    def limit() -> Iterator[None]:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, stop)
    torch.set_num_threads(1)
    try:
        yield limit
    finally:
        torch.set_num_threads(threads)
        signal.signal(signal.SIGPROF, former)
