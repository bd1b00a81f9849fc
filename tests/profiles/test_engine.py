"""The engine's fast and exact paths agree, and no prediction leaves its scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from example_tables import SKILLS, table_of

from skillinfer_bayes import History, Population, Profiles
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.profiles.engine import FAST_FROM
from skillinfer_bayes.testing import fake_population, simulate_history

SUMMARIES = ["mean", "std", "lower", "upper"]


def sparse_table(rng: np.random.Generator, n_agents: int) -> pd.DataFrame:
    """Agents with none to four of the five skills observed."""
    scores = rng.uniform(0.05, 0.95, (n_agents, len(SKILLS)))
    keep = np.arange(len(SKILLS)) < rng.integers(0, len(SKILLS), (n_agents, 1))
    agents = [f"new_{number}" for number in range(n_agents)]
    return pd.DataFrame(scores, index=agents, columns=SKILLS).where(rng.permuted(keep, axis=1))


@pytest.fixture
def profiles(population, rng) -> Profiles:
    return population.profiles(sparse_table(rng, 40))


@pytest.fixture(scope="module")
def long_population() -> Population:
    """Enough draws for their averages to be compared with closed forms."""
    simulation = simulate_history(30, 3, random_seed=2)
    return fake_population(simulation.scores, draws=3000, concentration=60)


@pytest.fixture(scope="module")
def counted_population() -> Population:
    """As `long_population`, every score being the mean of 20 items."""
    scores = (simulate_history(30, 3, random_seed=2).scores * 20).round() / 20
    history = History.from_dataframe(scores, n_items=20)
    return fake_population(history, draws=3000, concentration=60)


@pytest.mark.parametrize("kind", ["skill", "score"])
def test_fast_is_close_to_exact(profiles, kind) -> None:
    exact, fast = (profiles.to_dataset(method=name, kind=kind) for name in ("exact", "fast"))
    assert float(np.abs(fast["mean"] - exact["mean"]).max()) < 0.002
    for name in ("std", "lower", "upper"):
        assert float(np.abs(fast[name] - exact[name]).max()) < 0.005


@pytest.mark.parametrize("kind", ["skill", "score"])
def test_fast_is_close_to_exact_for_heavy_tails(rng, kind) -> None:
    population = fake_population(table_of(60, seed=3), draws=150, tails="agent")
    profiles = population.profiles(sparse_table(rng, 40))
    exact, fast = (profiles.to_dataset(method=name, kind=kind) for name in ("exact", "fast"))
    # about five degrees of freedom, and agents of whom nothing was measured among the forty
    assert float(np.abs(fast["mean"] - exact["mean"]).max()) < 0.008
    for name in ("std", "lower", "upper"):
        assert float(np.abs(fast[name] - exact[name]).max()) < 0.016


def test_auto_is_exact_for_few_agents_and_fast_for_many(population, rng) -> None:
    for n_agents, method in [(FAST_FROM, "exact"), (FAST_FROM + 1, "fast")]:
        profiles = population.profiles(sparse_table(rng, n_agents))
        auto, named = profiles.to_dataset(), profiles.to_dataset(method=method)
        assert auto.identical(named)


@pytest.mark.parametrize("method", ["exact", "fast"])
@pytest.mark.parametrize("kind", ["skill", "score"])
def test_predictions_stay_within_the_bounds(population, method, kind) -> None:
    extremes = pd.DataFrame(
        [[0.0] * 5, [1.0] * 5, [0.0, 1.0, 0.0, 1.0, 0.0]], columns=SKILLS, index=list("abc")
    )
    half = extremes.mask(np.tile(np.arange(5) % 2 == 1, (3, 1)))
    for table in (extremes, half):
        dataset = population.profiles(table).to_dataset(method=method, kind=kind, ci_prob=0.999)
        for name in ("mean", "lower", "upper"):
            assert ((dataset[name] >= 0.0) & (dataset[name] <= 1.0)).all()
        assert (dataset["lower"] <= dataset["mean"]).all()
        assert (dataset["mean"] <= dataset["upper"]).all()
    draws = population.profiles(half).draws(kind=kind)
    assert ((draws >= 0.0) & (draws <= 1.0)).all()


def test_a_wider_interval_contains_a_narrower_one(profiles) -> None:
    narrow, wide = (profiles.to_dataset(ci_prob=mass) for mass in (0.5, 0.95))
    assert (wide["lower"] < narrow["lower"]).all()
    assert (wide["upper"] > narrow["upper"]).all()


def test_a_measured_score_is_less_certain_than_the_skill(profiles) -> None:
    skill, score = (profiles.to_dataset(kind=kind) for kind in ("skill", "score"))
    assert (score["std"] > skill["std"]).all()


@pytest.mark.parametrize("kind", ["skill", "score"])
def test_closed_forms_agree_with_joint_draws(long_population, kind) -> None:
    profile = long_population.profile().observe("skill_0", 0.7)
    draws = profile.draws(kind=kind).squeeze("agent")
    table = profile.predict(kind=kind)
    n_draws = draws.sizes["chain"] * draws.sizes["draw"]
    error = table["std"].to_numpy() / np.sqrt(n_draws)
    mean = draws.mean(("chain", "draw")).values
    assert (np.abs(mean - table["mean"]) < 5 * error).all()
    np.testing.assert_allclose(draws.std(("chain", "draw")).values, table["std"], rtol=0.06)
    for skill in long_population.history.skills:
        above = float((draws.sel(skill=skill) > 0.6).mean())
        expected = profile.p_above(skill, 0.6, kind=kind)
        assert above == pytest.approx(expected, abs=5 * np.sqrt(0.25 / n_draws))


def test_the_interval_holds_its_mass(long_population) -> None:
    profile = long_population.profile().observe("skill_0", 0.7)
    lower, upper = profile.interval("skill_1", 0.8)
    assert profile.p_above("skill_1", lower) == pytest.approx(0.9, abs=1e-6)
    assert profile.p_above("skill_1", upper) == pytest.approx(0.1, abs=1e-6)


def test_a_proportion_of_few_items_is_measured_in_steps(counted_population) -> None:
    profile = counted_population.profile().observe("skill_0", 0.7, n_items=20)
    draws = profile.draws(kind="score").values
    np.testing.assert_allclose(draws * 20, np.round(draws * 20), atol=1e-9)
    skill, score = (profile.predict(kind=kind) for kind in ("skill", "score"))
    np.testing.assert_allclose(score["mean"], skill["mean"], atol=1e-12)
    latent = profile.draws().values
    # half of a binomial's variance, and the rounding to whole items
    within = (0.5 * latent * (1 - latent) / 20).mean(axis=(0, 1, 2)) + 0.5 * 0.025**2
    np.testing.assert_allclose(score["std"], np.sqrt(skill["std"] ** 2 + within), rtol=0.02)
    ends = score[["lower", "upper"]].to_numpy()
    np.testing.assert_allclose(ends * 20, np.round(ends * 20), atol=1e-9)


def test_draws_are_the_same_each_time_and_alone_or_in_a_table(population, rng) -> None:
    table = sparse_table(rng, 6)
    profiles = population.profiles(table)
    for kind in ("skill", "score"):
        together = profiles.draws(kind=kind)
        assert together.identical(profiles.draws(kind=kind))
        alone = profiles["new_3"].draws(kind=kind)
        np.testing.assert_allclose(together.sel(agent=["new_3"]).values, alone.values, atol=1e-9)


@pytest.mark.parametrize("ci_prob", [0.0, 1.0, -0.1, "0.9", True, float("nan")])
def test_ci_prob_is_a_probability(profiles, ci_prob) -> None:
    with pytest.raises(ConfigError, match="`ci_prob` must be between 0 and 1, got"):
        profiles.to_dataset(ci_prob=ci_prob)


def test_a_percentage_gets_a_hint(profiles) -> None:
    with pytest.raises(ConfigError, match=r"got 95; did you mean 0\.95\?"):
        profiles.to_dataset(ci_prob=95)


def test_options_are_named_when_they_are_unknown(profiles) -> None:
    with pytest.raises(ConfigError, match="`kind` must be 'skill' or 'score', got 'latent'"):
        profiles.to_dataset(kind="latent")
    with pytest.raises(ConfigError, match="`method` must be 'auto', 'exact' or 'fast', got 'x'"):
        profiles.to_dataset(method="x")
    with pytest.raises(ConfigError, match="`kind` must be"):
        profiles.draws(kind="latent")
