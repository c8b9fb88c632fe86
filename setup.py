"""The packages of a wheel; all else is in pyproject.toml.

A wheel carries the experiments and figures for the command `odenet`. Their packages are called `experiments` and
`paper_figs`: at the top of site-packages they would hide the user's own packages of these names, or be hidden by them,
and pip would let another distribution overwrite their files. So a wheel has them inside of the package, as
`odenet/scripts/experiments`, and the command puts `odenet/scripts` on the path of its own process.
"""

from setuptools import find_packages, setup

SCRIPTS = ("experiments", "paper_figs")

scripts = find_packages(include=[pattern for name in SCRIPTS for pattern in (name, f"{name}.*")])

setup(
    packages=[*find_packages(include=["odenet", "odenet.*"]), *(f"odenet.scripts.{name}" for name in scripts)],
    package_dir={f"odenet.scripts.{name}": name for name in SCRIPTS},
)
