"""List of the experiments: the question of each script, with its commands, their minutes and machines.

    python -m experiments          # all questions
    python -m experiments NAME     # the question of one script, and how to see its settings

The list is read from the docstrings of the scripts, without importing them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import iter_modules

from experiments.support.invocation import as_invoked

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Script:
    """Script of an experiment, as its module docstring describes it."""

    name: str
    """Name of the module in `experiments`."""
    question: str
    """First line of the docstring."""
    commands: tuple[str, ...]
    """Command lines, each with its comment on data, time and machine."""

    @classmethod
    def read(cls, name: str) -> Script:
        """Read the docstring of a script without importing the script, which would import torch."""
        tree = ast.parse((FOLDER / f"{name}.py").read_text("utf-8"))
        question, *lines = (ast.get_docstring(tree) or "").splitlines()
        start = f"    python -m experiments.{name} "
        return cls(name, question, tuple(line for line in lines if line.startswith(start)))

    def __str__(self) -> str:
        """Return the question and the commands as text."""
        return "\n".join((self.question, *self.commands))


def scripts() -> list[str]:
    """Return the names of all scripts, in alphabetical order."""
    return [found.name for found in iter_modules([str(FOLDER)]) if not (found.ispkg or found.name.startswith("__"))]


def answer(arguments: Sequence[str]) -> str:
    """Return the list of all questions, or the question of the script that the arguments name.

    Raises:
        ValueError: if there is no such script, or more than one argument.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        every = "\n\n".join(str(Script.read(name)) for name in scripts())
        return f"{every}\n\nSettings of an experiment: python -m experiments.NAME --help"
    name, *rest = arguments
    if name not in scripts():
        from odenet.blocks.errors import unknown_name  # here, because it imports torch

        raise unknown_name("experiment", name, scripts())
    if rest:
        raise ValueError(
            f"{' '.join(arguments)!r} was asked for, but this command only lists questions: run the experiment by "
            f"python -m experiments.{' '.join(arguments)}."
        )
    return f"{Script.read(name)}\n\nSettings: python -m experiments.{name} --help"


def main() -> None:
    """Print the answer to the command line."""
    try:
        print(as_invoked(answer(sys.argv[1:])))
    except ValueError as error:
        sys.exit(as_invoked(f"experiments: {error}"))


if __name__ == "__main__":
    main()
