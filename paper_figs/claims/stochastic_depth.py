"""Claims on savings and gains of stochastic depth, checked on the record of `stochastic_depth`."""

from __future__ import annotations

from statistics import fmean

from experiments.stochastic_depth import savings
from experiments.support.statistics import over_seeds, spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percentages

RECORD = "stochastic_depth/cpu-fashion-mnist.json"


def _saved(record: Record) -> str:
    expected = 100 * over_seeds(record.results, "p0.5/56", "expected_saving")[0]
    return f"{spread([100 * share for share in savings(record, 'p0.5/56')])} % (blocks: {expected:.1f} %)"


CLAIMS = [
    Claim(
        "Stochastic depth with p_L = 0.5 saves at least a fifth of the training time of a net of 56 layers",
        "24 to 27 %, CIFAR and SVHN, 110 and 152 layers (Huang et al. 2016, table 2)",
        RECORD,
        _saved,
        lambda r: fmean(savings(r, "p0.5/56")) >= 0.2,
    ),
    Claim(
        "It raises the training error of that net",
        "higher training loss, 110 layers, CIFAR-10 (Huang et al. 2016, figure 3)",
        RECORD,
        percentages("p1/56", "p0.5/56", entry="train_error"),
        lambda r: mean(r, "p0.5/56", "train_error") > mean(r, "p1/56", "train_error"),
    ),
    Claim(
        "It lowers its test error (there in 500 epochs, here in 6, where no net overfits)",
        "6.41 → 5.25 %, 110 layers, CIFAR-10 (Huang et al. 2016, table 1)",
        RECORD,
        percentages("p1/56", "p0.5/56", entry="test_error"),
        lambda r: mean(r, "p0.5/56", "test_error") < mean(r, "p1/56", "test_error"),
    ),
]
