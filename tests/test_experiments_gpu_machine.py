"""Tests of the machine for slices: it is measured, and a message says what is missing before anything runs."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.support import gpu_machine
from experiments.support.gpu_machine import GIBIBYTE, CannotStart

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def facts() -> dict:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return gpu_machine.measured_facts("cpu", environment)


def test_a_processor_is_measured_in_a_process_of_its_own(facts):
    assert facts["card"] is None
    assert facts["copy_bytes_per_second"] > 0
    assert facts["product_flops_per_second"] > 0
    assert set(facts["compilers"]) == {"cc", "gcc", "g++", "nvcc"}
    gpu_machine.require_card(facts)


def test_a_machine_without_a_gpu_is_refused_with_where_to_go(facts):
    with pytest.raises(CannotStart, match=r"finds no CUDA device here: run the command on a machine with one, or try"):
        gpu_machine.require_card(facts | {"device": "cuda"})


def test_a_card_that_is_too_small_is_refused_with_its_size(facts):
    small = facts | {"device": "cuda", "card": "T1000", "memory_bytes": 8 * GIBIBYTE}
    with pytest.raises(CannotStart, match=r"on T1000, which has 8 GiB of memory, and they need 24: take a larger GPU"):
        gpu_machine.require_card(small)
    gpu_machine.require_card(small | {"memory_bytes": 80 * GIBIBYTE})


@pytest.mark.parametrize(
    "script", ["import sys; sys.exit('the driver is gone')", "import time; time.sleep(60)", "print('no JSON')"]
)
def test_a_measurement_that_fails_or_hangs_is_a_sentence(script, monkeypatch):
    run = subprocess.run

    def instead(command: list[str], **options: object) -> object:
        return run([sys.executable, "-c", script], **options)  # pyright: ignore[reportCallIssue, reportArgumentType]

    monkeypatch.setattr(subprocess, "run", instead)
    with pytest.raises(
        CannotStart, match=r"the machine was to be measured \(.*machine_facts cuda\), but that failed: .+"
    ):
        gpu_machine.measured_facts("cuda", dict(os.environ), seconds=2.0)


def test_modules_that_are_not_installed_are_named_with_where_they_come_from(monkeypatch):
    gpu_machine.require_packages()
    monkeypatch.setattr(gpu_machine, "find_spec", lambda name: None if name in ("tyro", "typeguard") else name)
    with pytest.raises(CannotStart, match=r"lacks tyro, typeguard: install them .*CONTRIBUTING.md"):
        gpu_machine.require_packages()


def test_an_installed_package_without_tests_is_told_where_to_run(tmp_path):
    gpu_machine.require_clone(ROOT)
    (tmp_path / "benchmarks").mkdir()
    with pytest.raises(CannotStart, match="comes without tests, records: run `make gpu` in a clone"):
        gpu_machine.require_clone(tmp_path)


def test_packages_are_asked_for_before_any_of_them_is_imported():
    script = "import sys; import experiments.on_gpu; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) & set(gpu_machine.PACKAGES) == set()


def test_every_package_that_the_makefile_asks_for_is_asked_for_here():
    said = (ROOT / "Makefile").read_text()
    lines = {
        line.partition(":=")[0].strip(): line.partition(":=")[2].split() for line in said.splitlines() if ":=" in line
    }
    names = {*lines["run-imports"], *lines["test-imports"]} - {"odenet", "$(run-imports)", "xdist"}
    assert names <= set(gpu_machine.PACKAGES)


def test_a_full_disk_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 2**20))
    with pytest.raises(CannotStart, match=r"where 3 MiB are free and 64 are needed: free some space, or give another"):
        gpu_machine.require_room(tmp_path / "out")


def test_a_file_in_the_place_of_the_output_is_told(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(CannotStart, match=r"which cannot be made: File exists; give another --out"):
        gpu_machine.require_room(tmp_path / "out")


def test_room_is_made_where_there_is_some(tmp_path):
    gpu_machine.require_room(tmp_path / "a" / "out")
    assert (tmp_path / "a" / "out").is_dir()


def packed(folder: Path, content: bytes) -> Path:
    (raw := folder / "FashionMNIST" / "raw").mkdir(parents=True)
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(content)
    return raw / "t10k-labels-idx1-ubyte"


def test_data_that_travelled_packed_are_unpacked_in_place_once(tmp_path):
    whole = packed(tmp_path, gzip.compress(b"labels"))
    assert gpu_machine.unpack(tmp_path) == [whole]
    assert whole.read_bytes() == b"labels"
    whole.write_bytes(b"there already")
    assert gpu_machine.unpack(tmp_path) == []
    assert whole.read_bytes() == b"there already"


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"labels" * 100)[:-9], b""])
def test_packed_data_that_are_damaged_are_a_sentence(content, tmp_path):
    packed(tmp_path, content)
    if not content:  # an empty .gz is an empty file to gzip, and its MD5 tells
        assert gpu_machine.unpack(tmp_path)[0].read_bytes() == b""
        return
    with pytest.raises(CannotStart, match=r"t10k-labels-idx1-ubyte.gz' was to be unpacked, but cannot be"):
        gpu_machine.unpack(tmp_path)


@pytest.mark.parametrize("name", ["fashion-mnist", "garments"])
def test_data_that_are_not_there_are_named(name, tmp_path):
    with pytest.raises(
        CannotStart, match=r"FashionMNIST was requested, but .* lacks train-images.*see CONTRIBUTING.md"
    ):
        gpu_machine.require_data({name, "digits", "scenes"}, tmp_path)


def test_data_that_are_not_as_published_are_named(tmp_path):
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (path := tmp_path / "FashionMNIST" / "raw" / f"{name}-ubyte").parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no images")
    with pytest.raises(CannotStart, match=r"its MD5 is .* instead of f4a8712d7a061bf5bd6d2ca38dc4d50a"):
        gpu_machine.require_data({"fashion-mnist"}, tmp_path)


def test_data_that_are_drawn_or_embedded_need_no_files(tmp_path):
    gpu_machine.require_data({"digits", "scenes"}, tmp_path)


@pytest.mark.gpu
def test_on_a_gpu_a_card_is_measured():
    from experiments.support.machine_facts import facts

    found = facts("cuda")
    assert found["card"]
    assert found["copy_bytes_per_second"] > 1e9
    assert found["product_flops_per_second"] > 1e11
