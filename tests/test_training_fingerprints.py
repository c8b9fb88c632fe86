"""Fingerprints of equal contents are equal in every process, and those of different contents differ."""

from __future__ import annotations

import copy
import io
import itertools
import os
import subprocess
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from odenet.data import Batches, CropBatches, SceneBatches, Scenes, Split, masked_folder
from odenet.data.augmentation import Compose, RandomCrop, RandomErasing, RandomFlip
from odenet.training.fingerprints import fingerprint
from tests.training_cases import split

ROOT = Path(__file__).parents[1]


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x: int) -> None:
        self.x = x


@dataclass(frozen=True)
class Data:
    x: int

    @cached_property
    def twice(self) -> int:
        return 2 * self.x


def scaled(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


def named(x: float, factor: float = 2) -> float:
    return factor * x


VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, float("nan"), float("inf"), 1j, "", "1", "None", b"", b"1", ...),
    *([], (), {}, set(), [1], (1,), {1}, [[1]], [1, 2], [2, 1], [[1], 2], [1, [2]], ["ab", "c"], ["a", "bc"]),
    *({"a": 1}, {"a": 2}, {"b": 1}, {"a": {"b": 1}}, OrderedDict(a=1), deque([1]), range(3)),
    *(np.float64(1), np.int64(1), np.zeros(2), np.zeros((2, 1)), np.zeros(2, dtype=np.float32), np.array(["a", None])),
    *(torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.bfloat16)),
    *(torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool), torch.zeros(2, dtype=torch.complex64)),
    *(torch.tensor([0.0, -0.0]), torch.tensor([0.0, 1e-45]), torch.zeros(0), torch.tensor(0.0), torch.float32),
    *(torch.Generator().manual_seed(1), torch.Generator().manual_seed(2), np.random.default_rng(1)),
    *(Plain(), Plain(x=1), Plain(x=2), Plain(y=1), Slotted(1), Slotted(2), Data(1), Data(2)),
    *(named, scaled(2), scaled(3), lambda x: x, lambda x: x + 1, lambda x, y=1: x + y, torch.relu, torch.tanh, len),
    *(partial(named), partial(named, factor=3), nn.Linear, nn.ReLU, nn.ReLU(), nn.ReLU(inplace=True), "x".join),
    *(RandomFlip(), RandomCrop(1), RandomCrop(2), RandomErasing(), Compose(RandomFlip(), RandomCrop(1))),
    *(Compose(RandomCrop(1), RandomFlip()), Compose(RandomFlip())),
]


def test_different_values_have_different_fingerprints() -> None:
    found = [fingerprint(value) for value in VALUES]
    same = [(VALUES[i], VALUES[j]) for i, j in itertools.combinations(range(len(found)), 2) if found[i] == found[j]]
    assert same == []
    assert all(len(digits) == 32 for digits in found)


@pytest.mark.parametrize("value", VALUES)
def test_the_fingerprint_of_a_value_is_the_same_twice_and_for_a_copy(value: Any) -> None:
    generator = isinstance(value, torch.Generator)
    again = torch.Generator().manual_seed(value.initial_seed()) if generator else copy.deepcopy(value)
    assert fingerprint(value) == fingerprint(value) == fingerprint(again)


def test_the_fingerprint_is_the_same_in_another_process_whatever_its_hashes_of_text() -> None:
    made = "{'a': {'x', 'y', 'z'}, 'b': nn.Linear, 'c': RandomCrop(2), 'd': lambda x: 2 * x, 'e': torch.arange(3)}"
    program = (
        "import torch; from torch import nn; from odenet.data.augmentation import RandomCrop; "
        f"from odenet.training.fingerprints import fingerprint; print(fingerprint({made}))"
    )
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
    )
    names = {"__name__": "__main__", "nn": nn, "torch": torch, "RandomCrop": RandomCrop}
    assert ran.stdout.decode().strip() == fingerprint(eval(made, names))


def test_layout_and_memory_of_a_tensor_do_not_count() -> None:
    x = torch.arange(24.0).view(1, 2, 3, 4)
    assert fingerprint(x) == fingerprint(x.to(memory_format=torch.channels_last)) == fingerprint(x.clone())
    assert fingerprint(x[0, 0]) == fingerprint(x[0, 0].clone())
    assert fingerprint(nn.Parameter(x)) == fingerprint(x)
    assert fingerprint(torch.eye(3).to_sparse()) == fingerprint(torch.eye(3))
    assert fingerprint(torch.device("cpu")) == fingerprint(torch.device("meta"))


def test_content_that_changes_in_place_is_noticed() -> None:
    pixels = np.zeros(2_000_000, dtype=np.uint8)
    held = Plain(images=torch.from_numpy(pixels))
    before = fingerprint(held)
    pixels[-1] = 1  # torch does not count this change in the version of the tensor
    assert fingerprint(held) != before


def test_what_is_kept_of_a_computation_does_not_count() -> None:
    data = Data(2)
    before = fingerprint(data)
    assert data.twice == 4
    assert fingerprint(data) == before


def test_an_object_may_hold_itself() -> None:
    one, two, other = Plain(x=1), Plain(x=1), Plain(x=2)
    for each in (one, two, other):
        vars(each)["self"] = each
    assert fingerprint(one) == fingerprint(two) != fingerprint(other)


def test_a_class_says_itself_what_counts() -> None:
    class Source:
        def __init__(self, file: Any, name: str) -> None:
            self.file, self.name = file, name

        def __fingerprint__(self) -> str:
            return self.name

    with Path(__file__).open() as file:
        assert fingerprint(Source(file, "a")) == fingerprint(Source(None, "a")) != fingerprint(Source(None, "b"))


def test_a_path_counts_by_the_files_that_it_names(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "1"), ("c", "2"), ("one/x", "1"), ("two/x", "1"), ("three/y", "1")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    a, b, c, one, two, three = (fingerprint(tmp_path / name) for name in ("a", "b", "c", "one", "two", "three"))
    assert a == b != c
    assert one == two != three
    (tmp_path / "two" / "x").write_text("2")
    assert fingerprint(tmp_path / "two") != two
    assert fingerprint(tmp_path / "none") != fingerprint(tmp_path / "nothing")


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("value", [threading.Lock(), numbers(), io.TextIOWrapper(io.BytesIO())])
def test_what_is_bound_to_the_process_is_refused_with_what_to_do(value: Any) -> None:
    with pytest.raises(TypeError, match=f"of a {type(value).__name__} was asked for, .* a method __fingerprint__"):
        fingerprint(Plain(inner=[value]))


# Sources of batches


def batches(of: Split | None = None, **options: Any) -> Batches:
    given: dict[str, Any] = {"batch_size": 10, "mean": (0.5,), "std": (0.3,), "shuffle": True, "seed": 3} | options
    return Batches(of or split(), given.pop("batch_size"), **given)


def changed(change: Callable[[Tensor], Any], part: str) -> Split:
    made = split()
    change(getattr(made, part))
    return made


SOURCES = [
    batches(),
    batches(seed=4),
    batches(batch_size=9),
    batches(shuffle=False),
    batches(drop_last=True),
    batches(mean=(0.4,)),
    batches(std=(0.4,)),
    batches(augmentation=RandomFlip()),
    batches(augmentation=RandomCrop(1)),
    batches(split(45)),
    batches(changed(lambda images: images[3, 0, 0].fill_(7), "images")),
    batches(changed(lambda labels: labels.copy_(labels.flip(0)), "labels")),
]


def test_batches_differ_by_every_setting_and_by_content() -> None:
    found = [fingerprint(source) for source in SOURCES]
    assert len(set(found)) == len(SOURCES)
    assert found == [fingerprint(source) for source in SOURCES]


def test_batches_that_were_used_are_the_same() -> None:
    source = batches(augmentation=RandomFlip())
    before = fingerprint(source)
    list(source.epoch(1))
    assert fingerprint(source) == before == fingerprint(batches(augmentation=RandomFlip()))


def test_batches_of_scenes_differ_by_every_setting() -> None:
    scenes = Scenes((16, 16), objects=(1, 2))
    made = [
        SceneBatches(scenes, 8, 4),
        SceneBatches(scenes, 8, 4, fresh=True),
        SceneBatches(scenes, 8, 4, target="semantic"),
        SceneBatches(scenes, 12, 4),
        SceneBatches(scenes, 8, 2),
        *(SceneBatches(replace(scenes, **change), 8, 4) for change in CHANGES),
    ]
    assert len({fingerprint(source) for source in made}) == len(made)
    before = fingerprint(scenes)
    scenes.draw([0])
    assert fingerprint(scenes) == before == fingerprint(scenes.to("cpu"))


CHANGES: list[dict[str, Any]] = [
    {"seed": 1},
    {"objects": (1, 3)},
    {"clutter": (0, 2)},
    {"part": "test"},
    {"smallest": 0.1},
    {"size": (16, 17)},
]


def test_crops_count_by_the_content_of_their_files(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for folder, value in (("a", 1), ("b", 1), ("c", 0)):
        for kind, mode in (("images", "RGB"), ("masks", "L")):
            (tmp_path / folder / kind).mkdir(parents=True)
            image.new(mode, (8, 8), value if mode == "L" else (9, 9, 9)).save(tmp_path / folder / kind / "1.png")
    a, b, c = (
        fingerprint(CropBatches(masked_folder(tmp_path / name, ("ground", "thing")), 4, 1, train=True))
        for name in "abc"
    )
    assert a == b != c
