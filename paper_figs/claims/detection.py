"""Claims on detectors on flows, checked on the record of `detection`."""

from __future__ import annotations

from typing import Any

from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, mean, percent, percentages
from paper_figs.claims.verdict import above, below, student
from paper_figs.segmentation_steps import over_steppings

RECORD = "detection/cpu-scenes.json"
PUBLISHED = "39.2 % on COCO (torchvision; RetinaNet 36.4, Faster R-CNN 37.0, Mask R-CNN 37.9)"


def _flows(record: Record, head: str, entry: str) -> str:
    names = (f"{head}_flows", f"{head}_plain")
    sizes = [over_seeds(record.results, name, "parameters")[0] for name in names]
    scores = [spread(percent(record, name, entry)) for name in names]
    return " against ".join(f"{score} % ({size:,} parameters)" for score, size in zip(scores, sizes, strict=True))


def _kept(record: Record, kind: str) -> list[float]:
    """Return the percentage of FCOS's mAP, for each seed, that two Euler steps per piece leave of that of one.

    Of a net that finds nothing, 0 is left.
    """
    tests: list[Any] = over_steppings(record, "fcos_flows")
    both = [(test["euler×2"][kind]["mAP"], test["euler×1"][kind]["mAP"]) for test in tests]
    return [100 * finer / own if own else 0.0 for finer, own in both]


CLAIMS = [
    Claim(
        "FCOS on flows finds the boxes of four classes at 96×96 with at least 92 % AP50 and 62 % mAP",
        PUBLISHED,
        RECORD,
        lambda r: f"{mean(r, 'fcos_flows', 'AP50'):.1f} % AP50, {mean(r, 'fcos_flows', 'mAP'):.1f} % mAP",
        (
            above(student(lambda r: percent(r, "fcos_flows", "AP50")), 92, "%"),
            above(student(lambda r: percent(r, "fcos_flows", "mAP")), 62, "%"),
        ),
    ),
    Claim(
        "… and Mask R-CNN on flows their masks with at least 70 % AP50",
        "34.6 % mask mAP on COCO (torchvision)",
        RECORD,
        percentages("mask_rcnn_flows", entry="mask AP50"),
        above(student(lambda r: percent(r, "mask_rcnn_flows", "mask AP50")), 70, "%"),
    ),
    Claim(
        "FCOS on flows is no more than a point of mAP worse than on the same layers without the identity",
        "–",
        RECORD,
        lambda r: _flows(r, "fcos", "mAP"),
        above(student(differences("fcos_flows", "fcos_plain", "mAP")), -1, "points"),
    ),
    Claim(
        "Trained with h = 1, FCOS is not the ODE of its weights: with half the step it loses a tenth of its mAP or "
        "more, each evaluation normalized by its batch",
        "accuracy collapses (Queiruga et al. 2020, classification)",
        RECORD,
        lambda r: f"{spread(_kept(r, 'by_batch'))} % is kept; {spread(_kept(r, 'running'))} % with running statistics",
        below(student(lambda r: _kept(r, "by_batch")), 90, "%"),
    ),
]
