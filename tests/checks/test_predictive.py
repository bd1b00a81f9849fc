"""Simulated tables: their law, and what they say of a history."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from latent_class_examples import with_classes
from scipy.stats import beta, kstest, norm

from skillinfer_bayes import History, Priors, Scale
from skillinfer_bayes.checks.predictive import (
    _at_bounds,
    _compared,
    mean_correlation,
    overall_statistics,
    posterior_predictive,
    prior_predictive,
)
from skillinfer_bayes.checks.replicates import (
    lkj_roots,
    prior_population,
    replicate,
    spread_draws,
)
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.profiles.evidence import Evidence, evidence_of_history
from skillinfer_bayes.testing import fake_population, simulate_history

SKILLS = ("a", "b", "c", "d")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(6)


def test_lkj_correlations_have_their_marginal_law(rng: np.random.Generator) -> None:
    eta, n = 2.5, 4
    roots = lkj_roots(n, eta, 4000, rng)
    omega = roots @ np.swapaxes(roots, 1, 2)
    np.testing.assert_allclose(np.einsum("skk->sk", omega), 1.0)
    shape = eta + 0.5 * (n - 2)
    for first, second in ((1, 0), (3, 0), (3, 2)):
        share = 0.5 * (omega[:, first, second] + 1.0)
        assert kstest(share, beta(shape, shape).cdf).pvalue > 0.01


@pytest.mark.parametrize("covariance", ["lkj", "factor_lkj", "factor", "factor_iw"])
def test_the_prior_is_the_model_s(covariance: str, rng: np.random.Generator) -> None:
    from skillinfer_bayes.inference.sampling import draw_prior

    tails = "normal" if covariance == "factor_iw" else "agent"
    priors = Priors(covariance=covariance, tails=tails).resolve(4, 100)
    ours = prior_population(SKILLS, priors, 3000, rng, n_scores=np.full(4, 5.0))
    drawn = draw_prior(SKILLS, priors, n_scores=5, draws=800, random_seed=3)
    for found, expected in (
        (ours.mean[:, 0], drawn["mu"].values[0, :, 0]),
        (ours.covariance[:, 1, 1], drawn["covariance"].values[0, :, 1, 1]),
        (ours.covariance[:, 0, 3], drawn["covariance"].values[0, :, 0, 3]),
    ):
        assert kstest(found, expected).pvalue > 0.005
    if tails == "agent":
        assert kstest(ours.nu, drawn["nu"].values[0]).pvalue > 0.005
    else:
        assert np.isinf(ours.nu).all()
        assert "nu" not in drawn


@pytest.mark.parametrize("covariance", ["lkj", "factor_lkj", "factor"])
def test_the_prior_of_classes_is_the_model_s(covariance: str, rng: np.random.Generator) -> None:
    from skillinfer_bayes.inference.sampling import draw_prior

    # wide where it matters, so that Omega and D leave their mark on the classes
    priors = Priors(covariance=covariance, tails="class", n_classes=3, eta=1.0, own_spread_sd=1.0)
    priors = replace(priors, loading_sd=0.1, general_mean=0.0, general_sd=0.1).resolve(4, 100)
    ours = prior_population(SKILLS, priors, 6000, rng, n_scores=np.full(4, 5.0))
    drawn = draw_prior(SKILLS, priors, n_scores=5, draws=3000, random_seed=3)
    assert np.isinf(ours.nu).all()
    names = ("class_means", "class_covariance", "class_weights", "class_scales")
    stored = [drawn[name].values[0] for name in names]
    for found, expected in zip(
        _of_classes(ours.mean, ours.covariance, *ours.classes),
        _of_classes(drawn["mu"].values[0], drawn["covariance"].values[0], *stored),
        strict=True,
    ):
        assert kstest(found, expected).pvalue > 0.001


def _of_classes(mean, covariance, means, within, weights, scales) -> list[np.ndarray]:
    """Numbers of each draw that tell how classes are made and what they add up to."""
    off = means - mean[:, None, :]
    apart = means[:, 0] - means[:, 1]
    return [
        mean[:, 0],
        covariance[:, 1, 1],
        covariance[:, 0, 3],
        within[:, 2, 2],
        within[:, 1, 3],
        means[:, 0, 3],
        weights[:, 0],
        np.log(scales[:, 1]),
        apart[:, 0],
        apart[:, 0] * apart[:, 3],
        # distance between classes in units of what is within one
        np.einsum("sk,sk->s", apart, np.linalg.solve(within, apart[:, :, None])[:, :, 0]),
        off[:, 2, 1] * covariance[:, 1, 1],
    ]


def test_prior_classes_add_up_to_mean_and_covariance(rng: np.random.Generator) -> None:
    posterior = prior_population(SKILLS, Priors(tails="class").resolve(4, 100), 20, rng)
    means, within, weights, scales = posterior.classes
    for draw in range(20):
        second = np.zeros((4, 4))
        for weight, mean, scale in zip(weights[draw], means[draw], scales[draw], strict=True):
            second += weight * (scale**2 * within[draw] + np.outer(mean, mean))
        mean = posterior.mean[draw]
        np.testing.assert_allclose(mean, np.average(means[draw], axis=0, weights=weights[draw]))
        np.testing.assert_allclose(posterior.covariance[draw] + np.outer(mean, mean), second)


def test_the_prior_of_groups_and_covariates(rng: np.random.Generator) -> None:
    design = Design(("age",), np.zeros(1), np.ones(1), ("x", "y"))
    priors = Priors(covariate_sd=0.3, group_sd=0.8).resolve(4, 100)
    effects = prior_population(SKILLS, priors, 4000, rng, design).effects
    assert effects.shape == (4000, 3, 2)
    np.testing.assert_allclose(effects[:, 0].std(), 0.3, rtol=0.05)
    # the sd of a group's effect is |N(0, .8)|
    np.testing.assert_allclose(effects[:, 1:].std(), 0.8, rtol=0.08)


@pytest.mark.parametrize("tails", ["normal", "agent"])
def test_replicates_have_the_population_s_law(tails: str, rng: np.random.Generator) -> None:
    posterior = fake_population(tails=tails, chains=1, draws=1).posterior
    shape = (20_000, 6)
    values = np.zeros(shape)
    values[:10, 2] = np.nan
    evidence = Evidence(tuple(map(str, range(20_000))), values, np.full(shape, 0.04), values)
    table = replicate(posterior, evidence, rng)[0]
    np.testing.assert_array_equal(np.isnan(table), np.isnan(values))
    table = table[10:]
    expected = posterior.covariance[0] + 0.04 * np.eye(6)
    if tails == "agent":
        nu = posterior.nu[0]
        expected = expected * nu / (nu - 2.0)
    np.testing.assert_allclose(table.mean(axis=0), posterior.mean[0], atol=0.03)
    np.testing.assert_allclose(np.cov(table.T), expected, atol=0.12)


def test_replicates_of_classes_have_their_law(rng: np.random.Generator) -> None:
    posterior = with_classes(fake_population(chains=1, draws=1)).posterior
    shape = (20_000, 6)
    values = np.zeros(shape)
    evidence = Evidence(tuple(map(str, range(20_000))), values, np.full(shape, 0.04), values)
    table = replicate(posterior, evidence, rng)[0]
    means, within, weights, scales = (part[0] for part in posterior.classes)
    within = within + 0.04 * np.eye(6)  # errors are widened with the rest of the row
    direction = np.array([0.5, -1.0, 0.3, 0.0, 1.0, 0.2])
    for onto in (*np.eye(6)[:3], np.ones(6), direction):
        centre, sd = means @ onto, scales * np.sqrt(onto @ within @ onto)

        def below(value, centre=centre, sd=sd):
            return norm.cdf(value[:, None], centre, sd) @ weights

        assert kstest(table @ onto, below).pvalue > 0.001


def test_every_draw_s_table_has_that_draw_s_classes(rng: np.random.Generator) -> None:
    posterior = with_classes(fake_population(chains=1, draws=3)).posterior
    shape = (20_000, 6)
    values = np.zeros(shape)
    evidence = Evidence(tuple(map(str, range(20_000))), values, np.full(shape, 1e-6), values)
    tables = replicate(posterior, evidence, rng)
    for draw, table in enumerate(tables):
        np.testing.assert_allclose(table.mean(axis=0), posterior.mean[draw], atol=0.08)
        np.testing.assert_allclose(np.cov(table.T), posterior.covariance[draw], atol=0.25)


def test_replicates_of_classes_move_with_groups_just_as_far() -> None:
    scores = simulate_history(40, 4, bounded=False, random_seed=1).scores
    history = History.from_dataframe(scores, groups=["x", "y"] * 20, scale="unbounded")
    posterior = with_classes(fake_population(history, chains=1, draws=2)).posterior
    evidence = evidence_of_history(history)
    still = replace(evidence, design=np.zeros_like(evidence.design))
    moved, unmoved = (
        replicate(posterior, one, np.random.default_rng(1)) for one in (evidence, still)
    )
    pull = np.einsum("skr,sgr->sgk", posterior.loadings, posterior.effects)
    np.testing.assert_allclose((moved - unmoved)[:, :2], pull)


def test_replicates_move_with_groups(rng: np.random.Generator) -> None:
    scores = simulate_history(40, 4, bounded=False, random_seed=1).scores
    history = History.from_dataframe(scores, groups=["x", "y"] * 20)
    posterior = fake_population(history, chains=1, draws=2).posterior
    evidence = evidence_of_history(history)
    many = np.concatenate([replicate(posterior, evidence, rng)[:1] for _ in range(400)])
    found = many[:, 0::2].mean(axis=(0, 1)) - many[:, 1::2].mean(axis=(0, 1))
    expected = posterior.loadings[0] @ (posterior.effects[0, 0] - posterior.effects[0, 1])
    np.testing.assert_allclose(found, expected, atol=0.06)


def test_replicates_with_a_scale_per_cell(rng: np.random.Generator) -> None:
    posterior = fake_population(tails="cell", chains=1, draws=1).posterior
    shape = (20_000, 6)
    zero = np.zeros(shape)
    evidence = Evidence(tuple(map(str, range(20_000))), zero, np.full(shape, 1e-6), zero)
    table = replicate(posterior, evidence, rng)[0]
    nu, noise = posterior.nu[0], posterior.agent_noise_sd[0]
    own = posterior.own_sd[0] ** 2 * np.exp(2.0 * noise**2) * nu / (nu - 2.0)
    expected = posterior.loadings[0] @ posterior.loadings[0].T + np.diag(own)
    np.testing.assert_allclose(np.cov(table.T), expected, atol=0.15)


def test_mean_correlation_of_a_complete_table(rng: np.random.Generator) -> None:
    table = rng.standard_normal((30, 4)) @ rng.standard_normal((4, 4))
    expected = np.corrcoef(table.T)[np.triu_indices(4, 1)].mean()
    # the package divides by n where numpy divides by n - 1
    assert mean_correlation(table[None])[0] == pytest.approx(expected * 29 / 30)
    assert np.isnan(mean_correlation(table[None, :3])[0])


def _flagged(table: pd.DataFrame) -> set:
    off = table[table["p"] < 0.01]
    return set(zip(off["statistic"], off["skill"], strict=True))


def test_a_history_like_the_model_is_not_flagged(rng: np.random.Generator) -> None:
    population = fake_population(
        simulate_history(60, 4, missing=0.2, bounded=False, random_seed=4).scores,
        chains=2,
        draws=300,
    )
    history = population.history
    found = posterior_predictive(
        population.posterior, history, evidence_of_history(history), n_replicates=600, rng=rng
    )
    assert "sd" in set(found["statistic"])
    assert (found["lower"] <= found["upper"]).all()
    assert not any(name in ("sd", "skewness") for name, _ in _flagged(found))


def test_a_statistic_is_unusual_on_either_side() -> None:
    replicated = np.arange(99.0)
    for observed in (-1.0, 99.0):
        found = _compared(observed, replicated)
        assert found is not None
        assert found["p"] == pytest.approx(2.0 / 100.0)
    middle = _compared(49.0, replicated)
    assert middle is not None
    assert middle["p"] == 1.0


def test_a_skewed_column_is_flagged_by_name(rng: np.random.Generator) -> None:
    scores = simulate_history(60, 4, bounded=False, random_seed=4).scores
    scores["skill_2"] = np.exp(2.0 * scores["skill_2"])
    population = fake_population(
        History.from_dataframe(scores, scale="unbounded"), chains=2, draws=300
    )
    found = posterior_predictive(
        population.posterior,
        population.history,
        evidence_of_history(population.history),
        n_replicates=600,
        rng=rng,
    )
    assert ("skewness", "skill_2") in _flagged(found)
    assert not {skill for _, skill in _flagged(found)} - {"skill_2", ""}


def test_scores_at_a_bound_are_counted_in_items(rng: np.random.Generator) -> None:
    scores = simulate_history(40, 3, random_seed=4).scores.round(1)
    scores.iloc[:15, 0] = 1.0
    history = History.from_dataframe(scores, n_items=10)
    population = fake_population(history, chains=2, draws=100)
    found = posterior_predictive(
        population.posterior, history, evidence_of_history(history), n_replicates=200, rng=rng
    ).set_index(["statistic", "skill"])
    row = found.loc[("share at the upper bound", "skill_0")]
    assert row["observed"] == pytest.approx((scores["skill_0"] == 1.0).mean())
    assert row["upper"] > 0.0


def test_prior_predictive_tells_a_prior_that_is_far_off(rng: np.random.Generator) -> None:
    history = fake_population().history
    evidence = evidence_of_history(history)
    fine = prior_predictive(Priors().resolve(6, 240), history, evidence, n_replicates=400, rng=rng)
    assert not _flagged(fine)
    wide = Priors(own_log_mean=1.5, own_log_sd=0.1).resolve(6, 240)
    off = prior_predictive(wide, history, evidence, n_replicates=400, rng=rng)
    assert ("mean sd", "") in _flagged(off)


def test_few_scores_say_less_but_fail_nothing(rng: np.random.Generator) -> None:
    scores = pd.DataFrame({"a": [1.0, 2.0, 4.0, np.nan], "b": [np.nan, np.nan, 1.0, 2.0]})
    population = fake_population(History.from_dataframe(scores, scale="unbounded"))
    found = posterior_predictive(
        population.posterior,
        population.history,
        evidence_of_history(population.history),
        n_replicates=100,
        rng=rng,
    )
    assert "skewness" not in set(found["statistic"])
    assert "mean correlation" not in set(found["statistic"])


def test_spread_draws_keeps_every_chain() -> None:
    posterior = fake_population(chains=3, draws=100).posterior
    assert spread_draws(posterior, 1000) is posterior
    kept = spread_draws(posterior, 60)
    assert (kept.n_chains, kept.n_draws) == (3, 20)


def test_the_farthest_score_is_far_in_its_own_skills_units(rng: np.random.Generator) -> None:
    """The working scale sets a history's means and spreads, but not a simulated table's."""
    table = rng.standard_normal((1, 50, 4))
    table[0, 7, 2] = 6.0
    table[0, 20:, 3] = np.nan
    moved = table * np.array([0.2, 3.0, 1.0, 9.0]) + np.array([5.0, -4.0, 0.0, 1.0])
    found = overall_statistics(np.concatenate([table, moved]))["farthest score"]
    column = table[0, :, 2]
    assert found[0] == pytest.approx((6.0 - column.mean()) / column.std(ddof=1))
    assert found[1] == pytest.approx(found[0])


def test_scores_that_round_to_a_bound_are_at_it_wherever_guessing_scores() -> None:
    """Items are counted from nothing right, whatever the link's lower end is."""
    scores = pd.DataFrame({"a": [0.25, 0.5, 1.0], "b": [0.4, 0.5, 0.6]}, index=list("xyz"))
    for chance, lower in ((None, 0.0), (0.25, 0.25)):
        scale = Scale.bounded(0.0, 1.0, chance=chance)
        history = History.from_dataframe(scores, scale=scale, n_items=40)
        for level, at_lower, at_upper in (
            (lower + 0.0115, 1.0, 0.0),
            (lower + 0.0135, 0.0, 0.0),
            (0.9865, 0.0, 0.0),
            (0.9885, 0.0, 1.0),
        ):
            tables = history.scales.to_working(np.full((1, 3, 2), level))
            low, high = _at_bounds(tables, history)
            assert (low == at_lower).all(), (chance, level)
            assert (high == at_upper).all(), (chance, level)
