"""Leaving agents out: importance sampling against refits that are made by another sampler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slice_sampler
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t

from skillinfer_bayes import History, Priors
from skillinfer_bayes.checks.loo import leave_one_agent_out, log_likelihood
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.inference import sampling
from skillinfer_bayes.profiles.evidence import evidence_of_history
from skillinfer_bayes.testing import fake_population, simulate_history

PRIORS = Priors(covariance="factor", tails="agent", rank=2)
SIZES = {"walkers": 24, "warmup": 400, "steps": 600, "thin": 6}


@pytest.fixture(scope="module")
def history() -> History:
    scores = simulate_history(10, 3, rank=1, bounded=False, random_seed=8).scores
    return History.from_dataframe(scores, scale="unbounded")


@pytest.fixture(scope="module")
def population(history):
    return slice_sampler.fit([history], PRIORS, **SIZES)[0]


@pytest.fixture(scope="module")
def brute_force(history) -> np.ndarray:
    """Log density of each agent under a fit without it, by other code than the package's."""
    values = history.working().values
    without = np.stack([np.delete(values, agent, axis=0) for agent in range(len(values))])
    fits = slice_sampler.sample(without, PRIORS, random_seed=1, **SIZES)
    pairs = zip(fits, values, strict=True)
    return np.array([slice_sampler.row_density(drawn, row) for drawn, row in pairs])


def test_importance_sampling_agrees_with_brute_force(population, brute_force) -> None:
    found = leave_one_agent_out(population)
    assert found.bad == []
    np.testing.assert_allclose(found.agents["elpd"], brute_force, atol=0.25)
    assert found.elpd == pytest.approx(brute_force.sum(), abs=0.4)
    # the terms differ by much more than they are off, and seeing an agent helps to predict it
    assert np.ptp(brute_force) > 2.0
    inside = log_likelihood(population.posterior, evidence_of_history(population.history))
    assert (logsumexp(inside, axis=0) - np.log(len(inside))).sum() - found.elpd > 1.0


def test_refits_leave_the_agent_out_on_the_same_scale(
    population, brute_force, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = population.history.working().values
    seen = []

    def sample_rows(rows, skills, priors, settings, *, design, progressbar):
        seen.append((rows.values, settings.random_seed))
        drawn = slice_sampler.sample(rows.values[None], priors, **SIZES)[0]
        return slice_sampler.as_dataset(drawn, skills), None

    monkeypatch.setattr(sampling, "sample_rows", sample_rows)
    plain = leave_one_agent_out(population)
    worst = plain.agents["khat"].nlargest(2)
    bar = float(worst.iloc[1]) - 1e-9
    import arviz_stats

    found_by_arviz = arviz_stats.loo

    def strict(*args, **options):
        result = found_by_arviz(*args, **options)
        result.good_k = bar
        return result

    monkeypatch.setattr(arviz_stats, "loo", strict)
    found = leave_one_agent_out(population, refit=True)
    refitted = found.agents.index[found.agents["refitted"]]
    assert set(refitted) == set(worst.index)
    assert found.bad == []
    kept = ~found.agents["refitted"]
    np.testing.assert_array_equal(found.agents["elpd"][kept], plain.agents["elpd"][kept])
    np.testing.assert_allclose(found.agents["elpd"], brute_force, atol=0.25)
    # rows of the original working table, one missing, and a seed of each refit's own
    for (rows, _), agent in zip(
        seen, np.flatnonzero(found.agents["refitted"].to_numpy()), strict=True
    ):
        expected = np.delete(values, agent, axis=0)
        order = np.lexsort(expected.T), np.lexsort(rows.T)
        np.testing.assert_array_equal(expected[order[0]], rows[order[1]])
    assert len({seed for _, seed in seen}) == 2


@pytest.mark.parametrize("tails", ["normal", "agent"])
def test_log_likelihood_is_the_density_of_the_row(tails: str) -> None:
    scores = simulate_history(12, 4, missing=0.25, bounded=False, random_seed=3).scores
    population = fake_population(scores, tails=tails, chains=1, draws=3)
    evidence = evidence_of_history(population.history)
    posterior = population.posterior
    found = log_likelihood(posterior, evidence)
    for agent in range(12):
        seen = np.flatnonzero(evidence.observed[agent])
        for draw in range(3):
            sigma = posterior.covariance[draw][np.ix_(seen, seen)]
            law = {"loc": posterior.mean[draw, seen]}
            law["shape"] = sigma + np.diag(evidence.error_var[agent, seen])
            row = evidence.values[agent, seen]
            if tails == "normal":
                expected = multivariate_normal.logpdf(row, law["loc"], law["shape"])
            else:
                expected = multivariate_t.logpdf(row, **law, df=posterior.nu[draw])
            assert found[draw, agent] == pytest.approx(expected)


def test_an_odd_agent_is_improbable_without_its_own_row() -> None:
    scores = simulate_history(30, 4, bounded=False, random_seed=3).scores
    scores.loc["odd"] = [9.0, -9.0, 9.0, -9.0]
    population = fake_population(scores, chains=4, draws=250)
    found = leave_one_agent_out(population).agents
    assert found["p"].idxmin() == "odd"
    assert found.loc["odd", "p"] < 0.001
    assert 0.1 < found["p"].drop("odd").mean() < 0.9


def test_what_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match="'cell'"):
        leave_one_agent_out(fake_population(tails="cell"))
    with pytest.raises(ConfigError, match="`refit` must be True, False or 'all', got 'some'"):
        leave_one_agent_out(fake_population(), refit="some")
    with pytest.raises(ConfigError, match="at least 30 draws, got 20"):
        leave_one_agent_out(fake_population(chains=2, draws=10))
    with pytest.raises(ConfigError, match="does not say with which priors"):
        leave_one_agent_out(fake_population(), refit="all")


@pytest.mark.slow
def test_the_package_s_own_refits_agree_with_brute_force(population, brute_force) -> None:
    how = {"chains": 2, "draws": 600, "tune": 600, "random_seed": 3, "cores": 2}
    fitted = replace(population, settings={**population.settings, "sampler": how})
    found = leave_one_agent_out(fitted, refit="all")
    assert found.agents["refitted"].all()
    np.testing.assert_allclose(found.agents["elpd"], brute_force, atol=0.25)
