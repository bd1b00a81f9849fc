"""Run notebooks from top to bottom, each in a fresh kernel.

    python scripts/run_notebooks.py notebooks/*.ipynb          rewrite the files, outputs and all
    python scripts/run_notebooks.py --fast notebooks/*.ipynb   small sizes; leave the files alone

A notebook that fails leaves its file as it was. Nothing that changes from run to run for no reason
of the notebook's own is kept: no times, no versions, no cell counters but 1, 2, 3.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from skillinfer_bayes.files import write_text

FAST = "SKILLINFER_BAYES_FAST"
SECONDS_PER_CELL = 900
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path: Path, *, fast: bool) -> nbformat.NotebookNode:
    """Execute a notebook in its own folder and give it back with its outputs.

    Raises
    ------
    CellExecutionError, CellTimeoutError
        If a cell fails or takes too long.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent.resolve())}},
    )
    client.execute(env={**os.environ, FAST: "1" if fast else "0"})
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return notebook


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description="Run notebooks from top to bottom.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--fast", action="store_true", help="small sizes; write nothing")
    options = parser.parse_args()
    for path in options.files:
        if not path.is_file():
            sys.stderr.write(f"no such notebook: {path}\n")
            return 1
        started = time.perf_counter()
        try:
            notebook = run(path, fast=options.fast)
        except (CellExecutionError, CellTimeoutError) as error:
            sys.stderr.write(f"{path} failed:\n{error}\n")
            return 1
        if not options.fast:
            write_text(path, nbformat.writes(notebook) + "\n")
        sys.stdout.write(f"{path}: {time.perf_counter() - started:.0f} s\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
