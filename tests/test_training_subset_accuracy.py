"""The subset accuracy equals that of torchmetrics."""

from __future__ import annotations

import torch
from torchmetrics.classification import MultilabelExactMatch

from odenet.training.subset_accuracy import SubsetAccuracy


def test_it_is_that_of_torchmetrics_over_batches_of_any_size() -> None:
    torch.manual_seed(0)
    ours, theirs = SubsetAccuracy(), MultilabelExactMatch(2)
    for n in (1, 5, 30):
        outputs, targets = torch.randn(n, 2), torch.randint(0, 2, (n, 2))
        ours.update(outputs, targets)
        theirs.update(outputs.sigmoid(), targets)
    assert 0 < float(ours.compute()) < 1
    assert torch.equal(ours.compute(), theirs.compute())
