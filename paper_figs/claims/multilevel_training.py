"""Claims on training a coarse net first, checked on the record of `multilevel_training`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, stdev

from experiments.multilevel_training import savings
from experiments.support.statistics import spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, mean, percent

RECORD = "multilevel_training/cpu-fashion-mnist.json"


def _saved(record: Record) -> str:
    time, work = (savings(record, "multilevel", entry) for entry in ("seconds", "evaluations"))
    return f"{spread([100 * share for share in time])} % (evaluations: {100 * work[0]:.2f} %)"


def _against(other: str) -> Callable[[Record], str]:
    return lambda record: " against ".join(f"{spread(percent(record, key), 2)} %" for key in ("multilevel", other))


def _no_worse(record: Record) -> bool:
    """Whether the net is at most one standard deviation (over seeds) less accurate than the deep net."""
    deep = percent(record, "deep")
    return mean(record, "multilevel") >= fmean(deep) - (stdev(deep) if len(deep) > 1 else 0.0)


CLAIMS = [
    Claim(
        "Trained coarse first and refined twice, a net takes at least a third less time than one that is deep in as "
        "many epochs from the start",
        "39 to 42 % (Chang et al. 2018); evaluations by their schedule: 43.75 %",
        RECORD,
        _saved,
        lambda r: fmean(savings(r, "multilevel", "seconds")) >= 1 / 3,
    ),
    Claim(
        "It is as accurate as that net, within the spread over seeds",
        "92.90 against 92.42 % with 50 layers, 93.44 against 93.53 % with 122, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        _against("deep"),
        _no_worse,
    ),
    Claim(
        "It is more accurate than the deep net trained for no more evaluations than it had, in fewer epochs",
        "–",
        RECORD,
        _against("short"),
        lambda r: mean(r, "multilevel") > mean(r, "short"),
    ),
    Claim(
        "It is more accurate than the coarse net trained for as many epochs",
        "92.90 against 90.25 % with 50 and 14 layers, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        _against("coarse"),
        lambda r: mean(r, "multilevel") > mean(r, "coarse"),
    ),
]
