"""The history table: what it keeps, what it refuses, and in which words."""

import copy
import math
import pickle
import time
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import (
    ConfigError,
    HistoryError,
    HistoryWarning,
    MissingDependencyError,
    UnknownAgentError,
    UnknownSkillError,
)
from skillinfer_bayes.history.building import find_filled
from skillinfer_bayes.history.scales import Scale
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the public tables are not at hand")


@pytest.fixture
def scores():
    return pd.DataFrame(
        {
            "code": [0.9, 0.5, 0.25, 1.0],
            "math": [90.0, 55.0, np.nan, 10.0],
            "elo": [1250.0, np.nan, 1100.0, -20.0],
        },
        index=["a", "b", "c", "d"],
    )


@pytest.fixture
def fractions():
    return pd.DataFrame(
        {"code": [0.5, 0.25, 1.0, 0.0], "math": [0.5, 0.75, 0.25, np.nan]}, index=list("abcd")
    )


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def changed(table, agent, skill, value):
    table = table.astype(object)
    table.loc[agent, skill] = value
    return table


# what a history holds


def test_contents(scores):
    history = History.from_dataframe(scores)
    assert history.agents == ("a", "b", "c", "d")
    assert history.skills == ("code", "math", "elo")
    assert (history.n_agents, history.n_skills, len(history.scales)) == (4, 3, 3)
    np.testing.assert_array_equal(history.values, scores.to_numpy())
    np.testing.assert_array_equal(history.observed, scores.notna())
    pd.testing.assert_frame_equal(history.to_dataframe(), scores, check_names=False)
    assert repr(history) == "History(4 agents x 3 skills, 83% filled)"
    assert history.n_items is None
    assert history.stderr is None
    assert history.groups is None
    assert history.dropped == ()


def test_scales_are_read_off_the_scores(scores):
    history = History.from_dataframe(scores)
    assert history.scales.describe()["scale"].tolist() == ["0-1", "percent", "unbounded"]
    assert history.scales.detected == (True, True, True)


def test_scales_can_be_given(scores):
    history = History.from_dataframe(scores, scale={"code": "percent", "elo": (-100, 2000)})
    assert history.scales["code"] == Scale.percent()
    assert history.scales["elo"] == Scale.bounded(-100, 2000)
    assert history.scales.detected == (False, True, False)
    everything = History.from_dataframe(scores, scale="unbounded")
    assert set(everything.scales.scales) == {Scale.unbounded()}
    assert History.from_dataframe(scores, scale={"code": "auto"}).scales.detected == (True,) * 3


def test_a_low_column_among_percentages_is_read_as_percentages():
    table = pd.DataFrame({"a": [50, 60, 70], "b": [20.0, 30, 40], "hard": [0, 0.5, 1]})
    with pytest.warns(HistoryWarning, match=r"`scale` of \['hard'\] was read as percent"):
        history = History.from_dataframe(table)
    assert history.scales["hard"] == Scale.percent()
    given = History.from_dataframe(table, scale={"hard": "0-1"})
    assert given.scales["hard"] == Scale.unit()


def test_scales_that_were_given_say_what_the_table_is(rng):
    table = pd.DataFrame(rng.uniform(20, 90, (12, 4)), columns=list("abcd"))
    table["rare"] = rng.uniform(0.1, 0.9, 12)
    percent = dict.fromkeys("abcd", "percent")
    with pytest.warns(HistoryWarning, match=r"`scale` of \['rare'\] was read as percent"):
        history = History.from_dataframe(table, scale=percent)
    assert history.scales["rare"] == Scale.percent()
    assert history.scales.detected == (False,) * 4 + (True,)
    table["rare"] = rng.uniform(20, 90, 12)
    table.loc[3, "rare"] = 871.0
    with pytest.raises(HistoryError, match=r"look like a percent table .*got 871.0 for agent '3'"):
        History.from_dataframe(table, scale=percent)


def test_a_given_scale_counts_as_itself_and_others_for_nothing(rng):
    table = pd.DataFrame(rng.uniform(0.1, 0.9, (12, 4)), columns=["a", "b", "c", "rare"])
    with pytest.warns(HistoryWarning, match=r"`scale` of \['rare'\] was read as percent"):
        low = History.from_dataframe(table, scale=dict.fromkeys("abc", "percent"))
    assert low.scales["rare"] == Scale.percent()
    for scale in ("0-1", (0, 5), "unbounded"):
        history = History.from_dataframe(table, scale=dict.fromkeys("abc", scale))
        assert history.scales["rare"] == Scale.unit()
    table.loc[3, "rare"] = 87.0
    for scale in ("0-1", (0, 5), "unbounded"):
        with pytest.raises(HistoryError, match=r"skill 'rare'; did you mean 0.87\?"):
            History.from_dataframe(table, scale=dict.fromkeys("abc", scale))


def shrunk(spread, count):
    """Sds of bounded skills as if the median one had been seen in five more scores."""
    prior = 5 * np.median(spread) ** 2
    return np.sqrt((prior + (count - 1) * spread**2) / (5 + count - 1))


def test_working_values_are_centred_and_scaled(scores):
    values, error_var = History.from_dataframe(scores).working()
    assert error_var is None
    np.testing.assert_allclose(np.nanmean(values, axis=0), 0.0, atol=1e-12)
    linked = Scale.unit().forward(scores[["code", "math"]].to_numpy() / [1.0, 100.0])
    raw = np.nanstd(linked, axis=0, ddof=1)
    expected = raw / shrunk(raw, np.array([4, 3]))
    np.testing.assert_allclose(np.nanstd(values[:, :2], axis=0, ddof=1), expected)
    # Elo points and logits have nothing to lend each other
    assert np.nanstd(values[:, 2], ddof=1) == pytest.approx(1.0)
    np.testing.assert_array_equal(np.isnan(values), scores.isna())


def test_working_values_are_centred_with_item_counts_too(fractions):
    values, error_var = History.from_dataframe(fractions, n_items=4).working()
    np.testing.assert_allclose(np.nanmean(values, axis=0), 0.0, atol=1e-12)
    raw = np.nanstd(Scale.unit().forward(fractions), axis=0, ddof=1)
    expected = raw / shrunk(raw, np.array([4, 3]))
    np.testing.assert_allclose(np.nanstd(values, axis=0, ddof=1), expected)
    assert np.isfinite(error_var).all()


def test_spreads_of_few_scores_are_pulled_towards_the_median_skills(rng):
    table = pd.DataFrame(rng.uniform(0.05, 0.95, (400, 5)), columns=list("abcde"))
    table.loc[2:, "b"] = np.nan
    table.loc[[0, 1], "b"] = [0.50, 0.51]
    scales = History.from_dataframe(table).scales
    raw = np.nanstd(Scale.unit().forward(table), axis=0, ddof=1)
    assert scales.spread[1] > 0.8 * np.median(raw) > 10 * raw[1]
    many = [0, 2, 3, 4]
    np.testing.assert_allclose(scales.spread[many], raw[many], rtol=0.02)


def test_a_single_bounded_skill_keeps_its_spread(scores):
    scales = History.from_dataframe(scores[["code", "elo"]]).scales
    raw = [np.std(Scale.unit().forward(scores["code"]), ddof=1), np.nanstd(scores["elo"], ddof=1)]
    np.testing.assert_allclose(scales.spread, raw)


def test_normalize_concerns_units_only(scores):
    plain = History.from_dataframe(scores)
    scaled = History.from_dataframe(scores, normalize=True)
    np.testing.assert_array_equal(scaled.values, plain.values)
    np.testing.assert_array_equal(scaled.working().values, plain.working().values)
    units = scaled.scales.to_unit(scaled.values)
    np.testing.assert_array_equal(np.nanmin(units, axis=0), 0.0)
    np.testing.assert_array_equal(np.nanmax(units, axis=0), 1.0)
    np.testing.assert_array_equal(plain.scales.to_unit(plain.values), plain.values)
    assert scaled.normalize
    assert scaled != plain


def test_nothing_is_shared_with_the_caller(scores):
    items = pd.DataFrame({"code": [20.0] * 4, "math": [20] * 4, "elo": [np.nan] * 4}, list("abcd"))
    history = History.from_dataframe(scores, n_items=items)
    before, digest = history.values.copy(), history.data_hash
    scores.iloc[:] = 0.0
    items.iloc[:] = 3.0
    out = history.to_dataframe()
    out.iloc[:] = -1.0
    np.testing.assert_array_equal(history.values, before)
    assert history.n_items[0, 0] == 20.0
    assert copy.copy(history).data_hash == digest
    with pytest.raises(ValueError, match="read-only"):
        history.values[0, 0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        pickle.loads(pickle.dumps(history)).values[0, 0] = 0.0  # noqa: S301
    with pytest.raises(AttributeError, match="cannot assign"):
        history.agents = ()


def test_hash_follows_the_data(scores):
    history = History.from_dataframe(scores)
    assert len(history.data_hash) == 64
    assert History.from_dataframe(scores.copy()) == history
    assert hash(History.from_dataframe(scores.copy())) == hash(history)
    assert pickle.loads(pickle.dumps(history)) == history  # noqa: S301
    others = [
        History.from_dataframe(changed(scores, "a", "code", 0.91)),
        History.from_dataframe(scores.rename(index={"a": "z"})),
        History.from_dataframe(scores.rename(columns={"code": "z"})),
        History.from_dataframe(scores, scale={"elo": (-100, 2000)}),
        History.from_dataframe(scores, stderr=0.1),
        History.from_dataframe(scores, stderr=0.2),
        History.from_dataframe(scores, groups=["x", "x", "y", "y"]),
    ]
    assert len({history.data_hash, *(other.data_hash for other in others)}) == 8
    assert history != "history"


def test_hash_does_not_see_the_sign_of_zero(fractions):
    one = History.from_dataframe(fractions)
    assert History.from_dataframe(changed(fractions, "d", "code", -0.0)) == one


def test_descriptions(scores):
    history = History.from_dataframe(scores, descriptions={"code": "writes programs"})
    assert history.descriptions == {"code": "writes programs"}
    assert history.skill_descriptions == ("writes programs", "", "")


def test_labels_become_text():
    history = History.from_dataframe(pd.DataFrame({1: [0.1, 0.2, 0.3], 2: [0.3, 0.1, 0.2]}))
    assert history.agents == ("0", "1", "2")
    assert history.skills == ("1", "2")


@pytest.mark.parametrize("dtype", ["float32", "Float64", "object", "double[pyarrow]"])
def test_column_types(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    table = pd.DataFrame({"a": [0.5, 0.25, None], "b": [0.0, 1.0, 0.5]}).astype(dtype)
    history = History.from_dataframe(table)
    np.testing.assert_array_equal(history.values, [[0.5, 0.0], [0.25, 1.0], [np.nan, 0.5]])


# item counts, standard errors, groups, covariates


def test_side_tables_are_matched_by_name(fractions):
    items = pd.DataFrame({"math": [4, 8, 12, 16], "code": [20, 24, 28, 32]}, index=list("abcd"))
    history = History.from_dataframe(fractions, n_items=items.iloc[::-1])
    np.testing.assert_array_equal(history.n_items, [[20, 4], [24, 8], [28, 12], [32, 16]])
    assert History.from_dataframe(fractions, n_items=items) == history


def test_side_tables_have_short_forms(fractions):
    def both(given):
        return History.from_dataframe(fractions, n_items=given).n_items

    np.testing.assert_array_equal(both(4), np.full((4, 2), 4.0))
    np.testing.assert_array_equal(both({"math": 8}), [[np.nan, 8]] * 4)
    np.testing.assert_array_equal(both(pd.Series({"math": 8, "code": 4})), [[4, 8]] * 4)
    np.testing.assert_array_equal(both(np.full((4, 2), 8)), np.full((4, 2), 8.0))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (0, "`n_items` must be a whole number from 1 on, got 0.0 for agent 'a', skill 'code'"),
        (2.5, "`n_items` must be a whole number from 1 on, got 2.5"),
        (-4, "`n_items` must be a whole number"),
        (math.inf, "`n_items` must be finite, got inf for agent 'a', skill 'code'"),
        ("many", "`n_items` must hold numbers, got 'many' for agent 'a', skill 'code'"),
        (np.ones((4, 3)), r"`n_items` must have the shape of the scores \(4, 2\), got \(4, 3\)"),
        ([4, 4], "`n_items` must be a number, a mapping by skill or a table"),
        ([[4, 4], [4]], "`n_items` must be a number, a mapping by skill or a table .*, got list"),
        (10**400, "`n_items` must be finite, got inf for agent 'a', skill 'code'"),
        (pd.Series([4, 8], ["code", "code"]), "`n_items` must name each skill once, got 'code' 2"),
        (
            pd.DataFrame({"code": [4] * 4}, index=list("abcd")),
            r"same skills as the scores; missing \['math'\], unexpected \[\], 1 instead of 2",
        ),
        (
            pd.DataFrame({"code": [4] * 4, "math": [4] * 4}, index=list("abce")),
            r"same agents as the scores; missing \['d'\], unexpected \['e'\]",
        ),
        (
            pd.DataFrame({"code": [4] * 5, "math": [4] * 5}, index=list("abcdd")),
            "same agents as the scores; .* 5 instead of 4",
        ),
    ],
)
def test_bad_item_counts(fractions, items, message):
    with pytest.raises(HistoryError, match=message):
        History.from_dataframe(fractions, n_items=items)


def test_bad_standard_errors(fractions):
    with pytest.raises(HistoryError, match=r"`stderr` must be finite and not negative, got -0.1"):
        History.from_dataframe(fractions, stderr=-0.1)
    with pytest.raises(HistoryError, match="`stderr` must be left out where `n_items` is given"):
        History.from_dataframe(fractions, stderr=0.1, n_items={"math": 4})
    with pytest.raises(UnknownSkillError, match=r"'maths' in `stderr`; did you mean 'math'\?"):
        History.from_dataframe(fractions, stderr={"maths": 0.1})


def test_typical_items_are_those_behind_scores():
    scores = pd.DataFrame(np.random.default_rng(0).random((30, 3)), columns=list("abc"))
    scores.loc[3:, "a"] = np.nan
    items = pd.DataFrame(1000, index=scores.index, columns=scores.columns)
    items.loc[:2, "a"] = 10
    with pytest.warns(HistoryWarning, match="do not fit"):
        history = History.from_dataframe(scores, n_items=items)
    assert history.typical_items.tolist() == [10.0, 1000.0, 1000.0]
    holed = items.assign(b=np.nan)
    with pytest.warns(HistoryWarning, match="do not fit"):
        typical = History.from_dataframe(scores, n_items=holed).typical_items
    np.testing.assert_array_equal(typical, [10.0, np.nan, 1000.0])


def test_item_counts_need_bounded_skills(scores):
    with pytest.raises(HistoryError, match=r"left out for a skill without bounds .* skill 'elo'"):
        History.from_dataframe(scores, n_items=20)


def test_impossible_counts_are_reported(fractions):
    with pytest.warns(HistoryWarning, match=r"do not fit 2 .* agent 'a', skill 'code', where 0.5"):
        History.from_dataframe(fractions, n_items={"code": 3, "math": 4}, scale="0-1")


def test_impossible_counts_of_one_cell_name_it(fractions):
    table = changed(fractions, "c", "math", 0.3)
    with pytest.warns(HistoryWarning, match=r"fit 1 of .* agent 'c', skill 'math', where 0.3 of 4"):
        History.from_dataframe(table, n_items=4)


def test_groups_and_covariates_from_columns(scores):
    table = scores.assign(family=["x", "x", "y", "z"], year=[1.0, 2, 3, 4], open=[True, False] * 2)
    history = History.from_dataframe(table, groups="family", covariates=["year", "open"])
    assert history.skills == ("code", "math", "elo")
    assert history.groups == ("x", "x", "y", "z")
    assert history.covariate_names == ("year", "open")
    np.testing.assert_array_equal(history.covariates, [[1, 1], [2, 0], [3, 1], [4, 0]])


def test_a_covariate_that_never_differs_is_reported(scores):
    covariates = pd.DataFrame({"same": [0.1] * 4, "year": [1, 2, 3, 4]}, index=scores.index)
    with pytest.warns(HistoryWarning, match=r"got \['same'\] with one value for .*out") as caught:
        history = History.from_dataframe(scores, covariates=covariates)
    assert [item.filename for item in caught] == [__file__]
    assert history.covariate_names == ("same", "year")
    # agents that are alike by chance are no reason to warn again
    assert history.select(["a", "b", "d"]).n_agents == 3


def test_groups_and_covariates_by_name(scores):
    groups = {"d": "z", "c": "y", "a": "x", "b": "x"}
    covariates = pd.DataFrame({"year": [4.0, 3, 2, 1, 0]}, index=list("dcbae"))
    history = History.from_dataframe(scores, groups=groups, covariates=covariates)
    assert history.groups == ("x", "x", "y", "z")
    np.testing.assert_array_equal(history.covariates, [[1], [2], [3], [4]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"groups": ["x"]}, HistoryError, r"one group per agent \(4\), got 1"),
        ({"groups": {"a": "x"}}, HistoryError, r"got none for \['b', 'c', 'd'\]"),
        ({"groups": "famly"}, UnknownSkillError, "unknown skill 'famly' in `groups`"),
        ({"covariates": ["yaer"]}, UnknownSkillError, "'yaer' in `covariates`"),
        ({"covariates": np.ones(4)}, UnknownSkillError, "in `covariates`"),
        (
            {"covariates": pd.DataFrame({"year": [1.0, 2]}, index=["a", "b"])},
            HistoryError,
            r"a row for every agent, got none for \['c', 'd'\]; impute one, .*median\(\)",
        ),
        (
            {"covariates": pd.DataFrame({"year": [1.0, 2, 3, None]}, index=list("abcd"))},
            HistoryError,
            r"empty cell for agent 'd', covariate 'year'; fill it first, .*fillna\(",
        ),
    ],
)
def test_bad_groups_and_covariates(scores, arguments, error, message):
    with pytest.raises(error, match=message):
        History.from_dataframe(scores, **arguments)


# what is refused


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0.9", "`scores` must hold numbers, got '0.9' for agent 'b', skill 'code'; replace it"),
        (True, "`scores` must hold numbers, got True for agent 'b', skill 'code'"),
        (1j, "`scores` must hold numbers, got 1j"),
        (math.inf, "`scores` must be finite, got inf for agent 'b', skill 'code'"),
        (-math.inf, "`scores` must be finite, got -inf"),
        (-(10**400), "`scores` must be finite, got -inf for agent 'b', skill 'code'"),
        (
            92.0,
            r"must then be between 0 and 1, got 92.0 for agent 'b', skill 'code'; did you .*92\?",
        ),
        (-0.2, "must then be between 0 and 1, got -0.2 for agent 'b', skill 'code'; correct it"),
    ],
)
def test_bad_cells(fractions, value, message):
    with pytest.raises(HistoryError, match=message):
        History.from_dataframe(changed(fractions, "b", "code", value))


def test_a_slip_among_percentages():
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.uniform(20, 95, (10, 3)), columns=list("xyz"))
    table.iloc[4, 1] = 850.0
    with pytest.raises(HistoryError, match=r"look like a percent table .* 850.0 for agent '4'"):
        History.from_dataframe(table)
    assert History.from_dataframe(table, scale={"y": "unbounded"}).scales["y"].link == "identity"


@pytest.mark.parametrize("scale", ["unbounded", {"code": (-1, 1), "math": "0-1"}])
def test_a_given_scale_settles_what_looks_like_a_slip(fractions, scale):
    history = History.from_dataframe(changed(fractions, "b", "code", -0.2), scale=scale)
    assert history.values[1, 0] == -0.2


def test_standardised_scores_are_unbounded():
    table = pd.DataFrame(np.random.default_rng(3).normal(size=(30, 4)))
    assert set(History.from_dataframe(table).scales.scales) == {Scale.unbounded()}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (92.0, r"between 0 and 1, got 92.0 for agent 'b', skill 'code'; did you mean 0.92\?"),
        (-0.2, "between 0 and 1, got -0.2 for agent 'b', skill 'code'; correct it, or fit"),
    ],
)
def test_scores_outside_given_bounds(fractions, value, message):
    with pytest.raises(HistoryError, match=message):
        History.from_dataframe(changed(fractions, "b", "code", value), scale="0-1")


def test_columns_that_are_not_numbers_at_all(scores):
    table = scores.assign(family=["x", "x", "y", "z"])
    with pytest.raises(
        HistoryError, match=r"skill 'family' \(and 3 more in this column\); .*groups="
    ):
        History.from_dataframe(table)
    with pytest.raises(HistoryError, match="must hold numbers, got True for agent 'a', skill 'ok'"):
        History.from_dataframe(scores.assign(ok=[True, False, True, True]))
    with pytest.raises(HistoryError, match="must hold numbers, got Timestamp"):
        History.from_dataframe(scores.assign(when=pd.to_datetime(["2024-01-01"] * 4)))


def test_repeated_names(scores):
    with pytest.raises(HistoryError, match="name each agent once, got 'a' 2 times; merge"):
        History.from_dataframe(scores.rename(index={"b": "a"}))
    with pytest.raises(HistoryError, match="name each skill once, got 'code' 2 times"):
        History.from_dataframe(scores.rename(columns={"math": "code"}))
    with pytest.raises(HistoryError, match=r"got 'a' 2 times; .* \(also \['c'\]\)"):
        History.from_dataframe(scores.rename(index={"b": "a", "d": "c"}))


def test_missing_names(scores):
    with pytest.raises(HistoryError, match="name every agent, got no name at position 1"):
        History.from_dataframe(scores.rename(index={"b": None}))
    with pytest.raises(HistoryError, match="name every skill, got an empty name"):
        History.from_dataframe(scores.rename(columns={"math": " "}))
    levels = pd.MultiIndex.from_product([["x"], scores.columns])
    with pytest.raises(HistoryError, match="one level of skill names, got 2"):
        History.from_dataframe(scores.set_axis(levels, axis=1))


@pytest.mark.parametrize("name", ["a\0", "\ud800", "x\udfffy"])
def test_names_that_no_file_can_hold(scores, name):
    # as texts, pandas refuses some of them itself
    agents = pd.Index(["a", name, "c", "d"], dtype=object)
    skills = pd.Index(["code", name, "elo"], dtype=object)
    for kind, table in (
        ("agent", scores.set_axis(agents, axis=0)),
        ("skill", scores.set_axis(skills, axis=1)),
    ):
        with pytest.raises(
            HistoryError, match=rf"`scores` must name every {kind} without NUL .*; rename it"
        ):
            History.from_dataframe(table)
    with pytest.raises(HistoryError, match="`covariates` must name every covariate without NUL"):
        History.from_dataframe(scores, covariates=table.iloc[:, [1]])
    with pytest.raises(HistoryError, match="`groups` must name every group without NUL"):
        History.from_dataframe(scores, groups=["x", "x", "y", name])


@pytest.mark.parametrize("table", [[[0.1, 0.2]], {"a": {"code": 0.1}}, np.ones((3, 2)), None])
def test_only_dataframes(table):
    with pytest.raises(HistoryError, match="`scores` must be a DataFrame of agents by skills, got"):
        History.from_dataframe(table)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_agents(scores, rows):
    with pytest.raises(HistoryError, match=f"at least 3 agents with scores, got {rows}"):
        History.from_dataframe(scores.iloc[:rows])


def test_no_skills():
    with pytest.raises(HistoryError, match="at least 3 agents with scores, got 0"):
        History.from_dataframe(pd.DataFrame(index=list("abcd")))


@pytest.mark.parametrize("column", [[0.5] * 4, [0.5, None, None, None], [0.5, None, 0.5, None]])
def test_skills_that_do_not_vary(fractions, column):
    table = fractions.assign(flat=column, flatter=column)
    with pytest.raises(
        HistoryError, match=r"two distinct .* only 0.5 for skill 'flat' \(also \['flatter'\]\)"
    ):
        History.from_dataframe(table)


def test_spreads_that_cannot_be_computed(fractions):
    for column in ([1e308, -1e308, 1e308, 0], [1e9, 1e9 + 1e-7, 1e9, 1e9]):
        with pytest.raises(HistoryError, match=r"differ by an amount .* only .* to .*skill 'odd'"):
            History.from_dataframe(fractions.assign(odd=column), scale={"odd": "unbounded"})


def test_empty_rows_and_columns_are_dropped_and_reported(fractions):
    table = fractions.assign(none=np.nan)
    table.loc["empty"] = np.nan
    groups = dict.fromkeys("abcd", "x") | {"empty": "y"}
    with pytest.warns(HistoryWarning) as caught:
        history = History.from_dataframe(table, groups=groups, n_items={"code": 4, "none": 9})
    told = (
        "dropped agents without a single score: 'empty'",
        "dropped skills without a single score: 'none'",
    )
    assert tuple(str(item.message) for item in caught) == told
    assert history.dropped == told
    assert history.agents == ("a", "b", "c", "d")
    assert history.skills == ("code", "math")
    assert history.groups == ("x",) * 4
    assert history.n_items.shape == history.values.shape


def test_many_agents_are_looked_through_quickly(rng):
    agents = [f"agent {number}" for number in range(20_000)]
    started = time.perf_counter()
    rows, _, notes = find_filled(rng.random((20_000, 2)), agents, ["code", "math"])
    assert time.perf_counter() - started < 2.0
    assert (len(rows), notes) == (20_000, ())


@pytest.mark.parametrize("argument", ["scale", "descriptions", "n_items"])
def test_unknown_skills(fractions, argument):
    value = {"scale": "0-1", "descriptions": "text", "n_items": 4}[argument]
    with pytest.raises(UnknownSkillError, match=rf"'maths' in `{argument}`; did you mean 'math'\?"):
        History.from_dataframe(fractions, **{argument: {"maths": value}})


def test_unknown_scales(fractions):
    with pytest.raises(ConfigError, match=r"got 'precent'; did you mean 'percent'\?"):
        History.from_dataframe(fractions, scale="precent")


# parts of a history


def test_select_keeps_the_scales_and_fits_them_again(scores):
    history = History.from_dataframe(scores, groups=["x", "x", "y", "z"], stderr=0.1)
    part = history.select(["d", "a", "c"])
    assert part.agents == ("d", "a", "c")
    assert part.groups == ("z", "x", "y")
    assert part.scales.scales == history.scales.scales
    np.testing.assert_array_equal(part.values, scores.loc[["d", "a", "c"]])
    np.testing.assert_allclose(np.nanmean(part.working().values, axis=0), 0.0, atol=1e-12)
    assert part.stderr.shape == (3, 3)
    assert history.agents == ("a", "b", "c", "d")


def test_select_refuses_what_it_cannot_use(scores):
    history = History.from_dataframe(scores)
    with pytest.raises(UnknownAgentError, match="unknown agent 'z'; known names: 'a'"):
        history.select(["a", "b", "z"])
    with pytest.raises(HistoryError, match="name each agent once, got 'a'"):
        history.select(["a", "b", "a"])
    with pytest.raises(HistoryError, match="at least 3 agents with scores, got 2"):
        history.select(["a", "b"])
    for wrong in (None, "abc", 3):
        with pytest.raises(HistoryError, match=r"`agents` must be a list of names, got .*'b'\)"):
            history.select(wrong)
    nearly_flat = History.from_dataframe(scores.assign(math=[90.0, 90.0, 90.0, 10.0]))
    with pytest.raises(HistoryError, match=r"two distinct scores .* skill 'math'"):
        nearly_flat.select(["a", "b", "c"])


def test_hide_blanks_cells_and_their_errors(fractions):
    history = History.from_dataframe(fractions, n_items=4)
    mask = np.zeros((4, 2), dtype=bool)
    mask[0, 0] = True
    hidden = history.hide(mask)
    assert np.isnan(hidden.values[0, 0])
    assert np.isnan(hidden.n_items[0, 0])
    assert hidden.observed.sum() == history.observed.sum() - 1
    assert hidden.scales.scales == history.scales.scales
    np.testing.assert_allclose(np.nanmean(hidden.working().values, axis=0), 0.0, atol=1e-12)
    labelled = pd.DataFrame(mask, index=history.agents, columns=history.skills)
    assert history.hide(labelled.iloc[::-1, ::-1]) == hidden
    assert history.hide(np.zeros((4, 2), dtype=bool)) == history


def test_hide_checks_its_mask(fractions):
    history = History.from_dataframe(fractions)
    with pytest.raises(
        HistoryError, match=r"`mask` must be a bool array of shape \(4, 2\), got bool"
    ):
        history.hide(np.zeros((2, 4), dtype=bool))
    with pytest.raises(HistoryError, match=r"`mask` must be a bool array .*, got float64"):
        history.hide(np.zeros((4, 2)))
    with pytest.raises(HistoryError, match=r"must have all skills .* got none for \['math'\]"):
        history.hide(pd.DataFrame({"code": [True] * 4}, index=list("abcd")))
    with pytest.raises(HistoryError, match=r"must have all agents .* got none for \['d'\]"):
        history.hide(pd.DataFrame(True, index=list("abc"), columns=["code", "math"]))


def test_a_mask_is_matched_by_names_as_the_scores_are(fractions):
    table = fractions.set_axis(range(4), axis=0).set_axis([10, 11], axis=1)
    history, mask = History.from_dataframe(table), table == 1.0
    expected = history.hide(mask.to_numpy())
    for form in (mask, mask.iloc[::-1], mask.astype("boolean")):
        assert history.hide(form) == expected
    with pytest.raises(HistoryError, match="`mask` must name each agent once, got '0' 2 times"):
        history.hide(mask.rename(index={1: 0}))
    with pytest.raises(HistoryError, match="`mask` must name each skill once, got '10' 2 times"):
        history.hide(mask.rename(columns={11: "10"}))
    with pytest.raises(HistoryError, match=r"`mask` must be a bool array .*, got object"):
        history.hide(mask.astype("boolean").mask(mask))


def test_hiding_a_whole_row_reports_it(fractions):
    history = History.from_dataframe(fractions)
    mask = np.zeros((4, 2), dtype=bool)
    mask[1] = True
    with pytest.warns(HistoryWarning, match="dropped agents without a single score: 'b'"):
        assert history.hide(mask).agents == ("a", "c", "d")


@given(st.permutations(range(4)), st.permutations(range(3)))
def test_order_does_not_change_the_numbers(rows, columns):
    table = pd.DataFrame(
        {"x": [0.1, 0.5, 0.9, 0.3], "y": [10.0, 80, 30, 55], "z": [-4.0, np.nan, 9, 200]},
        index=list("abcd"),
    )
    one = History.from_dataframe(table)
    other = History.from_dataframe(table.iloc[list(rows), list(columns)])
    reordered = pd.DataFrame(other.working().values, index=other.agents, columns=other.skills)
    np.testing.assert_allclose(
        reordered.loc[list(one.agents), list(one.skills)], one.working().values, atol=1e-12
    )


# files


def test_csv_round_trip(scores, tmp_path):
    path = tmp_path / "history.csv"
    scores.to_csv(path)
    assert History.from_csv(path) == History.from_dataframe(scores)
    scores.to_csv(tmp_path / "history.tsv", sep="\t")
    assert History.from_csv(tmp_path / "history.tsv") == History.from_dataframe(scores)


def test_csv_agents_stay_as_written(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("\ufeffmodel,code\n1.10,0.5\nNA,0.25\n007,\n none,1\n", encoding="utf-8")
    with pytest.warns(HistoryWarning, match="'007'"):
        history = History.from_csv(path)
    assert history.agents == ("1.10", "NA", " none")


def test_csv_skills_may_be_called_like_empty_cells(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("model,NA,null,nan,None\na,1,0,1,0\nb,0,1,NA,\nc,1,1,0,1\n", encoding="utf-8")
    history = History.from_csv(path)
    assert history.skills == ("NA", "null", "nan", "None")
    assert history.observed.sum() == 10


def test_csv_skills_are_named_without_the_blanks_around(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("model, math , code one\na,1,0\nb,0,1\nc,1,1\n", encoding="utf-8")
    assert History.from_csv(path).skills == ("math", "code one")
    path.write_text("model,math, math\na,1,0\nb,0,1\nc,1,1\n", encoding="utf-8")
    with pytest.raises(HistoryError, match="name each skill once, got 'math' 2 times"):
        History.from_csv(path)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_first_column_of_scores_is_reported(fractions, tmp_path, ending):
    pytest.importorskip("pyarrow")
    path = tmp_path / f"history.{ending}"

    def write(first):
        table = fractions.assign(first=first)[["first", "code", "math"]]
        table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path, index=False)

    write([0.636, 0.27, 0.04, 0.016])
    with pytest.warns(
        HistoryWarning, match=r"in its first column, got 'first' with nothing but .* 0\.636, which"
    ):
        history = History.from_csv(path)
    assert history.skills == ("code", "math")
    for names in ([1, 2, 3, 4], [1.5, 2, 2.5, 3.5], ["1.5", "x", "2.5", "3.5"]):
        write(names)
        assert History.from_csv(path).n_agents == 4


def test_groups_of_a_csv_file_are_names_whatever_they_look_like(fractions, tmp_path):
    path = tmp_path / "history.csv"
    fractions.assign(family=["3.1", "3.10", "4", "04"]).to_csv(path)
    assert History.from_csv(path, groups="family").groups == ("3.1", "3.10", "4", "04")


@pytest.mark.parametrize("flag", ["false", 1, None])
def test_whether_to_normalize_is_true_or_false(fractions, flag):
    with pytest.raises(ConfigError, match="`normalize` must be True or False, got"):
        History.from_dataframe(fractions, normalize=flag)
    assert History.from_dataframe(fractions, normalize=np.True_).normalize is True


def test_there_is_one_zero(fractions):
    one, other = (History.from_dataframe(fractions, scale=(low, 1.0)) for low in (0.0, -0.0))
    assert one == other
    assert one.data_hash == other.data_hash


def test_csv_arguments_are_passed_on(scores, tmp_path):
    path = tmp_path / "history.csv"
    scores.assign(family=list("xxyz")).to_csv(path)
    history = History.from_csv(
        path,
        groups="family",
        normalize=True,
        descriptions={"code": "c"},
        scale={"elo": (-50, 2000)},
    )
    assert history.groups == tuple("xxyz")
    assert history.normalize
    assert history.descriptions == {"code": "c"}
    assert history.scales["elo"].upper == 2000.0


def test_lines_of_separators_alone_are_no_agents(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("model,code\na,0.5\n,\nb,0.25\nc,1\n,\n", encoding="utf-8")
    scores = History.from_csv(path).to_dataframe()["code"]
    assert scores.to_dict() == {"a": 0.5, "b": 0.25, "c": 1.0}


def test_decimals_are_numbers(scores):
    exact = scores.map(lambda score: Decimal(repr(score)))
    error = Decimal("0.05")
    ours, theirs = (History.from_dataframe(table, stderr=error) for table in (exact, scores))
    np.testing.assert_array_equal(ours.values, theirs.values)
    scale = Scale.bounded(Decimal(0), Decimal(1))
    assert (scale.lower, scale.upper) == (0.0, 1.0)


def test_tables_beside_many_agents_are_read_in_one_pass():
    many = pd.DataFrame(0.5, index=[f"agent_{i}" for i in range(20_000)], columns=["a", "b"])
    many.iloc[::2], many.iloc[1::4] = 0.25, 0.75
    started = time.process_time()
    history = History.from_dataframe(many, n_items=pd.DataFrame(4, many.index, many.columns))
    with pytest.warns(HistoryWarning, match=r"'agent_8' and 9995 more$"):
        hidden = history.hide(many < 0.4)
    # half a second; a set made anew for each label took half a minute
    assert time.process_time() - started < 10.0
    assert hidden.observed.sum() == 20_000


def test_warnings_show_the_line_that_called(scores):
    same = pd.DataFrame({"x": 1.0}, index=scores.index)
    with pytest.warns(HistoryWarning) as caught:
        History.from_dataframe(scores[["code"]], n_items=7, covariates=same)
    assert [one.filename for one in caught] == [__file__] * 2


def test_covariates_of_any_unit(scores):
    tiny = pd.DataFrame({"x": np.arange(4) * 1e-13}, index=scores.index)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = History.from_dataframe(scores, covariates=tiny)
    assert np.ptp(Design.of(history).of_history(history)) > 1.0
    with pytest.raises(HistoryError, match=r"at most 1e\+150 .* got 1e\+200 for agent 'b'"):
        History.from_dataframe(scores, covariates=1e213 * tiny)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([True, False, None, True], "must be complete, got an empty cell for agent 'c'"),
        ([1.0, 2.0, np.inf, 3.0], "got inf for agent 'c', covariate 'x'; replace it by a number$"),
        ([1.0, 2.0, "?", 3.0], r"got '\?' for agent 'c', covariate 'x'; replace it by a number$"),
        (list("pqrs"), "got 'p' .*; drop the column, or make numbers of it"),
    ],
)
def test_bad_covariates_say_what_helps(scores, cells, message):
    table = pd.DataFrame({"x": pd.Series(cells, scores.index, dtype=object)})
    with pytest.raises(HistoryError, match=message):
        History.from_dataframe(scores, covariates=table)


def test_yes_and_no_are_numbers_in_columns_of_objects(scores):
    table = pd.DataFrame({"x": pd.Series([True, False, True, True], scores.index, dtype=object)})
    history = History.from_dataframe(scores, covariates=table)
    np.testing.assert_array_equal(history.covariates, [[1], [0], [1], [1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,code,code\na,1,2\n", "name each skill once, got 'code'"),
        ("model,code\na,0.5\nb,n.a.\nc,1\n", "must hold numbers, got 'n.a.' for agent 'b'"),
        ("model;code\na;0.5\n", "separated by ',', got the single column 'model;code'"),
        ("model,code,\na,0.5,1\n", "name every skill, got no name at position 1"),
        ("", "cannot be read as a table"),
        ("model,code\na,0.5,0.6\nb,0.1,0.2\n", "cannot be read as a table"),
        ("model,code\na,0.5\nb,0.1,0.2\n", "cannot be read as a table"),
    ],
)
def test_bad_csv(text, message, tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HistoryError, match=message):
        History.from_csv(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(HistoryError, match=r"`path` must be an existing file, got .*none.csv"):
        History.from_csv(tmp_path / "none.csv")
    with pytest.raises(HistoryError, match=r"`path` must end in .csv, .tsv or .parquet"):
        History.from_csv(tmp_path / "history.xlsx")
    (tmp_path / "latin.csv").write_bytes(b"model,code\n\xff\xfe,0.5\n")
    with pytest.raises(HistoryError, match="cannot be read as a table"):
        History.from_csv(tmp_path / "latin.csv")


def test_parquet_round_trip(scores, tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "history.parquet"
    scores.to_parquet(path)
    assert History.from_parquet(path) == History.from_dataframe(scores)
    scores.rename_axis("model").reset_index().to_parquet(path)
    assert History.from_parquet(path) == History.from_dataframe(scores)
    path.write_bytes(b"not parquet")
    with pytest.raises(HistoryError, match="cannot be read as a table"):
        History.from_parquet(path)


def test_parquet_without_its_library(tmp_path, monkeypatch):
    def absent(path):
        raise ImportError("no pyarrow")

    (tmp_path / "history.parquet").touch()
    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        History.from_parquet(tmp_path / "history.parquet")


@needs_data
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("bfcl_v4", (109, 22)),
        ("open_llm_leaderboard_v2", (707, 6)),
        ("obs_scaling_base_extended", (148, 21)),
    ],
)
def test_public_tables(name, shape):
    items = pd.read_csv(DATA / f"{name}_n_items.csv", index_col=0)
    with warnings.catch_warnings():
        # two of the tables hold averages of subtasks
        warnings.filterwarnings("ignore", "`n_items` do not fit", HistoryWarning)
        history = History.from_csv(DATA / f"{name}.csv", groups="family", n_items=items)
    assert history.values.shape == shape
    assert set(history.scales.scales) == {Scale.unit()}
    assert np.isfinite(history.working().error_var).all()


@needs_data
def test_wide_public_table():
    with pytest.warns(HistoryWarning, match=r"`scale` of \['omnidocbench'\] was read as percent"):
        history = History.from_csv(DATA / "benchpress.csv")
    assert history.values.shape == (84, 133)
    unbounded = history.scales.describe().query("scale == 'unbounded'")["skill"]
    assert set(unbounded) == {
        "chatbot_arena_elo",
        "codeforces_rating",
        "gdpval_aa_elo",
        "swelancer_freelance_dollars",
        "vending_bench_2",
    }
