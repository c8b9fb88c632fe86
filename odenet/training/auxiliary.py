"""Classification by networks with auxiliary classifiers, which are used in training only."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from odenet.blocks.annotations import Number
from odenet.models.googlenet import GoogLeNetOutput
from odenet.training.tasks import Classification


@dataclass(frozen=True)
class AuxiliaryClassification(Classification):
    """One of K classes: ℓ(logits) + w·(ℓ(auxiliary₁) + ℓ(auxiliary₂)) in training, ℓ(logits) in evaluation.

    ℓ is the cross-entropy of `Classification`. The score and the metrics use the main logits alone, which are all that
    the network returns in evaluation mode (Szegedy et al. 2014, section 5). The losses of training and evaluation are
    therefore different quantities; only the loss in evaluation can be compared with that of `Classification`.

    Attributes:
        weight: Weight w ≥ 0 of each auxiliary loss; with 0 the auxiliary classifiers have no effect.

    Raises:
        ValueError: if the weight is negative or not finite.

    >>> import torch
    >>> logits = torch.zeros(3, 10)
    >>> AuxiliaryClassification(10).loss(GoogLeNetOutput(logits, logits, logits), torch.tensor([0, 1, 2]))
    tensor(3.6841)
    """

    weight: Number = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.weight < math.inf:
            raise ValueError(
                f"weight must be ≥ 0 and finite, got {self.weight}: it is the weight of each auxiliary loss; pass such "
                "a number, e.g. 0.3 as in the paper."
            )

    def loss(self, outputs: Tensor | GoogLeNetOutput, targets: Tensor) -> Tensor:
        """Return the combined loss, in nats; for logits (m, K) of a network in evaluation mode, their cross-entropy."""
        if isinstance(outputs, Tensor):
            return super().loss(outputs, targets)
        cross_entropy = super().loss
        return outputs.combine(lambda logits: cross_entropy(logits, targets), self.weight)

    def score(self, outputs: Tensor | GoogLeNetOutput, targets: Tensor) -> Tensor:
        """Return the accuracy of the main logits."""
        return super().score(outputs if isinstance(outputs, Tensor) else outputs.logits, targets)
