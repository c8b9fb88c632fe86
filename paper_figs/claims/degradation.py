"""Claims on depth with and without identity shortcuts, checked on the record of `degradation`."""

from __future__ import annotations

from collections.abc import Callable

from experiments.support.statistics import over_seeds
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, percentages
from paper_figs.claims.verdict import Condition, Exact, above, below, student

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
    """Return a function that writes the training errors of the medium net of a kind and of a deepest net.

    Of older records, in which no medium net was trained on, it writes that of the net at the end of its training.
    """

    def errors(record: Record) -> str:
        medium = kind.removesuffix("-longer") if _not_longer(record) else kind
        return percentages(f"{medium}/{_ends(record)[0]}", f"{deeper}/{_ends(record)[1]}", entry="train_error")(record)

    return errors


def _rise(deeper: str, shallower: str) -> Callable[[Record], list[float]]:
    """Return a function: points, for each seed, by which the training error of a deepest net exceeds a medium net's."""

    def rise(record: Record) -> list[float]:
        medium, deepest = _ends(record)
        return differences(f"{deeper}/{deepest}", f"{shallower}/{medium}", "train_error")(record)

    return rise


def _no_worse(kind: str) -> Condition:
    """Return the condition that the grown net is at most a point worse than the medium net trained on as long."""
    return below(student(_rise(f"{kind}-grown", f"{kind}-longer")), 1, "points")


def _not_longer(record: Record) -> str:
    """Return why the record says nothing on grown nets, if its medium nets were not trained on."""
    trained_on = any("-longer/" in key for key in record.results)
    return "" if trained_on else f"no net of {_ends(record)[0]} layers was trained on as long"


CLAIMS = [
    Claim(
        lambda r: f"Plain and residual nets of {_listed(r)} layers have the same parameters",
        "no extra parameters (He et al. 2015, section 3.3)",
        RECORD,
        lambda r: ", ".join(f"{number:,}" for number in _parameters(r, "plain")),
        Exact(lambda r: _parameters(r, "plain") == _parameters(r, "resnet")),
    ),
    Claim(
        lambda r: "A plain net of {1} layers is worse on its *training* set than one of {0}".format(*_ends(r)),
        "so on CIFAR-10; 110 layers: over 60 % error (He et al. 2015, figure 6)",
        RECORD,
        _errors("plain", "plain"),
        above(student(_rise("plain", "plain")), 0, "points"),
    ),
    Claim(
        lambda r: "A residual net of {1} layers is no worse there than one of {0}, to a percentage point".format(
            *_ends(r)
        ),
        "test error 8.75 → 6.97 %, CIFAR-10 (He et al. 2015, table 6)",
        RECORD,
        _errors("resnet", "resnet"),
        below(student(_rise("resnet", "resnet")), 1, "points"),
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
        Exact(lambda r: all(_before(r, "logits_equal"))),
    ),
    Claim(
        lambda r: (
            f"Trained on from there, the plain net of {_ends(r)[1]} layers is no worse on its training set than the "
            "one it grew from, trained on for as many epochs, to a percentage point"
        ),
        "–",
        RECORD,
        _errors("plain-longer", "plain-grown"),
        _no_worse("plain"),
        lacks=_not_longer,
    ),
    Claim(
        "… nor is the residual one",
        "–",
        RECORD,
        _errors("resnet-longer", "resnet-grown"),
        _no_worse("resnet"),
        lacks=_not_longer,
    ),
]
