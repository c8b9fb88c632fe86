"""Ends of a command line program: one line for an error whose message tells the user what to change, and for Ctrl-C."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from experiments.support.invocation import as_invoked

REFUSALS = (ValueError, TypeError, OSError, FloatingPointError, ModuleNotFoundError)
"""Errors whose message tells the user what to change; they end a run without a traceback."""

INTERRUPTED = 130
"""Exit status of a program that Ctrl-C ended, as shells report it."""


@contextmanager
def ends_in_a_line(module: str, arguments: Sequence[str], *refusals: type[Exception], kept: str = "") -> Iterator[None]:
    """End the process with one line if the block is interrupted by Ctrl-C or raises one of the `REFUSALS`.

    Args:
        module: Dotted name of the script.
        arguments: Arguments of the command line, which are repeated for the user who wants to go on.
        refusals: Further errors whose message tells the user what to change.
        kept: Clause that says what an interrupted run leaves behind; "" if it starts anew.
    """
    name = module.rpartition(".")[2]
    try:
        yield
    except KeyboardInterrupt:
        if int(os.environ.get("RANK", 0)) == 0:  # of the processes of torchrun, one speaks
            print(f"\n{name}: {_interrupted(module, arguments, kept)}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (*REFUSALS, *refusals) as error:
        sys.exit(as_invoked(f"{name}: {error}"))


def _interrupted(module: str, arguments: Sequence[str], kept: str) -> str:
    """Return the clause that says how to go on."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        again = "give the same command again"
    else:
        again = as_invoked(f"python -m {module} {shlex.join(arguments)}".rstrip())
    return f"interrupted; {kept}; to go on: {again}" if kept else f"interrupted; to start again: {again}"
