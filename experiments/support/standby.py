"""Process that imports modules, waits for a command, and then runs the program that the command names.

    python -m experiments.support.standby [MODULE …]    # then a line of JSON: a module to run and its arguments

Importing torch takes seconds, which a slice on a lent GPU saves if its process was started before. The process and its
group end when standard input closes, that is with the process that started them, even if that is killed.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import threading
import warnings
from importlib import import_module


def main() -> None:
    """Import the modules, wait for the command, and run it."""
    for name in sys.argv[1:]:
        import_module(name)
    if not (line := sys.stdin.readline()):
        return
    _end_with_standard_input()
    sys.argv = json.loads(line)
    warnings.filterwarnings("ignore", message=f".*{sys.argv[0]}", category=RuntimeWarning)  # if imported before
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_standard_input() -> None:
    """End this process group when the other end of standard input closes; the program reads an empty input."""
    pipe, empty = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()


def _end_with(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
