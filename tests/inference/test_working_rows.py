"""Fits of scores that are on the working scale already, and populations drawn from the prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from skillinfer_bayes import History, Priors, SamplerSettings
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import CLASS_DIMS, Posterior
from skillinfer_bayes.inference.rows import rows_of
from skillinfer_bayes.inference.sampling import draw_prior, sample_posterior, sample_rows
from skillinfer_bayes.testing import simulate_history

SKILLS = ["a", "b", "c"]
PRIORS = Priors(covariance="factor", rank=1, tails="normal")
TINY = SamplerSettings(draws=50, tune=50, chains=2, cores=1, target_accept=0.8, random_seed=5)


def test_a_historys_rows_give_the_historys_fit() -> None:
    history = History.from_dataframe(simulate_history(20, 3, rank=1, random_seed=1).scores)
    whole = sample_posterior(history, PRIORS, TINY, progressbar=False)
    rows = rows_of(history, PRIORS)
    posterior, stats = sample_rows(rows, history.skills, PRIORS, TINY, progressbar=False)
    xr.testing.assert_equal(posterior, whole["posterior"].to_dataset())
    xr.testing.assert_equal(stats["diverging"], whole["sample_stats/diverging"])
    assert tuple(posterior["skill"].values) == history.skills


def test_prior_draws_have_the_moments_that_the_priors_say() -> None:
    draws = draw_prior(SKILLS, PRIORS, n_scores=25, draws=4000, random_seed=3)
    prior = Posterior(xr.DataTree.from_dict({"posterior": draws}))
    assert prior.skills == tuple(SKILLS)
    shared = PRIORS.general_mean**2 + PRIORS.general_sd**2
    # the log-normal's second moment, its spread half-normal
    own = np.exp(2.0 * PRIORS.own_log_centre + 2.0 * PRIORS.own_log_sd**2)
    own /= np.sqrt(1.0 - 4.0 * PRIORS.own_spread_sd**2)
    # moments of a unit that 25 scores set, log-normal
    one, square = np.exp(0.5 / 25), np.exp(2.0 / 25)
    expected = np.full((3, 3), shared * one**2)
    expected[np.diag_indices(3)] = (shared + PRIORS.loading_sd**2 + own) * square
    assert prior.covariance.mean(axis=0) == pytest.approx(expected, abs=0.06)
    assert prior.mean.mean(axis=0) == pytest.approx(np.zeros(3), abs=0.05)
    # the mean is drawn as an agent is, in units of `mean_sd`
    spread = np.einsum("si,sj->sij", prior.mean, prior.mean).mean(axis=0)
    assert spread / PRIORS.mean_sd**2 == pytest.approx(expected, abs=0.1)
    assert np.isinf(prior.nu).all()


def test_prior_draws_repeat_with_their_seed() -> None:
    priors = Priors(covariance="factor_lkj", tails="agent").resolve(3)
    one, again, other = (
        draw_prior(SKILLS, priors, n_scores=9, draws=200, random_seed=seed) for seed in (1, 1, 2)
    )
    xr.testing.assert_identical(one, again)
    assert not one["mu"].equals(other["mu"])
    assert (np.linalg.eigvalsh(one["covariance"].values) > 0.0).all()
    log_nu = np.log(one["nu"].values)
    assert log_nu.mean() == pytest.approx(priors.nu_log_mean, abs=0.15)
    assert log_nu.std() == pytest.approx(priors.nu_log_sd, abs=0.1)


@pytest.mark.parametrize("covariance", ["factor_lkj", "lkj"])
def test_prior_draws_of_classes_add_up_to_the_population(covariance) -> None:
    """The mean and covariance of all classes together, by summing over classes one by one."""
    priors = Priors(covariance=covariance, tails="class", n_classes=5).resolve(3)
    draws = draw_prior(SKILLS, priors, n_scores=9, draws=40, random_seed=2)
    assert list(draws["class"].values) == list(range(5))
    prior = Posterior(xr.DataTree.from_dict({"posterior": draws}))
    means, within, weights, scales = (draws[name].values[0] for name in CLASS_DIMS)
    for s in range(40):
        mean = sum(weights[s, c] * means[s, c] for c in range(5))
        second = sum(
            weights[s, c] * (scales[s, c] ** 2 * within[s] + np.outer(means[s, c], means[s, c]))
            for c in range(5)
        )
        np.testing.assert_allclose(prior.mean[s], mean, rtol=1e-9, atol=1e-12)
        expected = second - np.outer(mean, mean)
        np.testing.assert_allclose(prior.covariance[s], expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_array_equal(prior.row_covariance, within)


def test_prior_draws_of_classes_have_the_moments_that_the_priors_say() -> None:
    priors = Priors(
        covariance="factor", rank=1, tails="class", n_classes=3, class_scale_sd=0.4, class_sd=1.5
    ).resolve(3)
    draws = draw_prior(SKILLS, priors, n_scores=9, draws=4000, random_seed=3)
    means, within, weights, scales = (draws[name].values[0] for name in CLASS_DIMS)
    # a flat Dirichlet
    assert weights.mean(axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.02)
    assert weights.var(axis=0) == pytest.approx(np.full(3, 2 / 9 / 4), rel=0.06)
    assert np.log(scales).mean(axis=0) == pytest.approx(np.zeros(3), abs=0.03)
    assert np.log(scales).std(axis=0) == pytest.approx(np.full(3, 0.4), rel=0.05)
    # E[e^2] of a half-normal is its scale squared; two classes differ by two deviations
    apart = (means[:, 0] - means[:, 1])[:, :, None]
    squared = (apart * np.linalg.solve(within, apart)).sum(axis=(1, 2))
    assert squared.mean() == pytest.approx(2.0 * 3 * priors.class_sd**2, rel=0.12)


@pytest.mark.parametrize("priors", [PRIORS, replace(PRIORS, covariance="factor_iw")])
def test_one_draw_is_laid_out_as_many_are(priors) -> None:
    one, many = (
        draw_prior(SKILLS, priors, n_scores=9, draws=draws, random_seed=2) for draws in (1, 3)
    )
    assert {name: one[name].dims for name in one} == {name: many[name].dims for name in many}
    assert one.sizes["draw"] == 1
    assert np.linalg.eigvalsh(one["covariance"].values[0, 0])[0] > 0.0


def test_populations_with_a_scale_per_cell_have_no_such_draws() -> None:
    priors = Priors(covariance="factor", tails="cell")
    with pytest.raises(
        ConfigError, match="`priors` must have tails 'normal', 'agent' or 'class', got 'cell'"
    ):
        draw_prior(SKILLS, priors, n_scores=9, draws=10, random_seed=1)


def test_a_design_without_columns_is_that_of_a_history_without_groups() -> None:
    history = History.from_dataframe(simulate_history(5, 3, random_seed=1).scores)
    plain, empty = Design.of(history), Design.without_columns()
    assert empty.labels == plain.labels == ()
    assert empty.of_history(history).shape == (5, 0)
