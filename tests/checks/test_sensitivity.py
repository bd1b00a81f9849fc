"""Power-scaling sensitivity: log priors against scipy, conclusions where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_classes import class_draws, class_population, posterior_of
from scipy.special import softmax
from scipy.stats import halfnorm, multivariate_normal, norm

from skillinfer_bayes import History, Priors
from skillinfer_bayes.checks.replicates import lkj_roots, prior_population
from skillinfer_bayes.checks.sensitivity import (
    ALL,
    CONFLICT,
    FINE,
    STRONG,
    conclusions,
    log_priors,
    prior_sensitivity,
)
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.profiles.evidence import evidence_of_history
from skillinfer_bayes.testing import fake_population, population_of_draws, simulate_history

NO_DESIGN = Design.without_columns()


def _differences(found: np.ndarray, expected: np.ndarray, rtol: float = 1e-6) -> None:
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=rtol, atol=1e-8)


def test_log_priors_are_those_of_the_model() -> None:
    rng = np.random.default_rng(0)
    priors = Priors(covariance="factor_lkj", tails="agent", eta=3.0, mean_sd=0.7).resolve(4, 100)
    posterior = prior_population(list("abcd"), priors, 6, rng)
    found = log_priors(posterior, priors, NO_DESIGN)
    expected = [
        norm.logpdf(np.linalg.solve(np.linalg.cholesky(sigma), mean), 0.0, 0.7).sum()
        for mean, sigma in zip(posterior.mean, posterior.covariance, strict=True)
    ]
    _differences(found["means"], np.array(expected))
    own = posterior.covariance - posterior.loadings @ np.swapaxes(posterior.loadings, 1, 2)
    omega = own / (posterior.own_sd[:, :, None] * posterior.own_sd[:, None, :])
    _differences(found["correlations (eta)"], 2.0 * np.log(np.linalg.det(omega)))
    _differences(found["tails"], norm.logpdf(np.log(posterior.nu), np.log(5.0), 0.5))


def test_hyperparameters_that_were_kept_count() -> None:
    population = _fitted(Priors(covariance="factor"))
    posterior, priors = population.posterior, Priors(covariance="factor").resolve(4, 80)
    found = log_priors(posterior, priors, NO_DESIGN)
    draws = {
        name: posterior.hyperparameter(name)
        for name in ("general", "own_log_mean", "own_log_spread")
    }
    general = np.log(sum(norm.pdf(draws["general"], mean, 0.3) for mean in (-0.8, 0.8)))
    _differences(found["general factor"], general)
    expected = norm.logpdf(draws["own_log_mean"], -0.7, 0.3)
    expected = expected + halfnorm.logpdf(draws["own_log_spread"], scale=0.2)
    _differences(found["scales"], expected)
    assert "correlations (eta)" not in found
    flat = Priors(covariance="lkj", eta=1.0).resolve(4, 80)
    assert "correlations (eta)" not in log_priors(posterior, flat, NO_DESIGN)
    assert posterior.hyperparameter("nothing") is None


def test_how_much_the_factors_weigh_has_a_prior_too() -> None:
    priors = Priors(covariance="factor_iw", centre_log_mean=3.0, centre_log_sd=0.7)
    posterior = _fitted(priors).posterior
    found = log_priors(posterior, priors.resolve(4, 80), NO_DESIGN)
    agents = posterior.hyperparameter("centre_agents")
    _differences(found["weight of the factors"], norm.logpdf(np.log(agents), 3.0, 0.7))
    assert "correlations (eta)" not in found


CLASSES = Priors(tails="class", eta=3.0, mean_sd=0.7, class_sd=1.3, class_scale_sd=0.6)


def _log_of_integral(power: float, means: np.ndarray, apart: float, sigma: np.ndarray) -> float:
    """Log of the integral over the centre of its prior to a power times the class means' density.

    A normal density to a power is, normalised, one of another variance.
    """
    n_classes = len(means)
    between = 0.7**2 / power * np.ones((n_classes, n_classes)) + apart**2 * np.eye(n_classes)
    law = multivariate_normal(np.zeros(means.size), np.kron(between, sigma))
    return float(law.logpdf(means.ravel()))


def test_log_priors_of_classes_are_those_of_the_model() -> None:
    posterior = posterior_of(class_draws("abcd", n_classes=3, shape=(2, 4), random_seed=1))
    found = log_priors(posterior, CLASSES.resolve(4, 100), NO_DESIGN)
    assert set(found) == {
        "means",
        "correlations (eta)",
        "general factor",
        "scales",
        "classes",
    }
    classes, apart = posterior.classes, posterior.hyperparameter("class_sd")
    step = 1e-3
    expected = [
        (_log_of_integral(1.0 + step, *draw) - _log_of_integral(1.0 - step, *draw)) / (2.0 * step)
        for draw in zip(classes.means, apart, classes.covariance, strict=True)
    ]
    _differences(found["means"], np.array(expected), rtol=1e-4)
    own = classes.covariance - posterior.loadings @ np.swapaxes(posterior.loadings, 1, 2)
    omega = own / (posterior.own_sd[:, :, None] * posterior.own_sd[:, None, :])
    np.testing.assert_allclose(np.einsum("skk->sk", omega), 1.0)
    _differences(found["correlations (eta)"], 2.0 * np.log(np.linalg.det(omega)))
    expected = halfnorm.logpdf(apart, scale=1.3)
    expected = expected + norm.logpdf(np.log(classes.scales), 0.0, 0.6).sum(axis=1)
    _differences(found["classes"], expected)


def test_of_classes_that_do_not_say_how_far_they_are_apart_less_is_known() -> None:
    draws = class_draws("abcd", random_seed=1)
    priors = CLASSES.resolve(4, 100)
    said = log_priors(posterior_of(draws), priors, NO_DESIGN)
    found = log_priors(posterior_of(draws.drop_vars("class_sd")), priors, NO_DESIGN)
    assert set(said) - set(found) == {"means", "classes"}
    for name, values in found.items():
        np.testing.assert_array_equal(values, said[name])


def test_a_prior_of_classes_far_from_the_posterior_is_felt_and_named() -> None:
    scores = simulate_history(20, 4, bounded=False, random_seed=2).scores
    history = History.from_dataframe(scores, scale="unbounded")
    options = {"shape": (4, 400), "wiggle": 0.5, "random_seed": 3}
    felt = {}
    for name, priors in {
        "as fitted": Priors(tails="class"),
        "near": Priors(tails="class", class_sd=0.1, class_scale_sd=0.05),
    }.items():
        population = class_population(history, priors, **options)
        table = prior_sensitivity(
            population.posterior,
            Priors.from_dict(population.settings["priors"]),
            evidence_of_history(history),
            NO_DESIGN,
        )
        assert list(dict.fromkeys(table["prior"])) == [
            "means",
            "correlations (eta)",
            "general factor",
            "scales",
            "classes",
            ALL,
        ]
        rows = table[(table["prior"] == "classes") & (table["conclusion"] == "log sd")]
        felt[name] = rows["prior_sensitivity"].max()
        assert np.isfinite(table["prior_sensitivity"]).all()
        # the other priors are what they were
        others = table[table["prior"].isin(["general factor", "scales"])]
        felt[f"others, {name}"] = others["prior_sensitivity"].to_numpy()
    assert felt["as fitted"] < 0.05 < 0.3 < felt["near"]
    np.testing.assert_array_equal(felt["others, as fitted"], felt["others, near"])


def test_the_prediction_with_classes_is_the_mean_of_their_mixture() -> None:
    posterior = posterior_of(class_draws("abcd", n_classes=3, shape=(1, 2), random_seed=6))
    found, classes = conclusions(posterior), posterior.classes
    for draw in range(2):
        covariance = classes.covariance[draw] + 1e-4 * np.eye(4)
        for skill in range(4):
            others = np.delete(np.arange(4), skill)
            block = covariance[np.ix_(others, others)]
            gain = np.linalg.solve(block, covariance[others, skill])
            terms, guesses = [], []
            for weight, mean, scale in zip(
                classes.weights[draw], classes.means[draw], classes.scales[draw], strict=True
            ):
                law = multivariate_normal(mean[others], scale**2 * block)
                terms.append(np.log(weight) + law.logpdf(np.ones(3)))
                guesses.append(mean[skill] + gain @ (1.0 - mean[others]))
            expected = softmax(terms) @ guesses
            assert found["prediction"][draw, skill] == pytest.approx(expected)
            # one Gaussian of the same moments would say something else
            total = posterior.covariance[draw] + 1e-4 * np.eye(4)
            gain = np.linalg.solve(total[np.ix_(others, others)], total[others, skill])
            mean = posterior.mean[draw]
            assert abs(mean[skill] + gain @ (1.0 - mean[others]) - expected) > 0.02


def test_groups_and_covariates_have_priors_too() -> None:
    scores = simulate_history(20, 3, bounded=False, random_seed=1).scores
    history = History.from_dataframe(
        scores.assign(age=np.arange(20.0)), covariates=["age"], groups=["x", "y"] * 10
    )
    posterior = fake_population(history).posterior
    priors = Priors(covariate_sd=0.5, group_sd=0.6)
    found = log_priors(posterior, priors.resolve(3, 60), Design.of(history))
    _differences(found["groups"], halfnorm.logpdf(posterior.group_sd, scale=0.6))
    _differences(found["covariates"], norm.logpdf(posterior.effects[:, 0], 0.0, 0.5).sum(axis=-1))


def _fitted(priors: Priors, centre: float = 0.0):
    """A posterior of means about `centre` whose prior is centred on 0."""
    rng = np.random.default_rng(2)
    scores = simulate_history(20, 4, bounded=False, random_seed=2).scores
    history = History.from_dataframe(scores, scale="unbounded")
    shape = (4, 500)
    means = centre + 0.1 * rng.standard_normal((*shape, 4))
    covariances = np.exp(0.1 * rng.standard_normal((*shape, 1, 1))) * np.eye(4)
    covariances = covariances + 0.1 * rng.random((*shape, 1, 1))
    loadings = np.zeros((*shape, 4, 2))
    own = np.ones((*shape, 4))
    population = population_of_draws(history, means, covariances, loadings=loadings, own_sd=own)
    draws = population.posterior.tree.children["posterior"]
    dims = ("chain", "draw")
    draws["general"] = xr.Variable(dims, rng.normal(0.8, 0.3, shape))
    draws["own_log_mean"] = xr.Variable(dims, rng.normal(-0.7, 0.3, shape))
    draws["own_log_spread"] = xr.Variable(dims, 0.2 * np.abs(rng.standard_normal(shape)))
    if priors.covariance == "factor_iw":
        draws["centre_agents"] = xr.Variable(dims, np.exp(rng.normal(3.0, 0.7, shape)))
    return population


def test_a_prior_far_from_the_posterior_is_felt_and_named() -> None:
    priors = Priors(covariance="factor", tails="normal", mean_sd=0.5).resolve(4, 80)
    diagnoses = {}
    for centre in (0.0, 3.0):
        population = _fitted(priors, centre)
        table = prior_sensitivity(
            population.posterior, priors, evidence_of_history(population.history), NO_DESIGN
        )
        assert set(table["diagnosis"]) <= {CONFLICT, STRONG, FINE}
        assert list(dict.fromkeys(table["prior"])) == ["means", "general factor", "scales", ALL]
        rows = table[(table["prior"] == "means") & (table["conclusion"] == "mean")]
        diagnoses[centre] = rows["diagnosis"].unique().tolist()
        others = table[table["prior"].isin(["general factor", "scales"])]
        assert (others["prior_sensitivity"] < 0.05).all()
    assert diagnoses == {0.0: [FINE], 3.0: [CONFLICT]}


def test_conclusions_of_a_known_population() -> None:
    covariance = np.array([[1.0, 0.6], [0.6, 4.0]])
    history = fake_population(simulate_history(10, 2, bounded=False).scores).history
    posterior = population_of_draws(
        history, np.tile([0.5, -1.0], (1, 4, 1)), np.broadcast_to(covariance, (1, 4, 2, 2)).copy()
    ).posterior
    found = conclusions(posterior)
    np.testing.assert_allclose(found["log sd"][0], np.log([1.0, 2.0]))
    np.testing.assert_allclose(found["mean correlation"], 0.3)
    np.testing.assert_allclose(found["prediction"][0, 0], 0.5 + 0.6 / 4.0 * 2.0, rtol=1e-3)
    np.testing.assert_allclose(found["prediction"][0, 1], -1.0 + 0.6 * 0.5, rtol=1e-3)


def test_a_single_skill_has_no_correlation() -> None:
    population = fake_population(simulate_history(10, 1, bounded=False).scores)
    assert set(conclusions(population.posterior)) == {"mean", "log sd"}


def test_lkj_roots_of_one_skill() -> None:
    assert lkj_roots(1, 2.0, 3, np.random.default_rng(0)) == pytest.approx(1.0)
