"""Observed order of convergence in a refinement study."""

from __future__ import annotations

import math
from collections.abc import Sequence

from odenet.blocks.annotations import Number, Whole
from odenet.blocks.arguments import checked


@checked
def observed_order(steps: Sequence[Whole], errors: Sequence[Number]) -> float:
    """Estimate p in error ≈ C·h^p, h ∝ 1/steps, as the least-squares slope of -log(error) over log(steps).

    >>> round(observed_order([8, 16, 32], [1e-2, 2.5e-3, 6.25e-4]), 6)
    2.0

    Args:
        steps: numbers of steps, at least two of them different.
        errors: positive errors, one for each number of steps.

    Raises:
        ValueError: if the numbers do not determine a slope.
    """
    if len(steps) != len(errors) or len(set(steps)) < 2 or not all(0 < v < math.inf for v in [*steps, *errors]):
        raise ValueError(
            f"steps = {list(steps)}, errors = {list(errors)}; a slope needs as many positive errors as steps, and two "
            "different numbers of steps: measure at more of them, or in a higher precision."
        )
    x, y = [math.log(n) for n in steps], [-math.log(e) for e in errors]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return products / sum((a - mean_x) ** 2 for a in x)
