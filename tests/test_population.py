"""The front door, with the sampler replaced by a fake where it would fit."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skillinfer_bayes import History, Population, Priors, SamplerSettings, Skill
from skillinfer_bayes.checks.diagnostics import check_convergence
from skillinfer_bayes.exceptions import (
    ConfigError,
    ConvergenceWarning,
    HistoryError,
    HistoryWarning,
    InputError,
    UnknownSkillError,
)
from skillinfer_bayes.inference import sampling
from skillinfer_bayes.testing import fake_population, simulate_history


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return simulate_history(20, 3, random_seed=3).scores


@pytest.fixture
def population(scores) -> Population:
    return fake_population(scores, draws=50)


@pytest.fixture
def asked(monkeypatch) -> list[tuple[History, Priors, SamplerSettings]]:
    """Record what would be sampled, and give fake draws instead."""
    calls: list[tuple[History, Priors, SamplerSettings]] = []

    def sample(history, priors, settings, *, progressbar, stopwatch) -> xr.DataTree:
        calls.append((history, priors, settings))
        tree = fake_population(history, chains=4, draws=600).data
        rng = np.random.default_rng(1)
        stats = tree["sample_stats"].to_dataset()
        energy = stats["diverging"].copy(data=rng.standard_normal((4, 600)))
        tree["sample_stats"] = xr.DataTree(stats.assign(energy=energy))
        return tree

    monkeypatch.setattr(sampling, "sample_posterior", sample)
    return calls


class TestFitting:
    def test_from_dataframe_passes_everything_on(self, scores, asked) -> None:
        population = Population.from_dataframe(
            scores.round(2),
            normalize=True,
            scale="0-1",
            n_items=100,
            descriptions={"skill_1": "writes tests"},
            covariance="lkj",
            settings={"draws": 600},
            random_seed=7,
        )
        history, priors, settings = asked[0]
        assert history == population.history
        assert history.normalize
        assert history.n_items is not None
        assert history.descriptions == {"skill_1": "writes tests"}
        assert priors.covariance == "lkj"
        assert (settings.draws, settings.random_seed) == (600, 7)
        assert population.settings["priors"]["covariance"] == "lkj"
        assert population.settings["sampler"]["random_seed"] == 7
        assert population.convergence.converged

    def test_groups_and_covariates_are_passed_on(self, scores, asked) -> None:
        table = scores.assign(family=["x", "y"] * 10, year=range(20))
        population = Population.from_dataframe(
            table, groups="family", covariates=["year"], priors={"tails": "agent"}
        )
        history, priors, _ = asked[0]
        assert history.groups == ("x", "y") * 10
        assert history.covariate_names == ("year",)
        assert history.skills == tuple(scores.columns)
        assert priors.tails == "agent"
        profile = population.profile(group="x", covariates={"year": 3})
        assert profile.mean("skill_0") != population.profile(covariates={"year": 3}).mean("skill_0")

    def test_settings_say_what_auto_became(self, scores, asked) -> None:
        used = Population.from_dataframe(scores).settings
        assert used["priors"]["covariance"] == "factor_lkj"
        assert used["priors"]["rank"] >= 1
        assert used["priors"]["tails"] == "class"
        assert used["sampler"]["random_seed"] is not None

    def test_a_saved_fit_brings_its_verdict(self, scores, asked, tmp_path, monkeypatch) -> None:
        fitted = Population.from_dataframe(scores, random_seed=1)
        fitted.save(tmp_path / "pop.nc")
        verdict = check_convergence(fitted.posterior.tree)
        monkeypatch.setitem(sys.modules, "arviz_stats", None)  # computing it again would fail
        assert Population.load(tmp_path / "pop.nc").convergence == verdict
        assert fitted.convergence == verdict

    @pytest.mark.parametrize("ending", ["csv", "parquet"])
    def test_files_are_read_like_tables(self, scores, asked, tmp_path: Path, ending) -> None:
        path = tmp_path / f"history.{ending}"
        if ending == "csv":
            scores.to_csv(path)
        else:
            scores.to_parquet(path)
        reader = getattr(Population, f"from_{ending}")
        assert reader(path, random_seed=1).history == History.from_dataframe(scores)

    def test_a_dropped_row_is_reported(self, scores, asked) -> None:
        holed = scores.copy()
        holed.loc["agent_4"] = np.nan
        with pytest.warns(HistoryWarning, match="agent_4"):
            population = Population.from_dataframe(holed)
        assert "agent_4" not in population.agents
        assert len(population.history.dropped) == 1

    def test_a_fit_in_trouble_warns_where_it_was_asked_for(self, scores, monkeypatch) -> None:
        def sample(history, *_: object, **__: object) -> xr.DataTree:
            return fake_population(history, draws=10).data

        monkeypatch.setattr(sampling, "sample_posterior", sample)
        with pytest.warns(ConvergenceWarning, match="did not converge") as caught:
            Population.from_dataframe(scores)
        assert caught[0].filename == __file__

    def test_bad_histories_do_not_reach_the_sampler(self, scores, asked) -> None:
        with pytest.raises(HistoryError, match="3 agents"):
            Population.from_dataframe(scores.iloc[:2])
        with pytest.raises(UnknownSkillError, match="'skill_9'"):
            Population.from_dataframe(scores, descriptions={"skill_9": "?"})
        with pytest.raises(ConfigError, match="unknown key 'rnk'"):
            Population.from_dataframe(scores, priors={"rnk": 2})
        assert not asked


class TestAsking:
    def test_skills_and_agents(self, scores, population) -> None:
        assert population.skills == list(scores.columns)
        assert all(isinstance(skill, Skill) for skill in population.skills)
        assert population.agents == tuple(scores.index)

    def test_describing_skills_gives_another_population(self, population) -> None:
        described = population.describe_skills({"skill_0": "adds up"})
        again = described.describe_skills([Skill("skill_2", description="draws")])
        texts = [skill.description for skill in again.skills]
        assert texts == ["adds up", "", "draws"]
        assert population.skills[0].description == ""
        assert again.population_id == population.population_id
        assert again.profile().descriptions == {"skill_0": "adds up", "skill_2": "draws"}
        with pytest.raises(UnknownSkillError, match=r"'skil_0' in .*; did you mean 'skill_0'\?"):
            population.describe_skills({"skil_0": "?"})

    def test_a_missing_description_is_not_given(self, population) -> None:
        described = population.describe_skills({"skill_0": "adds up", "skill_1": None})
        again = described.describe_skills({"skill_0": np.nan, "skill_2": pd.NA})
        assert again.history.descriptions == {"skill_0": "adds up"}

    @pytest.mark.parametrize("given", [["skill_0"], "skill_0", 5])
    def test_names_alone_describe_nothing(self, population, given) -> None:
        with pytest.raises(InputError, match="`descriptions` must map skills to texts, or hold"):
            population.describe_skills(given)

    def test_does_not_change(self, population) -> None:
        with pytest.raises(FrozenInstanceError, match="history"):
            population.history = None
        with pytest.raises(ValueError, match="destination is a view"):
            population.data["posterior/mu"][...] = 0.0
        with pytest.raises(ValueError, match="read-only"):
            population.data["sample_stats/diverging"].values[...] = True
        assert population.convergence.divergences == 0

    def test_identity_depends_on_data_and_draws(self, scores, population) -> None:
        same = fake_population(scores, draws=50)
        other_draws = fake_population(scores, draws=50, random_seed=1)
        other_data = fake_population(0.999 * scores, draws=50)
        ids = {item.population_id for item in (population, same, other_draws, other_data)}
        assert len(ids) == 3
        assert len(population.population_id) == 16

    def test_correlations_are_correlations(self, population) -> None:
        correlation = population.correlation()
        assert correlation["mean"].dims == ("skill", "skill_bis")
        np.testing.assert_allclose(np.diag(correlation["mean"]), 1.0)
        np.testing.assert_allclose(np.diag(correlation["std"]), 0.0, atol=1e-12)
        assert (np.abs(correlation["mean"]) <= 1.0 + 1e-12).all()

    def test_profiles_start_from_nothing(self, population) -> None:
        one = population.profile("x")
        one.observe("skill_0", 0.9)
        assert one.agent == "x"
        assert population.profile().observed == frozenset()
        assert one.population_id == population.population_id

    def test_says_what_it_is(self, population) -> None:
        assert repr(population) == (
            f"Population({population.population_id}, 20 agents x 3 skills, 2 x 50 draws)"
        )

    def test_scores_keep_their_units(self, scores) -> None:
        profile = fake_population(100 * scores).profile().observe("skill_0", 55.0)
        assert profile.mean("skill_0") == pytest.approx(55.0, abs=1.0)
        with pytest.raises(InputError, match="between 0 and 100, got 101"):
            profile.observe("skill_1", 101)
