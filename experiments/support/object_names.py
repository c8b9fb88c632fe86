"""Names of the objects in an image: Horse1, Horse2, Person1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def numbered(labels: Sequence[int], classes: Sequence[str]) -> list[str]:
    """Return a name for each object: that of its class, and a number among the objects of that class.

    Args:
        labels: Labels of the objects, from 1.
        classes: Names of the classes; those beyond them are called Class.

    >>> numbered([1, 2, 1, 9], ["horse", "person"])
    ['Horse1', 'Person1', 'Horse2', 'Class9-1']
    """
    seen: Counter[int] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        known = label <= len(classes)
        names.append(f"{classes[label - 1].capitalize()}{seen[label]}" if known else f"Class{label}-{seen[label]}")
    return names
