"""Tests of the records of slices: packing, merging over seeds as if one run had made them, and refusals."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from experiments.support import gpu_records
from experiments.support.collected import redraw
from experiments.support.gpu_records import collect, merged, pack, unpacked
from odenet.training import Record, RecordError
from tests.test_experiments import run, untimed

NAME = "degradation"


def of_seed(seed: int, **settings: Any) -> Record:
    """Return a record of degradation with what its table needs: two nets, and a result without a seed."""
    results = {
        f"seed{seed}/{net}/8": {
            "layers": 8,
            "parameters": 10,
            "train_error": 0.1 + 0.01 * seed,
            "test_error": 0.2,
            "seconds_per_epoch": 1.0,
        }
        for net in ("plain", "resnet")
    }
    return Record(
        NAME,
        "gpu",
        {"seeds": [seed], "data": "digits", **settings},
        results=results | {"counted/before": {"of": f"seed{seed}"}},
        summary={"table": [], "said": seed},
        sessions=[{"started": f"{seed}", "seconds": 1.0, "commit": f"{seed}" * 40, "machine": {"gpu": "H100"}}],
        made_from={"data": "d", f"seed{seed}: weights": str(seed)},
        finished=True,
    )


def packed(folder: Path, *records: Record) -> Path:
    """Write an archive of records."""
    places = []
    for record in records:
        name = Path(record.experiment) / f"gpu-digits-seed{record.settings['seeds'][0]}.json"
        record.save(folder / "made" / name)
        places.append((folder / "made" / name, name))
    pack(places, folder / "records.tar.gz")
    return folder / "records.tar.gz"


def test_finished_records_are_packed_and_come_out_as_they_were(tmp_path):
    archive = packed(tmp_path, of_seed(0), replace(of_seed(1), finished=False), of_seed(2))
    assert unpacked(archive) == {PurePosixPath(f"{NAME}/gpu-digits-seed{s}.json"): of_seed(s) for s in (0, 2)}


def test_a_record_that_is_not_there_is_left_out(tmp_path):
    assert pack([(tmp_path / "none.json", Path("a/none.json"))], tmp_path / "records.tar.gz") == []
    assert unpacked(tmp_path / "records.tar.gz") == {}


def test_merged_seeds_are_in_their_order_and_their_table_is_made_anew():
    whole = merged([of_seed(2), of_seed(0), of_seed(1)])
    assert whole.settings["seeds"] == [0, 1, 2]
    assert [key for key in whole.results if key.startswith("seed")] == [
        f"seed{seed}/{net}/8" for seed in (0, 1, 2) for net in ("plain", "resnet")
    ]
    assert whole.results["counted/before"] == {"of": "seed2"}, "the first record's"
    assert [row["train error %"] for row in whole.summary["table"]] == ["11.0 ± 1.0", "11.0 ± 1.0"]
    assert whole.summary["said"] == 2
    assert len(whole.sessions) == len(whole.commits) == 3
    assert whole.made_from == {"data": "d"} | {f"seed{seed}: weights": str(seed) for seed in (0, 1, 2)}
    assert whole.finished


def test_of_a_seed_that_is_there_already_the_first_record_counts():
    twice = replace(of_seed(0), summary={"table": [], "said": "again"}, sessions=[])
    assert merged([of_seed(0), twice]).sessions == of_seed(0).sessions


def test_one_record_is_its_own_merger():
    assert merged([of_seed(1)]) == of_seed(1)


def test_records_of_other_settings_are_not_merged():
    with pytest.raises(RecordError, match=r"seeds \[0\] and \[1\] .* different settings \(settings.data: .*\): remove"):
        merged([of_seed(0), of_seed(1, data="mnist")])
    with pytest.raises(RecordError, match=r"different settings \(preset:"):
        merged([of_seed(0), replace(of_seed(1), preset="full")])


def test_records_made_from_other_data_are_not_merged():
    other = replace(of_seed(1), made_from={"data": "other"})
    with pytest.raises(RecordError, match=r"but data is not the same in both.*Run both with the same data"):
        merged([of_seed(0), other])


SMALLER = ["--training.epochs", "1", "--train-images", "64"]
SOLVED_ONCE = ["--tolerances", "0.1", "--probe-images", "2"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("degradation", []),
        ("to_continuous", [*SOLVED_ONCE, "--test-images", "16"]),
        ("solver_swap", ["--recalibration-images", "16"]),
    ],
)
def test_seeds_that_ran_alone_and_were_merged_are_those_of_one_run(name, options, tmp_path):
    records = {}
    for given in ("0 1", "0", "1"):
        arguments = [*SMALLER, *options, "--seeds", *given.split(), "--record", f"{given}.json"]
        outcome = run(f"experiments.{name}", "smoke", *arguments, folder=tmp_path)
        assert outcome.returncode == 0, outcome.stderr
        records[given] = Record.load(tmp_path / f"{given}.json")
    one, whole = records["0 1"], merged([records["0"], records["1"]])
    assert whole.settings == one.settings
    assert len(whole.summary["table"]) == len(one.summary["table"])
    # Where one run does some things for its first seed alone, each of the records does them for its own.
    assert {key: untimed(whole.results[key]) for key in one.results if key != "costs"} == {
        key: untimed(result) for key, result in one.results.items() if key != "costs"
    }
    assert whole.made_from | one.made_from == whole.made_from


# At home


def test_what_is_collected_joins_what_was_there(tmp_path):
    home = tmp_path / "records"
    assert collect(packed(tmp_path, of_seed(0)), home) == [home / NAME / "gpu-digits.json"]
    assert Record.load(home / NAME / "gpu-digits.json") == of_seed(0)
    collect(packed(tmp_path, of_seed(2), of_seed(1)), home)
    assert Record.load(home / NAME / "gpu-digits.json").settings["seeds"] == [0, 1, 2]
    before = (home / NAME / "gpu-digits.json").read_bytes()
    collect(packed(tmp_path, of_seed(1)), home)
    assert Record.load(home / NAME / "gpu-digits.json").results == Record.load(home / NAME / "gpu-digits.json").results
    assert (home / NAME / "gpu-digits.json").read_bytes() == before, "collected twice is collected once"


def test_nothing_is_written_where_something_cannot_be_merged(tmp_path):
    home = tmp_path / "records"
    of_seed(0, widths=[1]).save(home / NAME / "gpu-digits.json")
    complexity = replace(of_seed(0), experiment="complexity")
    with pytest.raises(RecordError, match="different settings"):
        collect(packed(tmp_path, complexity, of_seed(1)), home)
    assert not (home / "complexity").exists()


def test_newer_tests_and_benchmarks_take_the_place_of_older_ones(tmp_path):
    for said in (1, 2):
        record = Record("gpu_tests", "", {}, summary={"said": said}, finished=True)
        record.save(tmp_path / "made.json")
        pack([(tmp_path / "made.json", Path(f"gpu_tests/gpu-{said}{said}.json"))], tmp_path / "records.tar.gz")
        assert collect(tmp_path / "records.tar.gz", tmp_path) == [tmp_path / "gpu_tests" / "gpu.json"]
        assert Record.load(tmp_path / "gpu_tests" / "gpu.json").summary == {"said": said}


def test_a_file_that_is_no_archive_is_a_sentence(tmp_path):
    (tmp_path / "no.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"no.tar.gz' was to be collected, but it is no whole archive .*: give the"):
        collect(tmp_path / "no.tar.gz", tmp_path)
    with pytest.raises(FileNotFoundError):
        collect(tmp_path / "none.tar.gz", tmp_path)
    archive = packed(tmp_path, of_seed(0))
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ValueError, match="no whole archive of records"):
        collect(archive, tmp_path)


@pytest.mark.parametrize("name", ["../../outside.json", "/outside.json", "outside.json", "a/b/c.json", "a/b.txt"])
def test_an_archive_with_anything_else_in_it_is_refused(name, tmp_path):
    with tarfile.open(tmp_path / "odd.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(ValueError, match=r"which is no FOLDER/NAME.json of a record: give the records.tar.gz"):
        collect(tmp_path / "odd.tar.gz", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_link_in_an_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "odd.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("a/b.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "outside"
        tar.addfile(entry)
    with pytest.raises(ValueError, match=r"which is no FOLDER/NAME.json of a record"):
        collect(tmp_path / "odd.tar.gz", tmp_path / "home")


def test_a_damaged_record_in_an_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "odd.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("a/b.json")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"{"))
    with pytest.raises(RecordError, match="cannot be read"):
        collect(tmp_path / "odd.tar.gz", tmp_path / "home")


def test_figures_of_what_has_changed_are_drawn_beside_records_of_another_folder(tmp_path):
    outcome = run(f"experiments.{NAME}", "smoke", *SMALLER, "--record", f"{NAME}/smoke-digits.json", folder=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    redraw([tmp_path / NAME / "smoke-digits.json"], tmp_path)
    drawn = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert drawn == [f"{NAME}-smoke-digits.pdf", f"{NAME}-smoke-digits.png"]


def test_the_figure_of_two_benchmarks_is_drawn_when_both_are_there(tmp_path, monkeypatch):
    names, drawn = ("adaptive", "fixed_steps"), []
    monkeypatch.setattr("experiments.support.collected.gather", lambda a, b, to: drawn.append((a, b, to)) or a.save(to))
    paths = [tmp_path / "benchmarks" / f"{name}-cuda.json" for name in names]
    Record("benchmarks.adaptive", "", {}, finished=True).save(paths[0])
    redraw(paths[:1], tmp_path)
    assert drawn == []
    Record("benchmarks.fixed_steps", "", {}, finished=True).save(paths[1])
    redraw(paths, tmp_path)
    assert [(a.experiment, b.experiment, to) for a, b, to in drawn] == [
        ("benchmarks.adaptive", "benchmarks.fixed_steps", tmp_path / "peers" / "cuda.json")
    ]


def test_results_of_no_seed_stay_before_or_after_the_others():
    record = of_seed(1)
    whole = merged([replace(record, results={"first/before": {}} | record.results), of_seed(0)])
    assert [key for key in whole.results if not key.startswith("seed")] == ["first/before", "counted/before"]
    assert next(iter(whole.results)) == "first/before"
    assert list(whole.results)[-1] == "counted/before"


def test_a_seed_is_what_the_key_says():
    assert [gpu_records._seed(key) for key in ("seed12/net", "seed/net", "seeds", "counted/seed1")] == [
        12,
        None,
        None,
        None,
    ]
