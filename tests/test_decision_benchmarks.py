"""What the benchmarks of choices and of next measurements count; the runs themselves are long."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def test_a_level_is_reached_only_where_the_curve_stays(benchmark) -> None:
    needed = benchmark("next_evaluation").needed
    curve = np.array([0.5, 0.1, 0.4, 0.2, 0.1])
    assert needed(curve, 0.2) == "3"
    assert needed(curve, 0.5) == "0"
    assert needed(curve, 0.05) == "-"


def test_reliability_counts_forecasts_and_what_came_true(benchmark) -> None:
    forecast, outcome = np.array([0.0, 0.15, 0.15, 1.0]), np.array([0.0, 1.0, 0.0, 1.0])
    table = benchmark("decisions").reliability(forecast, outcome)
    assert list(table.index) == ["0 to 0.01", "0.1 to 0.2", "0.7 to 1"]
    expected = pd.DataFrame(
        {"count": [1, 2, 1], "forecast": [0.0, 0.15, 1.0], "came_true": [0.0, 0.5, 1.0]},
        index=table.index,
    )
    pd.testing.assert_frame_equal(table, expected)
