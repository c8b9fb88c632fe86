"""A record names the machine, the versions and the commit of its run."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import torch

import odenet
from odenet.training.environment import code, commit, machine, versions


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    for name in ("code.py", "record.json"):
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_the_commit_is_that_of_the_checkout(checkout: Path) -> None:
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("name", ["code.py", "new.py", "folder/new.py"])
def test_changed_and_new_code_is_told(name: str, checkout: Path) -> None:
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text("2\n")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD").strip() + "+changes"


def test_the_code_has_another_fingerprint_where_a_python_file_differs(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    found = [code(tmp_path)]
    for name, content in (("a.py", "1"), ("a.py", "2"), ("package/b.py", "2"), ("notes.md", "3")):
        (tmp_path / name).write_text(content)
        found.append(code(tmp_path))
    assert len(set(found)) == 4
    assert found[-1] == found[-2], "notes are no code"
    assert code() == code(Path(odenet.__file__).parent)


def test_a_changed_record_is_no_changed_code(checkout: Path) -> None:
    (checkout / "record.json").write_text("2\n")
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD").strip()


def test_code_that_is_not_of_the_repository_around_it_has_no_commit(checkout: Path) -> None:
    installed = checkout / "ignored" / "package"
    installed.mkdir(parents=True)
    (installed / "code.py").write_text("1\n")
    assert commit(installed) is None


def test_without_a_repository_or_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert commit() is None


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("name", [COMMIT, COMMIT + "+changes"])
def test_where_git_does_not_know_the_code_the_environment_names_the_commit(
    name: str, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODENET_COMMIT", name)
    assert commit(checkout) == git(checkout, "rev-parse", "HEAD").strip(), "git knows better"
    shutil.rmtree(checkout / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(checkout.parent))
    assert commit(checkout) == name


@pytest.mark.parametrize("name", ["main", COMMIT[:-1], COMMIT + "+", COMMIT.upper()])
def test_a_name_of_no_commit_is_refused_with_what_to_set(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("ODENET_COMMIT", name)
    with pytest.raises(ValueError, match=r"ODENET_COMMIT=.* does not name a commit.*git rev-parse HEAD"):
        commit(tmp_path)


def test_versions_are_those_of_what_runs() -> None:
    said = versions()
    assert said["python"] == platform.python_version()
    assert said["odenet"] == odenet.__version__
    assert said["torch"] is not None
    assert torch.__version__.startswith(said["torch"])


def test_the_machine_is_described_without_its_name_or_folders() -> None:
    said = json.dumps([machine(), versions()])
    assert machine()["processor"]
    assert socket.gethostname() not in said
    assert str(Path.home()) not in said or str(Path.home()) == "/"
