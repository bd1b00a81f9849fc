"""Fresh processes, alternated timings, and plain tables."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


class Timing(NamedTuple):
    """Wall and processor seconds of one process, its children included, and what it printed."""

    wall: float
    cpu: float
    output: str


def read_scores(name: str) -> pd.DataFrame:
    """Scores of a public table; ends the program with the reason where it is not there."""
    path = DATA / f"{name}.csv"
    if not path.is_file():
        print(f"skipped: no {path.name} in ../shared/data beside the repository")
        sys.exit(0)
    table = pd.read_csv(path, index_col=0)
    return table.drop(columns="family", errors="ignore")


def timed_process(arguments: Sequence[str]) -> Timing:
    """Run this Python on `arguments` in a fresh process."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    if process.stdout is None:
        raise RuntimeError("the process has no standard output")
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    return Timing(wall, usage.ru_utime + usage.ru_stime, output)


def alternate(
    first: Sequence[str], second: Sequence[str], runs: int
) -> tuple[list[Timing], list[Timing]]:
    """Time two processes in turns, after one run of each that warms the disk's caches."""
    timed_process(first), timed_process(second)
    pairs = [(timed_process(first), timed_process(second)) for _ in range(runs)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def worker_result(arguments: Sequence[str]) -> tuple[dict[str, Any], Timing]:
    """What a worker printed as JSON on its last line, and what it cost."""
    timing = timed_process(arguments)
    return json.loads(timing.output.strip().splitlines()[-1]), timing


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def print_table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> None:
    """Print columns, the first one left-aligned."""
    cells = [list(map(str, header))]
    cells += [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join([row[0].ljust(widths[0]), *rest]))


def print_verdict(name: str, value: float, limit: float, *, at_least: bool = False) -> None:
    """Print a figure beside its limit."""
    met = value >= limit if at_least else value <= limit
    word = "at least" if at_least else "at most"
    print(f"{name}: {value:.3g} ({word} {limit:g}: {'met' if met else 'NOT met'})")


def print_machine() -> None:
    """Print what the figures depend on."""
    load = os.getloadavg()[0]
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} at the start"
    )
