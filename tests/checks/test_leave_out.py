"""Each score against the agent's other scores: closed forms against plain integration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, multivariate_normal, multivariate_t

from skillinfer_bayes.checks.leave_out import (
    adjusted,
    leave_one_score_out,
    score_by_score,
    uniformity,
)
from skillinfer_bayes.checks.replicates import replicate
from skillinfer_bayes.history.table import History
from skillinfer_bayes.profiles.evidence import Evidence, evidence_of_history
from skillinfer_bayes.profiles.rows import RowConditioner
from skillinfer_bayes.testing import fake_population, population_of_draws, simulate_history


def _density(row, mean, sigma, nu):
    if np.isinf(nu):
        return float(multivariate_normal.pdf(row, mean, sigma))
    return float(multivariate_t.pdf(row, mean, sigma, df=nu))


@pytest.mark.parametrize("tails", ["normal", "agent"])
def test_conditionals_are_ratios_of_densities(tails: str) -> None:
    scores = simulate_history(8, 4, missing=0.3, bounded=False, random_seed=5).scores
    population = fake_population(scores, tails=tails, chains=1, draws=2)
    posterior, rows = population.posterior, RowConditioner(population.posterior)
    evidence = evidence_of_history(population.history)
    group = next(group for group in evidence.groups() if len(group.observed) == 3)
    below, density = score_by_score(rows, group)
    seen = group.observed
    for draw, nu in enumerate(posterior.nu):
        mean = posterior.mean[draw, seen]
        sigma = posterior.covariance[draw][np.ix_(seen, seen)] + np.diag(group.error_var)
        row = group.values[0]
        for column in range(3):
            others = np.delete(np.arange(3), column)
            rest = _density(row[others], mean[others], sigma[np.ix_(others, others)], nu)

            def joint(value, column=column, mean=mean, sigma=sigma, nu=nu, row=row):
                moved = row.copy()
                moved[column] = value
                return _density(moved, mean, sigma, nu)

            mass = quad(joint, -np.inf, row[column], epsabs=1e-12)[0]
            assert below[draw, 0, column] == pytest.approx(mass / rest, abs=1e-6)
            expected = np.log(_density(row, mean, sigma, nu) / rest)
            assert density[draw, 0, column] == pytest.approx(expected)


@pytest.mark.parametrize("tails", ["normal", "agent"])
def test_pit_is_uniform_where_the_model_is_right(tails: str) -> None:
    base = fake_population(tails=tails, chains=1, draws=1)
    shape = (2000, 6)
    blank = Evidence(
        tuple(map(str, range(2000))), np.zeros(shape), np.full(shape, 0.01), np.zeros(shape)
    )
    table = replicate(base.posterior, blank, np.random.default_rng(0))[0]
    table[::3, 1] = np.nan
    cells = leave_one_score_out(
        base.posterior, Evidence(blank.agents, table, blank.error_var, table)
    )
    assert len(cells) == np.isfinite(table).sum()
    for _, part in cells.groupby("skill"):
        assert kstest(part["pit"], "uniform").pvalue > 0.001
    assert (uniformity(cells)["p_adjusted"] > 0.003).all()


def test_a_score_is_judged_by_draws_that_have_not_seen_it() -> None:
    # half of the draws were bent towards the one score of agent x: they do not count
    history = History.from_dataframe(
        pd.DataFrame({"a": [-1.0, 0.0, 1.0], "b": [1.0, -1.0, 0.0]}, index=list("xyz")),
        scale="unbounded",
    )
    means = np.zeros((1, 400, 2))
    means[0, :200, 0] = -1.0
    covariances = np.broadcast_to(np.eye(2) * 0.25, (1, 400, 2, 2)).copy()
    found = leave_one_score_out(
        population_of_draws(history, means, covariances).posterior, evidence_of_history(history)
    ).set_index(["agent", "skill"])
    plain = 0.5 * (0.5 + 0.0228)
    assert found.loc[("x", "a"), "pit"] < 0.5 * plain


def test_uniformity_names_the_skill_that_is_off() -> None:
    rng = np.random.default_rng(0)
    cells = pd.DataFrame(
        {
            "skill": np.repeat(["fine", "narrow", "low", "few"], [100, 100, 100, 5]),
            "pit": np.concatenate(
                [rng.random(100), rng.beta(0.4, 0.4, 100), rng.beta(3, 1, 100), rng.random(5)]
            ),
        }
    )
    found = uniformity(cells)
    assert (found["p_adjusted"] < 0.05).to_dict() == {
        "fine": False,
        "narrow": True,
        "low": True,
        "few": False,
    }
    assert found.loc["narrow", "spread"] > 1.2
    assert found.loc["low", "bias"] > 0.15
    assert np.isnan(found.loc["few", "p"])


def test_adjusted_leaves_out_what_was_not_tested() -> None:
    found = adjusted(np.array([0.01, np.nan, 0.5]))
    np.testing.assert_allclose(found[[0, 2]], [0.02, 0.5])
    assert np.isnan(found[1])
    assert np.isnan(adjusted(np.array([np.nan]))).all()
