"""A record of a GPU goes before one of a processor, and what is made from it says which card it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from odenet.training import Record
from paper_figs.claims import claim as claims_module
from paper_figs.claims import headlines, pages
from paper_figs.claims.claim import Claim
from paper_figs.claims.verdict import Exact
from paper_figs.support import command
from paper_figs.support.cards import cards, of_gpus_first, preferred

H100 = "NVIDIA H100 80GB HBM3"


def record(*gpus: str | None, **settings: Any) -> Record:
    sessions = [{"seconds": 1.0, "commit": None, "machine": {"gpu": gpu}} for gpu in gpus]
    return Record("degradation", "gpu" if any(gpus) else "cpu", settings, sessions=sessions, finished=True)


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of records, empty."""
    for module in (command, claims_module, pages):
        monkeypatch.setattr(module, "RECORDS", tmp_path)
    return tmp_path


def test_the_cards_of_a_record_are_those_of_its_sessions():
    assert cards(record(None, None)) == []
    assert cards(record(H100, H100)) == [H100]
    assert cards(record(H100, "NVIDIA H200")) == [H100, "NVIDIA H200"]
    assert cards(Record("old", "cpu", {}, sessions=[{"seconds": 1.0, "commit": None}])) == []


def test_a_processor_that_was_asked_for_beside_a_card_is_none():
    assert cards(record(H100, training={"device": "cpu"})) == []
    assert cards(record(H100, training={"device": "auto"})) == [H100]
    assert cards(record(H100, device="cpu")) == []


@pytest.mark.parametrize(
    ("cpu", "gpu"),
    [
        ("degradation/cpu-fashion-mnist.json", "degradation/gpu-fashion-mnist.json"),
        ("inception/cpu.json", "inception/gpu.json"),
        ("benchmarks/networks-cpu.json", "benchmarks/networks-cuda.json"),
        ("benchmarks/stochastic_depth-cpu.json", "benchmarks/stochastic_depth-cuda.json"),
    ],
)
def test_the_record_of_a_gpu_is_preferred_where_there_is_one(cpu: str, gpu: str, tmp_path: Path):
    assert preferred(tmp_path / cpu) == tmp_path / cpu
    record(H100).save(tmp_path / gpu)
    assert preferred(tmp_path / cpu) == tmp_path / gpu


@pytest.mark.parametrize("name", ["demo-digits.json", "gpu-fashion-mnist.json", "cpus.json"])
def test_other_records_stand_for_themselves(name: str, tmp_path: Path):
    record(H100).save(tmp_path / "gpu-digits.json")
    record(H100).save(tmp_path / "gpus.json")
    assert preferred(tmp_path / name) == tmp_path / name


def test_paths_of_gpus_come_first():
    names = ["cpu-digits.json", "demo-digits.json", "gpu-digits.json", "networks-cpu.json", "networks-cuda.json"]
    found = [path.name for path in of_gpus_first([Path(name) for name in names])]
    assert found == [
        "gpu-digits.json",
        "networks-cuda.json",
        "cpu-digits.json",
        "demo-digits.json",
        "networks-cpu.json",
    ]


def test_a_claim_is_read_off_the_record_of_a_gpu_and_one_of_a_processor_is_not(records: Path):
    record(None, blocks=[1]).save(records / "degradation" / "cpu-digits.json")
    made = [
        Claim(
            lambda r: f"{r.settings['blocks']}",
            "–",
            "degradation/cpu-digits.json",
            lambda _: "",
            Exact(lambda _: True),
            machine=machine,
        )
        for machine in ("any", "processor")
    ]
    assert [claim.row().split("|")[1] for claim in made] == [" [1] ", " [1] "]
    record(H100, blocks=[2]).save(records / "degradation" / "gpu-digits.json")
    assert [claim.row().split("|")[1] for claim in made] == [" [2] ", " [1] "]


def test_the_section_of_an_experiment_names_the_card_beside_its_command(records: Path):
    claims = [Claim("so it is", "–", "degradation/cpu-digits.json", lambda _: "1", Exact(lambda _: True))]
    assert pages._section("degradation", claims) == ""
    record(None).save(records / "degradation" / "cpu-digits.json")
    assert "`python -m experiments.degradation cpu` → [degradation]" in pages._section("degradation", claims)
    record(H100).save(records / "degradation" / "gpu-digits.json")
    section = pages._section("degradation", claims)
    assert f"`python -m experiments.degradation gpu` ({H100}) → [degradation](" in section
    assert "degradation-gpu-digits.png" in section
    assert "cpu" not in section


def test_the_table_of_a_benchmark_says_which_card_measured_it(records: Path):
    for name, made in (("cpu", record(None)), ("cuda", record(H100))):
        made.summary = {"table": [{"quantity": name}]}
        made.save(records / "benchmarks" / f"networks-{name}.json")
        first = pages.benchmark_table("networks").splitlines()[0]
        assert first == {"cpu": "| quantity |", "cuda": f"Measured on {H100}."}[name]


def test_a_benchmark_in_the_readme_names_the_card_that_measured_it():
    def measured(name: str) -> Record:
        own = record(H100 if name == "gradients" else None)
        starts = [start for benchmark, start in headlines.BENCHMARKS if benchmark == name]
        own.summary = {"table": [{"quantity": f"{start} and more", "beside it": "a loop"} for start in starts]}
        return own

    rows = headlines.benchmark_lines(measured).splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["a loop |", "a loop |", f"a loop; {H100} |"]


@pytest.mark.parametrize(("gpus", "said"), [((None,), []), ((H100,), [H100]), ((H100, "L4"), [f"{H100}, L4"])])
def test_a_figure_has_the_card_in_its_corner(gpus: tuple, said: list[str], tmp_path: Path):
    record(*gpus).save(tmp_path / "gpu-digits.json")
    figure = Figure(layout="constrained")
    command.draw_records("degradation", lambda _: figure, [tmp_path / "gpu-digits.json"], tmp_path)
    assert [text.get_text() for text in figure.texts] == said
