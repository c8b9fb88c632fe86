"""What every drill runs under: a limit on processor time, and a table at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

from tests.drills.tally import Tally, collected, table, tallied

SECONDS = 20.0
"""Of processor time: the longest that any dynamics or file may take, however hard."""


class TookTooLong(BaseException):  # noqa: N818 (nobody catches it by mistake)
    """What was tried did not end within `SECONDS` of processor time."""


Limit = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def limited() -> Iterator[Limit]:
    """A `with` statement whose body has `SECONDS` of processor time on one core, or raises `TookTooLong`."""
    threads, former = torch.get_num_threads(), signal.getsignal(signal.SIGPROF)
    torch.set_num_threads(1)

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
    try:
        yield limit
    finally:
        signal.signal(signal.SIGPROF, former)
        torch.set_num_threads(threads)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Callable[[str], AbstractContextManager[Tally]]]:
    """A drill of that name is counted in a `with` statement."""
    yield lambda drill: tallied(request, drill)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what all drills came to."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    drills = collected(entry for report in calls for entry in report.user_properties)
    if drills:
        terminalreporter.section("drills")
        for line in table(drills):
            terminalreporter.write_line(line)
