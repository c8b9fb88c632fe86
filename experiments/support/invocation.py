"""Command lines in texts for the user: `python -m experiments.NAME`, or `odenet run NAME` where that was typed."""

from __future__ import annotations

import os
import re

VARIABLE = "ODENET_COMMAND"
"""Environment variable that the command `odenet` sets for the scripts that it runs."""

_FORMS = (
    (r"python -m experiments\.(\w+)", r"odenet run \1"),
    (r"python -m experiments\b", "odenet list"),
    (r"python -m paper_figs\.(?!claims\b)(\w+)", r"odenet figures \1"),
    (r"python -m paper_figs\b(?!\.\w)", "odenet figures"),
)


def as_invoked(text: str) -> str:
    """Return `text` with its command lines in the form in which the user started this program.

    >>> as_invoked("run python -m experiments.sweep first")
    'run python -m experiments.sweep first'
    """
    if VARIABLE in os.environ:
        for module, command in _FORMS:
            text = re.sub(module, command, text)
    return text
