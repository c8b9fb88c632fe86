"""One warning counts the samples that stopped early, by their status."""

from __future__ import annotations

import warnings

import pytest
import torch

from odenet import BudgetWarning
from odenet.blocks.errors import SolveReport, Status


def report(*statuses: Status, t: tuple[float, ...]) -> SolveReport:
    counts = torch.zeros(len(statuses), dtype=torch.int32)
    return SolveReport(torch.tensor(statuses), torch.tensor(t), counts, counts, counts)


def test_a_warning_counts_the_samples_of_each_status_and_says_where_the_first_one_is() -> None:
    stopped = report(
        *[Status.FINISHED] * 3, *[Status.BUDGET_SPENT] * 2, Status.NOT_FINITE, t=(1.0, 1.0, 1.0, 0.5, 0.25, 0.75)
    )
    said = (
        r"dopri5 stopped in block 'flow' before t = 1 for 3 of 6 samples, the first one at t = 0\.25: 2 spent the "
        r"budget of evaluations, 1 met a non-finite state or slope\. The states that they reached are "
        r"returned, with gradients that treat the t reached as independent of x: wait\."
    )
    with pytest.warns(BudgetWarning, match=said) as caught:
        stopped.warn("dopri5", "block 'flow'", 1.0, "wait")
    assert len(caught) == 1


def test_samples_that_finished_cause_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report(Status.FINISHED, Status.FINISHED, t=(1.0, 1.0)).warn("dopri5", "it", 1.0, "wait")
