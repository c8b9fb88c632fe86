"""Scenes of overlapping objects on textured ground; scene i is a pure function of (seed, i) and the settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor

from odenet.blocks.annotations import MayBeEmpty, Number, Seed, Whole
from odenet.blocks.arguments import check_fields, checked
from odenet.blocks.errors import unknown_name
from odenet.data.counts import whole_number
from odenet.data.scenes.batch import SceneBatch, visible_areas
from odenet.data.scenes.layers import NUMBERS_OF_GROUND, numbers_of_layer, place_ground, place_layers
from odenet.data.scenes.painting import PERIOD, TEXTURES, paint_codes, paint_images
from odenet.data.scenes.philox import indexed_uniforms
from odenet.data.scenes.silhouettes import silhouettes
from odenet.data.scenes.templates import Templates
from odenet.data.split import Split
from odenet.data.transfer import sent_to

Part = Literal["training", "test"]

_AT_ONCE = 64
"""Scenes that a processor paints at a time: few enough for its cache."""

_PIXELS_AT_ONCE = 2**26
"""Pixels that an accelerator paints at a time, by as few operations as there are: about 4 GB of memory."""


@dataclass(frozen=True, eq=False)
class Scenes:
    """An endless sequence of scenes, painted back to front: ground, then objects and clutter, with an object in front.

    Each object has a class drawn uniformly and is placed at random; see `place_layers`. The front-most object shows at
    least one pixel, so every scene has a `label`, at any size. All targets follow from the object that each pixel
    shows.

    A scene is the same bit for bit in every batch that contains it: its random numbers depend only on its index, and
    its pixels are computed by single operations that IEEE 754 rounds correctly, so that memory order does not matter.

    Attributes:
        size: Size (H, W) in pixels, at least (1, 1).
        seed: Seed, 0 ≤ seed < 2⁶⁴.
        objects: Smallest and largest number of objects in a scene, at least 1; K is the largest.
        clutter: Smallest and largest number of objects without a class.
        smallest: Smallest visible share of the image for which an object counts in `labels`.
        part: `"training"` or `"test"`; the two use independent random numbers, even with the same seed.
        templates: Templates of the objects, by default the silhouettes of horse, church, toothbrush and person. Scenes
            are drawn on their device.

    Raises:
        TypeError: if a count or the seed is not a whole number.
        ValueError: if a value is out of range.

    >>> batch = Scenes(size=(32, 48), seed=1).draw(range(5))
    >>> batch.images.shape, batch.labels.shape, batch.semantic.shape
    (torch.Size([5, 3, 32, 48]), torch.Size([5, 4]), torch.Size([5, 32, 48]))
    """

    size: tuple[Whole, Whole] = (64, 64)
    seed: Whole = 0
    objects: tuple[Whole, Whole] = (1, 3)
    clutter: tuple[Whole, Whole] = (0, 1)
    smallest: Number = 0.005
    part: Part = "training"
    templates: Templates = field(default_factory=silhouettes)

    def __post_init__(self) -> None:
        check_fields(self)
        for length in self.size:
            whole_number("size", length, 1, because="a scene has at least one pixel each way")
        if self.part not in (parts := get_args(Part)):
            raise unknown_name("part", self.part, parts)
        indexed_uniforms(self.seed, self.part, (), 0)  # raises for a bad seed here, not in the first batch
        _check_range("objects", self.objects, 1, "a scene without an object has no label")
        _check_range("clutter", self.clutter, 0, "it is a number of things")
        if not 0 <= self.smallest < 1:
            raise ValueError(
                f"smallest must be at least 0 and less than 1, got {self.smallest}: it is the share of the image that "
                "an object must show to count in `labels`."
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.templates.names

    @checked
    def to(self, device: torch.device | str) -> Scenes:
        """Return the same scenes, drawn on `device`."""
        return replace(self, templates=self.templates.to(device))

    @checked
    def draw(self, indices: Annotated[Iterable[Seed], MayBeEmpty()]) -> SceneBatch:
        """The scenes with these indices, 0 ≤ i < 2⁶⁴, in their order."""
        return self.paint(sent_to(self.device, self.numbers(indices)))

    @property
    def device(self) -> torch.device:
        """The device on which scenes are painted."""
        return self.templates.parts.device

    @checked
    def numbers(self, indices: Annotated[Iterable[Seed], MayBeEmpty()]) -> Tensor:
        """The random numbers that decide the scenes with these indices: float32, (n, …), on the CPU."""
        count = 2 + len(self._numbers_of_objects) * numbers_of_layer(self.templates) + NUMBERS_OF_GROUND
        return indexed_uniforms(self.seed, f"{self.part} scenes", indices, count)

    @checked
    def paint(self, numbers: Tensor) -> SceneBatch:
        """The scenes that `numbers` decide, on whose device they are painted without a wait of the host."""
        painted = [self._paint(u) for u in numbers.split(_scenes_at_once(numbers.device, self.size))]
        images, owners, classes = (torch.cat(parts) for parts in zip(*painted, strict=True))
        return SceneBatch(images, owners, classes, len(self.classes), self.smallest)

    @cached_property
    def _numbers_of_objects(self) -> list[int]:
        """Return the number of the object of each layer, back to front, from 1, or 0 for clutter; spread evenly."""
        objects, clutter = self.objects[1], self.clutter[1]
        depths = [((k + 1) / objects, k + 1) for k in range(objects)]
        depths += [((k + 0.5) / clutter, 0) for k in range(clutter)]
        return [number for _, number in sorted(depths)]

    @cached_property
    def _depths(self) -> Tensor:
        """Return the same numbers on the device: int64, (L,)."""
        return torch.tensor(self._numbers_of_objects, device=self.device)

    @cached_property
    def _object_layers(self) -> Tensor:
        """The places of the objects among the layers, known beforehand: a mask would make the host wait: (K,)."""
        places = [place for place, number in enumerate(self._numbers_of_objects) if number]
        return torch.tensor(places, device=self.device)

    def _paint(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Paint images, owners and classes of the scenes with the random numbers u."""
        u_of_counts, u_of_layers, u_of_ground = u.tensor_split((2, u.shape[1] - NUMBERS_OF_GROUND), dim=1)
        depths, templates, size = self._depths, self.templates, self.size
        u_of_layers = u_of_layers.unflatten(1, (len(depths), -1))
        layers = place_layers(u_of_layers, depths > 0, self._present(u_of_counts), templates, size)
        ground = place_ground(u_of_ground, TEXTURES, PERIOD, size)
        seen = paint_codes(ground, layers, templates, size)
        owner_of_code = torch.cat([depths.new_zeros(2), depths.repeat_interleave(templates.part_count)])
        owners = owner_of_code.to(torch.uint8).index_select(0, (seen >> 8).flatten()).view(seen.shape)
        classes = templates.classes[layers.template.index_select(1, self._object_layers)]
        visible = visible_areas(owners, self.objects[1]) > 0
        return paint_images(seen, ground, layers), owners, torch.where(visible, classes, -1)

    def _present(self, u: Tensor) -> Tensor:
        """Return which layers a scene has: the front-most objects and the front-most clutter, as many as drawn."""
        objects, clutter = (
            least + ((most - least + 1) * number[:, None]).long()
            for (least, most), number in zip((self.objects, self.clutter), u.unbind(1), strict=True)
        )
        is_object = self._depths > 0
        rank = torch.where(is_object, *(kind.flip(0).cumsum(0).flip(0) for kind in (is_object, ~is_object)))
        return rank <= torch.where(is_object, objects, clutter)


def _scenes_at_once(device: torch.device, size: tuple[int, int]) -> int:
    """Return how many scenes of `size` are painted at a time on `device`."""
    return _AT_ONCE if device.type == "cpu" else max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))


def _check_range(name: str, bounds: tuple[int, int], least: int, because: str) -> None:
    fewest, most = bounds
    whole_number(f"{name}[0]", fewest, least, because=because)
    whole_number(f"{name}[1]", most, fewest, 255, because=f"it is the largest number, and {fewest} the smallest")


def read_scenes(_root: Path, _download: bool) -> tuple[Split, Split, tuple[str, ...]]:
    """Return 10,000 training and 2,000 test scenes of 64×64 pixels with their `label`, and the class names.

    Drawing them takes about ten seconds.
    """
    training = Scenes()
    return one_label_split(training, 10_000), one_label_split(replace(training, part="test"), 2_000), training.classes


def one_label_split(scenes: Scenes, count: int) -> Split:
    """Return the first `count` scenes, each with its `label`, as a split."""
    batch = scenes.draw(range(count))
    return Split(batch.images, batch.label)
