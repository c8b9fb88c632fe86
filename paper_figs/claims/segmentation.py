"""Claims on nets that label every pixel, checked on the record of `segmentation`."""

from __future__ import annotations

from statistics import fmean

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, mean, percent, percentages
from paper_figs.claims.verdict import Exact, above, student, within
from paper_figs.segmentation_steps import over_steppings

RECORD = "segmentation/cpu-scenes.json"
GARMENTS = "segmentation/cpu-garments.json"
OTHERS = ("full_resolution", "fcn32s", "fcn16s", "fcn8s", "fcn_resnet", "deconvnet")


def _iou(record: Record, net: str) -> float:
    return mean(record, net, "mean_iou")


def _flows(record: Record) -> str:
    sizes = [over_seeds(record.results, net, "parameters")[0] for net in ("unet_flows", "unet")]
    scores = [spread(percent(record, net, "mean_iou")) for net in ("unet_flows", "unet")]
    return " against ".join(f"{score} % ({size:,} parameters)" for score, size in zip(scores, sizes, strict=True))


def _falls(record: Record, statistics: str) -> list[float]:
    """Return the points that the U-Net of flows loses, for each seed, with four Euler steps a piece instead of one."""
    tests = over_steppings(record, "unet_flows")
    return [100 * (test["euler×1"][statistics] - test["euler×4"][statistics]) for test in tests]


def _fewer_parameters(record: Record) -> bool:
    flows, unet = (over_seeds(record.results, net, "parameters") for net in ("unet_flows", "unet"))
    return flows[0] <= unet[0]


FINER = tuple(
    above(student(differences(finer, coarser, "mean_iou")), 0, "points")
    for coarser, finer in (("fcn32s", "fcn16s"), ("fcn16s", "fcn8s"))
)
"""Conditions that finer skips are better."""
BEST = tuple(above(student(differences("unet", other, "mean_iou")), 0, "points") for other in OTHERS)
"""Conditions that U-Net is the best but for the U-Net of flows."""
FLOWS = differences("unet_flows", "unet", "mean_iou")


CLAIMS = [
    Claim(
        "Finer skips are better: FCN-32s < FCN-16s < FCN-8s in mean IoU",
        "59.4 < 62.4 < 62.7 % on VOC 2011 (Long et al. 2015)",
        RECORD,
        percentages("fcn32s", "fcn16s", "fcn8s", entry="mean_iou", joined=" < "),
        FINER,
    ),
    Claim(
        "A small U-Net finds the four classes at 96×96 with a mean IoU of at least 85 %",
        "–",
        RECORD,
        percentages("unet", entry="mean_iou"),
        above(student(lambda r: percent(r, "unet", "mean_iou")), 85, "%"),
    ),
    Claim(
        "… and is the best of the others, the U-Net of flows aside",
        "92.0 % against 83 % for the second best on PhC-U373 (Ronneberger et al. 2015)",
        RECORD,
        lambda r: f"{_iou(r, 'unet'):.1f} % against {max(_iou(r, net) for net in OTHERS):.1f} % for the second best",
        BEST,
    ),
    Claim(
        "A U-Net whose every stage is a flow is within a point of the ordinary one, with no more parameters",
        "–",
        RECORD,
        _flows,
        (within(student(FLOWS), -1, 1, "points"), Exact(_fewer_parameters, "count")),
    ),
    Claim(
        "Trained with h = 1, it is not the ODE of its weights: with four times the steps it loses more than 2 points, "
        "each evaluation normalized by its batch",
        "accuracy collapses (Queiruga et al. 2020, classification)",
        RECORD,
        lambda r: (
            f"{fmean(_falls(r, 'by_batch')):.1f} points; {fmean(_falls(r, 'mean_iou')):.1f} with running statistics"
        ),
        above(student(lambda r: _falls(r, "by_batch")), 2, "points"),
    ),
    Claim(
        "On the images of Fashion-MNIST, half as many scenes of ten classes, finer skips are better too",
        "–",
        GARMENTS,
        percentages("fcn32s", "fcn16s", "fcn8s", entry="mean_iou", joined=" < "),
        FINER,
    ),
    Claim(
        "… and the U-Net of flows is no more than a point worse than the ordinary one",
        "–",
        GARMENTS,
        _flows,
        above(student(FLOWS), -1, "points"),
    ),
    Claim(
        "… and U-Net is the best of the others there too",
        "–",
        GARMENTS,
        lambda r: f"{_iou(r, 'unet'):.1f} % against {max(_iou(r, net) for net in OTHERS):.1f} % for the best other",
        BEST,
    ),
]
