"""Claims on depth with and without identity shortcuts, checked on the record of `degradation`."""

from __future__ import annotations

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percentages

RECORD = "degradation/cpu-fashion-mnist.json"
DEPTHS = (8, 20, 56)


def _parameters(record: Record, kind: str) -> list[int]:
    return [over_seeds(record.results, f"{kind}/{layers}", "parameters")[0] for layers in DEPTHS]


def _before(record: Record, entry: str) -> list[object]:
    keys = ("plain-grown/56/before", "resnet-grown/56/before")
    return [value for key in keys for value in over_seeds(record.results, key, entry)]


CLAIMS = [
    Claim(
        "Plain and residual nets of 8, 20 and 56 layers have the same parameters",
        "no extra parameters (He et al. 2015, section 3.3)",
        RECORD,
        lambda r: ", ".join(f"{number:,}" for number in _parameters(r, "plain")),
        lambda r: _parameters(r, "plain") == _parameters(r, "resnet"),
    ),
    Claim(
        "A plain net of 56 layers is worse on its *training* set than one of 20",
        "so on CIFAR-10; 110 layers: over 60 % error (He et al. 2015, figure 6)",
        RECORD,
        percentages("plain/20", "plain/56", entry="train_error"),
        lambda r: mean(r, "plain/56", "train_error") > mean(r, "plain/20", "train_error"),
    ),
    Claim(
        "A residual net of 56 layers is no worse there than one of 20, to a percentage point",
        "test error 8.75 → 6.97 %, CIFAR-10 (He et al. 2015, table 6)",
        RECORD,
        percentages("resnet/20", "resnet/56", entry="train_error"),
        lambda r: mean(r, "resnet/56", "train_error") <= mean(r, "resnet/20", "train_error") + 1,
    ),
    Claim(
        "A trained net of 20 layers and identity layers make a net of 56 with the same logits, bit for bit",
        "exists by construction (He et al. 2015, section 1)",
        RECORD,
        lambda r: f"{sum(map(bool, _before(r, 'logits_equal')))} of {len(_before(r, 'logits_equal'))} nets",
        lambda r: all(_before(r, "logits_equal")),
    ),
    Claim(
        "Trained on from there, the plain net of 56 layers is no worse on its training set than the one it grew from",
        "–",
        RECORD,
        percentages("plain/20", "plain-grown/56", entry="train_error"),
        lambda r: mean(r, "plain-grown/56", "train_error") <= mean(r, "plain/20", "train_error"),
    ),
    Claim(
        "… nor is the residual one",
        "–",
        RECORD,
        percentages("resnet/20", "resnet-grown/56", entry="train_error"),
        lambda r: mean(r, "resnet-grown/56", "train_error") <= mean(r, "resnet/20", "train_error"),
    ),
]
