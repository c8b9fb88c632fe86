"""Claims on training a coarse net first, checked on the record of `multilevel_training`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from experiments.multilevel_training import GPU_SECONDS, savings
from experiments.support.statistics import spread
from odenet.training import Record
from paper_figs.claims.claim import Claim, differences, percent
from paper_figs.claims.verdict import above, student, within

RECORD = "multilevel_training/cpu-fashion-mnist.json"
BUDGET = f"60,000 images of 28×28, three stages, 5 seeds of {GPU_SECONDS} s"


def _saved(record: Record) -> str:
    time, work = (savings(record, "multilevel", entry) for entry in ("seconds", "evaluations"))
    return f"{spread([100 * share for share in time])} % (evaluations: {100 * work[0]:.2f} %)"


def _against(other: str) -> Callable[[Record], str]:
    return lambda record: " against ".join(f"{spread(percent(record, key), 2)} %" for key in ("multilevel", other))


def _depth_is_idle(record: Record) -> str:
    """Return why equality with the deep net says nothing, where depth does not help: the coarse net is as accurate."""
    coarse, deep = (fmean(percent(record, name)) for name in ("coarse", "deep"))
    return f"the coarse net reaches {coarse:.2f} %: here depth gains nothing" if coarse >= deep else ""


CLAIMS = [
    Claim(
        "Trained coarse first and refined twice, a net takes at least a third less time than one that is deep in as "
        "many epochs from the start",
        "39 to 42 % (Chang et al. 2018); evaluations by their schedule: 43.75 %",
        RECORD,
        _saved,
        above(student(lambda r: [100 * share for share in savings(r, "multilevel", "seconds")]), 100 / 3, "%"),
    ),
    Claim(
        "It is as accurate as that net, within half a point",
        "92.90 against 92.42 % with 50 layers, 93.44 against 93.53 % with 122, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        _against("deep"),
        within(student(differences("multilevel", "deep")), -0.5, 0.5, "points"),
        lacks=_depth_is_idle,
        gpu=BUDGET,
    ),
    Claim(
        "It is more accurate than the deep net trained for no more evaluations than it had, in fewer epochs",
        "–",
        RECORD,
        _against("short"),
        above(student(differences("multilevel", "short")), 0, "points"),
    ),
    Claim(
        "It is more accurate than the coarse net trained for as many epochs",
        "92.90 against 90.25 % with 50 and 14 layers, CIFAR-10 (Chang et al. 2018)",
        RECORD,
        _against("coarse"),
        above(student(differences("multilevel", "coarse")), 0, "points"),
        gpu=BUDGET,
    ),
]
