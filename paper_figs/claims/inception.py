"""Claims on 1×1 bottlenecks, checked on the record of `inception`."""

from __future__ import annotations

from collections.abc import Callable

from odenet.training import Record
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import Exact, above, student

RECORD = "inception/cpu.json"


def saved(record: Record, name: str, entry: str) -> float:
    """Return the share of `entry` that bottlenecks save in a module, or in GoogLeNet."""
    result = record.results[name]
    if entry in result:
        return 1 - result[entry]["bottleneck"] / result[entry]["naive"]
    return 1 - result["bottleneck"][entry] / result["naive"][entry]


def _millions(name: str, entry: str) -> Callable[[Record], str]:
    """Return a function that formats `naive → bottleneck`, in millions, and the share saved."""

    def ours(record: Record) -> str:
        naive, bottleneck = (record.results[name][kind][entry] / 1e6 for kind in ("naive", "bottleneck"))
        return f"{naive:,.1f} → {bottleneck:,.1f} M, {saved(record, name, entry):.0%}"

    return ours


def _deviation(record: Record) -> float:
    """Return the largest relative deviation of a module's multiply-adds from the published ones, 5a aside."""
    paper = record.summary["paper"]
    return max(
        abs(record.results[name]["bottleneck"]["multiply_adds"] / 1e6 / row["millions"] - 1)
        for name, row in paper.items()
        if name != "5a"
    )


CLAIMS = [
    Claim(
        "Bottlenecks of 64 channels save 60 % of the multiply-adds of a module on 256 channels, or more",
        "854 → 358 M, 58 % (lecture; its terms sum to 271 M: 358 counts the one of the 3×3 twice)",
        RECORD,
        _millions("lecture", "multiply_adds"),
        Exact(lambda r: saved(r, "lecture", "multiply_adds") >= 0.6, "count"),
    ),
    Claim(
        "… half of the time of a forward pass and of a training step, or more",
        "–",
        RECORD,
        lambda r: " and ".join(f"{saved(r, 'lecture', f'seconds_{step}'):.0%}" for step in ("forward", "training")),
        tuple(
            above(student(lambda r, s=step: [100 * saved(r, "lecture", f"seconds_{s}")]), 50, "%")
            for step in ("forward", "training")
        ),
    ),
    Claim(
        "… but no memory in training: their own maps are kept too",
        "–",
        RECORD,
        lambda r: f"{-saved(r, 'lecture', 'activation_bytes'):+.0%} of {_kept(r, 'lecture'):.1f} MB an image",
        Exact(lambda r: saved(r, "lecture", "activation_bytes") <= 0, "count"),
    ),
    Claim(
        "GoogLeNet without them, its maps growing from module to module, would take several times the multiply-adds",
        "–",
        RECORD,
        _millions("GoogLeNet", "multiply_adds"),
        Exact(lambda r: saved(r, "GoogLeNet", "multiply_adds") > 0.5, "count"),
    ),
    Claim(
        "… more than ten times the parameters, and more memory in training",
        "–",
        RECORD,
        lambda r: (
            f"{_millions('GoogLeNet', 'parameters')(r)}; {_kept(r, 'GoogLeNet'):.1f} MB an image, "
            f"{saved(r, 'GoogLeNet', 'activation_bytes'):.0%} saved"
        ),
        Exact(
            lambda r: saved(r, "GoogLeNet", "parameters") > 0.9 and saved(r, "GoogLeNet", "activation_bytes") > 0,
            "count",
        ),
    ),
    Claim(
        "The modules have the multiply-adds of the paper's table, to 1 % (but 5a, which is printed as 54 M)",
        "128, 304, 73, 88, 100, 119, 170, 54, 71 M (Szegedy et al. 2014)",
        RECORD,
        lambda r: f"within {_deviation(r):.1%}; 5a {r.results['5a']['bottleneck']['multiply_adds'] / 1e6:.1f} M",
        Exact(lambda r: _deviation(r) < 0.01, "count"),
    ),
]


def _kept(record: Record, name: str) -> float:
    """Return the megabytes that the naive form keeps for the backward pass."""
    return record.results[name]["naive"]["activation_bytes"] / 1e6
