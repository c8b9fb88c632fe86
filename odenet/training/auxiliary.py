"""Classification by nets that have auxiliary classifiers in training."""

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

    ℓ is the cross-entropy of `Classification`. The score and the metrics are those of the net's own logits, which are
    all that it returns in evaluation mode (Szegedy et al. 2014, section 5). The losses of training and evaluation are
    therefore different quantities: compare them with those of `Classification` at evaluation alone.

    Attributes:
        weight: w ≥ 0, of each auxiliary loss; with 0 the auxiliary classifiers are there and have no effect.

    Raises:
        ValueError: A weight that is negative or not finite.

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
                f"weight={self.weight} cannot be: it is what each auxiliary loss counts beside the net's own; give a "
                "number of at least 0, such as the paper's 0.3."
            )

    def loss(self, outputs: Tensor | GoogLeNetOutput, targets: Tensor) -> Tensor:
        """The combined loss, in nats; of plain logits, (m, K), their cross-entropy alone."""
        if isinstance(outputs, Tensor):
            return super().loss(outputs, targets)
        cross_entropy = super().loss
        return outputs.combine(lambda logits: cross_entropy(logits, targets), self.weight)

    def score(self, outputs: Tensor | GoogLeNetOutput, targets: Tensor) -> Tensor:
        """The share of right answers of the net's own logits."""
        return super().score(outputs if isinstance(outputs, Tensor) else outputs.logits, targets)
