"""The comparison of simulated tables with real ones: shapes whose figures are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.prior_predictive import compare, statistics
from skillinfer_bayes import History, Priors

GRID = np.linspace(-1.0, 1.0, 2001)


def test_known_shapes_have_their_figures() -> None:
    two_points = np.where(np.arange(2001) % 2, 1.0, -1.0)
    tables = np.stack([np.column_stack([GRID, GRID]), np.column_stack([GRID, two_points])])
    found = statistics(tables)
    assert found["median kurtosis"] == pytest.approx([1.8, 1.4], abs=0.01)
    assert found["highest bimodality"] == pytest.approx([1.0 / 1.8, 1.0], abs=0.01)
    assert found["mean |skewness|"] == pytest.approx([0.0, 0.0], abs=0.01)
    assert found["mean correlation"] == pytest.approx([1.0, 0.0], abs=0.01)
    assert found["farthest score, in sds"] == pytest.approx([np.sqrt(3.0)] * 2, abs=0.01)


def test_holes_are_left_out() -> None:
    table = np.random.default_rng(1).standard_normal((1, 400, 3))
    holes = table.copy()
    holes[0, 300:, 1] = np.nan
    found, expected = statistics(holes), statistics(table)
    assert found["mean sd of a skill"] == pytest.approx(expected["mean sd of a skill"], rel=0.05)
    assert all(np.isfinite(values).all() for values in found.values())


def test_a_narrow_prior_leaves_a_table_in_its_tail() -> None:
    rng = np.random.default_rng(4)
    scores = rng.standard_normal((40, 1)) + rng.standard_normal((40, 5))
    history = History.from_dataframe(pd.DataFrame(scores).add_prefix("skill "), scale="unbounded")
    narrow = Priors(tails="normal", general_mean=0.0, general_sd=0.01, loading_sd=0.01)
    below = {}
    for name, priors in {"default": Priors(tails="normal"), "narrow": narrow}.items():
        rows = {row[0]: row[-1] for row in compare(history, priors, 400, seed=2)}
        below[name] = rows["mean correlation"]
    assert not below["default"].endswith("*")
    assert below["narrow"] == "1.000  *"
