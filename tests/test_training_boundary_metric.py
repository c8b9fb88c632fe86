"""The boundary F1 of a split is the mean over its images, whatever the batches."""

from __future__ import annotations

import torch

from odenet.measure import boundary_f1
from odenet.training.boundary_metric import BoundaryF1


def test_every_image_counts_the_same_in_whatever_batches_they_come():
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(5, 3, 12, 14, generator=generator), torch.zeros(5, 12, 14, dtype=torch.int64)
    targets[:, 3:8, 2:9] = 1
    targets[0, :2] = 255
    metric = BoundaryF1(3, ignore_index=255)
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(outputs[part], targets[part])
    expected = boundary_f1(outputs.argmax(dim=1), targets, 3, ignore_index=255)
    assert expected.std() > 0
    torch.testing.assert_close(metric.compute(), expected.mean())
