"""Rows that share a set of observed skills become one; the others stay."""

from __future__ import annotations

import numpy as np
import pytest

from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR, collapse_rows, rows_of


@pytest.fixture
def values(rng) -> np.ndarray:
    """Four complete agents, two that lack the second skill, one that has only the third."""
    table = rng.standard_normal((7, 3))
    table[[1, 4], 1] = np.nan
    table[6, :2] = np.nan
    return table


def test_agents_that_share_a_pattern_become_count_mean_and_scatter(values) -> None:
    rows = collapse_rows(WorkingData(values, None))
    assert sorted(rows.n_agents) == [1.0, 2.0, 4.0]
    complete = int(np.flatnonzero(rows.n_agents == 4.0)[0])
    group = values[[0, 2, 3, 5]]
    np.testing.assert_allclose(rows.values[complete], group.mean(axis=0))
    centred = group - group.mean(axis=0)
    np.testing.assert_allclose(rows.scatter[rows.scatter_row[complete]], centred.T @ centred)
    assert (rows.error_var == DEFAULT_ERROR_VAR).all()


def test_a_pattern_of_one_agent_needs_no_scatter(values) -> None:
    rows = collapse_rows(WorkingData(values, None))
    alone = int(np.flatnonzero(rows.n_agents == 1.0)[0])
    assert rows.scatter_row[alone] == -1
    assert rows.scatter.shape == (2, 3, 3)
    np.testing.assert_array_equal(rows.observed[alone], [0, 0, 1])
    np.testing.assert_allclose(rows.values[alone], [0.0, 0.0, values[6, 2]])


def test_the_number_of_agents_leaves_the_number_of_rows(rng) -> None:
    few, many = (rng.standard_normal((n, 3)) for n in (5, 500))
    assert len(collapse_rows(WorkingData(few, None)).values) == 1
    assert len(collapse_rows(WorkingData(many, None)).values) == 1


@pytest.mark.parametrize("own_errors", [True, False], ids=["own errors", "kept apart"])
def test_a_row_per_agent_holds_the_same_table(values, own_errors) -> None:
    errors = np.full(values.shape, 0.3) if own_errors else None
    rows = collapse_rows(WorkingData(values, errors), keep_agents=not own_errors)
    assert (rows.n_agents == 1.0).all()
    assert (rows.scatter_row == -1).all()
    assert len(rows.scatter) == 0
    seen = rows.observed.astype(bool)
    back = np.where(seen, rows.values, np.nan)
    np.testing.assert_array_equal(np.sort(back, axis=0), np.sort(values, axis=0))
    expected = 0.3 if own_errors else DEFAULT_ERROR_VAR
    assert (rows.error_var[seen] == expected).all()


def test_equal_patterns_lie_next_to_each_other(values) -> None:
    rows = collapse_rows(WorkingData(values, np.full(values.shape, 0.3)))
    changes = (np.diff(rows.observed, axis=0) != 0).any(axis=1).sum()
    assert changes == 2


def test_item_counts_keep_every_agent(scores) -> None:
    history = History.from_dataframe(scores.round(2), n_items=100)
    rows = rows_of(history)
    assert len(rows.values) == history.n_agents
    assert len(np.unique(rows.error_var[rows.observed.astype(bool)])) > 10


def test_types_are_what_the_compiled_likelihood_takes(history) -> None:
    rows = rows_of(history)
    kinds = [array.dtype.name for array in rows]
    assert kinds == ["float64", "int8", "float64", "float64", "float64", "int64"]
    assert all(np.isfinite(array).all() for array in rows)
