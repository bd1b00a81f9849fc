"""Latent classes of agents: conditioning against quadrature and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from class_populations import (
    ERROR_VAR,
    N_SKILLS,
    TWO_SKILLS,
    Draws,
    class_population,
    draw_classes,
    evidence_of,
    mixture_of,
    moments_of,
    some_values,
    two_skills_of_classes,
)
from row_conditioning import components_of, draws_of, history_of
from scipy import stats

from skillinfer_bayes import History, Population
from skillinfer_bayes.history.measurement import working_data
from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR
from skillinfer_bayes.profiles import rows as rows_module
from skillinfer_bayes.profiles.conditioning import condition
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.joint import joint_draws
from skillinfer_bayes.profiles.latent_classes import class_terms, draw_class
from skillinfer_bayes.profiles.rows import RowConditioner


class TestAgainstQuadrature:
    """Two skills, one of them measured: every number that a profile gives."""

    N_DRAWS = 4000

    @pytest.fixture
    def population(self) -> Population:
        return class_population(history_of(2), TWO_SKILLS.repeated(self.N_DRAWS))

    @staticmethod
    def backward(population: Population, column: int):
        def to_scores(working: np.ndarray) -> np.ndarray:
            return population.scales.from_working(np.stack([working] * 2, -1))[..., column]

        return to_scores

    @pytest.mark.parametrize(
        ("score", "n_items"),
        [(0.75, 12), (1.0, 16), (0.0, 3), (0.4, 400), (0.55, 20), (0.98, None)],
        ids=["12 items", "16 of 16", "none of 3", "400 items", "20 items", "unknown items"],
    )
    def test_predictions_equal_those_of_the_joint_density(self, population, score, n_items) -> None:
        profile = population.profile().observe("skill_0", score, n_items=n_items)
        table = profile.predict()
        items = None if n_items is None else np.array([[n_items]], dtype=float)
        data = working_data(np.array([[score]]), population.scales.take([0]), items)
        error_var = DEFAULT_ERROR_VAR if data.error_var is None else float(data.error_var[0, 0])
        marginals = two_skills_of_classes(TWO_SKILLS, float(data.values[0, 0]), error_var)
        threshold = population.scales.to_working(np.array([0.6, 0.6]))
        for column, marginal in enumerate(marginals):
            skill, backward = f"skill_{column}", self.backward(population, column)
            mean, sd = marginal.mean_and_sd(backward)
            assert table.loc[skill, "mean"] == pytest.approx(mean, abs=0.0015)
            assert table.loc[skill, "std"] == pytest.approx(sd, abs=0.0025)
            for end, probability in (("lower", 0.05), ("upper", 0.95)):
                expected = float(backward(np.array(marginal.quantile(probability))))
                assert table.loc[skill, end] == pytest.approx(expected, abs=0.001)
            above = 1.0 - marginal.below(threshold[column])
            assert profile.p_above(skill, 0.6) == pytest.approx(above, abs=0.001)

    def test_an_unknown_agent_is_of_any_class(self, population) -> None:
        profile = population.profile()
        table = profile.predict()
        weights, means = TWO_SKILLS.weights[0], TWO_SKILLS.means[0]
        for column in range(2):
            skill, backward = f"skill_{column}", self.backward(population, column)
            sds = TWO_SKILLS.scales[0] * np.sqrt(TWO_SKILLS.covariance[0, column, column])
            for threshold in (0.2, 0.5, 0.8):
                at = population.scales.to_working(np.full(2, threshold))[column]
                above = weights @ stats.norm.sf(at, means[:, column], sds)
                assert profile.p_above(skill, threshold) == pytest.approx(above, abs=5e-4)
            line = np.linspace(-12.0, 12.0, 20_001)
            mass = weights @ stats.norm.pdf(line, means[:, column, None], sds[:, None])
            mass /= mass.sum()
            mean = mass @ backward(line)
            sd = np.sqrt(mass @ (backward(line) - mean) ** 2)
            assert table.loc[skill, "mean"] == pytest.approx(mean, abs=5e-4)
            assert table.loc[skill, "std"] == pytest.approx(sd, abs=5e-4)

    def test_draws_that_differ_are_averaged(self, rng) -> None:
        three = draw_classes(rng, 3, 2)
        population = class_population(history_of(2), three.repeated(3000))
        profile = population.profile().observe("skill_0", 0.75, n_items=12)
        data = working_data(np.array([[0.75]]), population.scales.take([0]), np.array([[12.0]]))
        above = [
            1.0
            - two_skills_of_classes(
                Draws(*(array[s : s + 1] for array in three)),
                float(data.values[0, 0]),
                float(data.error_var[0, 0]),
            )[1].below(0.5)
            for s in range(3)
        ]
        threshold = float(population.scales.from_working(np.array([0.5, 0.5]))[1])
        assert np.ptp(above) > 0.1
        assert profile.p_above("skill_1", threshold) == pytest.approx(np.mean(above), abs=0.02)


class TestResponsibilities:
    """Which class an agent is of."""

    @pytest.mark.parametrize("observed", [[], [1], [3, 0], [0, 1, 2, 3]], ids=str)
    def test_terms_are_scipys(self, rng, observed) -> None:
        draws = draw_classes(rng, 5, N_SKILLS)
        population = class_population(history_of(N_SKILLS), draws)
        values = np.full((2, N_SKILLS), np.nan)
        values[:, observed] = rng.standard_normal((2, len(observed)))
        (group,) = evidence_of(values).groups()
        conditioner = RowConditioner(population.posterior)
        terms = class_terms(
            population.posterior.classes,
            conditioner.root(group),
            conditioner.residuals(group),
            group.observed,
        )
        constant = 0.5 * len(observed) * np.log(2.0 * np.pi)
        for s in range(5):
            for agent in range(2):
                expected, total = draws.responsibilities(s, values[agent], ERROR_VAR)
                got = np.exp(terms[s, agent] - constant - total)
                np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-12)

    def test_a_class_comes_as_often_as_it_is_probable(self, rng) -> None:
        one = draw_classes(rng, 1, N_SKILLS)
        n_draws = 400
        terms = np.log(rng.dirichlet(np.ones(3), (1, 2))) + rng.standard_normal((1, 2, 1))
        levels = (rng.permutation(n_draws) + 0.5) / n_draws
        many = class_population(history_of(N_SKILLS), one.repeated(n_draws)).posterior.classes
        drawn = draw_class(many, np.repeat(terms, n_draws, axis=0), levels)
        for agent in range(2):
            expected = np.exp(terms[0, agent]) / np.exp(terms[0, agent]).sum()
            for c in range(3):
                chosen = (drawn.mean[:, agent] == one.means[0, c]).all(axis=1)
                assert chosen.mean() == pytest.approx(expected[c], abs=1.01 / n_draws)
                assert (drawn.scale[chosen, agent] == one.scales[0, c]).all()

    def test_a_score_far_away_is_of_the_widest_class(self) -> None:
        population = class_population(history_of(2), TWO_SKILLS.repeated(50))
        value = np.array([[9.0, np.nan]])
        evidence = Evidence(("one",), value, np.full((1, 2), 0.1), value)
        terms = population._context.engine.conditioner.conditionals(evidence)
        *_, widening = next(iter(terms))
        assert (widening == 4.0).all()


class TestConditional:
    """Moments and joint draws, on the working scale."""

    N_DRAWS = 40_000

    @pytest.fixture
    def one(self, rng) -> Draws:
        return draw_classes(rng, 1, N_SKILLS)

    def test_moments_are_those_of_the_mixture(self, rng, one) -> None:
        population = class_population(history_of(N_SKILLS), one.repeated(4000))
        values, extra = some_values(rng), np.array([0.0, 0.3, 0.1, 0.0])
        at, sd = components_of(population, evidence_of(values), extra)
        for agent, row in enumerate(values):
            weights, means, covariances = mixture_of(one, row)
            # an error of a score that is still to be measured is of the agent's class too
            wider = covariances + one.scales[0][:, None, None] ** 2 * np.diag(extra)
            mean, covariance = moments_of(weights, means, wider)
            spread = np.sqrt(np.diag(covariance))
            np.testing.assert_allclose(at[:, agent].mean(axis=0), mean, atol=3e-3)
            total = (sd[:, agent] ** 2).mean(axis=0) + at[:, agent].var(axis=0)
            np.testing.assert_allclose(np.sqrt(total), spread, rtol=3e-3)

    def test_joint_draws_have_the_mixtures_moments(self, rng, one) -> None:
        population = class_population(history_of(N_SKILLS), one.repeated(self.N_DRAWS))
        values = some_values(rng)
        draws = draws_of(population, evidence_of(values))
        for agent, row in enumerate(values):
            mean, covariance = moments_of(*mixture_of(one, row))
            spread = np.sqrt(np.diag(covariance))
            off = (draws[:, agent].mean(axis=0) - mean) / (spread / np.sqrt(self.N_DRAWS))
            assert (np.abs(off) < 5).all()
            got = np.cov(draws[:, agent].T) / np.outer(spread, spread)
            np.testing.assert_allclose(got, covariance / np.outer(spread, spread), atol=0.04)

    def test_draws_and_closed_form_agree(self, rng, one) -> None:
        population = class_population(history_of(N_SKILLS), one.repeated(self.N_DRAWS))
        profile = population.profile().observe("skill_1", 0.3, n_items=10)
        table = profile.predict()
        draws = profile.draws().values.reshape(-1, N_SKILLS)
        np.testing.assert_allclose(draws.mean(axis=0), table["mean"], atol=0.006)
        np.testing.assert_allclose(draws.std(axis=0), table["std"], atol=0.006)
        for end, probability in (("lower", 0.05), ("upper", 0.95)):
            np.testing.assert_allclose(
                np.quantile(draws, probability, axis=0), table[end], atol=0.01
            )
        above = [profile.p_above(f"skill_{column}", 0.5) for column in range(N_SKILLS)]
        np.testing.assert_allclose((draws > 0.5).mean(axis=0), above, atol=0.01)

    def test_chunks_change_nothing(self, rng, one, monkeypatch) -> None:
        population = class_population(history_of(N_SKILLS), one.repeated(50))
        values = rng.standard_normal((3, N_SKILLS))
        values[:, 1] = np.nan
        whole = components_of(population, evidence_of(values))
        monkeypatch.setattr(rows_module, "CHUNK_CELLS", 50 * N_SKILLS)
        for one_by_one, together in zip(
            components_of(population, evidence_of(values)), whole, strict=True
        ):
            np.testing.assert_allclose(one_by_one, together, rtol=1e-12)

    def test_one_class_is_the_gaussian(self, rng) -> None:
        draws = draw_classes(rng, 20, N_SKILLS, n_classes=1)
        population = class_population(history_of(N_SKILLS), draws)
        values = some_values(rng)
        at, sd = components_of(population, evidence_of(values))
        for agent, row in enumerate(values):
            seen = np.flatnonzero(~np.isnan(row))
            given = condition(draws.covariance, seen, ERROR_VAR[seen])
            residual = row[seen] - draws.means[:, 0, seen]
            expected = draws.means[:, 0] + np.einsum("sm,smk->sk", residual, given.gain)
            np.testing.assert_allclose(at[:, agent], expected, atol=1e-10)
            width = draws.scales * np.sqrt(given.variance)
            np.testing.assert_allclose(sd[:, agent], width, atol=1e-10)


class TestFrequencies:
    """Classes so far apart that a draw shows its own."""

    N_DRAWS = 4000
    WEIGHTS = np.array([0.5, 0.3, 0.2])

    @pytest.fixture
    def population(self) -> Population:
        draws = Draws(
            means=np.array([[[-3.0, -3.0], [0.0, 0.0], [3.0, 3.0]]]),
            covariance=0.04 * np.eye(2)[None],
            weights=self.WEIGHTS[None],
            scales=np.array([[0.5, 1.0, 1.5]]),
        )
        scores = pd.DataFrame({"a": [-1.0, 0.0, 1.0], "b": [1.0, -1.0, 0.0]}, index=list("xyz"))
        # mean 0 and standard deviation 1: the working scale is the scores'
        history = History.from_dataframe(scores, scale="unbounded")
        return class_population(history, draws.repeated(self.N_DRAWS))

    @staticmethod
    def class_of(draws: np.ndarray) -> np.ndarray:
        """Position of the class of draws (S, A, K); both skills are of one class."""
        found = np.rint(draws / 3.0).astype(int) + 1
        assert (found[..., 0] == found[..., 1]).all()
        return found[..., 0]

    def test_draws_are_of_a_class_as_often_as_it_is_heavy(self, population) -> None:
        draws = population.profile().draws().values.reshape(self.N_DRAWS, 1, 2)
        share = np.bincount(self.class_of(draws)[:, 0], minlength=3) / self.N_DRAWS
        assert share == pytest.approx(self.WEIGHTS, abs=1.01 / self.N_DRAWS)

    def test_agents_of_a_comparison_have_classes_of_their_own(self, population) -> None:
        members = {name: population.profile(name) for name in ("one", "other")}
        draws = joint_draws(members).values.reshape(self.N_DRAWS, 2, 2)
        one, other = self.class_of(draws).T
        together = np.histogram2d(one, other, bins=(np.arange(4), np.arange(4)))[0] / self.N_DRAWS
        assert together.sum(axis=1) == pytest.approx(self.WEIGHTS, abs=1.01 / self.N_DRAWS)
        assert together.sum(axis=0) == pytest.approx(self.WEIGHTS, abs=1.01 / self.N_DRAWS)
        assert together == pytest.approx(np.outer(self.WEIGHTS, self.WEIGHTS), abs=0.03)

    def test_classes_have_nothing_to_do_with_the_order_of_draws(self, population) -> None:
        draws = population.profile().draws().values.reshape(self.N_DRAWS, 1, 2)
        found = self.class_of(draws)[:, 0]
        assert abs(np.corrcoef(found, np.arange(self.N_DRAWS))[0, 1]) < 0.06
        assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.06

    def test_one_score_tells_the_class(self, population) -> None:
        profile = population.profile().observe("a", 2.8)
        assert profile.mean("b") == pytest.approx(3.0, abs=1e-6)
        assert profile.std("b") == pytest.approx(1.5 * 0.2, rel=1e-3)
