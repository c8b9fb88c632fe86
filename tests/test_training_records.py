"""Records are read as they were written, and files that are no valid record are refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from odenet.training import CannotWrite, Record, RecordError
from odenet.training.records import FORMAT


def record() -> Record:
    return Record(
        experiment="widths",
        preset="cpu",
        settings={"widths": [4, 8], "data": {"name": "digits"}},
        results={"seed0/width4": {"accuracy": 0.9, "loss": float("inf")}},
        summary={"table": [{"net": "θ", "accuracy": 0.9}]},
        sessions=[
            {"started": "2020-01-01T00:00:00+00:00", "seconds": 1.5, "commit": "a", "versions": {}, "machine": {}},
            {"started": "2020-01-02T00:00:00+00:00", "seconds": 2.0, "commit": "b", "versions": {}, "machine": {}},
            {"started": "2020-01-03T00:00:00+00:00", "seconds": 2.5, "commit": "b", "versions": {}, "machine": {}},
            {"started": "2020-01-04T00:00:00+00:00", "seconds": 0.5, "commit": None, "versions": {}, "machine": {}},
        ],
        made_from={"data": "0123"},
        finished=True,
    )


def test_a_record_comes_back_as_it_was_infinities_included(tmp_path: Path) -> None:
    record().save(tmp_path / "record.json")
    assert Record.load(tmp_path / "record.json") == record()


def test_the_file_is_standard_json_for_people_to_read_and_compare(tmp_path: Path) -> None:
    record().save(tmp_path / "record.json")
    text = (tmp_path / "record.json").read_text("utf-8")
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert content["results"]["seed0/width4"]["loss"] == {"$float": "inf"}
    assert text.count("\n") > 30
    assert "θ" in text


def test_a_nan_comes_back_as_nan(tmp_path: Path) -> None:
    Record("e", "", {}, results={"a": {"loss": math.nan}}).save(tmp_path / "record.json")
    assert math.isnan(Record.load(tmp_path / "record.json").results["a"]["loss"])


def test_seconds_are_those_of_all_sessions_and_each_commit_is_named_once() -> None:
    assert record().seconds == 6.5
    assert record().commits == ["a", "b"]


@pytest.mark.parametrize("content", ["", "{", '{"experiment": "widths"}', "[1, 2]", "\x00\xff"])
def test_a_truncated_or_foreign_file_is_refused_by_name(content: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(RecordError, match=r"the record .*record\.json cannot be read .*--record, or delete the file"):
        Record.load(path)


def change(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | entries))


def test_another_format_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record().save(path)
    change(path, format=FORMAT + 1)
    with pytest.raises(
        RecordError, match=f"has format {FORMAT + 1}, and this version of odenet reads formats up to {FORMAT}"
    ):
        Record.load(path)


def test_a_record_without_an_entry_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    of_format_1(path, settings=None, sessions=None)
    with pytest.raises(RecordError, match="it lacks settings, sessions"):
        Record.load(path)


@pytest.mark.parametrize(("entry", "value"), [("results", []), ("sessions", {}), ("finished", "yes"), ("preset", 1)])
def test_an_entry_of_another_kind_is_refused_by_its_name(entry: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    of_format_1(path, **{entry: value})
    with pytest.raises(RecordError, match=f"its {entry} must be of type .*, got {type(value).__name__}"):
        Record.load(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"results": {"a": 1}', "its result 'a' must be a dictionary, got 1"),
        ('"sessions": [7]', "a session must be a dictionary, got 7"),
        ('"sessions": [{"seconds": "many"}]', "the seconds of a session must be a number, got 'many'"),
        ('"sessions": [{"seconds": 1, "commit": []}]', r"the commit of a session must be a string or None, got \[\]"),
        ('"settings": {"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('"settings": {"a": {"$float": "many"}}', "could not convert string to float: 'many'"),
        ('"settings": ' + '{"a": ' * 200_000 + "1" + "}" * 200_000, "maximum recursion depth"),
        (r'"preset": "\ud800"', ".*surrogates not allowed"),
    ],
    ids=["result", "session", "seconds", "commit", "digits", "float", "depth", "half a character"],
)
def test_what_could_not_be_worked_with_is_refused_when_it_is_read(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    of_format_1(path)
    path.write_text(f"{path.read_text('utf-8')[:-1]}, {text}}}", "utf-8")
    with pytest.raises(RecordError, match=rf"record\.json cannot be read .{reason}"):
        Record.load(path)


def test_a_format_that_is_no_number_is_refused(tmp_path: Path) -> None:
    of_format_1(tmp_path / "record.json", format=True)
    with pytest.raises(RecordError, match="has format True, and this version of odenet reads formats up to"):
        Record.load(tmp_path / "record.json")


def of_format_1(path: Path, **entries: Any) -> None:
    """Write the record in format 1, without a checksum and without the entries that are `None`."""
    record().save(path)
    content = json.loads(path.read_text("utf-8")) | {"format": 1} | entries
    del content["sha256"], content["made_from"]
    path.write_text(json.dumps({name: entry for name, entry in content.items() if entry is not None}))


def test_a_record_without_a_checksum_of_format_1_is_read(tmp_path: Path) -> None:
    of_format_1(tmp_path / "record.json")
    assert Record.load(tmp_path / "record.json") == replace(record(), made_from={})


def test_an_edited_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record().save(path)
    path.write_text(path.read_text("utf-8").replace("0.9", "0.91", 1), "utf-8")
    with pytest.raises(RecordError, match="its checksum is not that of its content: it was changed after it"):
        Record.load(path)


def test_other_ends_of_lines_are_no_change(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record().save(path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Record.load(path) == record()


def test_a_number_written_in_another_way_in_the_file_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    replace(record(), summary={"loss": 1e-30}).save(path)
    path.write_bytes(path.read_bytes().replace(b"1e-30", b"1E-30"))
    with pytest.raises(RecordError, match="its checksum"):
        Record.load(path)


def test_an_absent_record_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        Record.load(tmp_path / "absent.json")


def test_a_path_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=r"the record .*file/record\.json cannot be written"):
        record().save(tmp_path / "file" / "record.json")
