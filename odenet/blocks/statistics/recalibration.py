"""Recalibration: collecting the statistics of the normalizations of a network for the solve that it makes now.

A batch normalization inside a flow is evaluated at many depth-times, where the states differ, and its running
statistics are a mixture over all of them that fits none. `recalibrate` collects mean and variance of every evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from odenet.blocks.annotations import Inside
from odenet.blocks.arguments import checked
from odenet.blocks.statistics.evaluations import Collector
from odenet.blocks.statistics.flow import FlowWithStatistics, knots_of_fine_steps
from odenet.blocks.statistics.norms import STATISTICS, normalizing_by_batch, own_buffers_lent
from odenet.blocks.statistics.tables import Moments, Statistics, is_tracking


class Epochs(Protocol):
    """Batches in epochs, such as `odenet.data.Batches`."""

    def epoch(self, epoch: int, /) -> Iterable[Any]:
        """Return the batches of an epoch, which is numbered from 0."""
        ...


@checked
@torch.no_grad()
def recalibrate(net: Annotated[nn.Module, Inside()], batches: Annotated[Iterable[Any] | Epochs, Inside()]) -> None:
    """Collect the statistics of all batch normalizations of `net` over `batches`, in flows for each evaluation.

    Every batch passes through the network as in evaluation mode, except that batch normalizations normalize by the
    batch. The statistics are the means over the batches of the mean and of the variance of a batch, as in
    `torch.optim.swa_utils.update_bn`, to which this is equal bit for bit, buffers included, if each normalization is
    evaluated once per pass (a ResNet under Euler's method) and nothing else depends on the mode. Otherwise a block
    keeps them as `ODEBlock.statistics`:

    - under fixed steps for each evaluation, which is known by its piece, step and stage;
    - under error control as functions of t on each piece, cubics between points, the variance through its logarithm.
      They are collected along steps of `RK4`, 8 on each piece and 32 in all at least, and serve any tolerance.

    In evaluation mode they take the place of the running statistics, which stay as they are. In training mode a
    normalization normalizes by the batch and moves the statistics of its evaluation; under error control it moves its
    running statistics, and the block warns in evaluation mode. If the stepping or θ is changed afterwards, statistics
    are interpolated in t, with a `StatisticsWarning`. They are part of the state dict, and loaded into a block that
    has none.

    >>> from odenet import RK4, BasicBranch, FixedSteps, ODEBlock, PiecewiseConstant
    >>> block = ODEBlock(PiecewiseConstant([BasicBranch(4)]), FixedSteps(RK4())).eval()
    >>> recalibrate(block, [torch.randn(8, 4, 6, 6) for _ in range(3)])
    >>> block.statistics.pieces[0].norm1.mean.shape  # four evaluations, four channels
    torch.Size([4, 4])

    If processes share the work (torch.distributed), each passes its own batches, and all get the mean over all batches.

    Args:
        net: network or block in evaluation mode.
        batches: tensors, or tuples whose first entry is the tensor that `net` takes, like those of a data loader; or
            an `odenet.data.Batches`, whose first epoch is taken. Not suitable: an endless iterator.

    Raises:
        TypeError: if an argument has the wrong type, or a batch holds no tensor.
        ValueError: if `net` is in training mode or has no batch normalization with running statistics, there are no
            batches, `net` cannot take one, or statistics are not finite. The network is then unchanged, as it is after
            any other interruption.
    """
    norms = _norms(net)
    with ExitStack() as stack:
        stack.enter_context(own_buffers_lent(norms))
        stack.enter_context(normalizing_by_batch(norms))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        flows = [module for module in net.modules() if isinstance(module, FlowWithStatistics)]
        collectors = {flow: stack.enter_context(flow.collecting()) for flow in flows}
        error = _pass(net, batches, collectors.values())
        number = _number_of_batches(collectors, norms, error)
        outside = [_Outside.of(norm) for norm in norms]
        tables = {flow: _tables(collector) for flow, collector in collectors.items() if collector.batches}
        _average_over_processes(tables, outside, number)
        _require_finite(tables, outside)
    for values in outside:
        values.commit()
    for flow, moments in tables.items():
        _commit(flow, collectors[flow], moments, number[1])


def _norms(net: object) -> list[_BatchNorm]:
    """Return the batch normalizations of a network in evaluation mode."""
    if not isinstance(net, nn.Module):
        raise TypeError(f"recalibrate was given a {type(net).__name__} as net; it takes a module: pass a network.")
    norms: list[Any] = [module for module in net.modules() if is_tracking(module)]
    if not norms:
        raise ValueError(
            f"recalibrate was given a {type(net).__name__} without a batch normalization that has running statistics, "
            "so there is nothing to collect: leave it out for GroupNorm and the like."
        )
    if net.training:
        raise ValueError(
            f"recalibrate was given a {type(net).__name__} in training mode, where normalizations do not read the "
            "statistics and training moves them: call net.eval() first."
        )
    return norms


def _pass(net: nn.Module, batches: Any, collectors: Iterable[Collector]) -> Exception | None:
    """Pass all batches through the network; in one of several processes return an error, so that all can stop."""
    try:
        device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), None)
        number = 0
        for batch in _inputs(batches):
            _forward(net, batch.to(device))
            number += 1
            for collector in collectors:
                if collector.rows:
                    collector.end_batch()
        if not number:
            raise ValueError(
                "recalibrate was given no batches, and statistics are means over batches: pass at least one; an "
                "iterator that was used before is empty, so pass a list or a data loader."
            )
    except Exception as error:
        if not _several_processes():
            raise
        return error
    return None


def _inputs(batches: Any) -> Iterator[Tensor]:
    """Yield the input tensor of each batch."""
    if isinstance(batches, Tensor | str | dict):
        raise TypeError(
            f"recalibrate was given a {type(batches).__name__} as batches; it takes several of them: pass a data "
            "loader, or a list of tensors of shape (batch, …), such as [images]."
        )
    first_epoch = getattr(batches, "epoch", None)
    try:
        entries = iter(batches if first_epoch is None else first_epoch(0))
    except TypeError as error:
        raise TypeError(
            f"recalibrate was given a {type(batches).__name__} as batches, which has none: pass a data loader, or a "
            "list of tensors of shape (batch, …)."
        ) from error
    for number, entry in enumerate(entries):
        x = entry[0] if isinstance(entry, tuple | list) and entry else entry
        if not isinstance(x, Tensor):
            raise TypeError(
                f"batches[{number}] of recalibrate is a {type(entry).__name__} without a tensor as its first entry: "
                "pass tensors, or tuples (images, targets)."
            )
        yield x


def _forward(net: nn.Module, x: Tensor) -> None:
    try:
        net(x)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"recalibrate was given a batch of shape {tuple(x.shape)} and {x.dtype}, which {type(net).__name__} cannot "
            f"take ({type(error).__name__}: {error}): pass batches like those of training."
        ) from error


class _Outside(NamedTuple):
    """New running statistics of a normalization, used if it was evaluated outside of flows."""

    norm: _BatchNorm
    mean: Tensor
    var: Tensor
    batches: Tensor

    @classmethod
    def of(cls, norm: _BatchNorm) -> _Outside:
        """Take the buffers that a normalization has now."""
        return cls(norm, *(norm.get_buffer(name) for name in STATISTICS))

    def commit(self) -> None:
        """Write them into the normalization."""
        if self.batches > 0:
            for name, value in zip(STATISTICS, (self.mean, self.var, self.batches), strict=True):
                self.norm.get_buffer(name).copy_(value)


def _tables(collector: Collector) -> list[Moments]:
    """Return mean and variance of each evaluation, on each piece."""
    tables = []
    for rows in collector.rows:
        names = [name for name in rows[0] if any(row[name].batches > 0 for row in rows)] if rows else []
        # A branch that evaluates a normalization at some t only never reads its rows at the others.
        tables.append(
            {
                name: (torch.stack([row[name].mean for row in rows]), torch.stack([row[name].var for row in rows]))
                for name in names
            }
        )
    return tables


def _commit(flow: FlowWithStatistics, collector: Collector, tables: list[Moments], batches: int) -> None:
    """Write statistics of one evaluation into the normalizations, as torch does, and others into a table."""
    solve = flow.solve_name(flow.present_stepping())
    if single := _evaluated_once(collector, tables):
        flow.statistics = None
        for norm, mean, var in single:
            for name, value in zip(STATISTICS, (mean, var, torch.tensor(batches)), strict=True):
                norm.get_buffer(name).copy_(value)
        flow._collected_for = solve
        return
    times = [[t / flow.theta.horizon for t in each] for each in collector.times]
    if flow.present_stepping().controls_error:
        knots = [knots_of_fine_steps(each) for each in times]
        times = [[each[k] for k in chosen] for each, chosen in zip(times, knots, strict=True)]
        tables = [
            {name: (mean[chosen], var[chosen]) for name, (mean, var) in table.items()}
            for table, chosen in zip(tables, knots, strict=True)
        ]
    flow.statistics = Statistics(tables, times, solve) if any(tables) else None


def _evaluated_once(collector: Collector, tables: list[Moments]) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Return the normalizations with their only row; nothing if one has several, or belongs to several nodes."""
    found = []
    for piece, rows, table in zip(collector.pieces, collector.rows, tables, strict=True):
        if len(rows) != 1 or len(piece.nodes) != 1:
            return []
        found += [(piece.nodes[0].get_submodule(name), mean[0], var[0]) for name, (mean, var) in table.items()]
    return found if len({id(norm) for norm, _, _ in found}) == len(found) else []


def _require_finite(tables: dict[FlowWithStatistics, list[Moments]], outside: Sequence[_Outside]) -> None:
    inside = [pair for moments in tables.values() for table in moments for pair in table.values()]
    for mean, var in [*inside, *((each.mean, each.var) for each in outside)]:
        if not (torch.isfinite(mean).all() and torch.isfinite(var).all()):
            raise ValueError(
                "recalibrate found statistics that are NaN or infinite, so the batches or the weights are not finite "
                "or too large: check the images, or train with a smaller learning rate."
            )


def _several_processes() -> bool:
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _number_of_batches(
    collectors: dict[Any, Collector], norms: Sequence[_BatchNorm], error: Exception | None
) -> tuple[int, int]:
    """Return the number of batches of this process and of all, after all have passed without an error."""
    own = max(
        [collector.batches for collector in collectors.values()]
        + [int(norm.get_buffer("num_batches_tracked")) for norm in norms]
    )
    if not _several_processes():
        return own, own
    counts = torch.tensor([own, error is not None], device=norms[0].get_buffer("running_mean").device)
    torch.distributed.all_reduce(counts)
    total, failed = counts.tolist()
    if error is not None:
        raise error
    if failed:
        raise ValueError(
            f"recalibrate failed in {failed} other processes, whose errors say why, so no process has new statistics: "
            "pass batches in all of them."
        )
    return own, total


def _average_over_processes(
    tables: dict[FlowWithStatistics, list[Moments]], outside: Sequence[_Outside], number: tuple[int, int]
) -> None:
    """Replace the statistics of this process by the means over the batches of all processes."""
    own, total = number
    if not _several_processes():
        return
    values = [value for moments in tables.values() for table in moments for pair in table.values() for value in pair]
    for value in [*values, *(tensor for each in outside for tensor in (each.mean, each.var))]:
        value.mul_(own / total)
        torch.distributed.all_reduce(value)
    for each in outside:
        torch.distributed.all_reduce(each.batches)
