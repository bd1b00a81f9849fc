"""A scale for every score: Gibbs conditioning against the same model on a grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from brute_force import CellModel, CellPosterior, cell_posterior
from scipy import special

from skillinfer_bayes import History, Population
from skillinfer_bayes.history.measurement import working_data
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR
from skillinfer_bayes.profiles.cell_integral import _climb, _curvature, integrate_row
from skillinfer_bayes.profiles.cells import POINTS, CellConditioner
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.mixture import mixture_cdf, mixture_quantile
from skillinfer_bayes.testing import fake_population, population_of_draws, simulate_history

ONE_FACTOR = CellModel(
    mu=np.array([0.2, -0.3, 0.0]),
    loadings=np.array([[0.9], [0.6], [-0.3]]),
    own_sd=np.array([0.5, 0.7, 0.4]),
    nu=4.0,
    noise_sd=0.3,
)
TWO_FACTORS = CellModel(
    mu=np.array([0.2, -0.3, 0.0, 0.5]),
    loadings=np.array([[0.9, 0.2], [0.6, -0.7], [-0.3, 0.8], [0.5, 0.5]]),
    own_sd=np.array([0.5, 0.7, 0.4, 0.3]),
    nu=6.0,
    noise_sd=0.3,
)
N_DRAWS = 4000
# Monte Carlo error of a share of 4,000 draws near 0.05, three times over, and a noise level that
# is drawn on a grid of three prior sds either way
CDF_TOLERANCE = 0.012
NAN = np.nan
# measured values, error variances of all, pull and prior variance of the factors
CASES = {
    "nothing": (ONE_FACTOR, [NAN, NAN, NAN], 0.1, [0.5], 1.0),
    "one skill": (ONE_FACTOR, [1.5, NAN, NAN], 0.1, [0.0], 1.0),
    "one skill, precisely": (ONE_FACTOR, [1.5, NAN, NAN], 0.0025, [0.5], 1.0),
    "an outlier": (ONE_FACTOR, [6.0, -0.5, NAN], 0.01, [0.0], 1.0),
    "all skills, errors that differ": (ONE_FACTOR, [3.0, 3.0, 3.0], [0.3, 0.01, 1.0], [0.0], 1.0),
    "an unknown group": (ONE_FACTOR, [NAN, -1.0, NAN], 0.05, [0.3], 1.64),
    "two factors": (TWO_FACTORS, [1.0, -1.0, NAN, NAN], 0.1, [0.2, -0.5], 1.0),
    "two factors, unknown group": (TWO_FACTORS, [NAN, 3.0, -2.0, NAN], 0.01, [0.0, 0.0], 1.64),
}


def history_of(n_skills: int, **known: object) -> History:
    table = simulate_history(12, n_skills, random_seed=7).scores
    return History.from_dataframe(table, scale="0-1", **known)


def population_from(
    model: CellModel,
    n_draws: int = N_DRAWS,
    effects: np.ndarray | None = None,
    group_sd: float | None = None,
    **known: object,
) -> Population:
    """Many equal draws of one model."""

    def equal(value: object) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, dtype=float), (1, n_draws, *np.shape(value)))

    return population_of_draws(
        history_of(len(model.mu), **known),
        equal(model.mu),
        nu=equal(model.nu),
        loadings=equal(model.loadings),
        own_sd=equal(model.own_sd),
        agent_noise_sd=equal(model.noise_sd),
        effects=None if effects is None else equal(effects),
        group_sd=None if group_sd is None else equal(group_sd),
    )


class Case:
    """One agent's components and joint draws beside the grid's answer."""

    def __init__(self, name: str) -> None:
        model, values, error_var, pull, factor_var = CASES[name]
        self.values = np.array(values)
        errors = np.broadcast_to(np.asarray(error_var, dtype=float), self.values.shape)
        # effects and a spread of groups that make this pull and this prior variance
        unknown = factor_var > 1.0
        population = population_from(
            model,
            effects=np.array([pull, [9.0] * len(pull)]),
            group_sd=np.sqrt(factor_var - 1.0) if unknown else 0.5,
            groups=["a", "b"] * 6,
        )
        self.evidence = Evidence(
            ("new",),
            self.values[None],
            errors[None],
            self.values[None],
            design=np.array([[1.0, 0.0]]),
            unknown_group=np.array([unknown]),
        )
        self.conditioner = CellConditioner(population.posterior)
        zeros = np.zeros(len(self.values))
        ((_, self.mean, self.sd),) = self.conditioner.components(self.evidence, zeros)
        ((_, joint),) = self.conditioner.draws(self.evidence, zeros)
        self.joint = joint[:, 0]
        nodes = (241, 41) if len(pull) == 1 else (61, 21)
        self.truth: CellPosterior = cell_posterior(
            model, self.values, errors, np.array(pull), factor_var, nodes
        )

    @property
    def error(self) -> np.ndarray:
        """Monte Carlo standard error of a mean of draws, (K,)."""
        return self.truth.sd / np.sqrt(N_DRAWS)


@pytest.fixture(scope="module", params=list(CASES))
def case(request) -> Case:
    return Case(request.param)


class TestAgainstTheGrid:
    def test_means_agree(self, case) -> None:
        assert (np.abs(case.mean[:, 0].mean(axis=0) - case.truth.mean) < 4 * case.error).all()
        assert (np.abs(case.joint.mean(axis=0) - case.truth.mean) < 4 * case.error).all()

    @pytest.mark.parametrize("probability", [0.05, 0.25, 0.5, 0.95])
    def test_quantiles_agree(self, case, probability) -> None:
        ends = mixture_quantile(probability, case.mean, case.sd)[0]
        for skill, end in enumerate(ends):
            assert case.truth.below(skill, end) == pytest.approx(probability, abs=CDF_TOLERANCE)

    def test_joint_draws_have_the_components_law(self, case) -> None:
        ends = np.quantile(case.joint, [0.05, 0.5, 0.95], axis=0)
        for probability, row in zip((0.05, 0.5, 0.95), ends, strict=True):
            below = mixture_cdf(row[None], case.mean, case.sd)[0]
            # twice the error of a median of so many draws
            np.testing.assert_allclose(below, probability, atol=4 * 0.5 / np.sqrt(N_DRAWS))

    def test_skills_move_together_as_on_the_grid(self, case) -> None:
        truth = case.truth
        deviation = truth.centre - truth.mean
        expected = (truth.weight[:, None] * deviation).T @ deviation
        np.fill_diagonal(expected, truth.sd**2)
        got = np.cov(np.clip(case.joint, *np.quantile(case.joint, [0.001, 0.999], axis=0)).T)
        scale = np.outer(truth.sd, truth.sd)
        off = ~np.eye(len(expected), dtype=bool)
        np.testing.assert_allclose((got / scale)[off], (expected / scale)[off], atol=0.07)

    def test_density_of_the_scores_agrees_and_its_error_is_as_large_as_it_says(self, case) -> None:
        density, error = (values[:, 0] for values in case.conditioner.log_density(case.evidence))
        off = np.expm1(density - case.truth.log_density)
        said = np.sqrt(np.mean(error**2))
        # three digits of the grid's own, at most
        assert off.mean() == pytest.approx(0.0, abs=4 * said / np.sqrt(N_DRAWS) + 1e-3)
        assert off.std() == pytest.approx(said, rel=0.1)
        assert said < 0.1


def many_scores(seed: int, nu: float, noise_sd: float) -> tuple[CellModel, np.ndarray, np.ndarray]:
    """An agent with 30 scores, some of them far off, and their error variances."""
    rng = np.random.default_rng(seed)
    model = CellModel(
        rng.normal(0.0, 0.3, 30),
        rng.normal(0.5, 0.5, (30, 1)),
        np.exp(rng.normal(-1.5, 0.8, 30)),
        nu,
        noise_sd,
    )
    scores = model.mu + 1.2 * model.loadings[:, 0] + model.own_sd * rng.standard_t(2.0, 30)
    scores[:3] += [8.0, -8.0, 3.0]
    return model, scores, rng.uniform(0.001, 0.1, 30)


@pytest.mark.parametrize(("nu", "noise_sd"), [(1.5, 0.6), (3.0, 0.3), (40.0, 0.2)])
def test_density_of_many_scores_agrees_with_the_grid(nu, noise_sd) -> None:
    model, scores, errors = many_scores(5, nu, noise_sd)
    # with light tails only much noise, far out, explains scores that are far off
    grid = cell_posterior(model, scores, errors, np.zeros(1), 1.0, (2001, 241), noise_reach=9.0)
    evidence = Evidence(("new",), scores[None], errors[None], scores[None])
    posterior = population_from(model, 1000).posterior
    density, error = CellConditioner(posterior).log_density(evidence)
    off, said = np.expm1(density - grid.log_density), np.sqrt(np.mean(error**2))
    assert off.mean() == pytest.approx(0.0, abs=4 * said / np.sqrt(1000) + 1e-3)
    assert off.std() == pytest.approx(said, rel=0.2)
    assert said < 0.15


def many_factors(n_draws: int, m: int, far: float) -> tuple[np.ndarray, ...]:
    """Precise scores with heavy tails of an agent `far` out, under draws about their truth."""
    rng = np.random.default_rng(0)
    mu, loadings = rng.normal(0.0, 0.3, m), rng.normal(0.2, 0.4, (m, 5))
    own_sd = np.exp(rng.normal(-2.0, 0.7, m))
    scores = mu + loadings @ (far * rng.standard_normal(5)) + own_sd * rng.standard_t(2.5, m)
    return (
        mu + 0.1 * rng.standard_normal((n_draws, m)),
        loadings + 0.1 * rng.standard_normal((n_draws, m, 5)),
        own_sd * np.exp(0.2 * rng.standard_normal((n_draws, m))),
        rng.uniform(2.2, 4.0, n_draws),
        rng.uniform(0.1, 0.6, n_draws),
        np.zeros((n_draws, 5)),
        np.ones(n_draws),
        np.arange(m),
        scores,
        np.full(m, 0.0025),
    )


def test_density_at_many_factors_says_how_far_off_it_may_be() -> None:
    given, rng = many_factors(300, 30, 1.0), np.random.default_rng(1)
    density, error = integrate_row(*given, POINTS, rng)
    exact, rest = integrate_row(*given, 2000, rng)
    z = np.expm1(density - exact) / np.hypot(error, rest)
    assert abs(z.mean()) < 0.3
    assert 0.8 < z.std() < 1.3
    assert np.median(error) < 0.12


def test_a_mode_is_found_from_far_away() -> None:
    mu, loadings, own_sd, nu, noise_sd, _, _, _, scores, errors = many_factors(200, 80, 2.0)
    mode, gradient = np.empty((2, 6))
    root, observed, expected = np.zeros((3, 6, 6))
    for s in range(len(mu)):
        given = (loadings[s], 1.0, nu[s], noise_sd[s], scores - mu[s], own_sd[s] ** 2, errors)
        _climb(*given, mode, root)
        _curvature(mode, *given, gradient, observed, expected)
        # what a step of Fisher's scoring would still gain; the lower triangle is what there is
        whole = np.tril(expected) + np.tril(expected, -1).T
        assert gradient @ np.linalg.solve(whole, gradient) < 1e-3


def test_density_is_reproducible_and_nothing_has_density_one() -> None:
    model, scores, errors = many_scores(6, 4.0, 0.3)
    posterior = population_from(model, 20).posterior
    table = np.stack([scores, np.full(30, np.nan), scores])
    evidence = Evidence(("a", "b", "c"), table, np.tile(errors, (3, 1)), table)
    first, second = (CellConditioner(posterior).log_density(evidence) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    density, error = first
    np.testing.assert_array_equal(density[:, 1], 0.0)
    np.testing.assert_array_equal(error[:, 1], 0.0)
    # equal rows get numbers of their own, so that errors do not add up over agents
    assert abs(np.corrcoef(density[:, 0], density[:, 2])[0, 1]) < 0.7
    assert np.abs(density[:, 0] - density[:, 2]).max() < 1.0


def test_a_new_measurements_error_is_added() -> None:
    case = Case("two factors")
    extra = np.linspace(0.1, 0.3, len(case.values))
    ((_, mean, sd),) = case.conditioner.components(case.evidence, extra)
    np.testing.assert_array_equal(mean, case.mean)
    np.testing.assert_allclose(sd**2, case.sd**2 + extra)
    ((_, joint),) = case.conditioner.draws(case.evidence, extra)
    added = joint[:, 0] - case.joint
    np.testing.assert_allclose(added.var(axis=0), extra, rtol=0.1)
    assert abs(np.corrcoef(added[:, 0], case.joint[:, 0])[0, 1]) < 0.05


def test_without_observations_the_prior_remains() -> None:
    case = Case("nothing")
    mu, loadings = ONE_FACTOR.mu, ONE_FACTOR.loadings[:, 0]
    expected = np.broadcast_to(mu + 0.5 * loadings, case.mean[:, 0].shape)
    np.testing.assert_allclose(case.mean[:, 0], expected, atol=1e-12)
    # beside the factor: the skill's own variance, times the agent's noise, times its own scale
    own = (case.sd[:, 0] ** 2 - loadings**2) / ONE_FACTOR.own_sd**2
    log_inverse_gamma = np.log(ONE_FACTOR.nu / 2.0) - special.digamma(ONE_FACTOR.nu / 2.0)
    spread = np.sqrt(4.0 * ONE_FACTOR.noise_sd**2 + special.polygamma(1, ONE_FACTOR.nu / 2.0))
    error = spread / np.sqrt(N_DRAWS)
    assert (np.abs(np.log(own).mean(axis=0) - log_inverse_gamma) < 4 * error).all()
    np.testing.assert_allclose(np.log(own).std(axis=0), spread, rtol=0.05)
    # one noise level for all skills of an agent
    shared = np.cov(np.log(own).T)[0, 1]
    assert shared == pytest.approx(4.0 * ONE_FACTOR.noise_sd**2, abs=5 * spread * error)


class TestProfiles:
    """The same, through what users call."""

    def described(self) -> Population:
        return population_from(
            ONE_FACTOR,
            effects=np.array([[0.4], [0.8], [-0.6]]),
            group_sd=0.8,
            groups=["a", "b"] * 6,
            covariates=pd.DataFrame(
                {"year": 2015.0 + np.arange(12)}, index=history_of(3).to_dataframe().index
            ),
        )

    @pytest.mark.parametrize("group", ["a", "b", "new", None])
    def test_groups_covariates_and_item_counts_enter(self, group) -> None:
        population = self.described()
        profile = population.profile(group=group, covariates={"year": 2024.0})
        profile.observe("skill_1", 0.75, n_items=12).observe("skill_2", 0.4)
        scales = population.scales
        data = working_data(np.array([[NAN, 0.75, 0.4]]), scales, np.array([[NAN, 12.0, NAN]]))
        values, errors = data.values[0], data.error_var[0]
        assert errors[1] > errors[2] == DEFAULT_ERROR_VAR
        years = (2024.0 - 2020.5) / np.std(np.arange(12), ddof=1)
        pull = 0.4 * years + {"a": 0.8, "b": -0.6}.get(group, 0.0)
        factor_var = 1.0 if group in ("a", "b") else 1.0 + 0.8**2
        truth = cell_posterior(ONE_FACTOR, values, errors, np.array([pull]), factor_var)
        table = profile.predict()
        at = scales.to_working(table[["lower", "upper"]].to_numpy().T)
        for column in range(3):
            for row, probability in enumerate((0.05, 0.95)):
                got = truth.below(column, at[row, column])
                assert got == pytest.approx(probability, abs=CDF_TOLERANCE)
        above = 1.0 - truth.below(0, float(scales.to_working(np.full(3, 0.6))[0]))
        assert profile.p_above("skill_0", 0.6) == pytest.approx(above, abs=2 * CDF_TOLERANCE)

    def test_an_unknown_group_is_wider(self) -> None:
        population = self.described()
        known, unknown = (
            population.profile(group=group, covariates={"year": 2020.5}) for group in ("a", "zzz")
        )
        ends = [
            population.scales.to_working(item.predict()[["lower", "upper"]].T)
            for item in (known, unknown)
        ]
        widths = [upper - lower for lower, upper in ends]
        assert (widths[1] > 1.02 * widths[0]).all()

    def test_an_outlier_moves_the_others_less_than_a_gaussian_would(self) -> None:
        light = population_from(ONE_FACTOR._replace(nu=1e6, noise_sd=1e-6), n_draws=500)
        heavy = population_from(ONE_FACTOR, n_draws=500)
        moved = []
        for population in (heavy, light):
            score = float(population.scales.from_working(np.array([8.0, 0.0, 0.0]))[0])
            profile = population.profile().observe("skill_0", score)
            moved.append(profile.mean("skill_1") - population.profile().mean("skill_1"))
        assert 0.0 < moved[0] < 0.8 * moved[1]


class TestOnFakeDraws:
    @pytest.fixture
    def population(self) -> Population:
        return fake_population(simulate_history(30, 4, random_seed=2).scores, tails="cell")

    def test_the_same_draws_give_the_same_numbers(self, population) -> None:
        again = fake_population(simulate_history(30, 4, random_seed=2).scores, tails="cell")
        tables = [item.profile().observe("skill_0", 0.7) for item in (population, again)]
        pd.testing.assert_frame_equal(*(item.predict() for item in tables), check_exact=True)
        np.testing.assert_array_equal(*(item.draws().values for item in tables))

    def test_agents_get_the_same_numbers_alone_and_in_a_table(self, population) -> None:
        agents = ["one", "other", "third"]
        table = pd.DataFrame({"skill_0": [0.9, 0.1, NAN], "skill_3": [0.2, NAN, NAN]}, agents)
        profiles = population.profiles(table)
        for agent, row in table.iterrows():
            alone = population.profile(agent).observe_many(row.dropna().to_dict())
            together = profiles.to_dataframe().loc[agent]
            pd.testing.assert_frame_equal(alone.predict(), together, check_exact=False, rtol=1e-9)
            np.testing.assert_allclose(
                alone.draws().values, profiles.draws().sel(agent=[agent]).values, rtol=1e-9
            )

    def test_fast_is_exact(self, population) -> None:
        profiles = population.profiles(pd.DataFrame({"skill_0": [0.9, 0.1]}, ["one", "other"]))
        exact, fast = (profiles.to_dataset(method=method) for method in ("exact", "fast"))
        assert exact.identical(fast)

    def test_the_historys_own_agents_are_completed(self, population) -> None:
        dataset = population.completed().to_dataset()
        off = np.abs(dataset["mean"].values - population.history.values)
        assert off.max() < 0.05

    def test_the_covariance_is_made_of_its_parts(self, population) -> None:
        posterior = population.posterior
        expected = np.stack(
            [
                loadings @ loadings.T + np.diag(own_sd**2)
                for loadings, own_sd in zip(posterior.loadings, posterior.own_sd, strict=True)
            ]
        )
        np.testing.assert_allclose(posterior.covariance, expected)
        correlation = population.correlation()["mean"].values
        np.testing.assert_allclose(np.diag(correlation), 1.0)
