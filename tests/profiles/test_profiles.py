"""Many agents at once: a mapping, tables, and draws that ArviZ takes."""

from __future__ import annotations

from collections.abc import Mapping

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from example_tables import SKILLS, table_of

from skillinfer_bayes import History, Profile, Profiles
from skillinfer_bayes.exceptions import InputError, ScoreError, UnknownAgentError, UnknownSkillError
from skillinfer_bayes.testing import fake_population

TASK = {"math": 1.0, "writing": 0.5}


@pytest.fixture
def table() -> pd.DataFrame:
    """Three agents: two skills, none, and all but one observed; two columns in odd order."""
    cells = {
        "writing": [0.4, np.nan, 0.7],
        "math": [np.nan, np.nan, 0.9],
        "code": [0.8, np.nan, 0.6],
        "creativity": [np.nan, np.nan, 0.2],
    }
    return pd.DataFrame(cells, index=["alpha", "beta", "gamma"])


@pytest.fixture
def profiles(population, table) -> Profiles:
    return population.profiles(table)


class TestMapping:
    def test_is_a_mapping_from_agent_to_profile(self, profiles) -> None:
        assert isinstance(profiles, Mapping)
        assert list(profiles) == ["alpha", "beta", "gamma"] == list(profiles.agents)
        assert len(profiles) == 3
        assert "alpha" in profiles
        assert "delta" not in profiles
        assert 3 not in profiles
        assert all(isinstance(profile, Profile) for profile in profiles.values())
        assert profiles["gamma"].agent == "gamma"

    def test_an_unknown_agent_gets_the_closest_name(self, profiles) -> None:
        with pytest.raises(UnknownAgentError, match=r"unknown agent 'alfa'; did you mean 'alpha'"):
            profiles["alfa"]
        assert profiles.get("alfa") is None

    def test_each_look_up_gives_a_profile_of_its_own(self, profiles) -> None:
        before = profiles.to_dataset()
        profiles["beta"].observe("math", 0.9)
        assert profiles["beta"].observed == frozenset()
        assert profiles.to_dataset().identical(before)

    def test_says_what_it_is(self, profiles) -> None:
        assert repr(profiles) == "Profiles(3 agents x 5 skills, 40% observed)"


class TestTables:
    def test_dataset_has_dims_agent_and_skill(self, profiles, population) -> None:
        dataset = profiles.to_dataset()
        assert set(dataset.data_vars) == {"mean", "std", "lower", "upper", "observed"}
        for name in dataset.data_vars:
            assert dataset[name].dims == ("agent", "skill")
        assert list(dataset["agent"].values) == ["alpha", "beta", "gamma"]
        assert tuple(dataset["skill"].values) == population.history.skills
        assert dataset["observed"].dtype == bool
        assert dataset["observed"].sum("skill").values.tolist() == [2, 0, 4]

    def test_frame_says_the_same(self, profiles) -> None:
        frame, dataset = profiles.to_dataframe(), profiles.to_dataset()
        assert frame.index.names == ["agent", "skill"]
        for agent, skill in frame.index:
            cell = dataset.sel(agent=agent, skill=skill)
            row = frame.loc[(agent, skill)]
            assert row["mean"] == float(cell["mean"])
            assert (row["source"] == "observed") == bool(cell["observed"])

    def test_columns_are_matched_by_name(self, population, table, profiles) -> None:
        for columns in (sorted(table), sorted(table, reverse=True)):
            other = population.profiles(table[columns])
            xr.testing.assert_identical(other.to_dataset(), profiles.to_dataset())

    def test_a_table_equals_its_agents_one_by_one(self, population, table, profiles) -> None:
        scores = profiles.match_scores(TASK, 0.5)
        for agent, row in table.iterrows():
            alone = population.profile(agent).observe_many(row.dropna().to_dict())
            together = profiles.to_dataframe().loc[agent]
            pd.testing.assert_frame_equal(alone.predict(), together, check_exact=False, rtol=1e-10)
            pd.testing.assert_frame_equal(profiles[agent].predict(), alone.predict())
            np.testing.assert_allclose(alone.match_score(TASK, 0.5), scores.loc[agent])

    @pytest.mark.parametrize("error", [{"n_items": 40}, {"stderr": 0.05}])
    def test_errors_reach_every_agent(self, population, table, error) -> None:
        profiles = population.profiles(table, **error)
        alone = population.profile()
        for skill, score in table.loc["gamma"].items():
            alone.observe(skill, score, **error)
        together = profiles.to_dataframe().loc["gamma"]
        pd.testing.assert_frame_equal(alone.predict(), together, check_exact=False, rtol=1e-10)
        assert profiles["gamma"].to_dict()["observations"] == alone.to_dict()["observations"]

    def test_match_scores_without_a_threshold(self, profiles) -> None:
        scores = profiles.match_scores(TASK)
        assert list(scores) == ["score", "std", "lower", "upper", "p_above_threshold"]
        assert scores.index.name == "agent"
        assert scores["p_above_threshold"].isna().all()
        assert (scores["lower"] < scores["score"]).all()

    def test_more_agents_than_one_chunk_holds(self, population) -> None:
        table = pd.concat([table_of(150, seed=seed) for seed in (1, 2)])
        table.index = [f"agent {number}" for number in range(300)]
        profiles = population.profiles(table[["math"]])
        scores = profiles.match_scores(TASK, 0.5)
        few = population.profiles(table[["math"]].iloc[[0, 255, 256, 299]])
        again = few.match_scores(TASK, 0.5, method="fast")
        np.testing.assert_allclose(scores.loc[again.index], again, rtol=1e-9)


class TestDraws:
    def test_dims_and_names(self, profiles) -> None:
        draws = profiles.draws()
        assert draws.dims == ("chain", "draw", "agent", "skill")
        assert dict(draws.sizes) == {"chain": 2, "draw": 150, "agent": 3, "skill": 5}
        assert draws.name == "skill_level"
        assert profiles.draws(kind="score").name == "score"

    def test_arviz_summarises_them(self, profiles) -> None:
        draws = profiles.draws()
        summary = arviz_stats.summary(
            draws.to_dataset(), ci_prob=0.9, ci_kind="eti", round_to="none"
        )
        assert len(summary) == 15
        label = "skill_level[alpha, math]"
        assert summary.loc[label, "mean"] == pytest.approx(profiles["alpha"].mean("math"), abs=0.03)

    def test_arviz_computes_diagnostics_and_intervals(self, profiles) -> None:
        dataset = profiles.draws().to_dataset()
        interval = arviz_stats.eti(dataset, prob=0.9)["skill_level"]
        assert set(interval.dims) == {"agent", "skill", "ci_bound"}
        assert arviz_stats.ess(dataset)["skill_level"].dims == ("agent", "skill")

    def test_agents_that_scored_alike_get_the_same_draws(self, population) -> None:
        table = pd.DataFrame({"math": [0.7, 0.7]}, index=["one", "other"])
        draws = population.profiles(table).draws()
        np.testing.assert_array_equal(draws.sel(agent="one"), draws.sel(agent="other"))


class TestCompleted:
    @pytest.fixture
    def holed(self) -> pd.DataFrame:
        table = table_of(30, seed=9)
        return table.mask(np.random.default_rng(2).random(table.shape) < 0.25)

    def test_fills_holes_and_keeps_what_was_observed(self, holed) -> None:
        completed = fake_population(holed).completed()
        dataset = completed.to_dataset(method="exact")
        observed = holed.notna().to_numpy()
        np.testing.assert_array_equal(dataset["observed"].values, observed)
        assert dataset["mean"].notnull().all()
        off = np.abs(dataset["mean"].values - holed.to_numpy())[observed]
        assert off.max() < 0.02
        std = dataset["std"].values
        assert std[observed].max() < std[~observed].min()

    def test_equals_the_profiles_of_the_same_table(self, holed) -> None:
        population = fake_population(holed)
        completed, again = population.completed(), population.profiles(holed)
        xr.testing.assert_allclose(completed.to_dataset(), again.to_dataset(), rtol=1e-10)
        assert completed.agents == population.agents

    def test_item_counts_of_the_history_count(self, holed) -> None:
        spreads = []
        for n_items in (10, 1000):
            history = History.from_dataframe(holed.round(1), n_items=n_items)
            dataset = fake_population(history).completed().to_dataset()
            spreads.append(float(dataset["std"].where(dataset["observed"]).mean()))
        assert spreads[0] > 3 * spreads[1]


class TestRefusing:
    def test_an_unknown_column_gets_the_closest_name(self, population, table) -> None:
        with pytest.raises(UnknownSkillError, match=r"unknown skill 'maths'; did you mean 'math'"):
            population.profiles(table.rename(columns={"math": "maths"}))

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            (80.0, r"between 0 and 1, got 80.0 for agent 'beta', skill 'code'; did you mean 0\.8"),
            (np.inf, "agent 'beta', skill 'code'"),
            ("good", "'good'.*agent 'beta', skill 'code'"),
        ],
    )
    def test_a_bad_cell_is_named(self, population, table, cell, message) -> None:
        table = table.astype(object)
        table.loc["beta", "code"] = cell
        with pytest.raises(InputError, match=f"`table` must .*{message}"):
            population.profiles(table)

    def test_names_are_used_once(self, population, table) -> None:
        with pytest.raises(InputError, match="must name each agent once, got 'alpha' 2 times"):
            population.profiles(table.rename(index={"beta": "alpha"}))
        with pytest.raises(InputError, match="must name each skill once, got 'math' 2 times"):
            population.profiles(table.rename(columns={"code": "math"}))

    def test_a_table_is_a_frame(self, population) -> None:
        with pytest.raises(ScoreError, match=r"`table` must be a DataFrame .*, got dict"):
            population.profiles({"alpha": {"math": 0.5}})

    def test_side_tables_are_checked(self, population, table) -> None:
        with pytest.raises(InputError, match="`n_items` must be a whole number from 1 on"):
            population.profiles(table, n_items=0.5)
        with pytest.raises(InputError, match=r"`stderr` must be finite and not negative"):
            population.profiles(table, stderr=-1.0)

    def test_no_agents_make_empty_tables(self, population) -> None:
        nobody = population.profiles(pd.DataFrame(columns=SKILLS, dtype=float))
        assert len(nobody) == 0
        assert nobody.to_dataset().sizes["agent"] == 0
        assert nobody.draws().sizes["agent"] == 0
        assert nobody.match_scores(TASK).empty


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"skill_0": [0.5, 0.6]}, index=["a", "a"]), "`table` must name each agent"),
        (pd.DataFrame([[0.5, 0.6]], columns=["skill_0"] * 2), "`table` must name each skill"),
        (pd.DataFrame({"skill_0": ["high"]}), "`table` must hold numbers"),
    ],
)
def test_a_table_that_cannot_be_read_names_the_argument(frame, message) -> None:
    with pytest.raises(ScoreError, match=message):
        fake_population().profiles(frame)


def test_scores_of_a_table_just_beyond_their_bounds_are_put_on_them() -> None:
    population = fake_population(100.0 * table_of(20, seed=1))
    scores = pd.DataFrame({"math": [100.00000005]}, index=["new"])
    [profile] = population.profiles(scores).values()
    assert profile.observations == {"math": 100.0}
    assert population.profile().observe("math", 100.00000005).observations == {"math": 100.0}


def test_no_task_scores_above_the_top_of_its_scale() -> None:
    """Weights of 8, 9 and 4 add up to a little more than 1 once divided by their sum."""
    top = pd.DataFrame(
        {
            "a": [100.0, 100, 100, 90, 80, 100, 99, 100],
            "b": [100.0, 99, 100, 70, 85, 100, 100, 100],
            "c": [100.0, 100, 99, 95, 70, 100, 100, 100],
        }
    )
    population = fake_population(top, draws=500)
    task = {"a": 8, "b": 9, "c": 4}
    profile = population.profile("x").observe_many(dict.fromkeys("abc", 100.0))
    found = profile.match_score(task, 100.0)
    assert found.p_above_threshold == 0.0
    assert found.upper <= 100.0
