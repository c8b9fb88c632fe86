"""Claims on savings and gains of stochastic depth, checked on the record of `stochastic_depth`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from experiments.stochastic_depth import GPU_SECONDS
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, percentages
from paper_figs.claims.verdict import above, student

RECORD = "stochastic_depth/cpu-fashion-mnist.json"
BENCHMARK = "benchmarks/stochastic_depth-cpu.json"


def _layers(record: Record) -> int:
    """Return the number of layers of the deepest net."""
    return 6 * max(record.settings["blocks"]) + 2


def _savings(record: Record) -> list[float]:
    """Return the share of a training step saved in percent, for each round of the interleaved benchmark on 32×32."""
    seconds = next(found["seconds"] for key, found in record.results.items() if key.endswith("side=32)"))
    return [100 - 100 * a / b for a, b in zip(seconds["evaluation"], seconds["constant"], strict=True)]


def _with_and_without(entry: str) -> Callable[[Record], str]:
    """Return a function that writes an error of the deepest net with constant depth and with p_L = 0.5."""
    return lambda r: percentages(f"p1/{_layers(r)}", f"p0.5/{_layers(r)}", entry=entry)(r)


def _gain(entry: str, sign: int = 1) -> Callable[[Record], list[float]]:
    """Return a function: points, for each seed, by which p_L = 0.5 lowers an error of the deepest net, times `sign`."""

    def gain(record: Record) -> list[float]:
        return [
            sign * points for points in differences(f"p1/{_layers(record)}", f"p0.5/{_layers(record)}", entry)(record)
        ]

    return gain


def _too_short(record: Record) -> str:
    """Return why the training is too short for nets to overfit, as those of the paper do."""
    epochs = record.settings["training"]["epochs"]
    return f"{epochs} epochs, of 60 at least" if epochs < 60 else ""


CLAIMS = [
    Claim(
        "Stochastic depth with p_L = 0.5 saves at least a fifth of the time of a training step of 110 layers",
        "24 to 27 %, CIFAR and SVHN, 110 and 152 layers (Huang et al. 2016, table 2)",
        BENCHMARK,
        lambda r: f"{median(_savings(r)):.1f} %, median of {len(_savings(r))} interleaved steps (blocks: 25.5 %)",
        above(student(_savings), 20, "%"),
    ),
    Claim(
        lambda r: f"It raises the training error of a net of {_layers(r)} layers",
        "higher training loss, 110 layers, CIFAR-10 (Huang et al. 2016, figure 3)",
        RECORD,
        _with_and_without("train_error"),
        above(student(_gain("train_error", -1)), 0, "points"),
    ),
    Claim(
        lambda r: (
            f"It lowers its test error (there in 500 epochs, here in {r.settings['training']['epochs']}, where no net "
            "overfits)"
        ),
        "6.41 → 5.25 %, 110 layers, CIFAR-10 (Huang et al. 2016, table 1)",
        RECORD,
        _with_and_without("test_error"),
        above(student(_gain("test_error")), 0, "points"),
        lacks=_too_short,
        gpu=f"60 epochs or more of the preset full, 5 seeds, about {10 * GPU_SECONDS / 60:.0f} min each",
    ),
]
