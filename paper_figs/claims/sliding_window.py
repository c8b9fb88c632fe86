"""Claims on patches and convolutions, checked on the record of `sliding_window`."""

from __future__ import annotations

from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import Exact, above, student

RECORD = "sliding_window/cpu.json"
SIZE = "size128"


def _ratio(record: Record, entry: str, way: str, to: str, key: str = SIZE) -> float:
    """Return how many times as much of `entry` the way `way` needs as the way `to`."""
    return record.results[key][entry][way] / record.results[key][entry][to]


def _difference(record: Record) -> float:
    return record.results[SIZE]["difference"]["sliding window"]


def _times(record: Record, key: str, way: str, to: str) -> str:
    counts, seconds = (_ratio(record, entry, way, to, key) for entry in ("multiply_adds", "seconds"))
    return f"{counts:.1f}× the multiply-adds, {seconds:.1f}× the seconds"


CLAIMS = [
    Claim(
        "On 128×128 pixels a fully convolutional net at full resolution gives the logits of the sliding window with "
        "the same weights, to 1e-5",
        "identical (Long et al. 2015, section 3.2)",
        RECORD,
        lambda r: f"largest difference {_difference(r):.1e}, largest logit {r.results[SIZE]['largest_logit']:.1f}",
        Exact(lambda r: _difference(r) < 1e-5),
    ),
    Claim(
        "… in at least 100 times fewer seconds",
        "> 1500 times (Li et al. 2014, d-regularly sparse kernels)",
        RECORD,
        lambda r: _times(r, SIZE, "sliding window", "full resolution"),
        above(student(lambda r: [_ratio(r, "seconds", "sliding window", "full resolution")]), 100, "times"),
    ),
    Claim(
        "Of what the sliding window computes there, overlapping patches repeat more than 99 %",
        "–",
        RECORD,
        lambda r: f"{100 - 100 / _ratio(r, 'multiply_adds', 'sliding window', 'full resolution'):.2f} %",
        Exact(lambda r: _ratio(r, "multiply_adds", "sliding window", "full resolution") > 100, "count"),
    ),
    Claim(
        "AlexNet gives 10×10 answers from an image of 500×500 at least 5 times faster than from 100 patches in a batch",
        "7.77× the multiply-adds (computed), 5.45× the seconds (Long et al. 2015)",
        RECORD,
        lambda r: _times(r, "alexnet", "patches", "image"),
        above(student(lambda r: [_ratio(r, "seconds", "patches", "image", "alexnet")]), 5, "times"),
    ),
    Claim(
        "… and the gain over patches one by one is larger still",
        "24.5× the seconds (Long et al. 2015)",
        RECORD,
        lambda r: f"{_ratio(r, 'seconds', 'one by one', 'image', 'alexnet'):.1f}× the seconds",
        above(student(lambda r: [_ratio(r, "seconds", "one by one", "patches", "alexnet")]), 1, "times"),
    ),
]
