"""The mean IoU of a split as a metric of torchmetrics that says which classes it cannot judge."""

from __future__ import annotations

import warnings

from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from odenet.blocks.errors import OdenetWarning


class MeanIoU(MulticlassJaccardIndex):
    """The mean of n_ii / (t_i + Σ_j n_ji - n_ii) over the classes that occur or are predicted.

    Classes that occur at no pixel give an `OdenetWarning`: where they are not predicted either, a mean of 1 says
    nothing of them.

    Args:
        num_classes: K.
        ignore_index: the value of targets that are not judged.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        super().__init__(num_classes, average="macro", ignore_index=ignore_index, validate_args=False)

    def compute(self) -> Tensor:
        """The mean so far."""
        occurs = (self.confmat.sum(dim=1) > 0).tolist()
        absent = [str(k) for k, there in enumerate(occurs) if not there and k != self.ignore_index]
        if absent:
            what = "no pixel is judged" if not any(occurs) else f"no pixel is of class {', '.join(absent)}"
            warnings.warn(
                f"{what} in all of these masks ({len(absent)} of {len(occurs)} classes are absent): means over classes "
                "leave out what is absent, and judge it only where it is predicted. Evaluate on images that show every "
                "class, or give the number of those that occur.",
                OdenetWarning,
                stacklevel=2,
            )
        return super().compute()
