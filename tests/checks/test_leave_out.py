"""Each score against the agent's other scores: closed forms against plain integration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from latent_class_examples import density as density_of_classes
from latent_class_examples import with_classes
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import kstest, multivariate_normal, multivariate_t

from skillinfer_bayes.checks import leave_out
from skillinfer_bayes.checks.leave_out import (
    adjusted,
    leave_one_score_out,
    score_by_score,
    uniformity,
)
from skillinfer_bayes.checks.replicates import replicate
from skillinfer_bayes.history.table import History
from skillinfer_bayes.population import Population
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


@pytest.fixture
def of_classes() -> Population:
    """Three classes, two groups, empty cells."""
    scores = simulate_history(30, 4, missing=0.3, bounded=False, random_seed=5).scores
    history = History.from_dataframe(scores, groups=["x", "y"] * 15, scale="unbounded")
    return with_classes(fake_population(history, chains=1, draws=3))


@pytest.mark.parametrize("n_seen", [2, 3, 4])
def test_conditionals_of_classes_are_ratios_of_densities(
    of_classes: Population, n_seen: int
) -> None:
    posterior = of_classes.posterior
    rows, evidence = RowConditioner(posterior), evidence_of_history(of_classes.history)
    group = next(group for group in evidence.groups() if len(group.observed) == n_seen)
    below, density = score_by_score(rows, group)
    seen, row = group.observed, group.values[-1]
    for draw in range(3):
        pull = posterior.loadings[draw, seen] @ posterior.effects[draw].T @ group.design[-1]

        def at(points, chosen, draw=draw, pull=pull):
            error = group.error_var[chosen]
            return density_of_classes(
                points, posterior, draw, seen[chosen], error, shift=pull[chosen]
            )

        for column in range(n_seen):
            others = np.delete(np.arange(n_seen), column)
            rest = at(row[others], others)

            def joint(value, column=column, at=at):
                moved = row.copy()
                moved[column] = value
                return at(moved, np.arange(n_seen))

            mass = quad(joint, -30.0, row[column], epsabs=1e-12, limit=200)[0]
            assert below[draw, -1, column] == pytest.approx(mass / rest, abs=1e-6)
            expected = np.log(at(row, np.arange(n_seen)) / rest)
            assert density[draw, -1, column] == pytest.approx(expected)


def test_a_lone_score_of_a_class_agent_is_judged_by_all_classes() -> None:
    posterior = with_classes(fake_population(chains=1, draws=1)).posterior
    values = np.full((1, 6), np.nan)
    values[0, 2] = 0.7
    evidence = Evidence(("x",), values, np.full((1, 6), 0.01), values)
    found = leave_one_score_out(posterior, evidence)
    line = np.linspace(-20.0, 0.7, 20_001)
    law = density_of_classes(line[:, None], posterior, 0, np.array([2]), np.array([0.01]))
    assert found.loc[0, "pit"] == pytest.approx(np.trapezoid(law, line), abs=1e-5)
    assert found.loc[0, "log_score"] == pytest.approx(np.log(law[-1]))


def test_scores_of_classes_are_judged_alike_in_small_chunks(of_classes, monkeypatch) -> None:
    evidence = evidence_of_history(of_classes.history)
    whole = leave_one_score_out(of_classes.posterior, evidence)
    monkeypatch.setattr(leave_out, "CHUNK_CELLS", 1)
    pd.testing.assert_frame_equal(leave_one_score_out(of_classes.posterior, evidence), whole)


@pytest.mark.parametrize("tails", ["normal", "agent", "class"])
def test_pit_is_uniform_where_the_model_is_right(tails: str) -> None:
    base = fake_population(tails="agent" if tails == "agent" else "normal", chains=1, draws=1)
    if tails == "class":
        base = with_classes(base)
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


def test_predictions_that_are_off_are_not_said_to_be_too_narrow() -> None:
    pit = ndtr(np.random.default_rng(1).standard_normal(2000) + 0.7)
    found = uniformity(pd.DataFrame({"skill": "a", "pit": pit})).loc["a"]
    assert found["bias"] > 0.15
    assert found["spread"] == pytest.approx(12.0 * pit.var())
    assert found["spread"] < 1.0


def test_adjusted_leaves_out_what_was_not_tested() -> None:
    found = adjusted(np.array([0.01, np.nan, 0.5]))
    np.testing.assert_allclose(found[[0, 2]], [0.02, 0.5])
    assert np.isnan(found[1])
    assert np.isnan(adjusted(np.array([np.nan]))).all()
