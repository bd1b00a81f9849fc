"""The accuracy benchmark's command, with rivals only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_command_prints_and_records_every_split(shared_data, tmp_path) -> None:
    out = tmp_path / "rows.csv"
    command = (
        "-m benchmarks.accuracy --table open_llm_leaderboard_v2 --n 8 20 --repeats 2 --hide 0.4"
    )
    done = subprocess.run(
        [sys.executable, *command.split(), "--methods", "mean", "knn", "--out", str(out)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        "open_llm_leaderboard_v2, N = 20, 40% of the history's cells hidden, 2 rep" in done.stdout
    )
    assert "N = 8, knn: 1." in done.stdout
    rows = pd.read_csv(out)
    assert len(rows) == 2 * 2 * 2 * 2
    assert set(rows["method"]) == {"mean", "knn"}
    assert (rows["n_scores"] == 160).all()
    assert rows[["crps", "coverage_90", "width_90"]].notna().all(axis=None)
