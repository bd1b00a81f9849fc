"""Comparisons: against closed forms and brute force; ties, identical agents, bad input."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from known_truth import certain_population, conditional
from scipy.stats import norm
from stand_in import StandInProfile

from skillinfer_bayes import Task
from skillinfer_bayes.exceptions import (
    ConfigError,
    InputError,
    MetadataError,
    TaskError,
    UnknownSkillError,
)
from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD
from skillinfer_bayes.routing.compare import Comparison, compare
from skillinfer_bayes.routing.ranking import rank_agents
from skillinfer_bayes.routing.utility import Utility
from skillinfer_bayes.testing import fake_population, simulate_history

TASK = Task({"code": 1.0})
GIVEN = {"a": {"math": 112.0}, "b": {"math": 108.0}, "c": {}, "d": {"math": 95.0, "prose": 102.0}}
METADATA = {
    name: {"cost_per_1k": cost} for name, cost in zip("abcd", (3.0, 1.0, 2.0, 0.5), strict=True)
}


@pytest.fixture(scope="module")
def population():
    return certain_population()


@pytest.fixture(scope="module")
def agents(population):
    return {name: population.profile(name).observe_many(known) for name, known in GIVEN.items()}


@pytest.fixture(scope="module")
def comparison(agents):
    return compare(TASK, agents)


def by_hand(values, quantile=None):
    """Make a comparison of draws that are written down."""
    names = [f"agent_{column}" for column in range(np.shape(values)[1])]
    dims, coords = ("chain", "draw", "agent"), {"agent": names}
    return Comparison(
        xr.DataArray([values], dims=dims, coords=coords, name="match_score"), quantile
    )


class TestAgainstTheTruth:
    def test_pairs_equal_the_closed_form(self, population, comparison):
        for one in GIVEN:
            for other in GIVEN:
                if one == other:
                    continue
                (mean, cov), (mean_bis, cov_bis) = (
                    conditional(population, GIVEN[name]) for name in (one, other)
                )
                sd = np.sqrt(cov[1, 1] + cov_bis[1, 1])
                truth = norm.cdf((mean[1] - mean_bis[1]) / sd)
                found = float(comparison.p_better.sel(agent=one, agent_bis=other))
                assert found == pytest.approx(truth, abs=0.045)  # 4 standard errors of 2000 draws

    def test_best_rank_and_regret_equal_brute_force(self, population, comparison):
        rng = np.random.default_rng(99)
        columns = []
        for known in GIVEN.values():
            mean, cov = conditional(population, known)
            columns.append(rng.normal(mean[1], np.sqrt(cov[1, 1]), 200_000))
        values = np.stack(columns, axis=1)
        best = np.bincount(values.argmax(axis=1), minlength=4) / len(values)
        assert comparison.p_best.values == pytest.approx(best, abs=0.045)
        regret = values.max(axis=1).mean() - values.mean(axis=0)
        assert comparison.expected_regret.values == pytest.approx(regret, abs=1.0)
        ranks = 5 - (values.argsort(axis=1).argsort(axis=1) + 1)
        assert comparison.expected_rank.values == pytest.approx(ranks.mean(axis=0), abs=0.12)

    def test_expectation_is_the_match_score(self, agents, comparison):
        for name, profile in agents.items():
            match = profile.match_score(TASK)
            error = match.std / np.sqrt(2000)
            assert float(comparison.expected.sel(agent=name)) == pytest.approx(
                match.score, abs=4 * error
            )

    def test_a_score_is_less_certain_than_a_skill(self, agents):
        skill, score = (compare(TASK, agents, kind=kind) for kind in ("skill", "score"))
        assert (score.values.std(("chain", "draw")) > skill.values.std(("chain", "draw"))).all()


@pytest.fixture(scope="module", params=["normal", "agent"])
def case(request):
    """The comparison, and values (agents, draws) from the model's definition alone."""
    simulation = simulate_history(40, 5, random_seed=3)
    population = fake_population(simulation.scores, draws=2000, tails=request.param)
    table = simulation.complete.head(5).copy()
    table[["skill_2", "skill_3", "skill_4"]] = np.nan
    table.iloc[1, 0] = table.iloc[2, 1] = np.nan
    task = Task({"skill_0": 1.0, "skill_2": 0.5, "skill_3": 0.5})
    rng = np.random.default_rng(11)
    values = [simulate(population, row, task, rng) for _, row in table.iterrows()]
    return compare(task, population.profiles(table)), np.stack(values)


class TestAgainstBruteForce:
    """An uncertain population, with a link and heavy tails; all agents drawn from scratch."""

    def test_probabilities(self, case):
        found, values = case
        best = np.bincount(values.argmax(axis=0), minlength=len(values)) / values.shape[1]
        assert np.sort(best)[-2] > 0.1  # not a case in which everything is clear
        assert close(found.p_best.values, best, np.sqrt(best * (1.0 - best)), found)
        ahead = (values[:, None] > values).mean(axis=2)
        np.fill_diagonal(ahead, 0.5)
        assert close(found.p_better.values, ahead, np.sqrt(ahead * (1.0 - ahead)), found)

    def test_regret_and_rank(self, case):
        found, values = case
        loss = values.max(axis=0) - values
        assert close(found.expected_regret.values, loss.mean(axis=1), loss.std(axis=1), found)
        places = 1.0 + (values[None] > values[:, None]).sum(axis=1)
        assert close(found.expected_rank.values, places.mean(axis=1), places.std(axis=1), found)


def simulate(population, row, task, rng, repeats=40):
    """Task scores of one agent, so many for each posterior draw."""
    posterior, scales = population.posterior, population.scales
    weights = pd.Series(task.weights).reindex(row.index, fill_value=0.0).to_numpy()
    at = np.flatnonzero(row.notna())
    y = scales.to_working(row.to_numpy())[at]
    drawn = []
    for mu, cov, nu in zip(posterior.mean, posterior.covariance, posterior.nu, strict=True):
        seen = cov[np.ix_(at, at)] + DEFAULT_ERROR_SD**2 * np.eye(len(at))
        gain, left = cov[:, at] @ np.linalg.inv(seen), y - mu[at]
        noise = rng.multivariate_normal(np.zeros(len(mu)), cov - gain @ cov[at], repeats)
        if np.isfinite(nu):  # a multivariate Student-t given some of its parts
            degrees = nu + len(at)
            noise *= np.sqrt((nu + left @ np.linalg.solve(seen, left)) / degrees)
            noise /= np.sqrt(rng.chisquare(degrees, (repeats, 1)) / degrees)
        drawn.append(scales.from_working(mu + gain @ left + noise) @ weights / weights.sum())
    return np.concatenate(drawn)


def close(found, truth, sd, comparison):
    """Whether all differ by less than 4.5 standard errors of the comparison's own draws."""
    error = sd / np.sqrt(comparison.values.sizes["chain"] * comparison.values.sizes["draw"])
    return (np.abs(found - truth) <= 4.5 * error + 1e-4).all()


class TestTies:
    def test_identical_agents_are_even(self, population):
        twins = {name: population.profile().observe("math", 110.0) for name in ("x", "y", "z")}
        found = compare(TASK, twins)
        assert found.p_best.values == pytest.approx(1 / 3, abs=0.045)
        assert found.expected_rank.values == pytest.approx(2.0, abs=0.1)
        assert set(found.indistinguishable()) == {"x", "y", "z"}
        assert float(found.p_best.sum()) == pytest.approx(1.0)

    def test_agents_at_the_bound_share_the_first_place(self):
        found = by_hand([[1.0, 1.0, 0.2], [1.0, 1.0, 1.0]])
        assert found.p_best.values.tolist() == pytest.approx([5 / 12, 5 / 12, 1 / 6])
        assert found.p_better.values[0].tolist() == [0.5, 0.5, 0.75]
        assert found.expected_rank.values.tolist() == [1.75, 1.75, 2.5]
        assert found.choice == "agent_0"
        assert found.regret == 0.0

    def test_one_agent_is_certainly_the_best(self, agents):
        found = compare(TASK, {"a": agents["a"]})
        assert found.choice == "a"
        assert found.p_wrong == 0.0
        assert found.regret == 0.0
        assert found.expected_rank.values.tolist() == [1.0]
        assert found.indistinguishable() == ["a"]

    def test_equal_agents_are_chosen_by_name(self, population):
        same = by_hand([[0.5, 0.5]])
        assert same.choice == "agent_0"
        assert list(same.to_dataframe().index) == ["agent_0", "agent_1"]


class TestChoice:
    def test_says_how_likely_it_is_wrong(self, comparison):
        assert comparison.choice == "a"
        assert comparison.p_wrong == pytest.approx(1.0 - float(comparison.p_best.sel(agent="a")))
        assert comparison.regret == float(comparison.expected_regret.min())
        assert repr(comparison).startswith("Comparison(4 agents, choice: 'a', P(wrong) = ")

    def test_prints_every_column(self, comparison):
        first, header, *rows = str(comparison).splitlines()
        assert first == repr(comparison)
        assert header.split() == list(comparison.to_dataframe().columns)
        assert len(rows) == 5
        assert repr(by_hand([[0.5]])).startswith("Comparison(1 agent, ")

    def test_a_quantile_is_cautious(self):
        values = np.column_stack([np.linspace(0.0, 1.0, 11), np.full(11, 0.45)])
        assert by_hand(values).choice == "agent_0"
        careful = by_hand(values, quantile=0.1)
        assert careful.choice == "agent_1"
        assert careful.criterion.values == pytest.approx([0.1, 0.45])
        assert list(careful.to_dataframe()["quantile"]) == pytest.approx([0.45, 0.1])

    def test_who_cannot_be_told_apart(self):
        gaps = np.linspace(-1.0, 9.0, 11)[:, None] * np.array([[0.0, 1.0, 10.0]])
        found = by_hand(10.0 - gaps)
        assert found.choice == "agent_0"
        # agent_1 and agent_2 beat the choice in one draw of eleven, and tie in one
        assert found.indistinguishable(0.9) == ["agent_0", "agent_1", "agent_2"]
        assert found.indistinguishable(0.8) == ["agent_0"]
        for prob in (0.4, 1.0, True, "0.9"):
            with pytest.raises(ConfigError, match=r"`prob` must be at least 0\.5 and below 1"):
                found.indistinguishable(prob)

    def test_thompson_draws_agents_as_often_as_they_are_best(self, comparison):
        drawn = [comparison.sample(seed) for seed in range(3000)]
        shares = (
            pd.Series(drawn).value_counts(normalize=True).reindex(comparison.agents, fill_value=0)
        )
        assert shares.to_numpy() == pytest.approx(comparison.p_best.values, abs=0.04)
        assert comparison.sample(5) == comparison.sample(5)
        assert comparison.sample() in comparison.agents

    def test_thompson_draws_evenly_among_equals(self):
        drawn = [by_hand([[0.5, 0.5, 0.1]]).sample(seed) for seed in range(400)]
        assert 150 < drawn.count("agent_0") < 250
        assert drawn.count("agent_2") == 0


class TestUtility:
    def test_costs_change_the_choice(self, agents, comparison):
        found = compare(TASK, agents, utility=Utility(cost=10.0), metadata=METADATA)
        costs = np.array([METADATA[name]["cost_per_1k"] for name in found.agents])
        assert found.expected.values == pytest.approx(comparison.expected.values - 10.0 * costs)
        assert found.expected.name == "expected_utility"
        assert found.choice != comparison.choice
        assert list(found.to_dataframe().columns[:2]) == ["expected_utility", "std"]

    def test_a_function_of_the_draws(self, agents):
        found = compare(TASK, agents, utility=lambda score, facts: (score > 105.0) * 1.0)
        above = {
            name: one.match_score(TASK, 105.0).p_above_threshold for name, one in agents.items()
        }
        assert found.expected.values == pytest.approx(list(above.values()), abs=0.045)

    def test_metadata_must_be_there(self, agents):
        with pytest.raises(
            MetadataError, match=r"agent 'a': `metadata` must hold .* 'cost_per_1k'"
        ):
            compare(TASK, agents, utility=Utility(cost=1.0))


class TestTables:
    def test_frame_and_record(self, comparison):
        table = comparison.to_dataframe()
        assert table.index[0] == comparison.choice
        assert table["expected_match_score"].is_monotonic_decreasing
        assert list(table.columns) == [
            "expected_match_score", "std", "p_best", "expected_rank", "expected_regret",
        ]  # fmt: skip
        record = json.loads(json.dumps(comparison.to_dict()))
        assert record["choice"] == "a"
        assert record["agents"]["b"]["p_best"] == pytest.approx(table.loc["b", "p_best"])

    def test_does_not_change(self, comparison):
        with pytest.raises(ValueError, match="read-only"):
            comparison.values.values[0, 0, 0] = 1.0
        with pytest.raises(AttributeError):
            comparison.quantile = 0.5

    def test_a_table_of_profiles_gives_the_same(self, population, comparison):
        table = pd.DataFrame.from_dict(GIVEN, orient="index")
        found = compare(TASK, population.profiles(table))
        assert np.allclose(found.values, comparison.values, rtol=0.0, atol=1e-9)

    def test_normalised_skills_are_compared_in_their_units(self):
        rng = np.random.default_rng(4)
        scores = pd.DataFrame({"elo": 1000 + 100 * rng.standard_normal(30), "code": rng.random(30)})
        from skillinfer_bayes import History

        history = History.from_dataframe(scores.rename(index=str), normalize=True)
        population = fake_population(history)
        found = compare({"elo": 1.0, "code": 1.0}, {"new": population.profile("new")})
        expected = population.profile("new").match_score({"elo": 1.0, "code": 1.0}).score
        assert float(found.expected[0]) == pytest.approx(expected, abs=0.05)


class TestBadInput:
    @pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, True, "0.1"])
    def test_quantile(self, agents, quantile):
        with pytest.raises(ConfigError, match="`quantile` must be between 0 and 1"):
            compare(TASK, agents, quantile=quantile)

    def test_a_quantile_of_numpy(self, agents):
        found = compare(TASK, agents, quantile=np.float32(0.25))
        assert found.choice == compare(TASK, agents, quantile=0.25).choice
        assert json.loads(json.dumps(found.to_dict()))["quantile"] == 0.25
        assert found.indistinguishable(np.float32(0.75)) == found.indistinguishable(0.75)

    @pytest.mark.parametrize("seed", [-1, "x", 1.5])
    def test_a_seed(self, comparison, seed):
        with pytest.raises(ConfigError, match=f"`random_seed` must be a whole .*got {seed!r}; "):
            comparison.sample(seed)

    def test_a_quantile_in_per_cent(self, agents):
        with pytest.raises(ConfigError, match=r"did you mean 0\.1"):
            compare(TASK, agents, quantile=10)

    def test_task_profiles_and_kind(self, agents):
        with pytest.raises(UnknownSkillError, match="did you mean 'code'"):
            compare({"cod": 1.0}, agents)
        with pytest.raises(TaskError, match="at least one skill"):
            compare({}, agents)
        with pytest.raises(InputError, match="at least one profile"):
            compare(TASK, {})
        with pytest.raises(InputError, match="must hold profiles that a Population made"):
            compare(TASK, {"a": StandInProfile({"code": (0.5, 0.1)})})
        with pytest.raises(ConfigError, match="`kind` must be"):
            compare(TASK, agents, kind="latent")


class TestRanking:
    def test_by_each_criterion(self, agents, comparison):
        best = rank_agents(TASK, agents, by="p_best")
        assert best["p_best"].is_monotonic_decreasing
        assert best["p_best"].sum() == pytest.approx(1.0)
        above = rank_agents(TASK, agents, 104.0, by="p_above")
        assert above["p_above_threshold"].is_monotonic_decreasing
        useful = rank_agents(
            TASK, agents, by="utility", utility=Utility(cost=10.0), metadata=METADATA
        )
        assert useful["expected_utility"].is_monotonic_decreasing
        found = compare(TASK, agents, utility=Utility(cost=10.0), metadata=METADATA)
        assert useful["agent"][0] == found.choice
        assert list(rank_agents(TASK, agents).columns) == list(above.columns)

    def test_columns_stay_without_profiles(self):
        assert list(rank_agents(TASK, {}, by="p_best").columns)[-1] == "p_best"

    def test_bad_criteria(self, agents):
        with pytest.raises(ConfigError, match="did you mean 'p_best'"):
            rank_agents(TASK, agents, by="best")
        with pytest.raises(ConfigError, match="needs a `threshold`"):
            rank_agents(TASK, agents, by="p_above")
        with pytest.raises(ConfigError, match="needs a `utility`"):
            rank_agents(TASK, agents, by="utility")
        with pytest.raises(ConfigError, match="`utility` must be left out"):
            rank_agents(TASK, agents, utility=Utility())
