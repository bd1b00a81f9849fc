"""The package as a whole: what importing it costs, and what it says about itself."""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
HEAVY = ("pymc", "pytensor", "nutpie", "numba", "arviz", "arviz_plots", "matplotlib", "openai")


def modules_after(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys\nprint(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["skillinfer_bayes", "skillinfer_bayes.cli"])
def test_import_loads_nothing_heavy(module: str) -> None:
    assert modules_after(f"import {module}").isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["cli", "demo"])
def test_the_command_line_starts_without_the_numerical_libraries(module: str) -> None:
    loaded = modules_after(f"import skillinfer_bayes.{module}")
    assert loaded.isdisjoint({"numpy", "pandas", "xarray", "scipy", "rich"})


def test_the_version_is_the_one_in_pyproject() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    try:
        installed = version("skillinfer-bayes")
    except PackageNotFoundError:
        pytest.skip("the package runs from its source folder and is not installed")
    assert installed == project["version"]


def test_every_dependency_has_a_pinned_version() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    wanted = list(settings["project"]["dependencies"])
    for group in settings["dependency-groups"].values():
        wanted += [item for item in group if isinstance(item, str)]
    for extra, items in settings["project"]["optional-dependencies"].items():
        wanted += [] if extra == "all" else items
    names = {item.split(">=")[0].split("[")[0] for item in wanted}
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert names <= pinned
