"""Compiled programs: functions that a block hands to torch.compile once, and what happens where that fails."""

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
"""torch.compile's backend of programs that are yet to be made; "aot_eager" shows, in seconds, what one graph is."""


class CompileWarning(OdenetWarning):
    """Something was to be compiled and runs uncompiled: the numbers are the same, the speed is not."""


class Programs:
    """The compiled functions of one block, each under a key that says all that it reads besides its arguments.

    A copy, or what comes out of a pickle, starts empty.

    Args:
        cuda_graphs: whether, on a GPU, one launch starts all kernels of a program.
    """

    def __init__(self, cuda_graphs: bool = False) -> None:
        self.cuda_graphs = cuda_graphs
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

    def __reduce__(self) -> tuple[type[Programs], tuple[bool]]:
        return Programs, (self.cuda_graphs,)


class _Program:
    """A function of which torch.compile makes one graph, forward and backward; where it cannot, the function itself.

    Each shape of the arguments has a graph of its own, for one that serves several is slower. Where they become more
    than torch keeps, one that serves all takes their place.
    """

    def __init__(self, programs: Programs, function: Callable[..., Any], label: str) -> None:
        self.programs, self.function, self.label = programs, function, label
        self.for_all_shapes = False
        self.run = self._compiled()

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.run(*arguments)
        except Exception as error:
            if not _is_of_the_compiler(error):
                raise
            reason = error
        if type(reason).__name__ == "FailOnRecompileLimitHit" and not self.for_all_shapes:
            self.for_all_shapes = True
            self.run = self._compiled()
            return self(*arguments)
        result = self.function(*arguments)  # says better what is wrong, if it is the arguments
        self._give_up(reason)
        return result

    def _compiled(self) -> Callable[..., Any]:
        compiled = torch.compile(
            with_own_code(self.function),
            backend=BACKEND,
            options=_options(cuda_graphs=self.programs.cuda_graphs),
            fullgraph=True,
            dynamic=self.for_all_shapes,
        )
        return _copied(compiled) if self.programs.cuda_graphs else compiled

    def _give_up(self, error: Exception) -> None:
        self.run = self.function
        self.programs.report(
            self.label,
            f"torch.compile failed with {type(error).__name__} ({first_line(error)})",
            "mend what is named, or set compiled = False",
        )


def first_line(error: Exception) -> str:
    """What an error says first; those of torch.compile say much."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")


def _copied(program: Callable[..., Any]) -> Callable[..., Any]:
    """The program, whose results stay as they are: a CUDA graph writes to the same memory whenever it is launched."""

    def run(*arguments: Any) -> Any:
        return tree_map_only(torch.Tensor, torch.clone, program(*arguments))

    return run


def _options(*, cuda_graphs: bool) -> dict[str, Any]:
    """Of inductor; other backends have none of these."""
    if BACKEND != "inductor":
        return {}
    # A second of imports that an uncompiled block is spared.
    from odenet.blocks.compile.cancel_columns import CancelColumns
    from odenet.blocks.compile.thin_products import TransposeThinProducts

    return {
        "triton.cudagraphs": cuda_graphs,
        "joint_custom_pre_pass": CancelColumns(),
        "post_grad_custom_post_pass": TransposeThinProducts(),
        # Steps of narrow states are long chains of operations on a few numbers for each sample: one loop, if it may be
        # long. Inductor writes a value out anew wherever it is used unless it took more operations than so many, which
        # is exponential in the steps where each uses the state more than once.
        "max_fusion_size": 256,
        "realize_opcount_threshold": 16,
    }


def _is_of_the_compiler(error: Exception) -> bool:
    return type(error).__module__.startswith(("torch._dynamo.", "torch._inductor.", "torch._functorch."))


def with_own_code(function: Callable[..., Any]) -> Callable[..., Any]:
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
