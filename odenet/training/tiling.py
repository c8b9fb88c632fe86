"""Tiled inference: logits of an image that is too large for the memory, computed tile by tile without seams."""

from __future__ import annotations

from itertools import product
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from odenet.blocks.annotations import Inside, Whole
from odenet.blocks.arguments import checked
from odenet.data.counts import whole_number
from odenet.measure.mode import in_mode
from odenet.measure.receptive_field import Reach, reach
from odenet.training.arguments import require_model
from odenet.training.progress import show_progress


class Tile(NamedTuple):
    """Tile along one axis: the pixels that the network sees, and those of them whose logits are kept."""

    seen: slice
    kept: slice

    @property
    def inside(self) -> slice:
        """Kept pixels as a slice of the seen ones."""
        return slice(self.kept.start - self.seen.start, self.kept.stop - self.seen.start)


@checked
def segment(
    model: Annotated[nn.Module, Inside()],
    image: Annotated[Tensor, Inside()],
    *,
    tile: Whole = 512,
    overlap: Whole | None = None,
    stride: int | None = None,
    quiet: bool = False,
) -> Tensor:
    """Return the logits of `model` on `image`, computed on tiles of at most `tile`×`tile` pixels.

    Each tile includes the receptive fields of the pixels whose logits are kept, and begins at a multiple of the stride,
    so that the logits equal model(image) up to rounding. Tiles are moved to the device of the model, and logits to that
    of the image. A network whose logits depend on the whole image (GroupNorm) can only be approximated, with given
    `overlap` and `stride`.

    Args:
        model: Network from images of any size to logits of that size; it runs in evaluation mode, without gradients.
        image: Image (channels, H, W) or images (batch, channels, H, W): floats, normalized as in training.
        tile: Maximal side of a tile, in pixels.
        overlap: Number of pixels that a tile sees on each side beyond those kept; by default what the receptive field
            requires (`odenet.measure.reach`).
        stride: Translation in pixels that the network commutes with; by default `model.stride`, else measured.
        quiet: Whether to show no progress.

    Returns:
        Logits (classes, H, W) or (batch, classes, H, W).

    Raises:
        TypeError: if a count is not a whole number, `model` is no network, or the image is no tensor of floats.
        ValueError: if the image has another shape or NaN or infinite pixels, if the tile is too small for the stride
            and the overlaps, or if the network returns another size or has an unbounded receptive field.

    >>> net, image = nn.Conv2d(3, 2, 5, padding=2), torch.randn(3, 70, 90)
    >>> torch.allclose(segment(net, image, tile=32, quiet=True), net(image[None])[0], atol=1e-6)
    True
    """
    require_model(model)
    _check_image(image)
    whole_number("tile", tile, 1, because="a tile has at least one pixel")
    batch = image if image.dim() == 4 else image[None]
    around = _context(model, batch.shape[1], overlap, stride)
    places = list(product(*(tiles(side, tile, around) for side in batch.shape[2:])))
    device = next((parameter.device for parameter in model.parameters()), image.device)
    logits = torch.empty(0)
    with (
        in_mode(model, training=False),
        torch.inference_mode(),
        show_progress("tiles", 0, len(places), quiet=quiet) as progress,
    ):
        for done, (row, column) in enumerate(places, start=1):
            part = batch[..., row.seen, column.seen]
            output = model(part.to(device))
            _check_size(model, output, part)
            if done == 1:
                logits = output.new_empty(len(batch), output.shape[1], *batch.shape[2:], device=image.device)
            logits[..., row.kept, column.kept] = output[..., row.inside, column.inside]
            progress.step(done, f"{done}/{len(places)}")
        progress.epoch(len(places), f"{len(places)}/{len(places)}")
    return logits.reshape(*image.shape[:-3], *logits.shape[1:])


def tiles(side: int, largest: int, around: Reach) -> list[Tile]:
    """Cut `side` pixels into tiles of one size, with every pixel kept once, together with its receptive field.

    Tiles begin at multiples of the stride, and their length is congruent to `side` modulo the stride. So a network that
    pads sides which its strides do not divide pads a tile as it pads the whole image.

    Raises:
        ValueError: if tiles of at most `largest` pixels are too small to keep any.

    >>> for tile in tiles(21, 12, Reach(stride=4, before=2, after=3)):
    ...     print(tile.seen, tile.kept)
    slice(0, 9, None) slice(0, 6, None)
    slice(4, 13, None) slice(6, 10, None)
    slice(8, 17, None) slice(10, 14, None)
    slice(12, 21, None) slice(14, 21, None)
    """
    if side <= largest:
        return [Tile(slice(0, side), slice(0, side))]
    stride, before, after = around
    size = largest - (largest - side) % stride
    step = (size - before - after) // stride * stride
    if step < stride:
        raise ValueError(
            f"tile must be at least {before + after + 2 * stride - 1} pixels, got {largest}: the network has stride "
            f"{stride}, and a logit depends on {before} pixels before and {after} after its own. Use a larger tile, or "
            "a smaller overlap if an approximation is enough."
        )
    starts = [*range(0, side - size, step), side - size]
    ends = [start + before for start in starts[1:]] + [side]
    begins = [0, *ends[:-1]]
    return [
        Tile(slice(start, start + size), slice(begin, end))
        for start, begin, end in zip(starts, begins, ends, strict=True)
    ]


def _context(model: nn.Module, in_channels: int, overlap: int | None, stride: int | None) -> Reach:
    """Return the stride and the overlaps, as given or as measured."""
    own = getattr(model, "stride", None)
    stride = own if stride is None and isinstance(own, int) else stride
    if overlap is None:
        return reach(model, in_channels, stride=stride)
    whole_number("overlap", overlap, 0, because="it is a number of pixels")
    return Reach(stride or reach(model, in_channels).stride, overlap, overlap)


def _check_image(image: Tensor) -> None:
    kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
    if not isinstance(image, Tensor) or not image.is_floating_point():
        raise TypeError(
            f"image must be a tensor of floats, got {kind}: pass it as in training, e.g. (image / 255 - mean) / std."
        )
    if image.dim() not in (3, 4) or 0 in image.shape:
        raise ValueError(
            f"image must have the shape (channels, height, width) or (batch, channels, height, width), without empty "
            f"axes, got {tuple(image.shape)}: add the missing axes."
        )
    if not image.isfinite().all():
        bad = (~image.isfinite()).nonzero()
        raise ValueError(
            f"image must be finite, got {len(bad)} pixels that are NaN or infinite, the first at "
            f"{tuple(bad[0].tolist())}: every logit that depends on one would be NaN; replace them, e.g. by "
            "torch.nan_to_num."
        )


def _check_size(model: nn.Module, output: Tensor, part: Tensor) -> None:
    if output.shape[-2:] != part.shape[-2:]:
        raise ValueError(
            f"the model must keep the size of images, got {tuple(output.shape[-2:])} pixels from "
            f"{type(model).__name__} for a tile of {tuple(part.shape[-2:])}: use a network with padded convolutions."
        )
