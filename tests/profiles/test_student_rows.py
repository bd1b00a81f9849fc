"""Student-t rows, groups and covariates: conditioning against textbook formulas and quadrature."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from brute_force import two_skills
from row_conditioning import (
    agrees_alone_and_in_a_table,
    components_of,
    conditional_means,
    draws_of,
    history_of,
)
from scipy import stats

from skillinfer_bayes import Population
from skillinfer_bayes.history.measurement import working_data
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR
from skillinfer_bayes.profiles.conditioning import condition
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.rows import RowConditioner
from skillinfer_bayes.testing import fake_population, population_of_draws

TAILS = pytest.mark.parametrize("nu", [np.inf, 3.0, 8.0])
N_SKILLS = 4
AGENTS = ("one", "other", "third")
NO_ERROR = np.zeros(N_SKILLS)


def parameters(rng: np.random.Generator, n_draws: int = 1):
    """Means (S, K), covariances (S, K, K) and loadings (S, K, 2)."""
    root = rng.standard_normal((n_draws, N_SKILLS, N_SKILLS))
    covariance = root @ np.swapaxes(root, 1, 2) / N_SKILLS + 0.2 * np.eye(N_SKILLS)
    mean = rng.standard_normal((n_draws, N_SKILLS))
    return mean, covariance, 0.5 * rng.standard_normal((n_draws, N_SKILLS, 2))


def repeated(array: np.ndarray, n_draws: int) -> np.ndarray:
    """One draw (1, ...) as a chain of equal ones (1, S, ...)."""
    return np.broadcast_to(array, (1, n_draws, *array.shape[1:]))


def evidence_of(values: np.ndarray, error_var: float | np.ndarray = 0.1, **known) -> Evidence:
    errors = np.broadcast_to(error_var, values.shape)
    return Evidence(AGENTS[: len(values)], values, errors, values, **known)


def some_values(rng: np.random.Generator) -> np.ndarray:
    """Two skills measured, one, and none."""
    values = np.full((3, N_SKILLS), np.nan)
    values[0, [2, 0]] = rng.standard_normal(2)
    values[1, 3] = 2.5
    return values


class TestAgainstQuadrature:
    """Two skills, one of them measured: every number that a profile gives."""

    MEAN = np.array([0.2, -0.3])
    COVARIANCE = np.array([[1.0, 0.6], [0.6, 0.8]])
    N_DRAWS = 4000

    def population(self, nu: float) -> Population:
        shape = (2, self.N_DRAWS // 2)
        return population_of_draws(
            history_of(2),
            np.broadcast_to(self.MEAN, (*shape, 2)),
            np.broadcast_to(self.COVARIANCE, (*shape, 2, 2)),
            nu=None if np.isinf(nu) else np.full(shape, nu),
        )

    def measurement(self, population: Population, score: float, n_items: int | None):
        """Value and error variance on the working scale."""
        items = None if n_items is None else np.array([[n_items]], dtype=float)
        data = working_data(np.array([[score]]), population.scales.take([0]), items)
        error_var = DEFAULT_ERROR_VAR if data.error_var is None else data.error_var[0, 0]
        return float(data.values[0, 0]), float(error_var)

    @TAILS
    @pytest.mark.parametrize(
        ("score", "n_items"),
        [(0.75, 12), (1.0, 16), (0.0, 3), (0.4, 400), (0.9, None)],
        ids=["12 items", "16 of 16", "none of 3", "400 items", "unknown items"],
    )
    def test_predictions_equal_those_of_the_joint_density(self, nu, score, n_items) -> None:
        population = self.population(nu)
        profile = population.profile().observe("skill_0", score, n_items=n_items)
        table = profile.predict()
        value, error_var = self.measurement(population, score, n_items)
        marginals = two_skills(self.MEAN, self.COVARIANCE, nu, value, error_var)
        threshold = population.scales.to_working(np.array([0.6, 0.6]))
        for column, marginal in enumerate(marginals):
            skill = f"skill_{column}"

            def backward(working: np.ndarray, column: int = column) -> np.ndarray:
                return population.scales.from_working(np.stack([working] * 2, -1))[..., column]

            mean, sd = marginal.mean_and_sd(backward)
            # the engine's own quadrature over components is what limits these two
            assert table.loc[skill, "mean"] == pytest.approx(mean, abs=0.0015)
            assert table.loc[skill, "std"] == pytest.approx(sd, abs=0.0025)
            for end, probability in (("lower", 0.05), ("upper", 0.95)):
                expected = float(backward(np.array(marginal.quantile(probability))))
                assert table.loc[skill, end] == pytest.approx(expected, abs=0.0005)
            above = 1.0 - marginal.below(threshold[column])
            assert profile.p_above(skill, 0.6) == pytest.approx(above, abs=0.0005)

    def test_gaussian_draws_that_differ_are_averaged(self, rng) -> None:
        means = self.MEAN + 0.4 * rng.standard_normal((1, 3, 2))
        scale = rng.uniform(0.5, 1.5, (1, 3, 1, 1))
        population = population_of_draws(history_of(2), means, scale * self.COVARIANCE)
        profile = population.profile().observe("skill_0", 0.75, n_items=12)
        value, error_var = self.measurement(population, 0.75, 12)
        above = [
            1.0 - two_skills(mean, covariance, np.inf, value, error_var)[1].below(0.5)
            for mean, covariance in zip(means[0], scale[0] * self.COVARIANCE, strict=True)
        ]
        threshold = float(population.scales.from_working(np.array([0.5, 0.5]))[1])
        assert profile.p_above("skill_1", threshold) == pytest.approx(np.mean(above), abs=1e-4)


class TestConditional:
    """The multivariate Student-t's conditional, on the working scale."""

    N_DRAWS = 4000

    @pytest.mark.parametrize("nu", [3.0, 8.0])
    def test_moments_are_those_of_the_textbook(self, rng, nu) -> None:
        mean, covariance, _ = parameters(rng)
        population = population_of_draws(
            history_of(N_SKILLS),
            repeated(mean, self.N_DRAWS),
            repeated(covariance, self.N_DRAWS),
            nu=np.full((1, self.N_DRAWS), nu),
        )
        values = some_values(rng)
        at, sd = components_of(population, evidence_of(values))
        for agent, row in enumerate(values):
            seen = np.flatnonzero(~np.isnan(row))
            block = covariance[0][np.ix_(seen, seen)] + 0.1 * np.eye(len(seen))
            gain = covariance[0][:, seen] @ np.linalg.inv(block)
            residual = row[seen] - mean[0, seen]
            distance = residual @ np.linalg.solve(block, residual)
            gaussian = np.diag(covariance[0] - gain @ covariance[0][seen])
            expected = gaussian * (nu + distance) / (nu + len(seen) - 2.0)
            np.testing.assert_allclose(at[:, agent], at[:1, agent] + 0.0 * at[:, agent])
            np.testing.assert_allclose(at[0, agent], mean[0] + gain @ residual)
            # a stratified sample; few degrees of freedom leave a tail that it cuts
            rtol = 0.05 if nu + len(seen) < 4.0 else 0.01
            np.testing.assert_allclose((sd[:, agent] ** 2).mean(axis=0), expected, rtol=rtol)

    def test_quantiles_are_those_of_the_textbook(self, rng) -> None:
        nu = 5.0
        mean, covariance, _ = parameters(rng)
        population = population_of_draws(
            history_of(N_SKILLS),
            repeated(mean, self.N_DRAWS),
            repeated(covariance, self.N_DRAWS),
            nu=np.full((1, self.N_DRAWS), nu),
        )
        values = some_values(rng)[1:2]
        evidence = evidence_of(values)
        summary = population._context.engine.summarise(evidence)
        variance = covariance[0, 3, 3] + 0.1
        residual = values[0, 3] - mean[0, 3]
        centre = mean[0] + covariance[0, :, 3] / variance * residual
        gaussian = np.diag(covariance[0]) - covariance[0, :, 3] ** 2 / variance
        scale = np.sqrt(gaussian * (nu + residual**2 / variance) / (nu + 1.0))
        for end, probability in ((summary.lower, 0.05), (summary.upper, 0.95)):
            quantile = stats.t.ppf(probability, nu + 1.0, centre, scale)
            expected = population.scales.from_working(quantile)
            np.testing.assert_allclose(end[0], expected, atol=2e-4)

    def test_a_surprising_row_widens_everything(self, rng) -> None:
        population = fake_population(tails="agent")
        spreads = [
            population.profile().observe_many({"skill_0": 0.9, "skill_1": second}).std("skill_4")
            for second in (0.9, 0.01)
        ]
        assert spreads[1] > 1.2 * spreads[0]

    def test_joint_draws_have_the_textbooks_moments(self, rng) -> None:
        n_draws, nu = 40_000, 9.0
        mean, covariance, _ = parameters(rng)
        population = population_of_draws(
            history_of(N_SKILLS),
            repeated(mean, n_draws),
            repeated(covariance, n_draws),
            nu=np.full((1, n_draws), nu),
        )
        values = some_values(rng)
        draws = draws_of(population, evidence_of(values))
        at, sd = components_of(population, evidence_of(values))
        for agent, row in enumerate(values):
            seen = np.flatnonzero(~np.isnan(row))
            given = condition(covariance, seen, np.full(len(seen), 0.1))
            full = covariance[0] - given.gain[0].T @ covariance[0][seen]
            factor = (sd[:, agent, 1] ** 2).mean() / full[1, 1]
            got = np.cov(draws[:, agent].T)
            spread = np.sqrt(np.diag(full) * factor)
            np.testing.assert_allclose(
                got / np.outer(spread, spread), full * factor / np.outer(spread, spread), atol=0.05
            )
            off = (draws[:, agent].mean(axis=0) - at[0, agent]) / (spread / np.sqrt(n_draws))
            assert (np.abs(off) < 5).all()


class TestMixing:
    def test_chi_squares_are_a_stratified_sample(self, rng) -> None:
        n_draws = 500
        mean, covariance, _ = parameters(rng)
        nu = rng.uniform(2.0, 20.0, (1, n_draws))
        population = population_of_draws(
            history_of(N_SKILLS), repeated(mean, n_draws), repeated(covariance, n_draws), nu=nu
        )
        conditioner = RowConditioner(population.posterior)
        levels = [stats.chi2.cdf(conditioner.chi2(m), nu[0] + m) for m in (0, 3)]
        np.testing.assert_allclose(np.sort(levels[0]), (np.arange(n_draws) + 0.5) / n_draws)
        np.testing.assert_allclose(levels[0], levels[1], atol=1e-9)
        # in an order that has nothing to do with that of the draws
        assert abs(np.corrcoef(levels[0], np.arange(n_draws))[0, 1]) < 0.2

    def test_normal_tails_are_exactly_the_gaussian(self, rng) -> None:
        mean, covariance, _ = parameters(rng, 20)
        population = population_of_draws(history_of(N_SKILLS), mean[None], covariance[None])
        values = some_values(rng)
        at, sd = components_of(population, evidence_of(values))
        for agent, row in enumerate(values):
            seen = np.flatnonzero(~np.isnan(row))
            given = condition(covariance, seen, np.full(len(seen), 0.1))
            expected = conditional_means(mean, given, row[None, seen])[:, 0]
            np.testing.assert_array_equal(at[:, agent], expected)
            np.testing.assert_array_equal(sd[:, agent], np.sqrt(given.variance))

    def test_many_degrees_of_freedom_are_nearly_the_gaussian(self, rng) -> None:
        mean, covariance, _ = parameters(rng, 20)
        gaussian, wide = (
            population_of_draws(history_of(N_SKILLS), mean[None], covariance[None], nu=nu)
            for nu in (None, np.full((1, 20), 1e9))
        )
        evidence = evidence_of(some_values(rng))
        for one, other in zip(
            components_of(wide, evidence), components_of(gaussian, evidence), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-3)

    def test_a_population_gives_the_same_numbers_each_time(self) -> None:
        profiles = [
            fake_population(tails="agent").profile().observe("skill_1", 0.3) for _ in range(2)
        ]
        pd.testing.assert_frame_equal(*(item.predict() for item in profiles), check_exact=True)
        np.testing.assert_array_equal(*(item.draws().values for item in profiles))

    def test_agents_get_the_same_numbers_alone_and_in_a_table(self) -> None:
        population = fake_population(tails="agent")
        table = pd.DataFrame({"skill_0": [0.9, 0.1, np.nan], "skill_3": [0.2, 0.3, 0.9]}, AGENTS)
        profiles = population.profiles(table)
        for agent, row in table.iterrows():
            alone = population.profile(agent).observe_many(row.dropna().to_dict())
            together = profiles.to_dataframe().loc[agent]
            pd.testing.assert_frame_equal(alone.predict(), together, check_exact=False, rtol=1e-10)
            np.testing.assert_allclose(
                alone.draws().values, profiles.draws().sel(agent=[agent]).values, atol=1e-9
            )


@pytest.mark.parametrize("heavy", [False, True], ids=["normal rows", "Student-t rows"])
class TestGroupsAndCovariates:
    N_DRAWS = 30

    @pytest.fixture
    def given(self, rng):
        """Draws of everything: means, covariances, loadings, effects, spread of the groups."""
        mean, covariance, loadings = parameters(rng, self.N_DRAWS)
        effects = rng.standard_normal((self.N_DRAWS, 4, 2))
        return mean, covariance, loadings, effects, rng.uniform(0.3, 1.0, self.N_DRAWS)

    def described(self, given, heavy: bool) -> Population:
        """A population with one covariate and three groups."""
        years = pd.DataFrame({"year": 2015.0 + np.arange(12)})
        history = history_of(N_SKILLS, groups=["a", "b", "c"] * 4, covariates=years)
        mean, covariance, loadings, effects, group_sd = (array[None] for array in given)
        nu = np.full((1, self.N_DRAWS), 4.0) if heavy else None
        return population_of_draws(
            history,
            mean,
            covariance,
            nu=nu,
            loadings=loadings,
            effects=effects,
            group_sd=group_sd,
        )

    def plain(self, mean, covariance, population: Population) -> Population:
        """The same degrees of freedom, other moments, no groups."""
        nu = population.posterior.nu[None] if "nu" in population.data["posterior"] else None
        return population_of_draws(history_of(N_SKILLS), mean[None], covariance[None], nu=nu)

    def test_what_is_known_shifts_the_mean(self, rng, given, heavy) -> None:
        population = self.described(given, heavy)
        mean, covariance, loadings, effects, _ = given
        design = population._context.design
        rows, unknown = design.read(AGENTS, ["b", "c", "a"], {"year": 2024.0})
        values = some_values(rng)
        evidence = evidence_of(values, design=rows, unknown_group=unknown)
        got = components_of(population, evidence)
        # Lambda B' x, written out
        years = (2024.0 - 2020.5) / np.std(np.arange(12), ddof=1)
        for agent, column in enumerate((2, 3, 1)):
            pull = years * effects[:, 0] + effects[:, column]
            shift = np.einsum("skr,sr->sk", loadings, pull)
            shifted = self.plain(mean + shift, covariance, population)
            alone = components_of(shifted, evidence_of(values[agent : agent + 1]))
            for one, other in zip(got, alone, strict=True):
                np.testing.assert_allclose(one[:, agent], other[:, 0], atol=1e-9)

    def test_an_unknown_group_adds_the_groups_own_spread(self, rng, given, heavy) -> None:
        population = self.described(given, heavy)
        mean, covariance, loadings, _, group_sd = given
        rows, unknown = population._context.design.read(AGENTS, "new", {"year": 2020.5})
        values = some_values(rng)
        evidence = evidence_of(values, design=rows, unknown_group=unknown)
        got = components_of(population, evidence)
        wider = np.stack(
            [
                covariance[s] + group_sd[s] ** 2 * loadings[s] @ loadings[s].T
                for s in range(self.N_DRAWS)
            ]
        )
        expected = components_of(self.plain(mean, wider, population), evidence_of(values))
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)
        if not heavy:
            narrow = components_of(self.plain(mean, covariance, population), evidence_of(values))
            assert (got[1] > narrow[1] - 1e-12).all()
            # where nothing is measured, and loadings differ from zero
            assert (got[1][:, 2] > narrow[1][:, 2]).all()

    def test_draws_of_an_unknown_group_have_its_spread(self, rng, given, heavy) -> None:
        population = self.described(given, heavy)
        history, n_draws = population.history, 40_000
        mean, covariance, loadings, effects, _ = (array[:1] for array in given)
        many = population_of_draws(
            history,
            repeated(mean, n_draws),
            repeated(covariance, n_draws),
            nu=np.full((1, n_draws), 9.0) if heavy else None,
            loadings=repeated(loadings, n_draws),
            effects=repeated(effects, n_draws),
            group_sd=np.full((1, n_draws), 0.8),
        )
        rows, unknown = many._context.design.read(AGENTS, None, {"year": 2020.5})
        values = some_values(rng)
        evidence = evidence_of(values, design=rows, unknown_group=unknown)
        draws = draws_of(many, evidence)
        at, sd = components_of(many, evidence)
        spread = np.sqrt((sd**2).mean(axis=0))
        off = (draws.mean(axis=0) - at[0]) / (spread / np.sqrt(n_draws))
        assert (np.abs(off) < 5).all()
        np.testing.assert_allclose(draws.std(axis=0), spread, rtol=0.03)
        # skills move together as Lambda Lambda' says
        wider = covariance[0] + 0.64 * loadings[0] @ loadings[0].T
        got, scale = np.corrcoef(draws[:, 2].T), np.sqrt(np.diag(wider))
        np.testing.assert_allclose(got, wider / np.outer(scale, scale), atol=0.03)

    def test_profiles_say_the_same_by_name(self, given, heavy) -> None:
        agrees_alone_and_in_a_table(self.described(given, heavy))

    def test_many_agents_are_computed_exactly(self, rng, given, heavy) -> None:
        population = self.described(given, heavy)
        table = pd.DataFrame(rng.uniform(0.1, 0.9, (60, 2)), columns=["skill_0", "skill_2"])
        table.index = [f"new_{row}" for row in range(60)]
        profiles = population.profiles(table, groups="a", covariates={"year": 2024})
        assert profiles.to_dataset().identical(profiles.to_dataset(method="exact"))
