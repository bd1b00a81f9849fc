"""Scores given the agent's others where every score has a scale of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import halfnorm, kstest, multivariate_normal, norm, t

from skillinfer_bayes import Priors
from skillinfer_bayes.checks.leave_out import leave_one_score_out, uniformity
from skillinfer_bayes.checks.leave_out_cells import (
    scale_nodes,
    scaled_log_density,
    scaled_score_by_score,
)
from skillinfer_bayes.checks.replicates import prior_population, replicate
from skillinfer_bayes.checks.sensitivity import ALL, log_priors, prior_sensitivity
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles.cells import CellConditioner, ScaledRow
from skillinfer_bayes.profiles.evidence import Evidence, evidence_of_history
from skillinfer_bayes.testing import fake_population, simulate_history


def repeated(posterior: Posterior, draws: int) -> Posterior:
    """The first draw many times: a population that is known."""
    first = posterior.tree.children["posterior"].to_dataset().isel(chain=[0], draw=[0] * draws)
    fresh = first.assign_coords(draw=np.arange(draws))
    return Posterior(xr.DataTree.from_dict({"posterior": fresh}))


def some_row(seed: int, m: int = 4, n_draws: int = 3) -> ScaledRow:
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.5, 0.4, (n_draws, m, 2))
    variance, cell = rng.uniform(0.05, 0.6, (2, n_draws, m))
    cell = cell + 0.5
    system = shared @ np.swapaxes(shared, 1, 2)
    system[:, np.arange(m), np.arange(m)] += variance * cell
    return ScaledRow(np.arange(m), rng.standard_normal((n_draws, m)), system, variance, cell)


def evidence_of(table: np.ndarray, error_var: float = 0.01) -> Evidence:
    names = tuple(f"agent_{row}" for row in range(len(table)))
    return Evidence(names, table, np.full(table.shape, error_var), table)


@pytest.mark.parametrize("nu", [1.5, 4.0, 30.0])
def test_averages_over_the_scales_are_the_students(nu: float) -> None:
    scales, weights = scale_nodes(np.array([nu]))
    assert weights.sum() == pytest.approx(1.0)
    for at in (0.0, 0.5, 2.0, 6.0):
        tail = weights @ ndtr(-at / np.sqrt(scales[0]))
        assert tail == pytest.approx(t.sf(at, nu), rel=1e-3)
        density = weights @ norm.pdf(at, scale=np.sqrt(scales[0]))
        assert density == pytest.approx(t.pdf(at, nu), rel=1e-3)


def test_conditionals_are_a_gaussian_part_plus_a_student_part() -> None:
    row, nu = some_row(3), np.array([2.5, 4.0, 9.0])
    below, density = scaled_score_by_score(row, nu)
    for draw, column in np.ndindex(below.shape):
        others = np.delete(np.arange(4), column)
        system = row.system[draw]
        gain = np.linalg.solve(system[np.ix_(others, others)], system[others, column])
        mean = gain @ row.residual[draw, others]
        own = row.variance[draw, column]
        shared = (
            system[column, column] - own * row.cell[draw, column] - gain @ system[others, column]
        )
        law = t(nu[draw], scale=np.sqrt(own))
        gap = row.residual[draw, column] - mean
        sd = np.sqrt(shared)
        for found, exact in ((below, law.cdf), (np.exp(density), law.pdf)):
            expected = quad(
                lambda x, exact=exact, sd=sd, gap=gap: exact(gap - x) * norm.pdf(x, scale=sd),
                -8 * sd,
                8 * sd,
            )[0]
            assert found[draw, column] == pytest.approx(expected, rel=1e-3)


def test_the_density_given_the_scales_is_the_gaussians() -> None:
    row = some_row(4)
    found = scaled_log_density(row)
    for draw in range(3):
        law = multivariate_normal(np.zeros(4), row.system[draw])
        assert found[draw] == pytest.approx(law.logpdf(row.residual[draw]))


def test_it_agrees_with_really_leaving_scores_out() -> None:
    posterior = repeated(fake_population(tails="cell", chains=1, draws=1).posterior, 3000)
    blank = evidence_of(np.zeros((5, 6)), 1e-6)
    table = replicate(posterior, blank, np.random.default_rng(1))[0]
    table[0, 2], table[3, 4] = np.nan, 3.0
    found = leave_one_score_out(posterior, evidence_of(table, 1e-6))
    expected = []
    for agent, skill in zip(*np.nonzero(~np.isnan(table)), strict=True):
        without = table.copy()
        without[agent, skill] = np.nan
        alone = evidence_of(without[[agent]], 1e-6)
        ((_, mean, sd),) = CellConditioner(posterior).components(alone, np.zeros(6))
        expected.append(ndtr((table[agent, skill] - mean) / sd)[:, 0, skill].mean())
    np.testing.assert_allclose(found["pit"], expected, atol=0.03)


def test_pit_is_uniform_where_the_model_is_right() -> None:
    posterior = repeated(fake_population(tails="cell", chains=1, draws=1).posterior, 300)
    blank = evidence_of(np.zeros((500, 6)), 0.02)
    table = replicate(posterior, blank, np.random.default_rng(2))[0]
    table[::3, 1] = np.nan
    cells = leave_one_score_out(posterior, evidence_of(table, 0.02))
    assert len(cells) == np.isfinite(table).sum()
    for _, part in cells.groupby("skill"):
        assert kstest(part["pit"], "uniform").pvalue > 0.005
    tests = uniformity(cells)
    assert (tests["p_adjusted"] > 0.01).all()
    assert tests["spread"].between(0.85, 1.15).all()


@pytest.fixture(scope="module")
def by_cell():
    """A population with light tails and the priors of a fit; one of its scores is far off."""
    scores = simulate_history(60, 6, bounded=False, random_seed=4).scores
    scores.iloc[7, 2] += 14.0
    population = fake_population(scores, tails="cell", chains=4, draws=200)
    draws = population.posterior.tree.children["posterior"]
    rng = np.random.default_rng(0)
    for name, values in (
        ("general", rng.normal(0.4, 0.4, (4, 200))),
        ("own_log_mean", rng.normal(-0.7, 0.5, (4, 200))),
        ("own_log_spread", 0.2 * np.abs(rng.standard_normal((4, 200)))),
        ("nu", rng.uniform(30.0, 50.0, (4, 200))),
        ("skill_spread", 0.5 * np.abs(rng.standard_normal((4, 200)))),
    ):
        draws[name] = xr.Variable(("chain", "draw"), values)
    priors = Priors(covariance="factor", tails="cell").resolve(6, 360)
    return replace(population, settings={"priors": priors.to_dict()})


def test_the_report_has_these_checks_too(by_cell) -> None:
    report = by_cell.diagnose(n_replicates=100)
    line = report["outlier scores"]
    assert line.verdict == "look"
    assert "agent_7 / skill_2" in line.value
    assert report["leave one score out"].verdict in ("ok", "look")
    assert "noise of agents" in report["prior sensitivity"].value
    assert "error of the integrals 0." in report["leave one agent out"].value
    assert report.tables["agents"]["khat"].notna().all()


def test_priors_of_the_noise_and_of_the_skills_spread_count(by_cell) -> None:
    posterior = by_cell.posterior
    priors = Priors.from_dict(by_cell.settings["priors"])
    found = log_priors(posterior, priors, Design.without_columns())
    assert list(found) == ["means", "general factor", "scales", "noise of agents", "tails"]
    noise = halfnorm.logpdf(posterior.agent_noise_sd, scale=priors.agent_noise_sd)
    np.testing.assert_allclose(found["noise of agents"], noise)
    plain = replace(priors, skill_spread_sd=2.0 * priors.skill_spread_sd)
    spread = posterior.hyperparameter("skill_spread")
    moved = log_priors(posterior, plain, Design.without_columns())["scales"] - found["scales"]
    expected = halfnorm.logpdf(spread, scale=plain.skill_spread_sd)
    expected -= halfnorm.logpdf(spread, scale=priors.skill_spread_sd)
    np.testing.assert_allclose(moved, expected)


def test_the_means_of_the_prior_have_the_density_that_is_scaled() -> None:
    priors = Priors(covariance="factor", tails="cell", mean_sd=0.7).resolve(5, 100)
    posterior = prior_population(list("abcde"), priors, 20, np.random.default_rng(3))
    found = log_priors(posterior, priors, Design.without_columns())["means"]
    expected = [
        norm.logpdf(np.linalg.solve(np.linalg.cholesky(sigma), mean), 0.0, 0.7).sum()
        for mean, sigma in zip(posterior.mean, posterior.covariance, strict=True)
    ]
    np.testing.assert_allclose(np.diff(found), np.diff(expected))


def test_the_table_of_the_sensitivity_is_complete(by_cell) -> None:
    priors = Priors.from_dict(by_cell.settings["priors"])
    evidence = evidence_of_history(by_cell.history)
    table = prior_sensitivity(by_cell.posterior, priors, evidence, Design.without_columns())
    assert isinstance(table, pd.DataFrame)
    assert table["prior"].iloc[-1] == ALL
    numbers = table[["prior_sensitivity", "likelihood_sensitivity"]]
    assert np.isfinite(numbers).all(axis=None)
    # draws about moments have not seen the rows, so the likelihood, scaled, moves them
    assert table["likelihood_sensitivity"].max() > 0.05
