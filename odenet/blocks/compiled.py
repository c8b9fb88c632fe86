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


class CompileWarning(OdenetWarning):
    """Something was to be compiled and runs uncompiled: the numbers are the same, the speed is not."""


class Programs:
    """The compiled functions of one block, each under a key that says all that it reads besides its arguments.

    A copy, or what comes out of a pickle, starts empty.
    """

    def __init__(self) -> None:
        self._of: dict[Hashable, Callable[..., Any]] = {}

    def compiled(self, key: Hashable, function: Callable[P, R], label: str) -> Callable[P, R]:
        """The program under `key`, of the function that was given with this key first."""
        if key not in self._of:
            self._of[key] = _Program(function, label)
        return cast("Callable[P, R]", self._of[key])

    def __reduce__(self) -> tuple[type[Programs], tuple[()]]:
        return Programs, ()


class _Program:
    """A function that torch.compile makes one graph of, forward and backward; as it was given where that fails.

    Every shape has a graph of its own, for those that serve several are slower.
    """

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        self.function, self.label = function, label
        self.compiled = torch.compile(_with_own_code(function), fullgraph=True, dynamic=False)

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.compiled(*arguments)
        except Exception as error:
            if not _is_of_compiler(error):
                raise
            result = self.function(*arguments)  # which says better what is wrong, if it is the arguments
            self._give_up(error)
            return result

    def _give_up(self, error: Exception) -> None:
        self.compiled = self.function
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        warnings.warn(
            f"{self.label} was to be compiled; torch.compile could not ({type(error).__name__}: {reason}). It runs "
            "uncompiled from here on: set compiled=False, or mend what is named.",
            CompileWarning,
            stacklevel=3,
        )


def _is_of_compiler(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor", "torch._functorch"))


def _with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; torch.compile keeps, searches and limits graphs by the code object that they are of."""
    if not isinstance(function, types.FunctionType):
        return function
    return types.FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
