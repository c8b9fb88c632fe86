"""Command `odenet`, which runs the experiments and draws the figures, from a clone or from an installed package.

    odenet list                           # the questions, each with its commands
    odenet run depth_refinement cpu       # an experiment: its preset and its settings (--help explains them)
    odenet figures                        # redraw every figure from the records in records/
    odenet figures depth_refinement --record runs/depth_refinement/cpu-fashion-mnist.json

Records are written to runs/, and data are kept in data/, of the working directory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from runpy import run_module

from odenet.blocks.errors import unknown_name

FOLDERS = {"run": "experiments", "figures": "paper_figs"}
"""Package of the scripts of each action."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; by default the arguments of the process.

    Args:
        arguments: Action, the name of a script, and the arguments of the script.
    """
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports a program that Ctrl-C ended
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        sys.exit(f"odenet: {error}")


def script_folder(package: Path | None = None) -> Path:
    """Return the folder with the packages `experiments` and `paper_figs`.

    A wheel has them in `odenet/scripts`, where they cannot be mistaken for packages of the user's with such common
    names; in a clone they are beside `odenet`.

    Args:
        package: Folder of the package `odenet`; by default that of this module.

    Raises:
        FileNotFoundError: if there is neither.
    """
    package = package or Path(__file__).parent
    for folder in (package / "scripts", package.parent):
        if (folder / "experiments" / "__main__.py").exists():
            return folder
    raise FileNotFoundError(
        f"The experiments are neither in {package / 'scripts'} nor beside {package}: install odenet again, or run the "
        "command in a clone of the repository."
    )


def names(action: str) -> list[str]:
    """Return the names of the scripts of an action, "run" or "figures", in alphabetical order."""
    found = iter_modules([str(script_folder() / FOLDERS[action])])
    return [script.name for script in found if not (script.ispkg or script.name.startswith("__"))]


def _run(arguments: list[str]) -> None:
    action, *rest = arguments or ["--help"]
    if action in ("-h", "--help"):
        print(__doc__)
    elif action == "--version":
        print(import_module("odenet").__version__)
    elif action == "list":
        _find_scripts()
        sys.argv = ["odenet list", *rest]
        import_module("experiments.__main__").main()
    elif action not in FOLDERS:
        raise unknown_name("action", action, [*FOLDERS, "list"])
    elif action == "run" and (not rest or rest[0] in ("-h", "--help")):
        known = ", ".join(names("run"))
        raise ValueError(f"run needs the name of an experiment: odenet run NAME, where NAME is one of {known}.")
    else:
        _run_script(action, rest)


def _run_script(action: str, arguments: list[str]) -> None:
    _find_scripts()
    named = arguments[:1] if arguments and not arguments[0].startswith("-") else []
    if named and named[0] not in names(action):
        raise unknown_name("experiment" if action == "run" else "figure", named[0], names(action))
    sys.argv = [f"odenet {action}", *arguments[len(named) :]]
    run_module(".".join([FOLDERS[action], *named]), run_name="__main__", alter_sys=True)


def _find_scripts() -> None:
    """Put the folder of the scripts before all others, for this process and those that it starts."""
    folder = str(script_folder())
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["ODENET_COMMAND"] = "odenet"


if __name__ == "__main__":
    main()
