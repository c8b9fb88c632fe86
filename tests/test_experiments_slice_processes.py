"""Tests of the processes of slices: they wait, run the named program, and end with all that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.support.slice_processes import SliceProcess

ROOT = Path(__file__).parents[1]
SECONDS = 120.0
"""Longest time that anything here may take on a busy machine."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return an environment in which modules in `tmp_path` can be run."""
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}


def module(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.py").write_text(text)
    return name


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_imports_waits_and_is_the_program_of_the_command(tmp_path, environment):
    module(tmp_path, "imported_first", "print('imported', flush=True)")
    name = module(tmp_path, "program", "import sys; print(__name__, *sys.argv[1:], 'imported_first' in sys.modules)")
    process = SliceProcess(environment, imports=["imported_first"])
    wait_for(lambda: process.output() == "imported\n")
    assert not process.ended
    process.begin([name, "--seeds", "0"])
    wait_for(lambda: process.ended)
    assert process.output().splitlines()[1] == "__main__ --seeds 0 True"
    assert process.exit_code == 0
    process.kill()


def test_a_program_that_fails_is_told_with_its_code_and_traceback(tmp_path, environment):
    process = SliceProcess(environment, imports=[])
    process.begin([module(tmp_path, "fails", "raise ValueError('so it is')")])
    wait_for(lambda: process.ended)
    assert process.exit_code == 1
    assert "ValueError: so it is" in process.output()
    process.kill()


def test_a_process_that_cannot_import_has_ended_before_it_begins(environment):
    process = SliceProcess(environment, imports=["there_is_no_such_module"])
    wait_for(lambda: process.ended)
    process.begin(["program"])
    assert process.exit_code == 1
    assert "there_is_no_such_module" in process.output()
    process.kill()


CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
"""


@pytest.mark.parametrize("end", ["", "time.sleep(600)"], ids=["ended", "hangs"])
def test_with_a_process_all_that_it_has_started_ends(end, tmp_path, environment):
    process = SliceProcess(environment, imports=[])
    process.begin([module(tmp_path, "parent", CHILD + end)])
    wait_for(lambda: process.output().endswith("\n"))
    child = int(process.output())
    if not end:
        wait_for(lambda: process.ended)
    assert is_alive(child)
    process.kill()
    wait_for(lambda: not is_alive(child))
    assert process.ended
    process.kill()  # once more, which does no harm


def test_what_ignores_sigterm_is_killed(tmp_path, environment):
    text = "import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('heard', flush=True))\n"
    process = SliceProcess(environment, imports=[])
    process.begin([module(tmp_path, "deaf", text + "print('ready', flush=True)\nwhile True: time.sleep(1)")])
    wait_for(lambda: "ready" in process.output())
    process.terminate()
    wait_for(lambda: "heard" in process.output())
    assert not process.ended
    process.kill()
    assert process.exit_code == -signal.SIGKILL


STARTER = """
import os, sys, time
from experiments.support.slice_processes import SliceProcess

waiting, running = (SliceProcess(os.environ, imports=[]) for _ in range(2))
running.begin(["parent"])
while not running.output().endswith("\\n"):
    time.sleep(0.02)
print(waiting._process.pid, running._process.pid, running.output().strip(), flush=True)
time.sleep(600)
"""


def test_when_the_one_who_started_it_is_killed_the_whole_group_ends(tmp_path, environment):
    module(tmp_path, "parent", CHILD + "time.sleep(600)")
    starter = subprocess.Popen([sys.executable, "-c", STARTER], env=environment, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pids = [int(number) for number in starter.stdout.readline().split()]
    assert len(pids) == 3
    starter.kill()
    starter.wait()
    wait_for(lambda: not any(map(is_alive, pids)))


def test_a_program_finds_standard_input_empty(tmp_path, environment):
    process = SliceProcess(environment, imports=[])
    process.begin([module(tmp_path, "asks", "import os; print(os.read(0, 10))")])
    wait_for(lambda: process.ended)
    assert process.output() == "b''\n"
    process.kill()
