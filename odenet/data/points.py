"""Points of two classes, in the plane and in other dimensions: flows on them can be looked at.

A flow x(0) ↦ x(T) in ℝᵈ is a homeomorphism, so it can move neither the inside of an annulus past the annulus nor, on a
line, one point past another (Dupont et al. 2019, *Augmented Neural ODEs*, propositions 1 and 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from odenet.blocks.annotations import NumberFromZero, Seed, WholeFromZero
from odenet.blocks.arguments import check_fields, checked
from odenet.data.seeds import seeded_generator


@dataclass(frozen=True, eq=False, repr=False)
class Points:
    """Points x_i ∈ ℝᵈ with the numbers y_i ∈ {0, 1} of their classes.

    Attributes:
        x: coordinates, float32, (n, d), n ≥ 1.
        labels: class numbers, int64, (n,), on the device of the coordinates.

    Raises:
        TypeError: if an attribute has the wrong type or dtype.
        ValueError: if the shapes do not match, or a label is neither 0 nor 1.

    >>> Points(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    Points(3 points in 2 dimensions)
    """

    x: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_fields(self)
        if self.x.dtype != torch.float32 or self.labels.dtype != torch.int64:
            raise TypeError(
                f"points of {self.x.dtype} with labels of {self.labels.dtype} were given; coordinates are real "
                "numbers and labels class numbers: pass torch.float32 and torch.int64."
            )
        if self.x.dim() != 2 or 0 in self.x.shape or self.labels.shape != self.x.shape[:1]:
            raise ValueError(
                f"points of shape {tuple(self.x.shape)} with labels of shape {tuple(self.labels.shape)} were given; "
                "every point has d coordinates and one label: pass shapes (n, d) and (n,), with n and d at least 1."
            )
        if not torch.all((self.labels == 0) | (self.labels == 1)):
            raise ValueError("labels must be 0 or 1, the numbers of the two classes: renumber the labels.")

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Points({len(self)} points in {self.dimensions} dimensions)"

    @property
    def dimensions(self) -> int:
        """Number d of coordinates of a point."""
        return self.x.shape[1]

    @property
    def targets(self) -> Tensor:
        """Targets g(x_i) = 2·y_i - 1 ∈ {-1, 1} of a regression, float32, (n, 1)."""
        return (2.0 * self.labels - 1).unsqueeze(1)

    @checked
    def batches(
        self, batch_size: int, *, seed: Seed = 0, shuffle: bool = False, device: torch.device | str = "cpu"
    ) -> PointBatches:
        """Return batches of these points on `device`, for `odenet.training.fit` and `evaluate`.

        Args:
            batch_size: number of points per batch; the last batch may be smaller.
            seed: seed of the order of the points.
            shuffle: whether to shuffle the points anew in every epoch.
            device: device of the batches.
        """
        return PointBatches(Points(self.x.to(device), self.labels.to(device)), batch_size, seed if shuffle else None)


class PointBatches:
    """Batches (x, labels) of points; each is a function of (epoch, index), so a resumed training sees the same ones.

    Args:
        split: points.
        batch_size: number of points per batch; the last batch may be smaller.
        seed: seed of the order of the points in each epoch; None keeps their order.
    """

    @checked
    def __init__(self, split: Points, batch_size: int, seed: Seed | None = None) -> None:
        self.split, self.batch_size, self.seed = split, batch_size, seed

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.split) // self.batch_size)

    @checked
    def epoch(self, epoch: WholeFromZero, start: WholeFromZero = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over the batches start, start + 1, … of an epoch.

        Yields:
            x: float32, (m, d).
            labels: int64, (m,).
        """
        x, labels = self.split.x, self.split.labels
        if self.seed is not None:
            order = torch.randperm(len(x), generator=seeded_generator(self.seed, "order of points", epoch)).to(x.device)
            x, labels = x[order], labels[order]
        batches = zip(x.split(self.batch_size), labels.split(self.batch_size), strict=True)
        return (batch for index, batch in enumerate(batches) if index >= start)


@checked
def annuli(number: int, seed: Seed = 0, *, dimensions: int = 2) -> Points:
    """Draw points of a ball, ‖x‖ ≤ 1/2 (class 0), and of the annulus around it, 1 ≤ ‖x‖ ≤ 3/2 (class 1).

    They are uniform in each part: concentric annuli in two dimensions, nested spheres in three, intervals in one. No
    flow in ℝᵈ followed by a linear map separates the classes (Dupont et al. 2019, section 4.1).

    Args:
        number: number of points, half of them in each class.
        seed: seed of the points.
        dimensions: number of coordinates.
    """
    generator = seeded_generator(seed, "annuli")
    labels = _alternating(number)
    least, most = labels.double(), 0.5 + labels
    directions = torch.randn(number, dimensions, generator=generator, dtype=torch.float64)
    share = torch.rand(number, generator=generator, dtype=torch.float64)
    radii = (least**dimensions + share * (most**dimensions - least**dimensions)) ** (1 / dimensions)
    x = directions / directions.norm(dim=1, keepdim=True) * radii.unsqueeze(1)
    return Points(x.float(), labels)


@checked
def spirals(number: int, seed: Seed = 0, *, noise: NumberFromZero = 0.02, turns: float = 1.0) -> Points:
    """Draw points of two spirals in the plane, each of which is the other one turned by half a turn.

    The spiral of class 0 is s·(cos φ, sin φ) with φ = 2π·turns·s and s from 0.1 to 1.

    Args:
        number: number of points, half of them in each class.
        seed: seed of the points.
        noise: standard deviation of the noise in each coordinate.
        turns: number of turns of each spiral.
    """
    generator = seeded_generator(seed, "spirals")
    labels = _alternating(number)
    s = 0.1 + 0.9 * torch.rand(number, generator=generator, dtype=torch.float64)
    angle = 2 * math.pi * turns * s + math.pi * labels
    x = s.unsqueeze(1) * torch.stack([angle.cos(), angle.sin()], dim=1)
    return Points(_with_noise(x, noise, generator), labels)


@checked
def moons(number: int, seed: Seed = 0, *, noise: NumberFromZero = 0.1) -> Points:
    """Draw points of two interleaving half circles in the plane, those of `sklearn.datasets.make_moons`.

    Class 0 is (cos φ, sin φ) and class 1 is (1 - cos φ, 1/2 - sin φ), with angles φ that are equally spaced on [0, π].

    Args:
        number: number of points, half of them in each class.
        seed: seed of the noise.
        noise: standard deviation of the noise in each coordinate.
    """
    labels = _alternating(number)
    angle = torch.empty(number, dtype=torch.float64)
    for label in (0, 1):
        angle[label::2] = torch.linspace(0, math.pi, len(angle[label::2]), dtype=torch.float64)
    sign = 1.0 - 2 * labels
    x = torch.stack([labels + sign * angle.cos(), 0.5 * labels + sign * angle.sin()], dim=1)
    return Points(_with_noise(x, noise, seeded_generator(seed, "moons")), labels)


@checked
def swapped_line(number: int, seed: Seed = 0, *, dimensions: int = 1, noise: NumberFromZero = 0.1) -> Points:
    """Draw points around -1 and 1 on a line, for the map with g(-1) = 1 and g(1) = -1 (Dupont et al. 2019, section 3).

    The class, and so the sign of `targets`, is that of -x. On the line no flow maps them to their targets, because two
    solutions never meet; in the plane, where the line is the first axis, one can go round the other.

    Args:
        number: number of points, half of them in each class.
        seed: seed of the noise.
        dimensions: number of coordinates, of which all but the first are 0 without noise.
        noise: standard deviation of the noise in each coordinate.
    """
    labels = _alternating(number)
    x = torch.zeros(number, dimensions, dtype=torch.float64)
    x[:, 0] = 1.0 - 2 * labels
    return Points(_with_noise(x, noise, seeded_generator(seed, "swapped line")), labels)


POINT_SETS: Mapping[str, Callable[..., Points]] = {
    "annuli": annuli,
    "spirals": spirals,
    "moons": moons,
    "swapped_line": swapped_line,
}
"""Functions (number, seed) ↦ points, by name."""


def _alternating(number: int) -> Tensor:
    return torch.arange(number) % 2


def _with_noise(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    return (x + noise * torch.randn(x.shape, generator=generator, dtype=torch.float64)).float()
