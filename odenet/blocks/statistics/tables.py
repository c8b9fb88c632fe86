"""Tables of the statistics of a block: mean and variance of each normalization at each evaluation of a solve.

They are buffers of modules, so they are copied, moved and saved as all others are: `statistics.pieces.3.norm1.mean` has
one row for each evaluation on piece 3 of θ. The times of the rows, and the solve to which they belong, are text in the
buffer `statistics.about`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from odenet.blocks.theta.base import Time

Moments: TypeAlias = dict[str, tuple[Tensor, Tensor]]
"""Mean and variance of each normalization of a branch by its name, of shape (evaluations, channels)."""


class Rows(nn.Module):
    """Mean and variance of one normalization, a row for each evaluation on a piece of θ."""

    mean: Tensor
    var: Tensor

    def __init__(self, mean: Tensor, var: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("var", var)


class PieceTable(nn.Module):
    """Statistics on one piece of θ, in modules with the names of the normalizations in the branch."""

    def __init__(self, moments: Moments) -> None:
        super().__init__()
        for name, (mean, var) in moments.items():
            *path, last = name.split(".")
            at: nn.Module = self
            for part in path:
                if part not in at._modules:
                    at.add_module(part, nn.Module())
                at = at.get_submodule(part)
            at.add_module(last, Rows(mean, var))

    @property
    def moments(self) -> Moments:
        """Mean and variance of each normalization by its name."""
        return {name: (rows.mean, rows.var) for name, rows in self.named_modules() if isinstance(rows, Rows)}


EPS = 1e-5
"""Number added to a variance before the logarithm, torch's own in a normalization, so that it may be 0."""


class Function(NamedTuple):
    """Statistics on a piece as functions of t: Hermite's cubics through the rows, the variance through its logarithm.

    Args:
        knots: increasing depth-times of the rows.
        moments: mean and logarithm of the variance of each normalization.
    """

    knots: list[float]
    moments: Moments

    def at(self, t: Time) -> Moments:
        """Return mean and variance of each normalization at t; before the first row and after the last, theirs."""
        weights = self._weights(t)
        return {
            name: (_weighted(weights, mean), (_weighted(weights, log).exp() - EPS).clamp_min(0))
            for name, (mean, log) in self.moments.items()
        }

    def _weights(self, t: Time) -> Tensor:
        """Return the weight of each row at t; no decision depends on the value of t, so that the host does not wait.

        The cubic on an interval of length h from v₀ to v₁ with slopes m₀ and m₁ is, with s in [0, 1] and r = 1 - s,

            v₀ + s²·(3 - 2·s)·(v₁ - v₀) + h·s·r·(r·m₀ - s·m₁).

        Outside of its interval s is 0 or 1, and the cubic v₀ or v₁, so that the intervals can be added up.
        """
        rows = next(iter(self.moments.values()))[0]
        one = torch.eye(len(self.knots), dtype=torch.float64, device=rows.device)
        if len(self.knots) == 1:
            return one[0]
        knots = torch.tensor(self.knots, dtype=torch.float64, device=rows.device)
        h, slopes = knots.diff(), _slopes(knots, one)
        s = (((t.detach().double() if isinstance(t, Tensor) else t) - knots[:-1]) / h).clamp(0, 1)
        r = 1 - s
        bend = h * s * r
        return one[0] + (s**2 * (3 - 2 * s)) @ one.diff(dim=0) + (bend * r) @ slopes[:-1] - (bend * s) @ slopes[1:]


def _weighted(weights: Tensor, rows: Tensor) -> Tensor:
    return weights.to(rows.dtype) @ rows


def _slopes(knots: Tensor, values: Tensor) -> Tensor:
    """Return the slopes at the knots of the parabolas through each three neighbouring values."""
    h = knots.diff()[:, None]
    chords = values.diff(dim=0) / h
    if len(knots) == 2:
        return torch.cat([chords, chords])
    inner = (h[1:] * chords[:-1] + h[:-1] * chords[1:]) / (h[1:] + h[:-1])
    ends = [2 * chords[:1] - inner[:1], 2 * chords[-1:] - inner[-1:]]
    return torch.cat([ends[0], inner, ends[1]])


class Statistics(nn.Module):
    """Statistics of the normalizations of a block, for every evaluation of a solve or as functions of t.

    Args:
        tables: statistics on each piece of θ.
        times: times of the rows on each piece as fractions of the horizon, in the order of the evaluations.
        solve: name of the solve whose evaluations these are.
    """

    about: Tensor

    def __init__(self, tables: Sequence[Moments], times: Sequence[Sequence[float]], solve: str) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(PieceTable(moments) for moments in tables)
        device = next((mean.device for moments in tables for mean, _ in moments.values()), None)
        self.register_buffer("about", _encoded(times, solve, device))
        self._about: tuple[list[list[float]], str] | None = [list(each) for each in times], solve

    @property
    def times(self) -> list[list[float]]:
        """Times of the rows on each piece as fractions of the horizon."""
        return self._read_about()[0]

    @property
    def solve(self) -> str:
        """Name of the solve whose evaluations these are."""
        return self._read_about()[1]

    def belongs_to(self, solve: str) -> Statistics:
        """Return the same statistics as those of another solve."""
        return Statistics(self.tables, self.times, solve)

    @property
    def tables(self) -> list[Moments]:
        """Mean and variance of each normalization on each piece."""
        return [table.moments for table in self.pieces if isinstance(table, PieceTable)]

    def function(self, start: float, end: float, horizon: float) -> Function:
        """Return the statistics on the piece [start, end] of [0, horizon] as functions of t.

        The piece need not be one of those for which they were collected. Rows at the same time are averaged.
        """
        number = len(self.pieces)
        first = min(max(math.floor(start / horizon * number + 1e-9), 0), number - 1)
        last = min(max(math.ceil(end / horizon * number - 1e-9), first + 1), number)
        tables, times = self.tables[first:last], [t for each in self.times[first:last] for t in each]
        names = (name for name in tables[0] if len({_channels(table, name) for table in tables}) == 1)
        joined = {name: tuple(torch.cat([table[name][k] for table in tables]) for k in range(2)) for name in names}
        order = sorted(range(len(times)), key=times.__getitem__)
        groups: list[list[int]] = []
        for index in order:
            if groups and times[index] - times[groups[-1][0]] <= 1e-9:
                groups[-1].append(index)
            else:
                groups.append([index])
        return Function(
            [times[group[0]] * horizon for group in groups],
            {
                name: (_averaged(mean, groups), _averaged((var + EPS).log(), groups))
                for name, (mean, var) in joined.items()
            },
        )

    def on_pieces(self, sizes: Sequence[int], solve: str) -> Statistics:
        """Return the same rows in the same order on other pieces of θ.

        Args:
            sizes: number of rows on each of the new pieces; each of them is a part of one piece, or several whole ones.
            solve: name of the solve whose evaluations these are.
        """
        rows = [
            ({name: (mean[k : k + 1], var[k : k + 1]) for name, (mean, var) in table.items()}, t)
            for table, times in zip(self.tables, self.times, strict=True)
            for k, t in enumerate(times)
        ]
        ends = [0]
        for size in sizes:
            ends.append(ends[-1] + size)
        parts = [rows[start:end] for start, end in pairwise(ends)]
        tables = [
            {name: tuple(torch.cat([table[name][k] for table, _ in part]) for k in range(2)) for name in part[0][0]}
            for part in parts
        ]
        return Statistics(tables, [[t for _, t in part] for part in parts], solve)  # pyright: ignore[reportArgumentType]

    def _read_about(self) -> tuple[list[list[float]], str]:
        if self._about is None:
            self._about = _decoded(self.about)
        return self._about

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._about = None


ABOUT = "about"
"""Name of the buffer that describes the rows."""


def statistics_in(state: Mapping[str, Tensor], prefix: str) -> Statistics | None:
    """Return statistics with the shapes of the entries of a state dict under `prefix`, or None if there are none.

    Raises:
        ValueError: if the entries are not those of statistics.
    """
    entries = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not entries:
        return None
    try:
        times, solve = _decoded(entries.pop(ABOUT))
        tables: list[dict[str, dict[str, Tensor]]] = [{} for _ in times]
        for name, value in entries.items():
            room, piece, *path, kind = name.split(".")
            if room != "pieces" or kind not in ("mean", "var") or not path:
                raise ValueError(f"there is no entry {name!r} in statistics")
            tables[int(piece)].setdefault(".".join(path), {})[kind] = torch.empty_like(value)
        moments = [{name: (pair["mean"], pair["var"]) for name, pair in table.items()} for table in tables]
        for each, table in zip(times, moments, strict=True):
            shapes = {tuple(rows.shape[:1]) for pair in table.values() for rows in pair if rows.dim() == 2}
            if not each or (table and shapes != {(len(each),)}):
                raise ValueError("their rows differ in number from their times")
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"statistics of normalizations under {prefix!r} cannot be read ({type(error).__name__}: {error}): they are "
            "damaged; load another state dict, or collect them again by recalibrate(net, batches)."
        ) from error
    return Statistics(moments, times, solve)


def norms_of(node: nn.Module, prefix: str = "") -> Iterator[tuple[str, _BatchNorm]]:
    """Yield the names and modules of the batch normalizations with running statistics in a branch.

    Those in a flow within the branch are left out: they belong to that flow.
    """
    for name, child in node.named_children():
        if isinstance(child, _BatchNorm) and is_tracking(child):
            yield f"{prefix}{name}", child
        if not getattr(child, "solves_a_flow", False):
            yield from norms_of(child, f"{prefix}{name}.")


def is_tracking(module: nn.Module) -> bool:
    """Whether a module is a batch normalization with running statistics."""
    return isinstance(module, _BatchNorm) and module.track_running_stats and module.running_mean is not None


def _channels(table: Moments, name: str) -> int | None:
    return table[name][0].shape[1] if name in table else None


def _averaged(rows: Tensor, groups: list[list[int]]) -> Tensor:
    if all(len(group) == 1 for group in groups):
        return rows[[group[0] for group in groups]]
    return torch.stack([rows[group].mean(0) for group in groups])


def _encoded(times: Sequence[Sequence[float]], solve: str, device: torch.device | None) -> Tensor:
    text = json.dumps({"times": [list(each) for each in times], "solve": solve}, ensure_ascii=False)
    return torch.tensor(list(text.encode()), dtype=torch.uint8, device=device)


def _decoded(about: Tensor) -> tuple[list[list[float]], str]:
    content = json.loads(bytes(about.tolist()).decode())
    return [[float(t) for t in each] for each in content["times"]], str(content["solve"])
