"""Files that settings name are found at every depth, and compared by their content."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from odenet.training.fingerprints import fingerprint
from odenet.training.named_files import FILE, files_of


@dataclass(frozen=True)
class Inner:
    weights: Path | None
    rate: float = 0.1


@dataclass(frozen=True)
class Settings:
    inner: Inner
    photos: tuple[Path, ...] = ()
    tables: dict[str, list[Path]] = field(default_factory=dict)
    name: str = "a"


def test_paths_are_found_in_dataclasses_tuples_lists_and_dictionaries(tmp_path: Path) -> None:
    a, b, c, absent = (tmp_path / name for name in ("a", "b", "c", "absent"))
    for path in (a, b, c):
        path.write_text(path.name)
    settings = Settings(Inner(a), (b, absent), {"first": [c]}, name=str(a))
    expected = {"inner.weights": a, "photos[0]": b, "tables.first[0]": c}
    assert files_of(settings) == {FILE + name: fingerprint(path) for name, path in expected.items()}
    assert files_of({"settings": settings}).keys() == {f"{FILE}settings.{name}" for name in expected}
    assert files_of(a) == {FILE: fingerprint(a)}


def test_settings_without_paths_name_no_files() -> None:
    assert files_of(Settings(Inner(None), name="a")) == files_of({"x": 1}) == files_of(None) == {}


def test_other_content_of_a_file_or_folder_is_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("1")
    settings = {"file": tmp_path / "folder" / "file", "folder": tmp_path / "folder"}
    before = files_of(settings)
    (tmp_path / "folder" / "file").write_text("2")
    after = files_of(settings)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)
