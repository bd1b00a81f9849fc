"""The engine's fast and exact paths agree, and no prediction leaves its scale."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from example_tables import SKILLS, table_of
from scipy.stats import binom

from skillinfer_bayes import History, Population, Profiles, Scale
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.profiles.engine import FAST_FROM
from skillinfer_bayes.testing import fake_population, population_of_draws, simulate_history

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


@pytest.fixture(scope="module")
def heavy_profiles() -> Profiles:
    """Of as many draws as a fit has: of a few hundred, one extreme one can be most of a kurtosis.

    Which draws go with which quantiles of the chi-square is seeded by their last digits, and so
    differs between machines.
    """
    population = fake_population(table_of(60, seed=3), draws=1000, tails="agent")
    return population.profiles(sparse_table(np.random.default_rng(31), 40))


@pytest.mark.parametrize("kind", ["skill", "score"])
def test_fast_is_close_to_exact(profiles, kind) -> None:
    exact, fast = (profiles.to_dataset(method=name, kind=kind) for name in ("exact", "fast"))
    assert float(np.abs(fast["mean"] - exact["mean"]).max()) < 0.002
    for name in ("std", "lower", "upper"):
        assert float(np.abs(fast[name] - exact[name]).max()) < 0.005


@pytest.mark.parametrize("ci_prob", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["skill", "score"])
def test_fast_is_close_to_exact_for_heavy_tails(heavy_profiles, kind, ci_prob) -> None:
    how = {"kind": kind, "ci_prob": ci_prob}
    exact, fast = (heavy_profiles.to_dataset(method=name, **how) for name in ("exact", "fast"))
    # about five degrees of freedom, and agents of whom nothing was measured among the forty
    assert float(np.abs(fast["mean"] - exact["mean"]).max()) < 0.002
    assert float(np.abs(fast["std"] - exact["std"]).max()) < 0.004
    for name in ("lower", "upper"):
        assert float(np.abs(fast[name] - exact[name]).max()) < 0.009


@pytest.mark.parametrize("tails", ["normal", "agent"])
def test_sets_of_skills_whose_moments_cost_more_are_exact(tails) -> None:
    """Averages of all pairs of pairs of 70 skills would take gigabytes."""
    simulation = simulate_history(60, 70, random_seed=1)
    population = fake_population(simulation.scores, chains=1, draws=20, tails=tails)
    scores = simulation.scores.copy()
    scores.iloc[10:, 3:] = np.nan
    profiles = population.profiles(scores)
    exact, fast = (profiles.to_dataset(method=name) for name in ("exact", "fast"))
    few, many = fast.isel(agent=slice(10)), fast.isel(agent=slice(10, None))
    assert few[SUMMARIES].identical(exact.isel(agent=slice(10))[SUMMARIES])
    assert not many["lower"].equals(exact.isel(agent=slice(10, None))["lower"])
    assert float(np.abs(many["mean"] - exact.isel(agent=slice(10, None))["mean"]).max()) < 0.01


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


@pytest.mark.parametrize("n_items", [3, 4, 15, 16])
def test_a_proportion_of_few_items_is_not_rounded_one_way(n_items) -> None:
    """All posterior draws know the rate: .95, near enough to the bound for rounding to show."""
    rng = np.random.default_rng(5)
    right = rng.binomial(n_items, 0.95, (40, 2))
    right[:2] = [[n_items, n_items - 1], [n_items - 1, n_items]]
    scores = pd.DataFrame(right / n_items, columns=["a", "b"], index=[f"m{i}" for i in range(40)])
    history = History.from_dataframe(scores, n_items=n_items)
    n_draws = 20_000
    mean = np.broadcast_to(history.scales.to_working(np.full(2, 0.95)), (1, n_draws, 2))
    covariance = np.broadcast_to(1e-8 * np.eye(2), (1, n_draws, 2, 2))
    profile = population_of_draws(history, mean.copy(), covariance.copy()).profile()
    drawn = profile.draws(kind="score").sel(skill="a").values
    hits = np.rint(drawn * n_items)
    np.testing.assert_allclose(drawn, hits / n_items)
    # half of the binomial variance, and half an item up or down where the doubled count is odd
    odd = binom(2 * n_items, 0.95).pmf(np.arange(1, 2 * n_items, 2)).sum()
    variance = 0.5 * 0.95 * 0.05 / n_items + odd * (0.5 / n_items) ** 2
    assert drawn.mean() == pytest.approx(0.95, abs=5 * np.sqrt(variance / n_draws))
    assert drawn.std() == pytest.approx(np.sqrt(variance), rel=0.03)
    expected = profile.predict("a", kind="score")
    assert expected["mean"] == pytest.approx(0.95, abs=1e-3)
    assert expected["std"] == pytest.approx(np.sqrt(variance), rel=0.01)
    # a doubled count that is one short is rounded up as often as down
    doubled = binom(2 * n_items, 0.95)
    all_right = doubled.pmf(2 * n_items) + 0.5 * doubled.pmf(2 * n_items - 1)
    assert (hits == n_items).mean() == pytest.approx(all_right, abs=0.02)


@pytest.mark.parametrize("kind", ["skill", "score"])
def test_nobody_is_predicted_below_chance(kind) -> None:
    rng = np.random.default_rng(0)
    scores = np.clip(rng.normal(0.35, 0.15, (30, 3)), 0.15, 1.0)
    table = pd.DataFrame(scores, columns=list("abc"), index=[f"m{i}" for i in range(30)])
    history = History.from_dataframe(table, scale=Scale.multiple_choice(4))
    profile = fake_population(history, draws=200).profile().observe("a", 0.22)
    assert float(profile.draws(kind=kind).min()) >= 0.25
    assert profile.p_above("b", 0.2499, kind=kind) == 1.0
    assert 0.0 < profile.p_above("b", 0.3, kind=kind) < 1.0


def test_the_fast_way_keeps_the_standard_deviation_of_unbounded_skills() -> None:
    simulation = simulate_history(40, 3, bounded=False, random_seed=4)
    history = History.from_dataframe(simulation.scores, scale="unbounded")
    population = fake_population(history, draws=400, tails="agent")
    table = simulation.scores.head(6).assign(skill_2=np.nan)
    exact, fast = (population.profiles(table).to_dataset(method=how) for how in ("exact", "fast"))
    np.testing.assert_allclose(fast["mean"], exact["mean"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(fast["std"], exact["std"], rtol=1e-6)


def test_counted_scores_are_the_same_alone_and_in_a_table() -> None:
    scores = (table_of(60, seed=3) * 50).round() / 50
    population = fake_population(History.from_dataframe(scores, n_items=50), draws=60)
    # .7 of 30 items is no binary fraction: pooling one measurement may change its last digit
    table = pd.DataFrame({"code": [0.4, 0.1], "math": [0.7, 0.3]}, index=["x", "y"])
    profiles = population.profiles(table, n_items=30)
    for agent, row in table.iterrows():
        profile = population.profile(agent)
        for skill, score in row.items():
            profile.observe(skill, score, n_items=30)
        found = profile.draws(kind="score").sel(agent=agent)
        np.testing.assert_allclose(found, profiles.draws(kind="score").sel(agent=agent), atol=1e-9)


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
    with pytest.raises(ConfigError, match=r"`kind` must be 'skill' or 'score', got \['skill'\]"):
        profiles[profiles.agents[0]].predict(kind=["skill"])
