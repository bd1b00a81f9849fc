"""The simulator tells the truth about its truth; fakes look like fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes import History
from skillinfer_bayes.exceptions import ConfigError, PopulationFileError
from skillinfer_bayes.testing import (
    fake_population,
    population_of_draws,
    simulate_history,
    unit_scales,
)


class TestSimulateHistory:
    def test_gives_a_table_and_its_truth(self) -> None:
        simulation = simulate_history(30, 4, random_seed=1)
        assert simulation.scores.shape == (30, 4)
        assert simulation.mean.shape == (4,)
        assert simulation.covariance.shape == (4, 4)
        assert simulation.scores.notna().all(axis=None)
        assert ((simulation.scores > 0) & (simulation.scores < 1)).all(axis=None)
        History.from_dataframe(simulation.scores)

    def test_a_seed_fixes_everything(self) -> None:
        first, again, other = (simulate_history(missing=0.2, random_seed=s) for s in (1, 1, 2))
        pd.testing.assert_frame_equal(first.scores, again.scores)
        assert not first.scores.equals(other.scores)

    @pytest.mark.parametrize("missing", [0.1, 0.4, 0.6])
    def test_hides_the_share_asked_for(self, missing) -> None:
        simulation = simulate_history(40, 6, missing=missing)
        hidden = simulation.scores.isna()
        assert hidden.mean(axis=None) == pytest.approx(missing, abs=1 / 240)
        assert simulation.scores.count(axis=1).min() >= 2
        assert simulation.scores.count(axis=0).min() >= 2
        pd.testing.assert_frame_equal(simulation.complete.mask(hidden), simulation.scores)

    def test_keeps_two_cells_whatever_is_asked(self) -> None:
        scores = simulate_history(10, 5, missing=0.99).scores
        assert (scores.count(axis=1) == 2).all()

    def test_large_tables_have_the_moments_of_the_truth(self) -> None:
        simulation = simulate_history(20_000, 3, bounded=False, random_seed=3)
        error = np.diag(np.full(3, simulation.error_sd**2))
        got = simulation.complete.cov().to_numpy() - error
        np.testing.assert_allclose(got, simulation.covariance, rtol=0.05, atol=0.02)
        np.testing.assert_allclose(simulation.complete.mean(), simulation.mean, atol=0.05)

    def test_correlations_belong_to_the_covariance(self) -> None:
        simulation = simulate_history(random_seed=3)
        sd = np.sqrt(np.diag(simulation.covariance))
        back = simulation.correlation * np.outer(sd, sd)
        np.testing.assert_allclose(back, simulation.covariance)

    @pytest.mark.parametrize(
        "bad",
        [
            {"n_agents": 2},
            {"n_agents": 10.0},
            {"n_skills": 0},
            {"rank": 0},
            {"missing": 1.0},
            {"missing": -0.1},
            {"random_seed": -1},
        ],
    )
    def test_refuses_what_makes_no_table(self, bad) -> None:
        with pytest.raises(ConfigError, match=f"`{next(iter(bad))}` must be .*got"):
            simulate_history(**bad)


class TestFakePopulation:
    def test_settings_are_its_own(self) -> None:
        fake_population().settings["note"] = "changed"
        assert fake_population().settings["note"].startswith("fake draws")

    @pytest.mark.parametrize("bad", [{"chains": 0}, {"draws": 0}, {"random_seed": -1}])
    def test_needs_draws_and_a_seed(self, bad) -> None:
        with pytest.raises(ConfigError, match=f"`{next(iter(bad))}` must be .*got"):
            fake_population(**bad)

    def test_needs_nothing(self) -> None:
        population = fake_population()
        assert population.posterior.n_chains == 2
        assert population.posterior.n_draws == 100
        assert population.history.n_skills == 6

    @pytest.mark.parametrize("missing", [0.0, 0.5])
    def test_draws_are_covariances_of_the_history(self, missing) -> None:
        scores = simulate_history(50, 4, missing=missing, random_seed=2).scores
        population = fake_population(scores, draws=500)
        covariance = population.posterior.covariance
        assert (np.linalg.eigvalsh(covariance) > 0).all()
        variance = covariance.mean(axis=0).diagonal()
        working = population.history.working().values
        np.testing.assert_allclose(variance, np.nanvar(working, axis=0, ddof=1), rtol=0.05)

    def test_a_seed_fixes_the_identity(self) -> None:
        scores = simulate_history().scores
        ids = [fake_population(scores, random_seed=seed).population_id for seed in (1, 1, 2)]
        assert ids[0] == ids[1] != ids[2]

    def test_concentration_sets_the_scatter(self) -> None:
        loose, tight = (
            fake_population(concentration=value, draws=400).posterior.covariance.std(axis=0)
            for value in (20, 2000)
        )
        assert (loose > 5 * tight).all()

    @pytest.mark.parametrize("tails", ["normal", "agent", "cell"])
    def test_tails_bring_what_they_need(self, tails) -> None:
        population = fake_population(draws=5, tails=tails)
        posterior = population.posterior
        assert posterior.by_cell == (tails == "cell")
        assert np.isfinite(posterior.nu).all() == (tails != "normal")
        assert (np.linalg.eigvalsh(posterior.covariance) > 0).all()
        table = population.profile().observe("skill_0", 0.7).predict()
        assert np.isfinite(table[["mean", "std", "lower", "upper"]].to_numpy()).all()

    def test_tails_leave_the_moments_where_they_were(self) -> None:
        normal, agent, cell = (
            fake_population(tails=tails).posterior for tails in ("normal", "agent", "cell")
        )
        np.testing.assert_array_equal(agent.mean, normal.mean)
        np.testing.assert_array_equal(agent.covariance, normal.covariance)
        for given in (normal, cell):
            diagonal = np.einsum("skk->sk", given.covariance)
            np.testing.assert_allclose(diagonal, np.einsum("skk->sk", normal.covariance))

    @pytest.mark.parametrize("tails", ["normal", "agent", "cell"])
    def test_groups_and_covariates_have_effects(self, tails) -> None:
        scores = simulate_history(12, 3).scores
        years = pd.DataFrame({"year": range(12)}, index=scores.index)
        history = History.from_dataframe(scores, groups=["x", "y", "z"] * 4, covariates=years)
        population = fake_population(history, draws=5, tails=tails)
        assert population.posterior.effects.shape == (10, 4, 1)
        assert (population.posterior.group_sd > 0).all()
        assert population.completed().to_dataset()["mean"].notnull().all()
        means = [
            population.profile(group=group, covariates={"year": 5}).mean("skill_0")
            for group in ("x", "y", "z", "elsewhere")
        ]
        assert len(set(means)) == 4

    def test_tails_have_names(self) -> None:
        with pytest.raises(ConfigError, match="`tails` must be 'normal', 'agent' or 'cell', got"):
            fake_population(tails="heavy")

    def test_never_claims_to_be_a_fit(self) -> None:
        population = fake_population()
        assert "no model was fitted" in population.settings["note"]
        assert not population.convergence.converged


def test_given_draws_are_used_as_they_are() -> None:
    history = History.from_dataframe(simulate_history(10, 2).scores)
    means = np.arange(12.0).reshape(2, 3, 2)
    covariances = np.broadcast_to(np.eye(2), (2, 3, 2, 2))
    population = population_of_draws(history, means, covariances)
    np.testing.assert_array_equal(population.posterior.mean, means.reshape(6, 2))
    assert population.posterior.covariance.shape == (6, 2, 2)
    # a copy: the population stays what it is, and so does the caller's array
    means[0, 0] = 99.0
    assert population.posterior.mean.max() < 12.0


def test_given_draws_may_hold_everything() -> None:
    history = History.from_dataframe(simulate_history(10, 2).scores, groups=["x", "y"] * 5)
    rng = np.random.default_rng(3)
    given = {
        "nu": rng.uniform(2.0, 9.0, (2, 3)),
        "loadings": rng.standard_normal((2, 3, 2, 1)),
        "own_sd": rng.uniform(0.1, 1.0, (2, 3, 2)),
        "effects": rng.standard_normal((2, 3, 2, 1)),
        "group_sd": rng.uniform(0.1, 1.0, (2, 3)),
        "agent_noise_sd": rng.uniform(0.1, 1.0, (2, 3)),
    }
    population = population_of_draws(history, rng.standard_normal((2, 3, 2)), **given)
    for name, values in given.items():
        flat = getattr(population.posterior, name)
        np.testing.assert_array_equal(flat, values.reshape(6, *values.shape[2:]))
    assert list(population.data["posterior/effects"]["effect"].values) == ["group: x", "group: y"]


@pytest.mark.parametrize("lacking", ["nu", "loadings", "own_sd"])
def test_draws_with_a_scale_per_cell_need_each_other(lacking) -> None:
    history = History.from_dataframe(simulate_history(10, 2).scores)
    given = {
        "nu": np.ones((1, 3)),
        "loadings": np.ones((1, 3, 2, 1)),
        "own_sd": np.ones((1, 3, 2)),
        "agent_noise_sd": np.ones((1, 3)),
    }
    del given[lacking]
    with pytest.raises(PopulationFileError, match=f"no variable '{lacking}'"):
        population_of_draws(history, np.zeros((1, 3, 2)), **given)


def test_draws_without_a_covariance_are_refused() -> None:
    history = History.from_dataframe(simulate_history(10, 2).scores)
    with pytest.raises(PopulationFileError, match="no variable 'covariance'"):
        population_of_draws(history, np.zeros((1, 3, 2)))


def test_unit_scales_leave_the_link_scale_alone() -> None:
    scales = unit_scales(("a", "b"))
    np.testing.assert_array_equal(scales.location, [0.0, 0.0])
    np.testing.assert_array_equal(scales.spread, [1.0, 1.0])
    assert scales.bounded.all()


def test_arrays_that_need_others() -> None:
    scores = simulate_history(8, 3, random_seed=1).scores
    moved = History.from_dataframe(scores, groups=list("aabbccdd"))
    means, covariances = np.zeros((1, 2, 3)), np.broadcast_to(np.eye(3), (1, 2, 3, 3))
    with pytest.raises(PopulationFileError, match="groups or covariates; give their `effects`"):
        population_of_draws(moved, means, covariances)
    with pytest.raises(PopulationFileError, match="no variable 'loadings'"):
        population_of_draws(moved, means, covariances, effects=np.zeros((1, 2, 4, 2)))
