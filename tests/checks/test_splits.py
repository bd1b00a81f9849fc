"""Splits: nothing leaks, nothing moves between settings, and seeds decide everything."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.checks.hiding import hidden_cells
from skillinfer_bayes.checks.splits import (
    agent_cases,
    cell_cases,
    known_cells,
    leak_safe_groups,
)
from skillinfer_bayes.exceptions import ConfigError, HistoryError
from skillinfer_bayes.history.scales import Scale
from skillinfer_bayes.history.table import History

OPTIONS = {
    "n_history": [8, 16],
    "repeats": [0, 1],
    "n_test": 10,
    "share_observed": 1 / 3,
    "hidden": [0.0, 0.4],
    "keep_together": None,
    "random_seed": 5,
}


def cases_of(history: History, **changed):
    return list(agent_cases(history, **(OPTIONS | changed)))


def test_every_setting_of_every_repeat(make_history) -> None:
    cases = cases_of(make_history())
    assert [(case.repeat, case.n_history, case.hidden) for case in cases] == [
        (repeat, size, share) for repeat in (0, 1) for size in (8, 16) for share in (0.0, 0.4)
    ]
    assert len({case.seed for case in cases}) == len(cases)


def test_a_case_shows_a_third_and_asks_for_the_rest(make_history) -> None:
    history = make_history()
    table = history.to_dataframe()
    for case in cases_of(history):
        whole = table.loc[case.truth.index]
        assert case.truth.shape == (10, 6)
        assert (case.rows.notna().sum(axis=1) == 2).all()
        pd.testing.assert_frame_equal(
            case.rows.fillna(case.truth), whole, check_names=False, check_column_type=False
        )
        assert case.rows.isna().equals(case.truth.notna())
        assert case.n_items.notna().equals(case.rows.notna())
        assert set(case.truth.index).isdisjoint(case.history.agents)
        assert case.history.n_agents == case.n_history


def test_holes_are_neither_shown_nor_asked_for(make_history) -> None:
    history = make_history(missing=0.3)
    observed = history.to_dataframe().notna()
    for case in cases_of(history, hidden=[0.0]):
        there = observed.loc[case.truth.index, case.truth.columns]
        assert (case.rows.notna() | case.truth.notna()).equals(there)
        assert not (case.rows.notna() & case.truth.notna()).any(axis=None)
        assert case.rows.notna().any(axis=1).all()
        assert case.truth.notna().any(axis=1).all()


def test_settings_of_a_repeat_share_their_new_agents_and_nest(make_history) -> None:
    small, small_hidden, large, large_hidden = cases_of(make_history(), repeats=[3])
    for other in (small_hidden, large, large_hidden):
        pd.testing.assert_frame_equal(small.rows, other.rows)
    assert large.history.agents[:8] == small.history.agents
    for full, part in ((small, small_hidden), (large, large_hidden)):
        gone = full.history.observed & ~part.history.observed
        assert gone.sum() == round(0.4 * full.history.observed.sum())
        assert part.history.n_items[gone].tolist() == pytest.approx(
            [np.nan] * gone.sum(), nan_ok=True
        )


def test_a_repeat_does_not_depend_on_the_others(make_history) -> None:
    history = make_history()
    alone = cases_of(history, repeats=[1])
    among = cases_of(history, repeats=[0, 1])[4:]
    for one, other in zip(alone, among, strict=True):
        pd.testing.assert_frame_equal(one.rows, other.rows)
        assert one.history == other.history
        assert one.seed == other.seed
    moved = cases_of(history, repeats=[1], random_seed=6)
    assert not moved[0].rows.equals(alone[0].rows)


def test_relatives_and_duplicates_stay_on_one_side(make_history) -> None:
    scores = make_history(40).to_dataframe()
    scores.iloc[7] = scores.iloc[3]
    history = History.from_dataframe(scores)
    bases = {agent: f"base {row // 2}" for row, agent in enumerate(scores.index)}
    for case in cases_of(history, keep_together=bases, n_history=[None], repeats=range(20)):
        learned = {bases[agent] for agent in case.history.agents}
        asked = {bases[agent] for agent in case.truth.index}
        assert learned.isdisjoint(asked)
        # 2 and 3 are relatives, 3 and 7 duplicates, 7 and 6 relatives
        family = {"agent_2", "agent_3", "agent_6", "agent_7"}
        assert not family & set(case.history.agents) or not family & set(case.truth.index)


def test_groups_link_through_others() -> None:
    values = [[0.1, 0.2], [0.3, np.nan], [0.3, np.nan], [0.5, 0.6], [-0.0, 0.1], [0.0, 0.1]]
    history = History.from_dataframe(pd.DataFrame(values, index=list("abcdef")), scale="0-1")
    assert leak_safe_groups(history).tolist() == [0, 1, 1, 2, 3, 3]
    linked = leak_safe_groups(history, ["x", "x", "y", "z", "u", "z"])
    assert linked[0] == linked[1] == linked[2]
    assert linked[3] == linked[4] == linked[5]
    assert len(set(linked)) == 2
    with pytest.raises(HistoryError, match="one group per agent"):
        leak_safe_groups(history, ["x"])
    with pytest.raises(HistoryError, match=r"`keep_together` must be a mapping .*, got 'family'"):
        leak_safe_groups(history, "family")


def test_skills_that_cannot_be_learned_are_left_out(make_history) -> None:
    scores = make_history().to_dataframe()
    scores["skill_2"] = 0.5
    scores.iloc[0, 2] = 0.7
    for case in cases_of(History.from_dataframe(scores), repeats=range(4)):
        differs = case.history.agents.count("agent_0") == 1
        assert ("skill_2" in case.history.skills) == differs
        assert tuple(case.rows.columns) == tuple(case.truth.columns) == case.history.skills


def test_skills_on_which_all_only_guess_are_left_out() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.2, 0.9, (30, 3)).round(3)
    scores[:26, 0] = rng.uniform(0.1, 0.25, 26).round(3)
    table = pd.DataFrame(scores, columns=["quiz", "b", "c"], index=[f"a{i}" for i in range(30)])
    history = History.from_dataframe(table, scale={"quiz": Scale.multiple_choice(4)})
    guessing = set(table.index[table["quiz"] <= 0.25])
    left_out = []
    for case in cases_of(history, repeats=range(4)):
        left_out.append("quiz" not in case.history.skills)
        assert left_out[-1] == guessing.issuperset(case.history.agents)
    assert 0 < sum(left_out) < len(left_out)
    for case in cell_cases(history, share=0.6, repeats=range(4), random_seed=1):
        shown = case.rows["quiz"].dropna()
        assert shown.min() < shown.max() > 0.25


def test_too_few_agents(make_history) -> None:
    with pytest.raises(ConfigError, match=r"`n_history` must be at most 20 beside 10 new agents"):
        cases_of(make_history(), n_history=[21])
    with pytest.raises(ConfigError, match=r"`n_test` must be at most 30 for this table, got 31"):
        cases_of(make_history(), n_test=31)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": [0.9]}, r"`hide` must leave .* got 0.9; of the 48 scores of 8 agents it can"),
        ({"hidden": [0.001]}, r"`hide` must hide at least one score, got 0.001 of 48; raise it"),
    ],
)
def test_a_share_that_cannot_be_hidden_is_refused(make_history, changed, message) -> None:
    with pytest.raises(ConfigError, match=message):
        cases_of(make_history(), **changed)


def test_agents_who_leave_no_history_are_named_with_the_reason(make_history) -> None:
    with pytest.raises(ConfigError, match=r"`n_history` must leave a history .* got 3 agents"):
        cases_of(make_history(missing=0.7), n_history=[3], repeats=range(10), hidden=[0.0])


def test_cells_need_another_skill_and_a_score_to_hide(make_history) -> None:
    with pytest.raises(ConfigError, match="`history` must have at least two skills"):
        list(cell_cases(make_history(n_skills=1), share=0.2, repeats=[0], random_seed=1))
    with pytest.raises(ConfigError, match=r"`share` must hide at least one score, got 0.001"):
        list(cell_cases(make_history(), share=0.001, repeats=[0], random_seed=1))
    with pytest.raises(ConfigError, match=r"`n_test` must be at most 0 .* needs at least 2 scores"):
        cases_of(make_history(n_skills=1))


@given(st.integers(0, 10_000), st.floats(0.0, 0.95), st.floats(0.0, 0.6))
def test_hidden_cells_leave_something_to_learn_from(seed, share, missing) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((9, 4)) < missing, np.nan, rng.integers(0, 4, (9, 4)) / 4)
    hidden = hidden_cells(values, share, rng.random(values.shape))
    left = np.where(hidden, np.nan, values)
    assert not hidden[np.isnan(values)].any()
    assert hidden.sum() <= round(share * (~np.isnan(values)).sum())
    there = ~np.isnan(values)
    assert ((~np.isnan(left)).any(axis=1) == there.any(axis=1)).all()
    for before, after in zip(values.T, left.T, strict=True):
        kinds = (len(np.unique(column[~np.isnan(column)])) for column in (before, after))
        assert min(next(kinds), 2) == min(next(kinds), 2)


@given(st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_known_cells_leave_one_to_predict(seed, share) -> None:
    rng = np.random.default_rng(seed)
    observed = rng.random((8, 7)) < 0.6
    observed[:, :2] = True
    known = known_cells(observed, share, rng)
    count = observed.sum(axis=1)
    assert not (known & ~observed).any()
    assert known.sum(axis=1).tolist() == np.clip(np.rint(share * count), 1, count - 1).tolist()


def test_cells_of_the_whole_table(make_history) -> None:
    scores = make_history(missing=0.2).to_dataframe()
    scores.iloc[5] = scores.iloc[4]
    history = History.from_dataframe(scores)
    first, second = cell_cases(history, share=0.2, repeats=[0, 1], random_seed=3)
    for case in (first, second):
        assert case.of_history
        assert "agent_5" not in case.history.agents
        whole = scores.loc[list(case.history.agents), list(case.history.skills)]
        asked = case.truth.notna()
        assert asked.to_numpy().sum() == round(0.2 * whole.notna().to_numpy().sum())
        assert not (asked & case.rows.notna()).any(axis=None)
        assert (asked | case.rows.notna()).equals(whole.notna())
        assert (case.history.observed == case.rows.notna().to_numpy()).all()
    assert not first.truth.equals(second.truth)
