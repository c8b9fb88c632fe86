"""What every drill runs under: a limit on processor time, and a table at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drills.limit import Limit, limits
from tests.drills.tally import Counting, collected, table, tallied


@pytest.fixture
def limited() -> Iterator[Limit]:
    """A limit on the processor time of a `with` statement."""
    with limits() as limit:
        yield limit


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counting:
    """A drill of that name is counted in a `with` statement."""
    return lambda drill: tallied(request, drill)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what all drills came to."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    calls = [report for report in reports if getattr(report, "when", "") == "call"]
    drills = collected(entry for report in calls for entry in report.user_properties)
    if drills:
        terminalreporter.section("drills")
        for line in table(drills):
            terminalreporter.write_line(line)
