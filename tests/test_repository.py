"""The repository keeps the order it claims. Each law is a function root ↦ violations, tried on planted ones too."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

WINGS = ("blocks", "layers", "models", "data", "measure", "training")
"""Of the library, each importing only from those before it."""

STORY = (
    "errors",
    "extras",
    "annotations",
    "arguments",
    "properties",
    "precision",
    "signature",
    "theta",
    "projections",
    "costs",
    "replay",
    "compile",
    "integrals",
    "field",
    "branches",
    "second_order",
    "solvers",
    "stochastic_depth",
    "stepping",
    "statistics",
    "per_sample",
    "gradients",
    "block",
    "penalty",
    "configuration",
    "initialization",
    "multilevel",
    "trajectory",
)
"""The files and rooms of `blocks` in the order in which they may import each other: each only from those before it."""

SCRIPT_FOLDERS = ("experiments", "paper_figs", "benchmarks", "tests")
"""What stands on the library, and which therefore it does not import."""

LINES = {"odenet": 320, "experiments": 200}
"""The longest file of each folder."""

WRITING = {"write_text", "write_bytes", "savefig", "save_file", "imsave", "tofile", "savez", "to_csv"}
"""Methods and functions that put a file where one can find half of it."""

WRITERS = {
    "odenet/training/files.py": {"open"},  # the one writer
    "odenet/training/holds.py": {"write_text"},  # a lock, which has to stay the same file
    "paper_figs/support/style.py": {"savefig"},  # into memory
}
"""What may."""

LARGEST_FILE = 1024 * 1024
"""Bytes."""

# Spelt with [.] and [-], so that this file names none of them.
MACHINE_PATH = re.compile(r"(?<![\w.~$}])/(?:tmp|work|root|home|farm|Users|mnt|opt)/[\w.]")
REGISTRY = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|anaconda[.]org|download[.]pytorch[.]org/whl|--(?:extra-)?index[-]url|--find[-]links"
)


def modules(root: Path) -> list[Path]:
    """The files of the library."""
    return sorted((root / "odenet").rglob("*.py"))


def dotted(file: Path, root: Path) -> str:
    """The name that a library file is imported by."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path, root: Path) -> Iterator[str]:
    """What a file imports anywhere, inside functions too, as module.name: 'torch', 'odenet.blocks.theta.Piece'."""
    yield from imports_of(ast.walk(ast.parse(file.read_text("utf-8"))), file, root)


def imports_at_run_time(file: Path, root: Path) -> Iterator[str]:
    """What a file imports when it runs: all but what only type checkers read."""
    yield from imports_of((node for node, _ in run_time_nodes(ast.parse(file.read_text("utf-8")))), file, root)


def run_time_nodes(tree: ast.AST, extra: str | None = None) -> Iterator[tuple[ast.AST, str | None]]:
    """All nodes outside of `if TYPE_CHECKING:`, each with the name of the `Extra` whose block it is in."""
    yield tree, extra
    for child in ast.iter_child_nodes(tree):
        if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING" and child in tree.body:
            continue
        yield from run_time_nodes(child, _extra_of(tree) or extra)


def _extra_of(node: ast.AST) -> str | None:
    """The extra of a block `with Extra("data"):`."""
    items = [item.context_expr for item in node.items] if isinstance(node, ast.With) else []
    calls = [item for item in items if isinstance(item, ast.Call) and ast.unparse(item.func) == "Extra"]
    return next((ast.literal_eval(call.args[0]) for call in calls), None)


def imports_of(nodes: Iterable[ast.AST], file: Path, root: Path) -> Iterator[str]:
    """What those of the nodes import that are imports."""
    package = file.relative_to(root).parts[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def wing(name: str) -> str | None:
    """The wing that 'odenet.models.resnet' belongs to; none for the front door, `odenet` itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "odenet" and parts[1] in WINGS else None


def wing_violations(root: Path) -> list[str]:
    """Imports from a wing further down, from the scripts, or by `blocks` from the front door."""
    found = []
    for file in modules(root):
        # The front door hands on the names of `blocks`, so it stands where they do.
        # To type checkers it shows the wings, which it imports only when they are asked for.
        front = file.relative_to(root).as_posix() == "odenet/__init__.py"
        own = wing(dotted(file, root)) or "blocks"
        for name in imports_at_run_time(file, root) if front else imports(file, root):
            below = WINGS.index(wing(name) or "blocks") > WINGS.index(own)
            front_door = name.split(".")[0] == "odenet" and wing(name) is None and own == "blocks"
            if below or front_door or name.split(".")[0] in SCRIPT_FOLDERS:
                found.append(f"{file.relative_to(root)} imports {name}")
    return found


def import_graph(root: Path) -> dict[str, set[str]]:
    """Every library module with the library modules that it imports."""
    names = {dotted(file, root) for file in modules(root)}

    def within(name: str) -> set[str]:
        return {name, name.rpartition(".")[0]} & names - {"odenet"}

    return {
        dotted(file, root): {found for name in imports(file, root) for found in within(name)} - {dotted(file, root)}
        for file in modules(root)
    }


def order_violations(root: Path) -> list[str]:
    """Imports in a circle, and files of `blocks` that import a later part of the story."""
    graph = import_graph(root)
    found = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(" → ".join(reversed(error.args[1])))
    parts = {module: part for module in graph if (part := part_of_blocks(module))}
    found += [f"{module} is not in the story" for module, part in parts.items() if part not in STORY]
    for module in parts:
        later = [name for name in graph[module] & parts.keys() if _place(parts[name]) > _place(parts[module])]
        found += [f"{module} imports {name}" for name in later]
    return sorted(found)


def part_of_blocks(module: str) -> str:
    """The file or room of `blocks` that a module is or lies in: 'theta' for 'odenet.blocks.theta.spline', else ''."""
    return module.removeprefix("odenet.blocks.").split(".")[0] if module.startswith("odenet.blocks.") else ""


def _place(part: str) -> int:
    return STORY.index(part) if part in STORY else len(STORY)


def foreign_violations(root: Path) -> list[str]:
    """What `blocks` imports beside torch, the standard library and, in torchdiffeq_bridge.py, torchdiffeq."""
    found = []
    for file in sorted((root / "odenet" / "blocks").rglob("*.py")):
        allowed = {
            "odenet",
            "torch",
            *sys.stdlib_module_names,
            *(["torchdiffeq"] if file.name == "torchdiffeq_bridge.py" else []),
        }
        found += [f"{file.name} imports {name}" for name in imports(file, root) if name.split(".")[0] not in allowed]
    return found


DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "lightning_fabric": "lightning-fabric"}
"""Names on package indices where they are not those of the modules."""


def packages_of_extras(root: Path) -> dict[str, set[str]]:
    """Every extra with the distributions that it brings, those of the extras in it too."""
    own = {name: [_bare(line) for line in lines] for name, lines in project(root)["optional-dependencies"].items()}

    def whole(name: str) -> set[str]:
        within = [re.split(r"[\[\],]", line)[1:-1] for line in own[name] if line.startswith("odenet[")]
        return {*own[name], *(found for names in within for inner in names for found in whole(inner))}

    return {name: whole(name) for name in own}


def _bare(requirement: str) -> str:
    return re.split(r"[<>=!~; ]", requirement)[0]


def bare_imports(root: Path) -> list[str]:
    """Imports of optional packages whose absence would be reported without the extra that brings them."""
    extras = packages_of_extras(root)
    optional = set().union(*extras.values()) - {_bare(line) for line in project(root)["dependencies"]}
    found = []
    for file in (file for name in ("odenet", *SCRIPT_FOLDERS[:3]) for file in sorted((root / name).rglob("*.py"))):
        for node, extra in run_time_nodes(ast.parse(file.read_text("utf-8"))):
            for name in imports_of([node], file, root):
                package = DISTRIBUTIONS.get(name.split(".")[0], name.split(".")[0])
                covered = {package} & (extras[extra] if extra else set(_of_the_folder(file, root)))
                if package in optional and not covered and package not in PEERS:
                    found.append(f"{file.relative_to(root)} imports {name}")
    return found


def _of_the_folder(file: Path, root: Path) -> set[str]:
    """What the package that a script is in imports first, in its own `Extra`."""
    first = root / file.relative_to(root).parts[0] / "__init__.py"
    nodes = run_time_nodes(ast.parse(first.read_text("utf-8"))) if first.exists() and first != file else ()
    return {name for node, extra in nodes if extra for name in imports_of([node], first, root)}


PEERS = ("diffrax", "jax", "torchsde", "torchode", "timm")
"""Packages that benchmarks compare with, where they are installed."""


def repository_files(root: Path) -> list[Path]:
    """The files under version control and those about to be; all files where there is no git."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (root / ".git").exists():
        return sorted(file for file in root.rglob("*") if file.is_file() and not _is_by_product(file.relative_to(root)))
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(root / name for name in listed if name and (root / name).is_file())


def _is_by_product(file: Path) -> bool:
    """Whether .gitignore would leave a file out, where there is no git to ask."""
    ignored = {".venv", ".pytest_cache", ".ruff_cache", ".hypothesis", "__pycache__", "build", "dist"}
    return file.parts[0] in {"data", "runs"} or any(
        part in ignored or part.endswith(".egg-info") for part in file.parts
    )


def writing_violations(root: Path) -> list[str]:
    """Calls outside of the tests that write a file in another way than `write_atomically`."""
    folders = ("odenet", "experiments", "paper_figs", "benchmarks")
    found = []
    for file in (file for folder in folders for file in sorted((root / folder).rglob("*.py"))):
        name = file.relative_to(root).as_posix()
        calls = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Call)]
        writing = [(call.lineno, _writing_call(call)) for call in calls]
        found += [f"{name}:{line} calls {call}" for line, call in writing if call and call not in WRITERS.get(name, ())]
    return found


def _writing_call(node: ast.Call) -> str | None:
    """The name of what a call writes a file with."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    values = [*node.args, *(keyword.value for keyword in node.keywords)]
    modes = [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    written = ast.unparse(node.func)
    if name in WRITING or (
        name in ("open", "fdopen") and any(re.fullmatch(r"[rwaxbt+]*[wax+][rwaxbt+]*", m) for m in modes)
    ):
        return name
    to_path = len(node.args) < 2 or not isinstance(node.args[1], ast.Name)  # a buffer has a name
    return written if written in ("torch.save", "json.dump", "pickle.dump", "np.save") and to_path else None


def address_violations(root: Path) -> list[str]:
    """Lines of text files that name a path of one machine or a package registry."""
    found = []
    for file in repository_files(root):
        content = file.read_bytes()
        if b"\0" in content[:8000] or file.suffix in {".svg", ".pdf"}:
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
            if match := MACHINE_PATH.search(line) or REGISTRY.search(line):
                found.append(f"{file.relative_to(root)}:{number} names {match.group()}")
    return found


def size_violations(root: Path) -> list[str]:
    """Files of too many bytes, and library files and scripts of too many lines."""
    heavy = [file for file in repository_files(root) if file.stat().st_size > LARGEST_FILE]
    found = [f"{file.relative_to(root)} has {file.stat().st_size} bytes" for file in heavy]
    for folder, most in LINES.items():
        for file in sorted((root / folder).rglob("*.py")):
            lines = len(file.read_text("utf-8").splitlines())
            if lines > most:
                found.append(f"{file.relative_to(root)} has {lines} lines, more than {most}")
    return found


def untested_modules(root: Path) -> list[str]:
    """Library modules without a test file named after them."""
    return [
        str(file.relative_to(root))
        for file in modules(root)
        if file.name != "__init__.py"
        and not (root / "tests" / f"test_{file.stem}.py").exists()
        and not (root / "tests" / f"test_{file.parent.name}_{file.stem}.py").exists()
    ]


def versions(root: Path) -> dict[str, str]:
    """The version according to each file that states one."""
    statements = {
        "odenet/__init__.py": r'^__version__ = "(.+)"$',
        "CHANGELOG.md": r"^## \[(\d.*?)\]",
        "CITATION.cff": r"^version: (.+)$",
    }
    found = {"pyproject.toml": project(root)["version"]}
    for name, pattern in statements.items():
        match = re.search(pattern, (root / name).read_text("utf-8"), re.MULTILINE)
        found[name] = match.group(1) if match else "none"
    return found


def project(root: Path) -> dict:
    """The table [project] of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


def pins(root: Path) -> list[str]:
    """The lines of constraints.txt, without comments."""
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def canonical(name: str) -> str:
    """A distribution's name as package indices compare it: 'Lightning_Fabric' is 'lightning-fabric'."""
    return re.sub(r"[-_.]+", "-", name).lower()


def plant(root: Path, files: dict[str, str]) -> Path:
    """A small repository with these files in it."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, "utf-8")
    return root


def test_each_wing_imports_only_from_those_above_it() -> None:
    assert wing_violations(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("odenet/blocks/theta/base.py", "from odenet.models import resnet", "odenet.models.resnet"),
        ("odenet/layers/inception.py", "def f():\n    import odenet.training.loop", "odenet.training.loop"),
        ("odenet/data/digits.py", "from ..measure.memory import peak", "odenet.measure.memory.peak"),
        ("odenet/models/resnet.py", "from odenet import data", "odenet.data"),
        ("odenet/blocks/block.py", "from odenet import Euler", "odenet.Euler"),
        ("odenet/training/loop.py", "from experiments import smoke", "experiments.smoke"),
        ("odenet/__init__.py", "from odenet.data.digits import load", "odenet.data.digits.load"),
        ("odenet/layers/grid.py", "if TYPE_CHECKING:\n    from odenet import training", "odenet.training"),
    ],
)
def test_an_import_against_the_order_of_the_wings_is_found(tmp_path: Path, file: str, line: str, named: str) -> None:
    assert wing_violations(plant(tmp_path, {file: line})) == [f"{file} imports {named}"]


def test_imports_along_the_order_of_the_wings_are_none_of_these(tmp_path: Path) -> None:
    upwards = "import odenet\nfrom odenet import ODEBlock\nfrom odenet.blocks.theta import Theta\nfrom . import records"
    assert wing_violations(plant(tmp_path, {"odenet/training/loop.py": upwards})) == []


def test_the_front_door_may_show_the_wings_to_type_checkers(tmp_path: Path) -> None:
    shown = "if TYPE_CHECKING:\n    from odenet import training as training\nelse:\n    x = 1"
    assert wing_violations(plant(tmp_path, {"odenet/__init__.py": shown})) == []


def test_files_do_not_import_each_other_in_circles_nor_against_the_story() -> None:
    assert order_violations(ROOT) == []


def test_a_circle_of_imports_is_found(tmp_path: Path) -> None:
    circle = {"odenet/data/a.py": "from odenet.data import b", "odenet/data/b.py": "from odenet.data.a import c"}
    assert len(order_violations(plant(tmp_path, circle))) == 1


def test_an_import_against_the_order_of_the_story_is_found(tmp_path: Path) -> None:
    files = {"odenet/blocks/theta/base.py": "from odenet.blocks.block import ODEBlock", "odenet/blocks/block.py": ""}
    assert order_violations(plant(tmp_path, files)) == ["odenet.blocks.theta.base imports odenet.blocks.block"]


def test_blocks_import_torch_alone_and_torchdiffeq_in_the_bridge() -> None:
    assert foreign_violations(ROOT) == []


def test_a_foreign_import_in_blocks_is_found(tmp_path: Path) -> None:
    files = {
        "theta.py": "import numpy",
        "block.py": "from torchdiffeq import odeint",
        "torchdiffeq_bridge.py": "import torchdiffeq",
    }
    plant(tmp_path / "odenet" / "blocks", files)
    assert foreign_violations(tmp_path) == ["block.py imports torchdiffeq.odeint", "theta.py imports numpy"]


def test_importing_odenet_brings_in_nothing_that_torch_has_not_already() -> None:
    script = (
        "import sys, torch; before = set(sys.modules); import odenet; "
        "print(*sorted({m.split('.')[0] for m in sys.modules.keys() - before} - set(sys.stdlib_module_names)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() in (["odenet"], ["odenet", "torch"])


def test_every_library_module_has_a_test_file_of_its_name() -> None:
    assert untested_modules(ROOT) == []


def test_a_library_module_without_a_test_file_is_found(tmp_path: Path) -> None:
    plant(tmp_path, {f"odenet/data/{name}.py": "" for name in ("__init__", "digits", "scenes", "voc")})
    plant(tmp_path, {"tests/test_digits.py": "", "tests/test_data_scenes.py": ""})
    assert untested_modules(tmp_path) == ["odenet/data/voc.py"]


def test_no_file_names_a_path_of_one_machine_or_a_package_registry() -> None:
    assert address_violations(ROOT) == []


# Each is put together here, so that this file holds none of them.
@pytest.mark.parametrize(
    "planted",
    [
        "/" + "home/somebody/data",
        "/" + "tmp/x",
        '"/' + 'root/.cache"',
        "https://pypi" + ".org/simple",
        "--index" + "-url u",
    ],
)
def test_a_machine_path_or_a_registry_is_found_in_its_line(tmp_path: Path, planted: str) -> None:
    plant(tmp_path, {"notes.md": f"first line\nsee {planted}\n"})
    assert [violation.split()[0] for violation in address_violations(tmp_path)] == ["notes.md:2"]


@pytest.mark.parametrize(
    "innocent", ["runs/tmp/x", "$HOME/" + "work/x", "https://example.org/" + "home/x", "~/" + "work/x"]
)
def test_a_relative_path_is_not_one_of_a_machine(tmp_path: Path, innocent: str) -> None:
    assert address_violations(plant(tmp_path, {"notes.md": innocent})) == []


def test_every_file_is_written_by_the_one_writer() -> None:
    assert writing_violations(ROOT) == []


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('path.write_text("x")', "write_text"),
        ("path.write_bytes(b'')", "write_bytes"),
        ('figure.savefig(path, format="png")', "savefig"),
        ("safetensors.torch.save_file(tensors, path)", "save_file"),
        ('open("name", "w")', "open"),
        ('path.open(mode="ab")', "open"),
        ('path.open("r+b")', "open"),
        ('torch.save(state, folder / "name")', "torch.save"),
        ('json.dump(content, open("name"))', "json.dump"),
    ],
)
def test_a_file_that_is_written_in_another_way_is_found(tmp_path: Path, line: str, named: str) -> None:
    plant(tmp_path, {"experiments/script.py": f"import x\n{line}\n", "tests/test_x.py": line})
    assert writing_violations(tmp_path) == [f"experiments/script.py:2 calls {named}"]


@pytest.mark.parametrize("line", ["path.open()", 'path.open("rb")', "torch.save(state, buffer)", "record.save(path)"])
def test_reading_and_writing_into_memory_are_none_of_these(tmp_path: Path, line: str) -> None:
    assert writing_violations(plant(tmp_path, {"experiments/script.py": line})) == []


def test_every_optional_package_is_imported_with_the_name_of_its_extra() -> None:
    assert bare_imports(ROOT) == []


@pytest.mark.parametrize(
    ("file", "lines", "found"),
    [
        ("odenet/training/a.py", "def f():\n    from rich import progress", "rich.progress"),
        ("odenet/training/a.py", 'with Extra("data"):\n    import rich', "rich"),
        ("odenet/data/a.py", "import sklearn.datasets", "sklearn.datasets"),
        ("experiments/a.py", "import rich", "rich"),
        ("odenet/training/a.py", 'with Extra("experiments"):\n    import rich, sklearn', None),
        ("odenet/training/a.py", "if TYPE_CHECKING:\n    import rich", None),
        ("odenet/training/a.py", "import torch", None),
        ("paper_figs/a.py", "import rich", None),
    ],
)
def test_a_bare_import_of_an_optional_package_is_found(
    tmp_path: Path, file: str, lines: str, found: str | None
) -> None:
    table = '[project]\ndependencies = ["torch>=2"]\n[project.optional-dependencies]\ndata = ["scikit-learn"]\n'
    plant(tmp_path, {"pyproject.toml": f'{table}experiments = ["odenet[data]", "rich"]', file: lines})
    plant(tmp_path, {"paper_figs/__init__.py": 'with Extra("experiments"):\n    import rich'})
    assert bare_imports(tmp_path) == ([f"{file} imports {found}"] if found else [])


def test_no_file_is_too_long_or_too_large() -> None:
    assert size_violations(ROOT) == []


def test_a_file_that_is_too_long_or_too_large_is_found(tmp_path: Path) -> None:
    plant(tmp_path, {"odenet/long.py": "\n" * 321, "odenet/short.py": "\n" * 320, "experiments/long.py": "\n" * 201})
    plant(tmp_path, {"records/large.json": " " * (LARGEST_FILE + 1), "records/small.json": " " * LARGEST_FILE})
    assert [violation.split()[0] for violation in size_violations(tmp_path)] == [
        "records/large.json",
        "odenet/long.py",
        "experiments/long.py",
    ]


def test_the_version_is_the_same_wherever_it_is_stated() -> None:
    assert set(versions(ROOT).values()) == {project(ROOT)["version"]}, versions(ROOT)


def test_a_version_left_behind_is_seen(tmp_path: Path) -> None:
    plant(tmp_path, {"pyproject.toml": '[project]\nversion = "0.2.0"', "odenet/__init__.py": '__version__ = "0.2.0"'})
    plant(tmp_path, {"CHANGELOG.md": "## [Unreleased]\n## [0.1.0] - 2026", "CITATION.cff": "title: odenet\n"})
    assert list(versions(tmp_path).values()) == ["0.2.0", "0.2.0", "0.1.0", "none"]


def test_type_checkers_see_the_annotations_of_an_installed_package() -> None:
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["package-data"]
    assert "py.typed" in packaged["odenet"]
    assert (ROOT / "odenet" / "py.typed").exists()


def test_every_dependency_is_pinned_exactly_once() -> None:
    own = project(ROOT)
    required = [*own["dependencies"], *(name for extra in own["optional-dependencies"].values() for name in extra)]
    names = {canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in required} - {"odenet"}
    pinned = [canonical(line.split("==")[0]) for line in pins(ROOT)]
    assert names <= set(pinned)
    assert len(pinned) == len(set(pinned))


def test_a_pin_is_a_name_and_a_version() -> None:
    assert [line for line in pins(ROOT) if not re.fullmatch(r"[\w.-]+==\d[\w.+]*", line)] == []


def test_ci_runs_lint_and_tests_without_a_keyboard() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert "for target in lint test" in text


def test_hooks_before_a_commit_run_what_lint_runs() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    entries = [re.sub(" --force-exclude", "", entry) for entry in re.findall(r"entry: (.+)", hooks)]
    lint = re.findall(r"\$\(dev-python\) -m (ruff check|ruff format --check|pyright)", (ROOT / "Makefile").read_text())
    assert entries == lint
