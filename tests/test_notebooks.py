"""The notebooks run from top to bottom, and the committed files hold what a run gave."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
EXPECTED = {
    "01_orchestration",
    "02_leaderboard_to_profile",
    "03_diagnosing_a_fit",
    "04_is_it_honest",
    "05_routing_a_week",
}
SECONDS = 300  # a busy machine needs a few times the 30 s that a notebook should take
MOST_BYTES = 1_500_000
MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:home|root|work|opt|tmp|usr|var|mnt|Users)/|\b[A-Z]:\\+Users"
)
TIME_OF_DAY = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")

each_notebook = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "scripts" / "run_notebooks.py"
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, timeout=SECONDS
    )


def _code_cells(path: Path) -> list[nbformat.NotebookNode]:
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _readable(path: Path) -> str:
    """Everything in the file but the pictures, whose base64 can spell anything."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)
    return nbformat.writes(notebook)


def test_all_notebooks_are_there() -> None:
    assert {path.stem for path in FILES} >= EXPECTED


@each_notebook
def test_it_runs_from_top_to_bottom(path: Path) -> None:
    before = path.read_bytes()
    done = _run("--fast", path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == before


@each_notebook
def test_the_file_is_valid_and_small(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < MOST_BYTES


@each_notebook
def test_every_cell_was_executed_in_order(path: Path) -> None:
    counts = [cell.execution_count for cell in _code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_the_outputs_are_there_and_hold_no_errors_or_warnings(path: Path) -> None:
    outputs = [output for cell in _code_cells(path) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert [output.output_type for output in outputs if output.output_type == "error"] == []
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []


@each_notebook
def test_nothing_of_the_machine_or_the_hour_is_kept(path: Path) -> None:
    text = _readable(path)
    assert MACHINE_PATH.findall(text) == []
    assert TIME_OF_DAY.findall(text) == []
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.metadata for cell in notebook.cells if cell.metadata] == []


@each_notebook
def test_the_first_cell_knows_the_fast_mode(path: Path) -> None:
    assert 'os.environ.get("SKILLINFER_BAYES_FAST") == "1"' in _code_cells(path)[0].source


def _write(path: Path, *sources: str) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_a_run_rewrites_the_file_without_traces_of_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "short.ipynb"
    _write(path, "import os\nprint(os.environ['SKILLINFER_BAYES_FAST'])", "6 * 7")
    done = _run(path)
    assert done.returncode == 0, done.stderr
    first, second = _code_cells(path)
    assert (first.outputs[0].text, second.outputs[0].data["text/plain"]) == ("0\n", "42")
    test_nothing_of_the_machine_or_the_hour_is_kept(path)
    test_every_cell_was_executed_in_order(path)


def test_a_notebook_that_fails_is_an_error_and_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.ipynb"
    _write(path, "1 / 0")
    before = path.read_bytes()
    done = _run(path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert path.read_bytes() == before


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = _run(tmp_path / "none.ipynb")
    assert done.returncode == 1
    assert "no such notebook" in done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/home/somebody/file.csv", True),
        ("'/opt/lib/python3.12/x.py'", True),
        ("C:\\\\Users\\\\me", True),
        ("https://example.org/home/page", False),
        ("../shared/data", False),
    ],
)
def test_machine_paths_are_recognised(text: str, found: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is found
