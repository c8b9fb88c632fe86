"""Compiled programs: functions that a block compiles once by torch.compile, with a fallback if that fails."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch.utils._pytree import tree_map_only

from odenet.blocks.errors import OdenetWarning

P = ParamSpec("P")
R = TypeVar("R")

BACKEND: str | Callable[..., Any] = "inductor"
"""Backend of torch.compile for new programs; "aot_eager" traces the graphs only, which takes seconds."""


class CompileWarning(OdenetWarning):
    """Warns that a block that was to be compiled runs uncompiled: with the same results, but slower."""


class Programs:
    """The compiled functions of one block, each under a key for everything it reads besides its arguments.

    A copy of this object, or one restored from a pickle, starts empty.

    Args:
        cuda_graphs: whether programs run as CUDA graphs on a GPU, so that one launch starts all their kernels.
    """

    def __init__(self, cuda_graphs: bool = False) -> None:
        self.cuda_graphs = cuda_graphs
        self._programs: dict[Hashable, Callable[..., Any]] = {}
        self._reported: set[str] = set()

    def compiled(self, key: Hashable, function: Callable[P, R], label: str) -> Callable[P, R]:
        """Return the program under `key`, which was made from the first function passed with this key."""
        if key not in self._programs:
            self._programs[key] = _Program(self, function, label)
        return cast("Callable[P, R]", self._programs[key])

    def report(self, label: str, why: str, instead: str) -> None:
        """Warn, once per message, that the block runs uncompiled.

        Args:
            label: name of the block.
            why: reason, a clause.
            instead: advice on an alternative, a clause.
        """
        message = f"{label} was to be compiled; {why}, so it runs uncompiled: {instead}."
        if message not in self._reported:
            self._reported.add(message)
            warnings.warn(message, CompileWarning, stacklevel=2)

    def __reduce__(self) -> tuple[type[Programs], tuple[bool]]:
        return Programs, (self.cuda_graphs,)


class _Program:
    """A function that torch.compile compiles into one forward and backward graph; if that fails, it runs as it is.

    Each shape of the arguments gets its own graph, because a graph for several shapes is slower. If there are more
    shapes than torch keeps graphs for, one graph for all shapes replaces them.
    """

    def __init__(self, programs: Programs, function: Callable[..., Any], label: str) -> None:
        self.programs, self.function, self.label = programs, function, label
        self.for_all_shapes = False
        self.run = self._compiled()

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.run(*arguments)
        except Exception as error:
            if not _is_compiler_error(error):
                raise
            reason = error
        if type(reason).__name__ == "FailOnRecompileLimitHit" and not self.for_all_shapes:
            self.for_all_shapes = True
            self.run = self._compiled()
            return self(*arguments)
        result = self.function(*arguments)  # if the arguments are at fault, this raises a clearer error
        self._fall_back_to_eager(reason)
        return result

    def _compiled(self) -> Callable[..., Any]:
        compiled = torch.compile(
            with_own_code(self.function),
            backend=BACKEND,
            options=_options(cuda_graphs=self.programs.cuda_graphs),
            fullgraph=True,
            dynamic=self.for_all_shapes,
        )
        return _with_copied_results(compiled) if self.programs.cuda_graphs else compiled

    def _fall_back_to_eager(self, error: Exception) -> None:
        self.run = self.function
        self.programs.report(
            self.label,
            f"torch.compile failed with {type(error).__name__} ({first_line(error)})",
            "correct the cause, or set compiled = False",
        )


def first_line(error: Exception) -> str:
    """Return the first line of the message of an error; messages of torch.compile are long."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")


def _with_copied_results(program: Callable[..., Any]) -> Callable[..., Any]:
    """Return the program with copied results, because a CUDA graph writes to the same memory at every launch."""

    def run(*arguments: Any) -> Any:
        return tree_map_only(torch.Tensor, torch.clone, program(*arguments))

    return run


def _options(*, cuda_graphs: bool) -> dict[str, Any]:
    """Return the options of inductor; other backends have none of these."""
    if BACKEND != "inductor":
        return {}
    # These imports take a second, and uncompiled blocks do not need them.
    from odenet.blocks.compile.cancel_columns import CancelColumns
    from odenet.blocks.compile.thin_products import TransposeThinProducts

    return {
        "triton.cudagraphs": cuda_graphs,
        "joint_custom_pre_pass": CancelColumns(),
        "post_grad_custom_post_pass": TransposeThinProducts(),
        # Steps of narrow states are long chains of operations on a few numbers per sample, which run fastest as one
        # loop, so large fusions are allowed. Inductor recomputes a value wherever it is used unless it takes more
        # operations than the second threshold; where each step uses the state twice, that grows exponentially.
        "max_fusion_size": 256,
        "realize_opcount_threshold": 16,
    }


def _is_compiler_error(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo.", "torch._inductor.", "torch._functorch."))


def with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its own code object, because torch.compile keeps and limits graphs by code object."""
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
