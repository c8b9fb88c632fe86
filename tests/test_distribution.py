"""The package is whole: the sdist has all that its tests read, the wheel all that the command runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.test_repository import project, repository_files

ROOT = Path(__file__).parents[1]

BUILD = """import sys
from setuptools import build_meta
folder = sys.argv[1]  # setuptools sets sys.argv
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
"""

GENERATED = {"PKG-INFO", "setup.cfg"}
"""Files that setuptools adds to an sdist, beside odenet.egg-info."""


def sources() -> list[Path]:
    """The files of the repository, relative to it; those that an sdist adds are none of them."""
    files = [file.relative_to(ROOT) for file in repository_files(ROOT)]
    return [file for file in files if file.as_posix() not in GENERATED and "egg-info" not in file.parts[0]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel of the working tree, built without a network."""
    required = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    least = int(re.findall(r"setuptools>=(\d+)", str(required))[0])
    if importlib.util.find_spec("setuptools") is None or int(version("setuptools").split(".")[0]) < least:
        pytest.skip(f"needs setuptools {least} or newer, as pyproject.toml says, to build without a network")
    copy, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for file in sources():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, copy / file)
    ran = subprocess.run(
        [sys.executable, "-c", BUILD, str(built)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return built


def test_an_sdist_has_every_file_of_the_repository_and_none_beside(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {Path(*Path(member.name).parts[1:]) for member in archive if member.isfile()}
    assert set(sources()) - inside == set()
    beside = {file for file in inside - set(sources()) if "egg-info" not in file.parts[0]}
    assert {file.as_posix() for file in beside} <= GENERATED


def test_a_wheel_has_one_name_at_its_top_and_all_modules_of_library_and_scripts(built: Path) -> None:
    with ZipFile(next(built.glob("*.whl"))) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in inside} == {"odenet"}
    library = {file.as_posix() for file in sources() if file.parts[0] == "odenet"}
    scripts = {
        f"odenet/scripts/{file.as_posix()}"
        for file in sources()
        if file.parts[0] in ("experiments", "paper_figs") and file.suffix == ".py"
    }
    assert inside == library | scripts


def test_a_wheel_alone_lists_and_runs_the_experiments(built: Path, tmp_path: Path) -> None:
    with ZipFile(next(built.glob("*.whl"))) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "here").mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = "import sys; from odenet.command import main; sys.argv[0] = 'odenet'; main()"
    for arguments in (["list"], ["run", "upsampling", "smoke", "--seeds", "0"]):
        command = [sys.executable, "-c", code, *arguments]
        ran = subprocess.run(
            command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "here" / "runs" / "upsampling" / "smoke.json").exists()


def test_the_classifiers_name_the_pythons_that_are_supported_and_ci_tries_oldest_and_newest() -> None:
    own = project(ROOT)
    named = re.findall(r"Python :: (3\.\d+)", " ".join(own["classifiers"]))
    assert own["requires-python"] == f">={named[0]}"
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert f'python: ["{named[0]}", "{named[-1]}"]' in workflow
    assert "run: bash .ci/run" in workflow
    assert f"FROM python:{named[-1]}-slim" in (ROOT / "Dockerfile").read_text("utf-8")


def test_an_image_leaves_out_what_git_leaves_out() -> None:
    ignored, left_out = (
        {line.strip("*/") for line in (ROOT / name).read_text("utf-8").splitlines()}
        for name in (".gitignore", ".dockerignore")
    )
    assert ignored - {".egg-info"} <= left_out | {".egg-info"}
