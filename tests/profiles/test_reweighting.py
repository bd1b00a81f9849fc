"""Weights of posterior draws by a new agent's own scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, norm

from skillinfer_bayes import History
from skillinfer_bayes.exceptions import ObservationWarning
from skillinfer_bayes.profiles.joint import joint_draws, read_members
from skillinfer_bayes.profiles.reweighting import FEWEST_DRAWS, resample
from skillinfer_bayes.testing import fake_population, population_of_draws, simulate_history


@pytest.fixture
def two_explanations():
    """Half of the draws expect an agent near 0, half near 2; skill b follows skill a."""
    n_draws = 400
    means = np.repeat([[0.0, 0.0], [2.0, 2.0]], n_draws // 2, axis=0)
    covariances = np.broadcast_to(0.25 * np.array([[1.0, 0.5], [0.5, 1.0]]), (n_draws, 2, 2))
    # mean 0 and standard deviation 1: the working scale is the scores'
    scores = pd.DataFrame({"a": [-1.0, 0.0, 1.0], "b": [1.0, -1.0, 0.0]}, index=["x", "y", "z"])
    history = History.from_dataframe(scores, scale="unbounded")
    return population_of_draws(history, means[None], covariances[None].copy())


def test_draws_are_taken_in_proportion_to_their_density() -> None:
    log_density = np.log(np.repeat([1.0, 3.0], 1000))[:, None]
    found = resample(log_density)
    assert (found.draws[:, 0] >= 1000).mean() == pytest.approx(0.75, abs=0.01)


def test_without_scores_every_draw_is_taken_once() -> None:
    found = resample(np.zeros((50, 2)))
    np.testing.assert_array_equal(np.sort(found.draws, axis=0), np.arange(50)[:, None] * [1, 1])
    assert (found.khat == 0.0).all()


def test_scores_choose_between_explanations(two_explanations) -> None:
    # under N(0, .25) and N(2, .25) with the default error a score of 1.6 has these weights
    profile = two_explanations.profile(reweight=True).observe("a", 1.6)
    variance = 0.25 + 0.05**2
    odds = np.exp(-0.5 * (0.4**2 - 1.6**2) / variance)
    gain = 0.125 / variance
    parts = np.array([gain * 1.6, 2.0 - gain * 0.4])
    expected = (parts[0] + odds * parts[1]) / (1.0 + odds)
    assert profile.mean("b") == pytest.approx(expected, abs=0.02)
    plain = two_explanations.profile().observe("a", 1.6)
    assert plain.mean("b") == pytest.approx(parts.mean(), abs=1e-6)
    assert np.isfinite(profile.khat)


def test_tables_and_profiles_agree_and_carry_khat(two_explanations) -> None:
    table = pd.DataFrame({"a": [1.6, 0.2], "b": [np.nan, np.nan]}, index=["x", "y"])
    profiles = two_explanations.profiles(table, reweight=True)
    dataset = profiles.to_dataset()
    assert dataset["khat"].dims == ("agent",)
    for agent in profiles:
        expected = float(dataset["mean"].sel(agent=agent, skill="b"))
        assert profiles[agent].mean("b") == pytest.approx(expected, rel=1e-12)
        draws = profiles.draws().sel(agent=agent, skill="b")
        assert float(draws.mean()) == pytest.approx(profiles[agent].mean("b"), abs=0.05)
    assert "khat" not in two_explanations.profiles(table).to_dataset()


def test_draws_that_are_taken_often_do_not_repeat_their_noise(two_explanations) -> None:
    # far from both explanations, so that a few draws have all the weight
    profile = two_explanations.profile(reweight=True).observe("a", 5.0)
    draws = profile.draws().sel(skill="b").values.reshape(-1)
    assert len(np.unique(draws)) == len(draws)
    row = profile.predict("b")
    assert draws.mean() == pytest.approx(row["mean"], abs=5 * row["std"] / np.sqrt(len(draws)))
    assert draws.std() == pytest.approx(row["std"], rel=0.15)
    assert (draws > row["mean"]).mean() == pytest.approx(profile.p_above("b", row["mean"]), abs=0.1)


def test_agents_keep_sharing_the_population_when_draws_are_weighed(rng) -> None:
    """The population's mean is uncertain, and moves two agents together."""
    n_draws = 2000
    means = 2.0 * rng.standard_normal((n_draws, 1)) + np.zeros((n_draws, 2))
    covariances = np.broadcast_to(0.1 * np.eye(2), (n_draws, 2, 2))
    scores = pd.DataFrame({"a": [-1.0, 0.0, 1.0], "b": [1.0, -1.0, 0.0]}, index=["x", "y", "z"])
    history = History.from_dataframe(scores, scale="unbounded")
    population = population_of_draws(history, means[None], covariances[None].copy())
    observed = {"first": 0.4, "second": 1.0}
    profiles = {
        name: population.profile(name, reweight=True).observe("a", score)
        for name, score in observed.items()
    }
    group = read_members(profiles)
    first, second = joint_draws(profiles).sel(skill="b").values.reshape(-1, 2).T
    # a and b are independent given the mean: b is the mean, given both scores, and its own spread
    precision = 1.0 / 4.0 + 2.0 / (0.1 + 0.05**2)
    centre = 1.4 / (0.1 + 0.05**2) / precision
    for drawn in (first, second):
        assert drawn.mean() == pytest.approx(centre, abs=0.06)
        assert drawn.var() == pytest.approx(1.0 / precision + 0.1, rel=0.12)
    assert (first - second).std() == pytest.approx(np.sqrt(0.2), rel=0.1)
    assert not any(member.evidence.reweight for member in group.members)
    backwards = dict(reversed(profiles.items()))
    np.testing.assert_allclose(
        joint_draws(backwards).sel(agent="first"), joint_draws(profiles).sel(agent="first")
    )


def test_weights_of_all_agents_that_cannot_be_trusted_are_said(rng) -> None:
    means = rng.standard_normal((400, 2))
    covariances = np.broadcast_to(0.1 * np.eye(2), (400, 2, 2))
    scores = pd.DataFrame({"a": [-1.0, 0.0, 1.0], "b": [1.0, -1.0, 0.0]}, index=["x", "y", "z"])
    history = History.from_dataframe(scores, scale="unbounded")
    population = population_of_draws(history, means[None], covariances[None].copy())
    profiles = {
        name: population.profile(name, reweight=True).observe("a", 4.0) for name in ("x", "y", "z")
    }
    with pytest.warns(ObservationWarning, match=r"of 3 agents together .*\(k-hat \d"):
        read_members(profiles)


def test_it_survives_json(two_explanations) -> None:
    profile = two_explanations.profile(reweight=True).observe("a", 1.6)
    again = type(profile).from_json(profile.to_json(), two_explanations)
    assert again.mean("b") == profile.mean("b")


def test_the_density_is_scipys(two_explanations) -> None:
    table = pd.DataFrame({"a": [1.6, 0.2], "b": [0.3, np.nan]}, index=["x", "y"])
    profiles = two_explanations.profiles(table)
    got = profiles._context.engine.conditioner.log_density(profiles._evidence)
    mean, covariance = two_explanations.posterior.mean, two_explanations.posterior.covariance
    block = covariance[0] + 0.05**2 * np.eye(2)
    first = [multivariate_normal.logpdf([1.6, 0.3], one, block) for one in mean]
    second = [norm.logpdf(0.2, one[0], np.sqrt(block[0, 0])) for one in mean]
    # up to the constant that all draws share
    for column, expected in enumerate((first, second)):
        np.testing.assert_allclose(np.ptp(got[:, column] - expected), 0.0, atol=1e-9)


@pytest.mark.parametrize("score", [2500.0, 5000.0, 12_000.0, 120_000.0])
def test_weights_of_a_score_beyond_everything_are_not_to_be_trusted(score) -> None:
    history = 1200 + 100 * simulate_history(40, 4, bounded=False).scores
    population = fake_population(history, draws=1000)
    scores = {"skill_0": score, "skill_1": 1250.0}
    profiles = {
        name: population.profile(name, reweight=True).observe_many(scores) for name in ("a", "b")
    }
    assert profiles["a"].khat > 0.7
    assert np.isfinite(profiles["a"].mean("skill_2"))
    with pytest.warns(ObservationWarning, match=r"k-hat (\d|inf)"):
        read_members(profiles)


@pytest.mark.parametrize("n_draws", [4, 20, FEWEST_DRAWS - 1])
def test_few_draws_have_no_tail_to_smooth(n_draws) -> None:
    profile = fake_population(chains=1, draws=n_draws).profile("a", reweight=True)
    assert profile.observe("skill_0", 0.9).khat == np.inf
    assert np.isfinite(profile.mean("skill_1"))
