"""Rows that share a set of observed skills become one; the others stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.inference.rows import (
    DEFAULT_ERROR_VAR,
    Cells,
    Rows,
    Table,
    collapse_rows,
    list_cells,
    model_data,
    rows_of,
    sum_rows,
)

NORMAL, AGENT, CELL, CLASS = (
    Priors(tails=tails).resolve(4) for tails in ("normal", "agent", "cell", "class")
)


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


@pytest.mark.parametrize("errors", [None, 0.3])
def test_rows_with_as_many_skills_lie_next_to_each_other(rng, errors) -> None:
    values = rng.standard_normal((30, 6))
    values[rng.random(values.shape) < 0.4] = np.nan
    given = None if errors is None else np.full(values.shape, errors)
    sizes = collapse_rows(WorkingData(values, given)).observed.sum(axis=1)
    assert len(np.unique(sizes)) > 3
    assert (np.diff(sizes) >= 0).all()


def test_item_counts_keep_every_agent(scores) -> None:
    history = History.from_dataframe(scores.round(2), n_items=100)
    rows = rows_of(history, NORMAL)
    assert len(rows.values) == history.n_agents
    assert len(np.unique(rows.error_var[rows.observed.astype(bool)])) > 10


def test_types_are_what_the_compiled_likelihood_takes(history) -> None:
    rows = rows_of(history, NORMAL)
    kinds = [array.dtype.name for array in rows]
    assert kinds == ["float64", "int8", *["float64"] * 3, "int64", *["float64"] * 2]
    assert all(np.isfinite(array).all() for array in rows)
    cells = rows_of(history, CELL)
    assert [array.dtype.name for array in cells] == ["float64"] * 2 + ["int64"] * 2 + [
        "float64"
    ] * 2
    assert all(np.isfinite(array).all() for array in cells)


def test_tails_decide_what_is_kept(history) -> None:
    n_patterns = len(np.unique(history.observed, axis=0))
    collapsed, kept, cells = (rows_of(history, priors) for priors in (NORMAL, AGENT, CELL))
    of_classes = rows_of(history, CLASS)
    assert isinstance(collapsed, Rows)
    assert isinstance(cells, Cells)
    assert len(collapsed.values) == n_patterns < history.n_agents
    assert len(kept.values) == len(of_classes.values) == history.n_agents
    assert len(cells.values) == history.observed.sum()


@pytest.mark.parametrize("own_errors", [True, False])
def test_cells_lead_back_to_the_table(values, own_errors) -> None:
    errors = np.arange(1.0, 22.0).reshape(7, 3) if own_errors else None
    cells = list_cells(WorkingData(values, errors), np.zeros((7, 0)), np.ones(values.shape[1]))
    back = np.full(values.shape, np.nan)
    back[cells.agent_of, cells.skill_of] = cells.values
    np.testing.assert_array_equal(back, values)
    table = np.full(values.shape, DEFAULT_ERROR_VAR) if errors is None else errors
    np.testing.assert_array_equal(cells.error_var, table[cells.agent_of, cells.skill_of])


def test_covariates_and_groups_stay_with_their_agents(scores) -> None:
    years = pd.DataFrame({"year": np.arange(20.0)}, index=scores.index)
    history = History.from_dataframe(scores, groups=["x", "y"] * 10, covariates=years)
    rows = rows_of(history, NORMAL)
    assert isinstance(rows, Rows)
    assert len(rows.values) == 20
    expected = Design.of(history).of_history(history)
    working = history.working().values
    for agent in range(20):
        row = np.flatnonzero((rows.design == expected[agent]).all(axis=1)).item()
        seen = rows.observed[row].astype(bool)
        np.testing.assert_array_equal(rows.values[row][seen], working[agent][seen])
    np.testing.assert_array_equal(rows_of(history, CELL).design, expected)


@pytest.mark.parametrize("priors", [NORMAL, AGENT, CELL, CLASS], ids=lambda priors: priors.tails)
def test_a_design_without_columns_is_no_data(history, priors) -> None:
    assert "design" not in model_data(rows_of(history, priors), priors)
    grouped = History.from_dataframe(history.to_dataframe(), groups=["x", "y"] * 10)
    assert model_data(rows_of(grouped, priors), priors)["design"].shape == (20, 2)


def test_the_model_holds_what_its_likelihood_takes(history) -> None:
    rows = rows_of(history, CLASS)
    by_class, by_row = model_data(rows, CLASS), model_data(rows, AGENT)
    density = ["values", "observed", "error_var"]
    assert list(by_class) == [*density, "n_scores"]
    assert list(by_row) == [*density, "n_agents", "scatter", "scatter_row", "n_scores"]
    for name, array in by_class.items():
        assert array is by_row[name]
    # there a skill's own sd is all of its spread
    assert "n_scores" not in model_data(rows, replace(AGENT, covariance="lkj"))


@pytest.mark.parametrize("priors", [NORMAL, AGENT, CLASS], ids=lambda priors: priors.tails)
def test_the_scores_behind_each_unit_are_counted(history, priors) -> None:
    expected = history.to_dataframe().notna().sum().to_numpy()
    np.testing.assert_array_equal(rows_of(history, priors).n_scores, expected)


def test_rows_that_are_known_whole_are_added_up(values) -> None:
    values[5] = np.nan
    table = sum_rows(WorkingData(values, None), np.zeros((7, 0)))
    known, rest = values[[0, 2, 3]], values[[1, 4, 6]]
    # the agent without a score is no agent
    assert table.n_agents == 6.0
    np.testing.assert_allclose(table.total, known.sum(axis=0))
    np.testing.assert_allclose(table.products, known.T @ known)
    np.testing.assert_array_equal(table.values, np.nan_to_num(rest))
    np.testing.assert_array_equal(table.empty_row, [0, 1, 2, 2])
    np.testing.assert_array_equal(table.empty_skill, [1, 1, 0, 1])
    assert len(table.unsure_sd) == len(table.unsure_row) == 0
    np.testing.assert_array_equal(table.n_scores, [5.0, 3.0, 6.0])


def test_rows_with_errors_of_their_own_are_not_known_whole(values, rng) -> None:
    errors = rng.uniform(0.1, 0.5, values.shape)
    table = sum_rows(WorkingData(values, errors), np.zeros((7, 0)))
    assert table.values.shape == values.shape
    assert not table.total.any()
    seen = ~np.isnan(values)
    unsure = np.zeros(values.shape)
    unsure[table.unsure_row, table.unsure_skill] = table.unsure_sd
    np.testing.assert_allclose(unsure, np.where(seen, np.sqrt(errors), 0.0))


def test_one_error_makes_one_score_unsure(values) -> None:
    errors = np.full(values.shape, np.nan)
    at = tuple(np.argwhere(~np.isnan(values))[0])
    errors[at] = 0.03
    scores = pd.DataFrame(0.5 + 0.1 * np.nan_to_num(values)).where(~np.isnan(values))
    history = History.from_dataframe(scores, stderr=errors)
    table = sum_rows(history.working(), np.zeros((len(scores), 0)))
    assert list(zip(table.unsure_row, table.unsure_skill, strict=True)) == [(0, at[1])]


def test_rows_that_a_group_moves_are_not_known_whole(rng) -> None:
    values, design = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    table = sum_rows(WorkingData(values, None), design)
    np.testing.assert_array_equal(table.values, values)
    np.testing.assert_array_equal(table.design, design)


def test_the_model_holds_no_cells_that_there_are_not(values) -> None:
    priors = Priors(covariance="factor_iw").resolve(3)
    complete = pd.DataFrame(np.abs(values[[0, 2, 3, 5]]) / 9)
    rows = rows_of(History.from_dataframe(complete), priors)
    assert isinstance(rows, Table)
    held = set(model_data(rows, priors))
    assert held == {"n_agents", "total", "products", "values", "n_scores"}
    rows = sum_rows(WorkingData(values, np.ones(values.shape)), np.zeros((7, 0)))
    more = {"empty_row", "empty_skill", "unsure_row", "unsure_skill", "unsure_sd"}
    assert set(model_data(rows, priors)) == held | more
