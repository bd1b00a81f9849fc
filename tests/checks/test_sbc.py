"""Simulation-based calibration: what it should accept, and what it has to notice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from made_classes import class_draws, posterior_of
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal, multivariate_t

from skillinfer_bayes import Priors, SamplerSettings
from skillinfer_bayes.checks.row_density import class_row_log_density, row_log_density
from skillinfer_bayes.checks.sbc import (
    AGENTS,
    predict,
    rank_agent,
    rank_truth,
    sbc,
    simulate_agents,
)
from skillinfer_bayes.checks.sbc_result import SBCResult
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.profiles import rows as profile_rows
from skillinfer_bayes.profiles.conditioning import Conditional, condition
from skillinfer_bayes.profiles.latent_classes import Drawn, draw_class

SKILLS = [f"skill_{position}" for position in range(4)]
HOW = ("draws", "closed form")
N_RANKS = 100


def population(mean: np.ndarray, covariance: np.ndarray, nu: float, draws: int = 1) -> Posterior:
    """A population that is known: every draw is the same."""
    variables = {
        "mu": (("chain", "draw", "skill"), np.broadcast_to(mean, (1, draws, 4))),
        "covariance": (
            ("chain", "draw", "skill", "skill_bis"),
            np.broadcast_to(covariance, (1, draws, 4, 4)),
        ),
    }
    if np.isfinite(nu):
        variables["nu"] = (("chain", "draw"), np.full((1, draws), nu))
    names = {"skill": SKILLS, "skill_bis": SKILLS}
    dataset = xr.Dataset(
        {name: (dims, np.array(values)) for name, (dims, values) in variables.items()},
        coords={"chain": [0], "draw": np.arange(draws), **names},
    )
    return Posterior(xr.DataTree.from_dict({"posterior": dataset}))


def random_moments(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    loadings = rng.normal(0.5, 0.5, (4, 2))
    return rng.normal(0.0, 0.5, 4), loadings @ loadings.T + np.diag(rng.uniform(0.1, 0.6, 4))


def known_classes(random_seed: int) -> tuple[Posterior, Posterior]:
    """A population of latent classes, once and in N_RANKS draws that are the same."""
    one = class_draws(SKILLS, shape=(1, 1), random_seed=random_seed)
    many = one.isel(draw=[0] * N_RANKS).assign_coords(draw=np.arange(N_RANKS))
    return posterior_of(one), posterior_of(many)


def ranks_given_the_population(
    nu: float | None, error_sd: float = 0.3, n: int = 300, *, directed: bool = True
) -> SBCResult:
    """Ranks of a new agent's latent skills where only its conditioning is in doubt.

    Without `nu` the agent comes from latent classes.
    """
    rng = np.random.default_rng(8)
    ranks = []
    for number in range(n):
        if nu is None:
            truth, known = known_classes(number)
        else:
            mean, covariance = random_moments(rng)
            truth = population(mean, covariance, nu)
            known = population(mean, covariance, nu, draws=N_RANKS)
        latent, values = simulate_agents(truth, 1, error_sd, rng)
        scores = np.where(np.arange(4) < 2, values[0], np.nan)
        profile = predict(known, scores, error_sd)
        found = rank_agent(profile, scores, latent[0], N_RANKS)
        if not directed:
            draws = profile.draws(kind="skill").values.reshape(-1, 4)
            found = np.tile(rank_truth(latent[0], draws, N_RANKS), 3)[:9]
        ranks.append(found)
    return SBCResult(
        ranks=xr.DataArray(
            np.array(ranks),
            dims=("simulation", "quantity"),
            coords={
                "quantity": [*(f"{name}, {how}" for how in HOW for name in SKILLS), "distance"],
                "kind": ("quantity", ["draws"] * 4 + ["closed form"] * 4 + ["draws"]),
            },
        ),
        n_ranks=N_RANKS,
        divergences=np.zeros(n, dtype=np.int64),
        seconds=0.0,
        random_seed=0,
    )


def no_error(covariance, observed, error_var) -> Conditional:
    return condition(covariance, observed, 0.0 * error_var)


def half_gain(covariance, observed, error_var) -> Conditional:
    given = condition(covariance, observed, error_var)
    return given._replace(gain=0.5 * given.gain)


def transposed_gain(covariance, observed, error_var) -> Conditional:
    given = condition(covariance, observed, error_var)
    return given._replace(gain=given.gain[:, ::-1])


def half_covariance(covariance, observed, error_var) -> Conditional:
    return condition(0.5 * covariance, observed, error_var)


def half_variance(covariance, observed, error_var) -> Conditional:
    given = condition(covariance, observed, error_var)
    return given._replace(variance=0.5 * given.variance)


WRONG_BOTH = [no_error, half_gain, transposed_gain]
BROKEN = [*WRONG_BOTH, half_covariance, half_variance]


@pytest.mark.parametrize("nu", [np.inf, 4.0, None], ids=["normal", "student", "classes"])
def test_conditioning_on_a_known_population_is_exact(nu) -> None:
    result = ranks_given_the_population(nu)
    assert result.uniform, result
    assert result.tests["spread"].between(0.8, 1.2).all()


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_conditioning_is_noticed(monkeypatch, broken) -> None:
    monkeypatch.setattr(profile_rows, "condition", broken)
    result = ranks_given_the_population(np.inf)
    assert not result.uniform, result
    least = result.summary()["least_p_adjusted"]
    assert least["closed form"] < 0.01
    # draws do not use the variance
    assert (least["draws"] < 0.01) == (broken is not half_variance)


def test_ignoring_heavy_tails_is_noticed(monkeypatch) -> None:
    monkeypatch.setattr(profile_rows.RowConditioner, "heavy", False)
    assert not ranks_given_the_population(3.0).uniform


def class_by_weight(classes, terms, levels) -> Drawn:
    weights = np.broadcast_to(np.log(classes.weights)[:, None, :], terms.shape)
    return draw_class(classes, weights, levels)


def class_without_scale(classes, terms, levels) -> Drawn:
    drawn = draw_class(classes, terms, levels)
    return drawn._replace(scale=np.ones_like(drawn.scale))


def class_without_mean(classes, terms, levels) -> Drawn:
    drawn = draw_class(classes, terms, levels)
    return drawn._replace(mean=np.broadcast_to(classes.means[:, :1].mean(0), drawn.mean.shape))


@pytest.mark.parametrize("broken", [class_by_weight, class_without_scale, class_without_mean])
def test_a_wrong_class_is_noticed(monkeypatch, broken) -> None:
    monkeypatch.setattr(profile_rows, "draw_class", broken)
    assert not ranks_given_the_population(None).uniform


def test_ranks_without_a_direction_notice_no_wrong_gain(monkeypatch) -> None:
    # why `rank_agent` looks at the scores: draw and truth miss in the same way
    monkeypatch.setattr(profile_rows, "condition", half_gain)
    result = ranks_given_the_population(np.inf, directed=False)
    assert result.summary().loc["draws", "least_p"] > 0.01


@pytest.mark.parametrize("nu", [np.inf, 5.0])
def test_simulated_agents_have_the_populations_moments(nu) -> None:
    rng = np.random.default_rng(3)
    mean, covariance = random_moments(rng)
    latent, values = simulate_agents(population(mean, covariance, nu), 200_000, 0.4, rng)
    widening = 1.0 if np.isinf(nu) else nu / (nu - 2.0)
    assert latent.mean(axis=0) == pytest.approx(mean, abs=0.02)
    assert np.cov(latent.T) == pytest.approx(widening * covariance, abs=0.06)
    assert (values - latent).std(axis=0) ** 2 == pytest.approx(np.full(4, 0.16 * widening), rel=0.1)


def test_simulated_agents_of_classes_have_the_moments_of_all_of_them() -> None:
    truth, _ = known_classes(4)
    classes = truth.classes
    latent, values = simulate_agents(truth, 400_000, 0.7, np.random.default_rng(6))
    assert latent.mean(axis=0) == pytest.approx(truth.mean[0], abs=0.02)
    assert np.cov(latent.T) == pytest.approx(truth.covariance[0], abs=0.05)
    error = values - latent
    wide = classes.weights[0] @ classes.scales[0] ** 2
    assert (error**2).mean(axis=0) == pytest.approx(np.full(4, 0.49 * wide), rel=0.02)
    # errors are wide where their class is, so their squares have a heavier tail than that
    wider = classes.weights[0] @ classes.scales[0] ** 4
    assert (error**4).mean(axis=0) == pytest.approx(np.full(4, 3 * 0.49**2 * wider), rel=0.05)
    assert wider > 1.2 * wide**2
    # an agent's latent skills are of the class that its errors are of
    squares = (error**2).sum(axis=1)
    far = latent[squares > np.quantile(squares, 0.999)]
    widest = classes.scales[0].argmax()
    assert far.mean(axis=0) == pytest.approx(classes.means[0, widest], abs=0.4)


def test_row_density_of_classes_is_scipys() -> None:
    rng = np.random.default_rng(4)
    classes = posterior_of(class_draws(SKILLS, shape=(1, 2), random_seed=2)).classes
    values = rng.normal(size=(5, 4))
    values[0, 1:] = values[1, :2] = values[2, 3] = values[3] = np.nan
    error_var = rng.uniform(0.01, 0.5, values.shape)
    found = class_row_log_density(*classes, values, error_var)
    for draw in range(2):
        for row in (0, 1, 2, 4):
            seen = ~np.isnan(values[row])
            system = classes.covariance[draw][np.ix_(seen, seen)] + np.diag(error_var[row, seen])
            terms = [
                np.log(weight)
                + multivariate_normal.logpdf(values[row, seen], centre[seen], scale**2 * system)
                for weight, scale, centre in zip(
                    classes.weights[draw], classes.scales[draw], classes.means[draw], strict=True
                )
            ]
            assert found[draw, row] == pytest.approx(logsumexp(terms))
    assert (found[:, 3] == 0.0).all()


@pytest.mark.parametrize("nu", [np.inf, 3.5])
def test_row_density_is_scipys(nu) -> None:
    rng = np.random.default_rng(4)
    mean, covariance = random_moments(rng)
    values = rng.normal(size=(5, 4))
    values[0, 1:] = values[1, :2] = values[2, 3] = values[3] = np.nan
    error_var = rng.uniform(0.01, 0.2, values.shape)
    found = row_log_density(
        np.stack([mean, mean + 1.0]),
        np.stack([covariance, 2.0 * covariance]),
        np.full(2, nu),
        values,
        error_var,
    )
    for draw, (centre, shape) in enumerate(((mean, covariance), (mean + 1.0, 2.0 * covariance))):
        for row in (0, 1, 2, 4):
            seen = ~np.isnan(values[row])
            system = shape[np.ix_(seen, seen)] + np.diag(error_var[row, seen])
            density = multivariate_normal(centre[seen], system)
            if np.isfinite(nu):
                density = multivariate_t(centre[seen], system, df=nu)
            assert found[draw, row] == pytest.approx(density.logpdf(values[row, seen]))
    assert (found[:, 3] == 0.0).all()


def test_ranks_count_the_draws_below() -> None:
    draws = np.arange(1000.0)[:, None]
    assert rank_truth(np.array([-1.0]), draws, 100).tolist() == [0]
    assert rank_truth(np.array([499.5]), draws, 100).tolist() == [50]
    assert rank_truth(np.array([1e9]), draws, 100).tolist() == [100]


def result_of(ranks: np.ndarray) -> SBCResult:
    return SBCResult(
        ranks=xr.DataArray(
            ranks,
            dims=("simulation", "quantity"),
            coords={
                "quantity": [f"q{i}" for i in range(ranks.shape[1])],
                "kind": ("quantity", ["one, way"] + ["other"] * (ranks.shape[1] - 1)),
            },
        ),
        n_ranks=N_RANKS,
        divergences=np.array([0, 2]),
        seconds=1.0,
        random_seed=0,
    )


def even_ranks(seed: int, shape: tuple[int, int] = (300, 12)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, N_RANKS + 1, shape)


def test_false_alarms_are_as_rare_as_claimed() -> None:
    results = [result_of(even_ranks(seed)) for seed in range(300)]
    assert np.mean([not result.uniform for result in results]) < 0.03
    outside = np.mean([~result.tests["inside"] for result in results[:60]])
    assert outside == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize(
    "bend",
    [
        pytest.param(lambda u: u**1.4, id="too high"),
        pytest.param(lambda u: 0.5 + 0.7 * (u - 0.5), id="too wide"),
        pytest.param(lambda u: np.where(u < 0.06, 0.0, u), id="a lump at an end"),
    ],
)
def test_uneven_ranks_are_noticed(bend: Callable[[np.ndarray], np.ndarray]) -> None:
    ranks = even_ranks(1)
    ranks[:, 3] = np.floor(bend(np.random.default_rng(2).random(300)) * (N_RANKS + 1))
    result = result_of(ranks)
    assert not result.uniform
    assert result.tests["p_adjusted"].idxmin() == "q3"
    assert result.tests.index[~result.tests["inside"]].tolist().count("q3") == 1
    assert result.summary().loc["other", "outside"] >= 1
    assert "NOT uniform" in str(result)
    assert "(q3)" in str(result)


def test_bias_and_spread_say_how() -> None:
    ranks = even_ranks(5, (300, 4))
    ranks[:, 1] //= 2
    ranks[:, 2] = np.where(ranks[:, 2] < 50, ranks[:, 2] // 4, 100 - (100 - ranks[:, 2]) // 4)
    ranks[:, 3] = 25 + ranks[:, 3] // 2
    tests = result_of(ranks).tests
    assert tests["bias"].to_numpy() == pytest.approx([0.0, -0.25, 0.0, 0.0], abs=0.07)
    assert tests.loc["q0", "spread"] == pytest.approx(1.0, abs=0.2)
    assert tests.loc["q2", "spread"] > 1.8
    assert tests.loc["q3", "spread"] == pytest.approx(0.25, abs=0.06)


def test_pit_is_uniform_and_reproducible() -> None:
    result = result_of(even_ranks(6, (5000, 2)))
    assert kstest(result.pit.values[0], "uniform").pvalue > 0.01
    assert result.pit.min() >= 0.0
    assert result.pit.max() < 1.0
    steps = np.floor(result.pit * (N_RANKS + 1)).transpose("simulation", "quantity")
    assert (steps == result.ranks).all()
    xr.testing.assert_equal(result.pit, result_of(even_ranks(6, (5000, 2))).pit)


def test_the_band_widens_with_its_mass_and_closes_at_the_ends() -> None:
    result = result_of(even_ranks(7))
    band, wider = result.ecdf(0.8), result.ecdf(0.99)
    assert dict(band.sizes) == {"quantity": 12, "x": 301}
    assert (wider["upper"] >= band["upper"]).all()
    assert (wider["lower"] <= band["lower"]).all()
    assert wider["upper"].max() > band["upper"].max()
    assert (band["difference"].isel(x=[0, -1]) == 0.0).all()
    at = float(band["x"][90])
    share = (result.pit.sel(quantity="q2") <= at).mean()
    assert float(band["difference"].sel(quantity="q2")[90]) == pytest.approx(float(share) - at)
    with pytest.raises(ConfigError, match=r"`ci_prob` must be between 0 and 1, got 95"):
        result.ecdf(95)


def test_a_band_that_is_shared_cannot_be_changed() -> None:
    band = result_of(even_ranks(7)).ecdf(0.8)
    for name in ("lower", "upper"):
        with pytest.raises(ValueError, match="read-only"):
            band[name].values[:] = 1.0


def test_arviz_gets_the_group_that_it_reads() -> None:
    result = result_of(even_ranks(9))
    group = result.to_datatree()["prior_sbc"].to_dataset()
    assert {name: group[name].dims for name in group.data_vars} == {
        "one_way": ("chain", "draw", "one_way_quantity"),
        "other": ("chain", "draw", "other_quantity"),
    }
    np.testing.assert_array_equal(group["other"].values[0].T, result.pit.values[1:])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_agents": 2}, "`n_agents` must be a whole number of at least 3, got 2"),
        ({"n_skills": 1}, "`n_skills` must be a whole number of at least 2, got 1"),
        ({"n_observed": 0}, "`n_observed` must be a whole number of at least 1, got 0"),
        ({"n_observed": 4}, "`n_observed` must be below `n_skills`, 4, got 4"),
        ({"n_simulations": True}, "`n_simulations` must be a whole number of at least 10"),
        ({"n_ranks": 700}, "`n_ranks` must be at most the 600 draws of a fit, got 700"),
        ({"missing": 1.0}, "`missing` must be a share between 0 and 1, got 1.0"),
        ({"error_sd": 0.0}, "`error_sd` must be a finite number above 0, got 0.0"),
        ({"error_sd": "small"}, "`error_sd` must be a finite number above 0, got 'small'"),
        ({"priors": {"tails": "cell"}}, "`priors` must have tails 'normal', 'agent' or 'class'"),
        ({"random_seed": -1}, "`random_seed` must be a whole number of at least 0, got -1"),
        ({"random_seed": 1.5}, "`random_seed` must be a whole number of at least 0, got 1.5"),
        ({"random_seed": None}, "`random_seed` must be a whole number of at least 0, got None"),
        ({"priors": {"etta": 1.0}}, "unknown key 'etta'"),
        ({"settings": {"drews": 1}}, "unknown key 'drews'"),
    ],
)
def test_bad_options(changed, message) -> None:
    with pytest.raises(ConfigError, match=message):
        sbc(progressbar=False, **changed)


FEW = {
    "n_agents": 12,
    "n_skills": 3,
    "missing": 0.2,
    "error_sd": 0.3,
    "n_simulations": 12,
    "n_ranks": 50,
    "settings": {"draws": 150, "tune": 200, "chains": 1, "cores": 1},
    "priors": {"covariance": "factor", "rank": 1, "tails": "normal"},
    "progressbar": False,
}


def test_a_few_simulations_from_end_to_end() -> None:
    result = sbc(random_seed=4, **FEW)
    again = sbc(random_seed=4, **FEW)
    xr.testing.assert_identical(result.ranks, again.ranks)
    other = sbc(random_seed=5, **FEW)
    assert not (result.ranks == other.ranks).all()
    assert dict(result.ranks.sizes) == {"simulation": 12, "quantity": 3 + 3 + 3 + 1 + 21}
    assert result.ranks.min() >= 0
    assert result.ranks.max() <= 50
    kinds = result.summary()
    assert kinds["quantities"].to_dict() == {
        "mean": 3,
        "log sd": 3,
        "correlation": 3,
        "log likelihood": 1,
        **{f"{agent}, draws": 4 for agent in AGENTS},
        **{f"{agent}, closed form": 3 for agent in AGENTS},
    }
    assert result.uniform, result
    assert len(result.divergences) == 12
    # truths of different simulations differ, and so do their ranks
    assert (result.ranks.std("simulation") > 5).all()


def test_a_few_simulations_of_classes_from_end_to_end() -> None:
    classes = {"covariance": "factor", "rank": 1, "tails": "class", "n_classes": 3}
    result = sbc(random_seed=4, **{**FEW, "priors": classes})
    assert result.summary()["quantities"].to_dict() == {
        "mean": 3,
        "log sd": 3,
        "correlation": 3,
        "log likelihood": 1,
        **{f"{agent}, draws": 4 for agent in AGENTS},
        **{f"{agent}, closed form": 3 for agent in AGENTS},
    }
    assert result.uniform, result
    assert (result.ranks.std("simulation") > 5).all()


SETTINGS = {
    "K = 4, N = 15": {"n_agents": 15, "n_skills": 4, "n_observed": 2},
    "K = 8, N = 30, 30 % missing": {
        "n_agents": 30,
        "n_skills": 8,
        "n_observed": 3,
        "missing": 0.3,
        "error_sd": 0.3,
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "priors",
    [Priors(tails="normal"), Priors(tails="agent"), Priors(covariance="factor_iw")],
    ids=["normal", "agent", "inverse Wishart"],
)
@pytest.mark.parametrize("setting", SETTINGS)
def test_ranks_are_uniform(setting, priors) -> None:
    result = sbc(
        **SETTINGS[setting],
        priors=priors,
        n_simulations=300,
        random_seed=1,
        progressbar=False,
    )
    print(f"\n{setting}, {priors.covariance}, {priors.tails}: {result}")  # noqa: T201  # asked for with -s
    print(result.summary().round(3).to_string())  # noqa: T201
    assert result.uniform, result
    assert result.divergences.sum() <= 3
    # one quantity in twenty leaves its band by chance
    assert (~result.tests["inside"]).mean() < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [4, 12])
def test_ranks_are_uniform_with_latent_classes(n_classes) -> None:
    result = sbc(
        **SETTINGS["K = 4, N = 15"],
        priors=Priors(tails="class", n_classes=n_classes),
        n_simulations=300,
        random_seed=1,
        progressbar=False,
    )
    print(f"\nK = 4, N = 15, {n_classes} classes: {result}")  # noqa: T201  # asked for with -s
    print(result.summary().round(3).to_string())  # noqa: T201
    assert result.uniform, result
    assert (result.divergences > 0).mean() < 0.05
    assert (~result.tests["inside"]).mean() < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_conditioning_is_noticed_among_whole_fits(monkeypatch, broken) -> None:
    monkeypatch.setattr(profile_rows, "condition", broken)
    result = sbc(
        15,
        4,
        error_sd=0.3,
        n_simulations=150,
        priors=Priors(tails="normal"),
        settings=SamplerSettings(chains=1, cores=1, tune=300, draws=300),
        random_seed=2,
        progressbar=False,
    )
    assert not result.uniform, result
    uneven = result.tests.index[result.tests["p_adjusted"] < 0.01]
    assert all("agent" in name for name in uneven), result.summary()
