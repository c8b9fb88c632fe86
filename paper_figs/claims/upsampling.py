"""Claims on ways to upsample a map, checked on the record of `upsampling`."""

from __future__ import annotations

from statistics import median

from experiments.support.statistics import spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percent

RECORD = "upsampling/cpu.json"

SMOOTH = ("nearest", "bilinear")
"""Kinds of upsampling that repeat or interpolate values."""


def _list(record: Record, net: str, names: tuple[str, ...], entry: str) -> str:
    return ", ".join(f"{spread(percent(record, f'{net}/{name}', entry))} % ({name})" for name in names)


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
        lambda r: mean(r, "deconvnet/max unpooling", "mean_iou") > mean(r, "deconvnet/bed of nails", "mean_iou"),
    ),
    Claim(
        "… and the best outlines of all six (boundary F1)",
        "the idea of SegNet (Badrinarayanan et al. 2017)",
        RECORD,
        lambda r: _list(r, "deconvnet", tuple(r.settings["upsamplings"]), "boundary_f1"),
        lambda r: (
            max(r.settings["upsamplings"], key=lambda name: mean(r, f"deconvnet/{name}", "boundary_f1"))
            == "max unpooling"
        ),
    ),
    Claim(
        "With skips the upsampling matters less: best and worst mean IoU of the U-Nets are closer than half as far "
        "apart as those of the DeconvNets",
        "–",
        RECORD,
        lambda r: f"{_range(r, 'unet'):.1f} against {_range(r, 'deconvnet'):.1f} points",
        lambda r: _range(r, "unet") < _range(r, "deconvnet") / 2,
    ),
    Claim(
        "Before training, 3×3 filters at stride 2 leave ten times the checkerboard of nearest neighbour and bilinear "
        "(DeconvNet)",
        "uneven overlap (Odena et al. 2016)",
        RECORD,
        lambda r: _list(r, "deconvnet", ("transpose 3×3", *SMOOTH), "initial_checkerboard"),
        lambda r: (
            mean(r, "deconvnet/transpose 3×3", "initial_checkerboard")
            > 10 * max(mean(r, f"deconvnet/{name}", "initial_checkerboard") for name in SMOOTH)
        ),
    ),
    Claim(
        "Training takes most of it away, and still there is more than with nearest neighbour and bilinear",
        "“in practice neural networks struggle to avoid it completely” (Odena et al. 2016)",
        RECORD,
        lambda r: _list(r, "deconvnet", ("transpose 3×3", *SMOOTH), "checkerboard"),
        lambda r: (
            mean(r, "deconvnet/transpose 3×3", "initial_checkerboard") / 2
            > mean(r, "deconvnet/transpose 3×3", "checkerboard")
            > max(mean(r, f"deconvnet/{name}", "checkerboard") for name in SMOOTH)
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
        lambda r: max(max(_times_nearest(r, net).values()) for net in r.settings["nets"]) < 1.5,
    ),
]
