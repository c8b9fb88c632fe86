"""Claims on savings and gains of stochastic depth, checked on the record of `stochastic_depth`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from experiments.stochastic_depth import savings
from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percentages

RECORD = "stochastic_depth/cpu-fashion-mnist.json"


def _layers(record: Record) -> int:
    """Return the number of layers of the deepest net."""
    return 6 * max(record.settings["blocks"]) + 2


def _savings(record: Record) -> list[float]:
    return savings(record, f"p0.5/{_layers(record)}")


def _saved(record: Record) -> str:
    expected = 100 * over_seeds(record.results, f"p0.5/{_layers(record)}", "expected_saving")[0]
    return f"{spread([100 * share for share in _savings(record)])} % (blocks: {expected:.1f} %)"


def _with_and_without(entry: str) -> Callable[[Record], str]:
    """Return a function that writes an error of the deepest net with constant depth and with p_L = 0.5."""
    return lambda r: percentages(f"p1/{_layers(r)}", f"p0.5/{_layers(r)}", entry=entry)(r)


def _gain(record: Record, entry: str) -> float:
    """Return by how many points p_L = 0.5 lowers an error of the deepest net."""
    return mean(record, f"p1/{_layers(record)}", entry) - mean(record, f"p0.5/{_layers(record)}", entry)


CLAIMS = [
    Claim(
        lambda r: (
            "Stochastic depth with p_L = 0.5 saves at least a fifth of the training time of a net of "
            f"{_layers(r)} layers"
        ),
        "24 to 27 %, CIFAR and SVHN, 110 and 152 layers (Huang et al. 2016, table 2)",
        RECORD,
        _saved,
        lambda r: fmean(_savings(r)) >= 0.2,
    ),
    Claim(
        "It raises the training error of that net",
        "higher training loss, 110 layers, CIFAR-10 (Huang et al. 2016, figure 3)",
        RECORD,
        _with_and_without("train_error"),
        lambda r: _gain(r, "train_error") < 0,
    ),
    Claim(
        lambda r: (
            f"It lowers its test error (there in 500 epochs, here in {r.settings['training']['epochs']}, where no net "
            "overfits)"
        ),
        "6.41 → 5.25 %, 110 layers, CIFAR-10 (Huang et al. 2016, table 1)",
        RECORD,
        _with_and_without("test_error"),
        lambda r: _gain(r, "test_error") > 0,
    ),
]
