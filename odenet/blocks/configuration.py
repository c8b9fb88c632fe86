"""Configuration of all ODE blocks of a network at once, by a call or as a context manager."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from types import TracebackType
from typing import Annotated, Any, Self, TypeAlias

from torch import nn

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.block import Compiled, ODEBlock
from odenet.blocks.gradients.base import GradientMethod
from odenet.blocks.statistics.norms import Snapshot
from odenet.blocks.statistics.recalibration import Epochs
from odenet.blocks.statistics.recalibration import recalibrate as collect_statistics
from odenet.blocks.stepping.base import Stepping


@checked
def configure(
    model: Annotated[nn.Module, Inside()],
    *,
    stepping: Annotated[Stepping | None, Inside()] = None,
    gradient: Annotated[GradientMethod | None, Inside()] = None,
    compile: Compiled | None = None,  # noqa: A002 (the name in torch)
    recalibrate: Annotated[Iterable[Any] | Epochs | None, Inside()] = None,
    **unknown: object,
) -> Configuration:
    """Set stepping, gradient method and compilation on every ODE block of `model`, for good or as a context manager.

    >>> import torch
    >>> from odenet import BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant, RK4
    >>> net = nn.Sequential(ODEBlock(PiecewiseConstant([BasicBranch(4)])))
    >>> with configure(net, stepping=FixedSteps(RK4())):
    ...     net[0].stepping
    FixedSteps(RK4(), per_piece=1)
    >>> net[0].stepping
    FixedSteps(Euler(), per_piece=1)

    If one block refuses a setting, no block changes. With `recalibrate`, statistics of batch normalizations are then
    collected for the new settings, and at the exit of the context those before are put back:

    >>> with configure(net.eval(), stepping=FixedSteps(RK4()), recalibrate=[torch.randn(8, 4, 6, 6)]):
    ...     y = net(torch.randn(1, 4, 6, 6))

    Args:
        model: an ODE block, or a network that contains some.
        stepping: stepping of every block; None leaves each block its own.
        gradient: gradient method of every block; None leaves each block its own.
        compile: whether integrations are compiled (`ODEBlock.compiled`); None leaves each block as it is.
        recalibrate: batches for `odenet.recalibrate`; None to keep the statistics.
        **unknown: options that do not exist; they are refused, with the nearest known name.

    Returns:
        A context manager that restores the former settings of every block at its exit.

    Raises:
        TypeError: if an option is unknown, or `model` is not a module.
        ValueError: if `model` has no ODE block, nothing is set, or a block refuses a setting.
    """
    for name in unknown:
        near = difflib.get_close_matches(name, ["stepping", "gradient", "compile", "recalibrate"], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ": pass stepping, gradient or compile, or recalibrate."
        raise TypeError(f"configure has no option {name!r}{hint}")
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"configure was given a {type(model).__name__}; it sets the blocks of a module: pass a network."
        )
    blocks = [module for module in model.modules() if isinstance(module, ODEBlock)]
    if not blocks:
        raise ValueError(f"configure was given a {type(model).__name__} without an ODEBlock: there is nothing to set.")
    if stepping is None and gradient is None and compile is None and recalibrate is None:
        raise ValueError("configure was given neither stepping nor gradient nor compile: pass at least one of them.")
    snapshot = None if recalibrate is None else Snapshot(model)
    configuration = Configuration(blocks, stepping, gradient, compile, snapshot)
    if recalibrate is not None:
        try:
            collect_statistics(model, recalibrate)
        except BaseException:
            configuration.restore()
            raise
    return configuration


_Setting: TypeAlias = tuple[ODEBlock, Stepping, GradientMethod, Compiled]


class Configuration:
    """Applies settings to `blocks` and, as a context manager, restores the former ones at its exit."""

    def __init__(
        self,
        blocks: list[ODEBlock],
        stepping: Stepping | None,
        gradient: GradientMethod | None,
        compiled: Compiled | None,
        statistics: Snapshot | None = None,
    ) -> None:
        self.statistics = statistics
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
        self.restore()

    def restore(self) -> None:
        """Restore the former settings, and the former statistics if new ones were collected."""
        self._set(self.former)
        if self.statistics is not None:
            self.statistics.restore()
