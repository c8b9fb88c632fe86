"""Claims on ways to upsample a map, checked on the record of `upsampling`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from experiments.support.statistics import spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, mean, pairs, percent, quotients
from paper_figs.claims.verdict import above, below, ratio, student

RECORD = "upsampling/cpu.json"

SMOOTH = ("nearest", "bilinear")
"""Kinds of upsampling that repeat or interpolate values."""


def _list(record: Record, net: str, names: tuple[str, ...], entry: str) -> str:
    return ", ".join(f"{spread(percent(record, f'{net}/{name}', entry))} % ({name})" for name in names)


def _above_rest(record: Record) -> list[float]:
    """Return the points of boundary F1, for each seed, between max unpooling and the best of the others."""
    names = [name for name in record.settings["upsamplings"] if name != "max unpooling"]
    rest = [
        [points for _, points in pairs(record, "deconvnet/max unpooling", f"deconvnet/{n}", "boundary_f1")]
        for n in names
    ]
    own = percent(record, "deconvnet/max unpooling", "boundary_f1")
    return [points - 100 * max(others) for points, *others in zip(own, *rest, strict=True)]


def _closer(record: Record) -> list[float]:
    """Return the points, for each seed, by which half of the DeconvNets' range of mean IoU exceeds the U-Nets'."""
    ranges = []
    for net in ("deconvnet", "unet"):
        scores = zip(*(percent(record, f"{net}/{n}", "mean_iou") for n in record.settings["upsamplings"]), strict=True)
        ranges.append([max(seed) - min(seed) for seed in scores])
    return [wide / 2 - narrow for wide, narrow in zip(*ranges, strict=True)]


def _times(entry: str, name: str) -> Callable[[Record], list[float]]:
    """Return a function: the checkerboard of the 3×3 filters over that of `name`, for each seed."""
    return lambda r: quotients(pairs(r, "deconvnet/transpose 3×3", f"deconvnet/{name}", entry))


def _left(record: Record) -> list[float]:
    """Return the share of the 3×3 filters' checkerboard that training leaves, for each seed."""
    key = "deconvnet/transpose 3×3"
    return quotients(pairs(record, key, key, "checkerboard", "initial_checkerboard"))


def _range(record: Record, net: str, entry: str = "mean_iou") -> float:
    """Return the points between the best upsampling and the worst."""
    means = [mean(record, f"{net}/{name}", entry) for name in record.settings["upsamplings"]]
    return max(means) - min(means)


def _times_nearest(record: Record, net: str) -> dict[str, float]:
    """Return the time of a forward pass with each upsampling, relative to nearest neighbour."""
    seconds = record.results[f"times/{net}"]["seconds"]
    return {name: value / seconds["nearest"] for name, value in seconds.items()}


CLAIMS = [
    Claim(
        "Without skips, the positions of the maxima help: unpooling has a better mean IoU than bed of nails, which has "
        "the same parameters and zeros but no positions",
        "the idea of DeconvNet (Noh et al. 2015)",
        RECORD,
        lambda r: _list(r, "deconvnet", ("max unpooling", "bed of nails"), "mean_iou"),
        above(student(differences("deconvnet/max unpooling", "deconvnet/bed of nails", "mean_iou")), 0, "points"),
    ),
    Claim(
        "… and the best outlines of all six (boundary F1)",
        "the idea of SegNet (Badrinarayanan et al. 2017)",
        RECORD,
        lambda r: _list(r, "deconvnet", tuple(r.settings["upsamplings"]), "boundary_f1"),
        above(student(_above_rest), 0, "points"),
    ),
    Claim(
        "With skips the upsampling matters less: best and worst mean IoU of the U-Nets are closer than half as far "
        "apart as those of the DeconvNets",
        "–",
        RECORD,
        lambda r: f"{_range(r, 'unet'):.1f} against {_range(r, 'deconvnet'):.1f} points",
        above(student(_closer), 0, "points"),
    ),
    Claim(
        "Before training, 3×3 filters at stride 2 leave ten times the checkerboard of nearest neighbour and bilinear "
        "(DeconvNet)",
        "uneven overlap (Odena et al. 2016)",
        RECORD,
        lambda r: _list(r, "deconvnet", ("transpose 3×3", *SMOOTH), "initial_checkerboard"),
        tuple(above(ratio(_times("initial_checkerboard", name)), 10, "times") for name in SMOOTH),
    ),
    Claim(
        "Training takes most of it away, and still there is more than with nearest neighbour and bilinear",
        "“in practice neural networks struggle to avoid it completely” (Odena et al. 2016)",
        RECORD,
        lambda r: _list(r, "deconvnet", ("transpose 3×3", *SMOOTH), "checkerboard"),
        (
            below(ratio(_left), 0.5, "of it left"),
            *(above(ratio(_times("checkerboard", name)), 1, "times") for name in SMOOTH),
        ),
    ),
    Claim(
        "The time does not decide: no upsampling makes the forward pass of a net half as long again as nearest "
        "neighbour does",
        "–",
        RECORD,
        lambda r: ", ".join(
            f"× {median(_times_nearest(r, net).values()):.2f} to {max(_times_nearest(r, net).values()):.2f} ({net})"
            for net in r.settings["nets"]
        ),
        below(student(lambda r: [max(max(_times_nearest(r, net).values()) for net in r.settings["nets"])]), 1.5),
    ),
]
