"""Parsing of a command line into a dataclass by tyro, in which values of nested settings are refused like others."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TypeVar

from odenet.blocks.extras import Extra

with Extra("experiments"):
    import tyro

T = TypeVar("T")

OWN = "settings"
"""Field of the options whose own fields are options without a prefix."""


def parse(options: type[T], arguments: Sequence[str], prog: str) -> T:
    """Return the options that the command line gives.

    Args:
        options: Dataclass of the options.
        arguments: Command line.
        prog: Program, as the user started it.

    Raises:
        ValueError: if a dataclass refuses its values, at any depth. Tyro would show the refusal of a nested one in a
            box, broken into lines, with a name that is no option.
        SystemExit: if an option is unknown or its text has another type; tyro has explained it.
    """
    said = _Held()
    try:
        with redirect_stderr(said):
            return tyro.cli(options, prog=prog, description="", args=list(arguments))
    except SystemExit as end:
        if refusal := _refusal_of_nested(end):
            said.truncate(0)
            raise refusal from None
        raise
    finally:
        sys.stderr.write(said.getvalue())


class _Held(io.StringIO):
    """Text for the standard error that is held back; it is coloured where that is a terminal."""

    def isatty(self) -> bool:
        """Whether the text goes to a terminal in the end."""
        return sys.__stderr__ is not None and sys.__stderr__.isatty()


def _refusal_of_nested(end: SystemExit) -> ValueError | None:
    """Return the refusal of a nested dataclass that made tyro end the program, with the options' name, or None."""
    wrapped = end.__context__
    refusal, place = getattr(wrapped, "__context__", None), getattr(wrapped, "arg", None)
    if not (isinstance(refusal, ValueError) and isinstance(place, str)):
        return None
    place, message = place.removeprefix(f"{OWN}."), str(refusal)
    return ValueError(f"{place}.{message}" if re.match(r"\w+(\[\d+\])? must ", message) else f"{place}: {message}")
