"""Settings of all blocks of a network at once: a call, or a context manager."""

from __future__ import annotations

import difflib
from types import TracebackType
from typing import Annotated, Self, TypeAlias

from torch import nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.block import Compiled, ODEBlock
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.stepping.base import Stepping


@checked
def configure(
    model: Annotated[nn.Module, Inside()],
    *,
    stepping: Annotated[Stepping | None, Inside()] = None,
    gradient: Annotated[GradientMethod | None, Inside()] = None,
    compile: Compiled | None = None,  # noqa: A002 (torch's word for it)
    **unknown: object,
) -> Configuration:
    """Set stepping, gradient method and compilation on every ODE block of `model`: a call, or a context manager.

    >>> from odenet import BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant, RK4
    >>> net = nn.Sequential(ODEBlock(PiecewiseConstant([BasicBranch(4)])))
    >>> with configure(net, stepping=FixedSteps(RK4())):
    ...     net[0].stepping
    FixedSteps(RK4(), per_piece=1)
    >>> net[0].stepping
    FixedSteps(Euler(), per_piece=1)

    Either every block changes or, where one refuses, none does.

    Args:
        model: a block or a network with blocks in it.
        stepping: for all blocks; None leaves each its own.
        gradient: likewise.
        compile: whether integrations are compiled, `ODEBlock.compiled`, likewise.
        **unknown: refused, with the nearest right name.

    Returns:
        An object that, as a context manager, gives every block its former settings back at the end.

    Raises:
        TypeError: an unknown option, or no module.
        ValueError: a model without ODE blocks, nothing to set, or a setting that a block refuses.
    """
    for name in unknown:
        near = difflib.get_close_matches(name, ["stepping", "gradient", "compile"], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ": blocks have stepping and gradient, and compile."
        raise TypeError(f"configure has no option {name!r}{hint}")
    if not isinstance(model, nn.Module):
        raise TypeError(f"configure was given a {type(model).__name__}; settings are those of blocks: pass a network.")
    blocks = [module for module in model.modules() if isinstance(module, ODEBlock)]
    if not blocks:
        raise ValueError(f"configure was given a {type(model).__name__} without an ODEBlock: there is nothing to set.")
    if stepping is None and gradient is None and compile is None:
        raise ValueError("configure was given neither stepping nor gradient nor compile: pass at least one of them.")
    return Configuration(blocks, stepping, gradient, compile)


_Setting: TypeAlias = tuple[ODEBlock, Stepping, GradientMethod, Compiled]


class Configuration:
    """Settings just made on `blocks`, and those they had before."""

    def __init__(
        self,
        blocks: list[ODEBlock],
        stepping: Stepping | None,
        gradient: GradientMethod | None,
        compiled: Compiled | None,
    ) -> None:
        self.former: list[_Setting] = [(block, block.stepping, block.gradient, block.compiled) for block in blocks]
        wanted: list[_Setting] = [
            (
                block,
                former if stepping is None else stepping,
                kept if gradient is None else gradient,
                was if compiled is None else compiled,
            )
            for block, former, kept, was in self.former
        ]
        for block, new_stepping, new_gradient, _ in wanted:
            block.check(new_stepping, new_gradient)
        self._set(wanted)

    @staticmethod
    def _set(settings: list[_Setting]) -> None:
        for block, stepping, gradient, compiled in settings:
            block.compiled = compiled
            block._replace(stepping, gradient)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._set(self.former)
