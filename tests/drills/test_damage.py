"""Every changed bit and every lost part of every kind of file is noticed, in a message that names the file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drills.kinds_of_files import KINDS, Kind, fault_of
from tests.drills.limit import Limit
from tests.drills.tally import LONG, Counting
from tests.training_cases import damages

FLIPS = 300 if LONG else 100
"""Of each kind of file; and as many lost parts, a tenth of them anywhere."""


MARKS = (
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"data.pkl", b"odenet sha256 "),
    *(b'"__metadata__"', b'"odenet_sha256"', b'"data_offsets"', b"}}"),
    *(b'"sha256"', b'"results"', b"\n}\n", "θ".encode()),
)
"""What a part of a file begins or ends with, in any kind."""


def cuts(content: bytes, anywhere: int) -> Iterator[bytes]:
    """The content cut short at its ends, at and within each part, and anywhere; without its begin, and with a hole."""
    header = 8 + int.from_bytes(content[:8], "little")
    places = {0, 1, 7, 8, 9, header, len(content) // 2, len(content) - 1, len(content) - 2, len(content) - 64}
    for mark in MARKS:
        for found in (content.find(mark), content.rfind(mark)):
            if found >= 0:
                places |= {found, found + 1, found + len(mark)}
    drawn = random.Random(1)
    places |= {drawn.randrange(len(content)) for _ in range(anywhere)}
    whole = sorted(place for place in places if 0 <= place < len(content))
    yield from (content[:place] for place in whole)
    yield from (content[place:] for place in whole if place)
    for place in whole:  # what a file system leaves of blocks that were not written
        hole = content[:place] + bytes(min(512, len(content) - place)) + content[place + 512 :]
        if hole != content:
            yield hole
    yield content + b"\0"
    yield content + content


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("damage", ["flipped bits", "lost parts"])
def test_damage_of_every_kind_of_file_is_noticed_by_name(
    damage: str, kind: Kind, tmp_path: Path, tally: Counting, limited: Limit
) -> None:
    path = tmp_path / kind.name
    kind.write(path)
    kind.read(path)
    whole = path.read_bytes()
    with tally(f"{damage}: {kind.name.split('.')[0]}") as counts:
        accepted: list[Any] = []
        for damaged in damages(whole, FLIPS) if damage == "flipped bits" else cuts(whole, FLIPS // 10):
            path.write_bytes(damaged)
            counts.tries += 1
            with limited():
                if fault := fault_of(kind, path):
                    counts.unnoticed += 1
                    accepted.append((fault, len(damaged), first_difference(whole, damaged)))
        counts.require_clean(accepted)
    path.write_bytes(whole)
    kind.read(path)


def first_difference(whole: bytes, damaged: bytes) -> int:
    """Where it begins."""
    pairs = zip(whole, damaged, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(whole), len(damaged)))
