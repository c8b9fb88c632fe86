"""Integrals of costs along a flow, as one forward pass leaves them behind."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


class Integrals(dict[str, Tensor]):
    """Integral of each cost by name, one number for each sample; empty after a solve without costs.

    They belong to the graph of one forward pass, so a copy of this object, or one restored from a pickle, is empty.

    Args:
        integrals: integrals by name, each of shape (batch,).
        weights: weight of each cost in the penalty, by name.
    """

    def __init__(
        self, integrals: Mapping[str, Tensor] | None = None, weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(integrals or {})
        self.weights = dict(weights or {})

    @property
    def penalty(self) -> Tensor:
        """Sum of the costs with their weights, each as its mean over the batch, a scalar."""
        first, *rest = (self.weights[name] * integral.mean() for name, integral in self.items())
        return sum(rest, start=first)

    def __reduce__(self) -> tuple[type[Integrals], tuple[()]]:
        return Integrals, ()
