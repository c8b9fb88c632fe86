"""Compiled programs: functions that a block hands to torch.compile once, and what happens where that fails."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar, cast

import torch

from odenet.blocks.errors import OdenetWarning

P = ParamSpec("P")
R = TypeVar("R")

BACKEND: str | Callable[..., Any] = "inductor"
"""torch.compile's backend of programs that are yet to be made; "aot_eager" shows, in seconds, what one graph is."""


class CompileWarning(OdenetWarning):
    """Something was to be compiled and runs uncompiled: the numbers are the same, the speed is not."""


class Programs:
    """The compiled functions of one block, each under a key that says all that it reads besides its arguments.

    A copy, or what comes out of a pickle, starts empty.
    """

    def __init__(self) -> None:
        self._of: dict[Hashable, Callable[..., Any]] = {}
        self._reported: set[str] = set()

    def compiled(self, key: Hashable, function: Callable[P, R], label: str) -> Callable[P, R]:
        """The program under `key`, of the function that was given with this key first."""
        if key not in self._of:
            self._of[key] = _Program(self, function, label)
        return cast("Callable[P, R]", self._of[key])

    def report(self, label: str, why: str, instead: str) -> None:
        """Warn, once, that the block runs uncompiled."""
        message = f"{label} was to be compiled; {why}, so it runs uncompiled: {instead}."
        if message not in self._reported:
            self._reported.add(message)
            warnings.warn(message, CompileWarning, stacklevel=2)

    def __reduce__(self) -> tuple[type[Programs], tuple[()]]:
        return Programs, ()


class _Program:
    """A function of which torch.compile makes one graph, forward and backward; where it cannot, the function itself.

    Each shape of the arguments has a graph of its own, for one that serves several is slower.
    """

    def __init__(self, programs: Programs, function: Callable[..., Any], label: str) -> None:
        self.programs, self.function, self.label = programs, function, label
        self.compiled: Callable[..., Any] = torch.compile(
            _with_own_code(function), backend=BACKEND, fullgraph=True, dynamic=False
        )

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.compiled(*arguments)
        except Exception as error:
            if not _is_of_the_compiler(error):
                raise
            result = self.function(*arguments)  # says better what is wrong, if it is the arguments
            self._give_up(error)
            return result

    def _give_up(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind != "FailOnRecompileLimitHit":  # then what was compiled for other shapes goes on
            self.compiled = self.function
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        self.programs.report(
            self.label,
            f"torch.compile failed with {kind} ({reason})",
            "mend what is named, or set compiled = False",
        )


def _is_of_the_compiler(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo.", "torch._inductor.", "torch._functorch."))


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; torch.compile keeps, searches and limits graphs by the code object that they are of."""
    if not isinstance(function, types.FunctionType):
        return function
    own = types.FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    own.__kwdefaults__ = function.__kwdefaults__
    return own
