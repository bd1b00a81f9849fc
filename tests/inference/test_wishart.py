"""Structure "factor_iw": its density against scipy's matrix t, its draws against moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
import xarray as xr
from numpy.typing import NDArray
from pytensor.compile.mode import Mode
from scipy.integrate import quad
from scipy.optimize import approx_fprime
from scipy.stats import matrix_t, norm

from skillinfer_bayes import History, Population, Priors, SamplerSettings
from skillinfer_bayes.inference.likelihood_wishart import wishart_rows, wishart_rows_op
from skillinfer_bayes.inference.model import build_model
from skillinfer_bayes.inference.rows import rows_of
from skillinfer_bayes.inference.sampling import sample_posterior
from skillinfer_bayes.inference.wishart import (
    CONJUGATE,
    draw_mean_and_covariance,
    with_populations,
)
from skillinfer_bayes.testing import simulate_history

N_SKILLS, MEAN_SD = 4, 1.5
PRIORS = Priors(covariance="factor_iw", rank=2)
TINY = SamplerSettings(draws=50, tune=50, chains=2, cores=1, target_accept=0.8, random_seed=5)
PLAIN = Mode("py", "fast_compile")

type FloatArray = NDArray[np.float64]


class Point(NamedTuple):
    loadings: FloatArray
    own_sd: FloatArray
    centre_agents: FloatArray
    scatter: FloatArray

    def centre(self) -> FloatArray:
        return self.loadings @ self.loadings.T + np.diag(self.own_sd**2)


def scatter_of(rows: FloatArray) -> FloatArray:
    """What is left of the products when the mean, given little, is taken out."""
    total = rows.sum(axis=0)
    return rows.T @ rows - np.outer(total, total) / (len(rows) + MEAN_SD**-2)


def somewhere(rng: np.random.Generator, rows: FloatArray, rank: int = 2) -> Point:
    return Point(
        rng.standard_normal((N_SKILLS, rank)),
        rng.uniform(0.4, 1.5, N_SKILLS),
        np.array(6.3),
        scatter_of(rows),
    )


def matrix_t_log_density(
    rows: FloatArray, centre: FloatArray, agents: float, mean: FloatArray | float = 0.0
) -> float:
    among_rows = np.eye(len(rows)) + MEAN_SD**2
    mean = np.broadcast_to(mean, rows.shape)
    # scipy's degrees of freedom are those of the Wishart less k - 1
    return float(matrix_t.logpdf(rows, mean, among_rows, agents * centre, agents + 2.0))


@pytest.mark.parametrize("rank", [1, 3, N_SKILLS + 1])
@pytest.mark.parametrize("n_agents", [1, 3, 40])
def test_the_density_is_a_matrix_t(rng, rank, n_agents) -> None:
    rows = rng.standard_normal((n_agents, N_SKILLS))
    point = somewhere(rng, rows, rank)
    logp, *_ = wishart_rows(*point, np.array(float(n_agents)))
    logp = float(logp) - 0.5 * N_SKILLS * np.log(1.0 + n_agents * MEAN_SD**2)
    expected = matrix_t_log_density(rows, point.centre(), float(point.centre_agents))
    assert logp == pytest.approx(expected, abs=1e-8)


def test_without_rows_nothing_is_said(rng) -> None:
    point = somewhere(rng, np.zeros((0, N_SKILLS)))
    logp, *gradient = wishart_rows(*point, np.array(0.0))
    assert float(logp) == pytest.approx(0.0, abs=1e-9)
    for part in gradient[:-1]:
        np.testing.assert_allclose(part, 0.0, atol=1e-9)


def test_the_gradient_is_that_of_the_density(rng) -> None:
    n_agents = np.array(9.0)
    point = somewhere(rng, rng.standard_normal((9, N_SKILLS)))
    _, *gradient = wishart_rows(*point, n_agents)
    for number, (name, at) in enumerate(point._asdict().items()):

        def density(flat: FloatArray, name: str = name, shape: tuple[int, ...] = at.shape) -> float:
            moved = flat.reshape(shape)
            if name == "scatter":  # stays symmetric
                moved = 0.5 * (moved + moved.T)
            return float(wishart_rows(*point._replace(**{name: moved}), n_agents)[0])

        expected = approx_fprime(at.ravel(), density, 1e-7).reshape(at.shape)
        np.testing.assert_allclose(gradient[number], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("agents", [np.inf, np.nan])
def test_a_point_that_is_no_density_is_rejected(rng, agents) -> None:
    point = somewhere(rng, rng.standard_normal((5, N_SKILLS)))
    logp, *gradient = wishart_rows(*point._replace(centre_agents=np.array(agents)), np.array(5.0))
    assert logp == -np.inf
    assert all(np.isfinite(part).all() for part in gradient)


def test_a_covariance_that_is_none_is_rejected(rng) -> None:
    point = somewhere(rng, np.zeros((0, N_SKILLS)))
    logp, *_ = wishart_rows(*point._replace(scatter=-100.0 * np.eye(N_SKILLS)), np.array(5.0))
    assert logp == -np.inf


def test_pytensor_differentiates_the_op(rng) -> None:
    point = somewhere(rng, rng.standard_normal((5, N_SKILLS)))
    inputs = [pt.constant(at).type() for at in point]
    density = wishart_rows_op(*inputs, 5.0)[0]
    function = pytensor.function(inputs, pytensor.grad(density, inputs), mode=PLAIN)
    _, *expected = wishart_rows(*point, np.array(5.0))
    for found, wanted in zip(function(*point), expected, strict=True):
        np.testing.assert_allclose(found, wanted)


def function_of(model: pm.Model, *names: str) -> Callable[[dict[str, FloatArray]], list[Any]]:
    with pytensor.config.change_flags(cxx=""):
        outputs = model.replace_rvs_by_values([model[name] for name in names])
        return model.compile_fn(
            outputs, inputs=model.value_vars, mode=PLAIN, on_unused_input="ignore"
        )


def parts_of(model: pm.Model, point: dict[str, FloatArray], *names: str) -> list[Any]:
    return function_of(model, *names)(point)


def nearby(model: pm.Model, rng: np.random.Generator) -> dict[str, FloatArray]:
    start = model.initial_point()
    return {name: at + 0.3 * rng.standard_normal(at.shape) for name, at in start.items()}


def table(n_agents: int = 9, n_skills: int = N_SKILLS, seed: int = 1) -> pd.DataFrame:
    return simulate_history(n_agents, n_skills, rank=1, random_seed=seed).scores


def density_and_expectation(
    model: pm.Model, point: dict[str, FloatArray], rows: FloatArray, mean: FloatArray | float = 0.0
) -> tuple[float, float]:
    names = ("scores", "loadings", "own_sd", "centre_agents")
    found, loadings, own_sd, agents = parts_of(model, point, *names)
    centre = loadings @ loadings.T + np.diag(own_sd**2)
    constant = 0.5 * rows.shape[1] * np.log(1.0 + len(rows) * MEAN_SD**2)
    expected = matrix_t_log_density(rows, centre, float(agents), mean) + constant
    return float(found), expected


def test_a_complete_history_enters_as_sums(rng) -> None:
    history = History.from_dataframe(table())
    model = build_model(history, PRIORS)
    assert not {"empty", "error", "mu"} & set(model.named_vars)
    found, expected = density_and_expectation(model, nearby(model, rng), history.working().values)
    assert found == pytest.approx(expected, abs=1e-7)
    more = rows_of(History.from_dataframe(table(500)), PRIORS.resolve(N_SKILLS))
    assert len(more.values) == 0


def test_empty_cells_are_sampled_with_the_rest(rng) -> None:
    scores = table()
    scores.iloc[2, [0, 3]] = np.nan
    scores.iloc[7, 1] = np.nan
    history = History.from_dataframe(scores)
    model = build_model(history, PRIORS)
    point = nearby(model, rng)
    rows = history.working().values.copy()
    # row by row, as the cells are listed
    rows[np.isnan(rows)] = point["empty"]
    found, expected = density_and_expectation(model, point, rows)
    assert found == pytest.approx(expected, abs=1e-7)


def test_scores_with_errors_of_their_own_are_sampled_about_what_was_measured(rng) -> None:
    scores = table().round(2)
    history = History.from_dataframe(
        scores, stderr=pd.DataFrame(0.03, scores.index, scores.columns)
    )
    data = history.working()
    model = build_model(history, PRIORS)
    point = nearby(model, rng)
    rows = data.values + np.sqrt(data.error_var) * point["error"].reshape(data.values.shape)
    found, expected = density_and_expectation(model, point, rows)
    assert found == pytest.approx(expected, abs=1e-7)


def test_groups_and_covariates_move_the_rows(rng) -> None:
    scores = table()
    covariates = pd.DataFrame({"year": 2020.0 + np.arange(9) % 4}, index=scores.index)
    history = History.from_dataframe(scores, groups=["x", "y", "y"] * 3, covariates=covariates)
    model = build_model(history, PRIORS)
    point = nearby(model, rng)
    effects, loadings = parts_of(model, point, "effects", "loadings")
    design = model["design"].get_value()
    mean = design @ effects @ loadings.T
    found, expected = density_and_expectation(model, point, history.working().values, mean)
    assert found == pytest.approx(expected, abs=1e-7)


def test_a_hole_integrates_to_the_density_without_it(rng) -> None:
    """The agent with a hole, the first of all, has the density of its other scores."""
    scores = table(4, 2)
    scores.iloc[0, 1] = np.nan
    history = History.from_dataframe(scores)
    model = build_model(history, replace(PRIORS, rank=1))
    point = nearby(model, rng)
    loadings, own_sd, agents = parts_of(model, point, "loadings", "own_sd", "centre_agents")
    centre = loadings @ loadings.T + np.diag(own_sd**2)
    rows, scores_density = history.working().values, function_of(model, "scores")
    constant = 0.5 * 2 * np.log(1.0 + 4 * MEAN_SD**2)

    def joint(value: float) -> float:
        (log_density,) = scores_density({**point, "empty": np.array([value])})
        return float(np.exp(log_density - constant))

    seen = integral_over_populations(rows, centre, float(agents), rng)
    assert quad(joint, -60.0, 60.0, limit=400)[0] == pytest.approx(seen, rel=0.05)


def integral_over_populations(
    rows: FloatArray, centre: FloatArray, agents: float, rng: np.random.Generator
) -> float:
    """Mean density of the scores that are there over populations drawn from the prior."""
    n_draws, n_skills = 60_000, len(centre)
    mean, covariance = draw_mean_and_covariance(
        np.full(n_draws, agents + n_skills + 1.0),
        np.broadcast_to(agents * centre, (n_draws, n_skills, n_skills)),
        np.zeros((n_draws, n_skills)),
        np.full(n_draws, MEAN_SD**-2),
        rng,
    )
    log_density = np.zeros(n_draws)
    for row in rows:
        first, second = row[0] - mean[:, 0], row[1] - mean[:, 1]
        log_density += norm.logpdf(first, scale=np.sqrt(covariance[:, 0, 0]))
        if not np.isnan(row[1]):
            slope = covariance[:, 0, 1] / covariance[:, 0, 0]
            rest = covariance[:, 1, 1] - slope * covariance[:, 0, 1]
            log_density += norm.logpdf(second - slope * first, scale=np.sqrt(rest))
    return float(np.exp(log_density).mean())


def test_draws_have_the_moments_of_the_inverse_wishart(rng) -> None:
    n_draws, df, agents = 20_000, 14.0, 5.0
    scale = np.array([[3.0, 1.0, 0.2], [1.0, 2.0, -0.4], [0.2, -0.4, 1.0]])
    centre = np.array([1.0, -2.0, 0.5])
    mean, covariance = draw_mean_and_covariance(
        np.full(n_draws, df),
        np.broadcast_to(scale, (n_draws, 3, 3)),
        np.broadcast_to(centre, (n_draws, 3)),
        np.full(n_draws, agents),
        rng,
    )
    expected = scale / (df - 3 - 1)
    np.testing.assert_allclose(covariance.mean(axis=0), expected, atol=0.01)
    spread = covariance[:, 0, 0].std()
    assert spread == pytest.approx(expected[0, 0] * np.sqrt(2.0 / (df - 3 - 3)), rel=0.1)
    np.testing.assert_allclose(mean.mean(axis=0), centre, atol=0.01)
    np.testing.assert_allclose(np.cov(mean.T), expected / agents, atol=0.005)


def test_a_single_skill_has_draws_too(rng) -> None:
    mean, covariance = draw_mean_and_covariance(
        np.full(2000, 12.0), np.full((2000, 1, 1), 5.0), np.zeros((2000, 1)), np.ones(2000), rng
    )
    assert covariance.mean() == pytest.approx(0.5, rel=0.05)
    assert mean.std() == pytest.approx(np.sqrt(0.5), rel=0.1)


def test_what_was_integrated_out_takes_the_place_of_what_it_is_drawn_from(rng) -> None:
    shape = (2, 3)
    draws = xr.Dataset(
        {
            "wishart_df": (("chain", "draw"), np.full(shape, 9.0)),
            "wishart_scale": (
                ("chain", "draw", "skill", "skill_bis"),
                np.broadcast_to(np.eye(2), (*shape, 2, 2)),
            ),
            "mean_centre": (("chain", "draw", "skill"), np.zeros((*shape, 2))),
            "mean_agents": (("chain", "draw"), np.ones(shape)),
            "own_sd": (("chain", "draw", "skill"), np.ones((*shape, 2))),
        }
    )
    drawn = with_populations(draws, rng)
    assert set(drawn.data_vars) == {"own_sd", "mu", "covariance"}
    assert drawn["mu"].dims == ("chain", "draw", "skill")
    assert drawn["covariance"].dims == ("chain", "draw", "skill", "skill_bis")
    assert (np.linalg.eigvalsh(drawn["covariance"].values) > 0.0).all()
    assert set(CONJUGATE) <= set(draws.data_vars)


def test_what_is_drawn_after_the_sampler_follows_its_closed_form() -> None:
    history = History.from_dataframe(simulate_history(30, N_SKILLS, random_seed=3).scores)
    model = build_model(history, PRIORS)
    names = (*CONJUGATE, "loadings", "own_sd", "centre_agents")
    found = dict(zip(names, pm.draw([model[name] for name in names], random_seed=1), strict=True))
    rows = history.working().values
    agents = float(found["centre_agents"])
    centre = found["loadings"] @ found["loadings"].T + np.diag(found["own_sd"] ** 2)
    kappa = len(rows) + MEAN_SD**-2
    assert float(found["mean_agents"]) == pytest.approx(kappa)
    assert float(found["wishart_df"]) == pytest.approx(agents + N_SKILLS + 1 + len(rows))
    np.testing.assert_allclose(found["mean_centre"], rows.sum(axis=0) / kappa, atol=1e-12)
    np.testing.assert_allclose(found["wishart_scale"], agents * centre + scatter_of(rows))


@pytest.fixture(scope="module")
def holed() -> History:
    return History.from_dataframe(simulate_history(30, 3, missing=0.2, random_seed=3).scores)


@pytest.fixture(scope="module")
def tree(holed) -> xr.DataTree:
    return sample_posterior(holed, PRIORS, TINY, progressbar=False)


def test_a_fit_gives_means_and_covariances(tree, holed) -> None:
    posterior = tree["posterior"]
    assert posterior["covariance"].dims == ("chain", "draw", "skill", "skill_bis")
    assert tuple(posterior["mu"]["skill"].values) == holed.skills
    assert (posterior["centre_agents"] > 0.0).all()
    assert not set(CONJUGATE) & set(posterior.data_vars)
    again = sample_posterior(holed, PRIORS, TINY, progressbar=False)
    xr.testing.assert_equal(again["posterior"].to_dataset(), posterior.to_dataset())


@pytest.mark.slow
def test_pymc_s_own_sampler_takes_it_too(holed) -> None:
    settings = replace(TINY, sampler="pymc", draws=20, tune=20)
    tree = sample_posterior(holed, PRIORS, settings, progressbar=False)
    assert np.isfinite(tree["posterior/covariance"].values).all()


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_many_agents_show_their_covariance(missing) -> None:
    truth = simulate_history(400, 4, missing=missing, random_seed=8)
    history = History.from_dataframe(truth.scores)
    settings = replace(TINY, draws=150, tune=150)
    posterior = sample_posterior(history, PRIORS, settings, progressbar=False)["posterior"]
    found = posterior["covariance"].mean(("chain", "draw")).values
    sd = np.sqrt(np.diag(found))
    np.testing.assert_allclose(sd, 1.0, atol=0.08)  # the history's own spread is the unit
    np.testing.assert_allclose(found / np.outer(sd, sd), truth.correlation, atol=0.1)
    np.testing.assert_allclose(posterior["mu"].mean(("chain", "draw")).values, 0.0, atol=0.15)


@pytest.mark.filterwarnings("ignore::skillinfer_bayes.exceptions.ConvergenceWarning")
def test_profiles_follow_as_from_any_population(holed) -> None:
    population = Population.from_history(holed, priors=PRIORS, settings=TINY, progressbar=False)
    first, second, _ = population.skills
    before, after = (population.profile("new") for _ in range(2))
    after.observe(first, 0.9)
    assert after.std(second) < before.std(second)
    assert after.std(first) < 0.5 * before.std(first)
