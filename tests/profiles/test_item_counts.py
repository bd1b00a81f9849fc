"""How well a score was measured: perfect scores of few items, and tables that do not fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from example_tables import SKILLS, table_of

from skillinfer_bayes import History, Population
from skillinfer_bayes.exceptions import HistoryWarning, InputError, UnknownSkillError
from skillinfer_bayes.testing import fake_population

COUNTS = [4, 16, 64, 256, 4096]
TAILS = ["normal", "agent", "cell"]


@pytest.fixture(params=TAILS)
def any_population(request) -> Population:
    return fake_population(table_of(60, seed=3), draws=150, tails=request.param)


@pytest.mark.parametrize("score", [1.0, 0.0], ids=["all right", "none right"])
class TestAtTheBounds:
    def test_sixteen_items_leave_doubt(self, any_population, score) -> None:
        profile = any_population.profile().observe("math", score, n_items=16)
        row = profile.predict("math")
        assert abs(score - row["mean"]) > 0.01
        assert row["std"] > 0.02
        assert row["upper"] - row["lower"] > 0.08
        assert 0.0 <= row["lower"] < row["mean"] < row["upper"] <= 1.0
        # the draws are spread out, not piled up on the bound
        draws = profile.draws().sel(skill="math").values
        assert (draws == score).mean() < 0.2
        assert len(np.unique(draws.round(3))) > 50

    def test_more_items_leave_less(self, any_population, score) -> None:
        rows = [
            any_population.profile().observe("math", score, n_items=items).predict("math")
            for items in COUNTS
        ]
        widths = [row["upper"] - row["lower"] for row in rows]
        distances = [abs(score - row["mean"]) for row in rows]
        for values in (widths, distances):
            assert values == sorted(values, reverse=True)
            assert values[0] > 4 * values[-1] > 0.0
        assert distances[-1] < 0.01

    def test_what_was_right_sixteen_times_may_go_wrong(self, score) -> None:
        history = History.from_dataframe(
            (table_of(60, seed=3) * 16).round() / 16, n_items=16, scale="0-1"
        )
        profile = fake_population(history, draws=500).profile()
        draws = profile.observe("math", score, n_items=16).draws(kind="score").sel(skill="math")
        assert 0.02 < float((draws != score).mean()) < 0.98

    def test_the_others_follow_less_boldly(self, any_population, score) -> None:
        means = [
            any_population.profile().observe("math", score, n_items=items).mean("code")
            for items in (1, 256)
        ]
        untouched = any_population.profile().mean("code")
        moved = np.abs(np.array(means) - untouched)
        assert moved[1] > 1.2 * moved[0]


@pytest.mark.parametrize("n_items", [4, 16])
def test_more_right_answers_never_lower_the_skill(population, n_items) -> None:
    means = [
        population.profile().observe("math", right / n_items, n_items=n_items).mean("math")
        for right in range(n_items + 1)
    ]
    assert means == sorted(means)


def test_a_few_items_say_little_wherever_the_score_lies(any_population) -> None:
    for score in (0.25, 0.5, 0.75):
        spreads = [
            any_population.profile().observe("math", score, n_items=items).std("math")
            for items in COUNTS
        ]
        assert spreads == sorted(spreads, reverse=True)


class TestTablesThatDoNotFit:
    TABLE = pd.DataFrame({"math": [0.5, 1.0], "code": [0.25, np.nan]}, index=["one", "other"])

    @pytest.mark.parametrize(
        ("items", "message"),
        [
            (
                0,
                "`n_items` must be a whole number from 1 on, got 0.0 for agent 'one', skill 'math'",
            ),
            (-4, "`n_items` must be a whole number from 1 on, got -4.0"),
            ({"code": 0.5}, "`n_items` must be a whole number from 1 on, got 0.5 .*skill 'code'"),
            (np.full((3, 2), 4), r"the shape of the scores \(2, 2\), got \(3, 2\)"),
            (
                pd.DataFrame({"math": [4, 4], "cod": [4, 4]}, index=["one", "other"]),
                r"same skills as the scores; missing \['code'\], unexpected \['cod'\]",
            ),
            (
                pd.DataFrame({"math": [4, 4], "code": [4, 4]}, index=["one", "othre"]),
                r"same agents as the scores; missing \['other'\], unexpected \['othre'\]",
            ),
        ],
    )
    def test_item_counts(self, population, items, message) -> None:
        with pytest.raises(InputError, match=message):
            population.profiles(self.TABLE, n_items=items)

    @pytest.mark.parametrize(
        ("errors", "message"),
        [
            (
                {"stderr": -0.1},
                "`stderr` must be finite and not negative, got -0.1 for agent 'one'",
            ),
            (
                {"stderr": 0.1, "n_items": {"code": 8}},
                "`stderr` must be left out where `n_items` is given: keep one of the two, got 0.1 "
                "for agent 'one', skill 'code'",
            ),
        ],
    )
    def test_standard_errors(self, population, errors, message) -> None:
        with pytest.raises(InputError, match=message):
            population.profiles(self.TABLE, **errors)

    @pytest.mark.parametrize("argument", ["n_items", "stderr"])
    def test_a_skill_that_is_not_there_is_named(self, population, argument) -> None:
        with pytest.raises(UnknownSkillError, match=rf"'maths' in `{argument}`; did you mean 'mat"):
            population.profiles(self.TABLE, **{argument: {"maths": 4}})


def test_an_impossible_count_in_a_history_warns() -> None:
    table = (table_of(10, seed=1) * 20).round() / 20
    table.loc["model_3", "code"] = 0.33
    with pytest.warns(
        HistoryWarning, match=r"fit 1 of .*agent 'model_3', skill 'code', where 0\.33 of 20 items"
    ):
        history = History.from_dataframe(table, n_items=20)
    assert history.skills == tuple(SKILLS)


@pytest.mark.parametrize(("scale", "floor", "span"), [((-1, 1), -1.0, 2.0), ("0-1", 0.0, 1.0)])
def test_a_score_that_can_be_measured_is_not_above_itself(scale, floor, span) -> None:
    table = floor + span * (table_of(60, seed=3) * 10).round() / 10
    profile = fake_population(History.from_dataframe(table, n_items=10, scale=scale)).profile()
    draws = profile.draws(kind="score").sel(skill="math").values
    hits = np.rint((draws - floor) / span * 10)
    for count in range(11):
        at = round(floor + span * count / 10, 10)
        assert profile.p_above("math", at, kind="score") == (hits > count).mean()


@pytest.mark.parametrize("counts", [(1, 2), (2, 3), (10, 15)])
def test_half_an_item_is_the_same_item_for_spread_and_draws(counts) -> None:
    table = table_of(60, seed=3)
    n_items = pd.DataFrame(counts[0], index=table.index, columns=table.columns)
    n_items.iloc[30:] = counts[1]
    with pytest.warns(HistoryWarning, match="is no whole count"):
        history = History.from_dataframe(table, n_items=n_items)
    profile = fake_population(history, draws=4000, random_seed=1).profile()
    spread = profile.draws(kind="score").values.reshape(-1, len(SKILLS)).std(axis=0)
    assert profile.predict(kind="score")["std"].to_numpy() == pytest.approx(spread, rel=0.03)
