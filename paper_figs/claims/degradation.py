"""Claims on depth with and without identity shortcuts, checked on the record of `degradation`."""

from __future__ import annotations

from collections.abc import Callable

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percentages

RECORD = "degradation/cpu-fashion-mnist.json"


def _depths(record: Record) -> list[int]:
    return [6 * blocks + 2 for blocks in record.settings["blocks"]]


def _ends(record: Record) -> tuple[int, int]:
    """Return the number of layers of the net that is grown and of the deepest net."""
    return 6 * record.settings["grown_from"] + 2, _depths(record)[-1]


def _listed(record: Record) -> str:
    *first, last = _depths(record)
    return f"{', '.join(map(str, first))} and {last}"


def _parameters(record: Record, kind: str) -> list[int]:
    return [over_seeds(record.results, f"{kind}/{layers}", "parameters")[0] for layers in _depths(record)]


def _before(record: Record, entry: str) -> list[object]:
    keys = [f"{kind}-grown/{_ends(record)[1]}/before" for kind in ("plain", "resnet")]
    return [value for key in keys for value in over_seeds(record.results, key, entry)]


def _errors(kind: str, deeper: str) -> Callable[[Record], str]:
    """Return a function that writes the training errors of the medium net of a kind and of a deepest net."""
    return lambda r: percentages(f"{kind}/{_ends(r)[0]}", f"{deeper}/{_ends(r)[1]}", entry="train_error")(r)


def _rise(record: Record, kind: str, deeper: str) -> float:
    """Return by how many points the training error of the deepest net exceeds that of the medium net."""
    medium, deepest = _ends(record)
    return mean(record, f"{deeper}/{deepest}", "train_error") - mean(record, f"{kind}/{medium}", "train_error")


CLAIMS = [
    Claim(
        lambda r: f"Plain and residual nets of {_listed(r)} layers have the same parameters",
        "no extra parameters (He et al. 2015, section 3.3)",
        RECORD,
        lambda r: ", ".join(f"{number:,}" for number in _parameters(r, "plain")),
        lambda r: _parameters(r, "plain") == _parameters(r, "resnet"),
    ),
    Claim(
        lambda r: "A plain net of {1} layers is worse on its *training* set than one of {0}".format(*_ends(r)),
        "so on CIFAR-10; 110 layers: over 60 % error (He et al. 2015, figure 6)",
        RECORD,
        _errors("plain", "plain"),
        lambda r: _rise(r, "plain", "plain") > 0,
    ),
    Claim(
        lambda r: "A residual net of {1} layers is no worse there than one of {0}, to a percentage point".format(
            *_ends(r)
        ),
        "test error 8.75 → 6.97 %, CIFAR-10 (He et al. 2015, table 6)",
        RECORD,
        _errors("resnet", "resnet"),
        lambda r: _rise(r, "resnet", "resnet") <= 1,
    ),
    Claim(
        lambda r: (
            "A trained net of {} layers and identity layers make a net of {} with the same logits, bit for bit".format(
                *_ends(r)
            )
        ),
        "exists by construction (He et al. 2015, section 1)",
        RECORD,
        lambda r: f"{sum(map(bool, _before(r, 'logits_equal')))} of {len(_before(r, 'logits_equal'))} nets",
        lambda r: all(_before(r, "logits_equal")),
    ),
    Claim(
        lambda r: (
            f"Trained on from there, the plain net of {_ends(r)[1]} layers is no worse on its training set than the "
            "one it grew from"
        ),
        "–",
        RECORD,
        _errors("plain", "plain-grown"),
        lambda r: _rise(r, "plain", "plain-grown") <= 0,
    ),
    Claim(
        "… nor is the residual one",
        "–",
        RECORD,
        _errors("resnet", "resnet-grown"),
        lambda r: _rise(r, "resnet", "resnet-grown") <= 0,
    ),
]
