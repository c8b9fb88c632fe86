"""Tiled inference: the logits of an image that is too large for the memory, tile by tile, as if it had been one."""

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
    """Pixels along one axis: those that the network is given, and those of them whose logits are kept."""

    seen: slice
    kept: slice

    @property
    def inside(self) -> slice:
        """What is kept, counted from the beginning of what is seen."""
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
    """The logits of `model` on `image`, computed on tiles of at most `tile`×`tile` pixels.

    Every tile sees so much beyond the pixels that it answers for as their answers depend on, and lies where strides and
    paddings fall as they would in the whole image: the logits are those of model(image), but for the order in which
    sums are rounded. Tiles go to the device of the model, the logits come back to that of the image. A network whose
    answers depend on the whole image (GroupNorm) has no such tiles; with `overlap` and `stride` it is approximated.

    Args:
        model: images of any size → logits of that size; used in evaluation mode and without gradients.
        image: (channels, H, W) or (batch, channels, H, W), floats as in the training, of any number of channels.
        tile: largest side of a tile, in pixels.
        overlap: pixels beyond those answered for that a tile sees on each side; by default what the receptive field
            needs (`odenet.measure.reach`).
        stride: pixels after which the network repeats itself; by default the model's `stride`, else it is found.
        quiet: whether to show no progress.

    Returns:
        (classes, H, W) or (batch, classes, H, W).

    Raises:
        TypeError: a count that is none, what is no network, or an image that is no tensor of floats.
        ValueError: an image of another shape or with NaN or infinite pixels, a tile smaller than the stride or than its
            overlaps, a network that answers with another size or whose receptive field is unbounded.

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
            answer = model(part.to(device))
            _check_size(model, answer, part)
            if done == 1:
                logits = answer.new_empty(len(batch), answer.shape[1], *batch.shape[2:], device=image.device)
            logits[..., row.kept, column.kept] = answer[..., row.inside, column.inside]
            progress.step(done, f"{done}/{len(places)}")
        progress.epoch(len(places), f"{len(places)}/{len(places)}")
    return logits.reshape(*image.shape[:-3], *logits.shape[1:])


def tiles(side: int, largest: int, around: Reach) -> list[Tile]:
    """`side` pixels in tiles of one size, each kept pixel with its surroundings, every pixel kept once.

    They begin at multiples of the stride, and are as much longer than one as the whole is: then whatever a network adds
    to sides that its strides do not divide, it adds to a tile as to the whole.

    Raises:
        ValueError: no tile of at most `largest` pixels has any to keep.

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
            f"tile={largest} cannot be: the network has stride {stride}, and an answer depends on {before} pixels "
            f"before and {after} after its own, so such a tile has none to answer for; give a tile of at least "
            f"{before + after + 2 * stride - 1} pixels, or a smaller overlap if an approximation will do."
        )
    starts = [*range(0, side - size, step), side - size]
    ends = [start + before for start in starts[1:]] + [side]
    begins = [0, *ends[:-1]]
    return [
        Tile(slice(start, start + size), slice(begin, end))
        for start, begin, end in zip(starts, begins, ends, strict=True)
    ]


def _context(model: nn.Module, in_channels: int, overlap: int | None, stride: int | None) -> Reach:
    """Stride and overlaps, as given or as measured."""
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
            f"an image of {kind} cannot be segmented: a network takes a "
            "tensor of floats; give it as in its training, e.g. (image / 255 - mean) / std."
        )
    if image.dim() not in (3, 4) or 0 in image.shape:
        raise ValueError(
            f"an image of shape {tuple(image.shape)} cannot be segmented: it has channels, rows and columns; give "
            "(channels, height, width), or several of one size, (batch, channels, height, width)."
        )
    if not image.isfinite().all():
        bad = (~image.isfinite()).nonzero()
        raise ValueError(
            f"the image has {len(bad)} pixels that are NaN or infinite, the first at {tuple(bad[0].tolist())}: every "
            "logit that sees one would be NaN; replace them, e.g. by the mean (torch.nan_to_num)."
        )


def _check_size(model: nn.Module, answer: Tensor, part: Tensor) -> None:
    if answer.shape[-2:] != part.shape[-2:]:
        raise ValueError(
            f"{type(model).__name__} answered {tuple(answer.shape[-2:])} pixels for a tile of {tuple(part.shape[-2:])}:"
            " tiles are put together pixel by pixel; give a network that keeps the size (padded, not valid, borders)."
        )
