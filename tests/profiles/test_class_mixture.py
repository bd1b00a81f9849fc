"""The fast path for latent classes against the whole weighted mixture of draws and classes."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

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
)
from row_conditioning import history_of
from scipy import stats

from skillinfer_bayes import History, Population, Scale
from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD
from skillinfer_bayes.profiles.class_mixture import BLOCK
from skillinfer_bayes.profiles.engine import FAST_CLASSES_FROM, Summary
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.mixture import gauss_hermite

N_DRAWS = 60
SHARES = [*Summary._fields]


class Mixture(NamedTuple):
    """Every draw's classes for one agent: weights (n,), means and sds (n, K)."""

    weights: np.ndarray
    means: np.ndarray
    sds: np.ndarray


def mixture_of(draws: Draws, values: np.ndarray, error_var: np.ndarray, extra: float) -> Mixture:
    """Written out draw by draw, by inverting matrices."""
    seen, parts = np.flatnonzero(~np.isnan(values)), []
    for s, covariance in enumerate(draws.covariance):
        block = covariance[np.ix_(seen, seen)] + np.diag(error_var[seen])
        gain = covariance[:, seen] @ np.linalg.inv(block)
        left = np.diag(covariance - gain @ covariance[seen]) + extra
        weights, _ = draws.responsibilities(s, values, error_var)
        means = draws.means[s] + (values[seen] - draws.means[s][:, seen]) @ gain.T
        sds = draws.scales[s][:, None] * np.sqrt(np.maximum(left, 0.0))
        parts.append(Mixture(weights / len(draws.weights), means, sds))
    return Mixture(*map(np.concatenate, zip(*parts, strict=True)))


def summary_of(mixture: Mixture, population: Population, ci_prob: float) -> Summary:
    """Moments by quadrature in each component, ends by halving."""
    weights, means, sds = mixture
    backward = population.scales.from_working
    nodes, shares = gauss_hermite(41)
    scores = backward(means + nodes[:, None, None] * sds)
    mean = np.einsum("n,i,nik->k", shares, weights, scores)
    sd = np.sqrt(np.einsum("n,i,nik->k", shares, weights, (scores - mean) ** 2))
    ends = []
    for level in (0.5 - 0.5 * ci_prob, 0.5 + 0.5 * ci_prob):
        low, high = (means - 40 * sds - 1).min(axis=0), (means + 40 * sds + 1).max(axis=0)
        for _ in range(80):
            middle = 0.5 * (low + high)
            below = weights @ stats.norm.cdf(middle, means, np.maximum(sds, 1e-12))
            low, high = np.where(below < level, middle, low), np.where(below < level, high, middle)
        ends.append(backward(middle))
    return Summary(mean, sd, *ends)


def brute_force(
    population: Population, draws: Draws, evidence: Evidence, kind: str = "skill", ci: float = 0.9
) -> Summary:
    extra = DEFAULT_ERROR_SD**2 if kind == "score" else 0.0
    rows = zip(evidence.values, evidence.error_var, strict=True)
    found = [summary_of(mixture_of(draws, *row, extra), population, ci) for row in rows]
    return Summary(*map(np.stack, zip(*found, strict=True)))


def evidence_of(values: np.ndarray, error_var: np.ndarray = ERROR_VAR) -> Evidence:
    names = tuple(f"agent {row}" for row in range(len(values)))
    return Evidence(names, values, np.broadcast_to(error_var, values.shape), values)


def fast(population: Population, evidence: Evidence, kind: str = "skill", ci: float = 0.9):
    engine = population._context.engine
    return engine.summarise(evidence, kind=kind, ci_prob=ci, method="fast")


def with_holes(rng: np.random.Generator, sets: list[list[int]], each: int) -> np.ndarray:
    values = np.full((len(sets) * each, N_SKILLS), np.nan)
    for row, observed in enumerate(sets * each):
        values[row, observed] = 1.2 * rng.standard_normal(len(observed))
    return values


def assert_close(got: Summary, expected: Summary, mean: float = 0.001, end: float = 0.003) -> None:
    for name, one, other in zip(SHARES, got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=mean if name == "mean" else end, err_msg=name)


@pytest.fixture
def draws(rng) -> Draws:
    """Classes that keep what they are like over draws, in another order in each."""
    one = draw_classes(rng, 1, N_SKILLS, n_classes=4, apart=1.3)
    many = one.repeated(N_DRAWS)
    order = rng.permuted(np.tile(np.arange(4), (N_DRAWS, 1)), axis=1)
    means, weights, scales = (
        np.stack([array[s, order[s]] for s in range(N_DRAWS)])
        for array in (many.means, many.weights, many.scales)
    )
    root = np.linalg.cholesky(one.covariance[0])
    root = root + 0.05 * np.tril(rng.standard_normal((N_DRAWS, N_SKILLS, N_SKILLS)))
    return Draws(
        means + 0.2 * rng.standard_normal(means.shape),
        root @ np.swapaxes(root, 1, 2),
        weights,
        scales * np.exp(0.1 * rng.standard_normal(scales.shape)),
    )


@pytest.fixture
def population(draws) -> Population:
    return class_population(history_of(N_SKILLS), draws)


class TestAgainstBruteForce:
    @pytest.mark.parametrize("kind", ["skill", "score"])
    @pytest.mark.parametrize("observed", [[], [2], [3, 0], [0, 1, 2, 3]], ids=str)
    def test_one_set_of_skills(self, rng, draws, population, kind, observed) -> None:
        evidence = evidence_of(with_holes(rng, [observed], 5))
        got, expected = (
            fast(population, evidence, kind),
            brute_force(population, draws, evidence, kind),
        )
        assert_close(got, expected)

    def test_several_sets_and_errors_at_once(self, rng, draws, population) -> None:
        values = with_holes(rng, [[0], [1, 2], [], [0, 3]], 3)
        errors = rng.choice([0.02, 0.3], values.shape)
        evidence = evidence_of(values, errors)
        assert_close(fast(population, evidence), brute_force(population, draws, evidence))

    @pytest.mark.parametrize(("ci", "end"), [(0.2, 0.003), (0.99, 0.003), (0.9999, 0.005)])
    def test_any_interval(self, rng, draws, population, ci, end) -> None:
        evidence = evidence_of(with_holes(rng, [[1], []], 3))
        expected = brute_force(population, draws, evidence, ci=ci)
        assert_close(fast(population, evidence, ci=ci), expected, end=end)

    def test_two_humps(self) -> None:
        """Five in a hundred are all of the lower hump."""
        one = Draws(
            means=np.array([[[-2.5, -2.5], [1.5, 1.5]]]),
            covariance=0.09 * np.eye(2)[None],
            weights=np.array([[0.06, 0.94]]),
            scales=np.array([[0.5, 1.5]]),
        )
        population = class_population(history_of(2), one.repeated(20))
        evidence = evidence_of(np.full((2, 2), np.nan), ERROR_VAR[:2])
        assert_close(fast(population, evidence), brute_force(population, one, evidence))

    def test_draws_far_apart(self, rng) -> None:
        draws = draw_classes(rng, 40, N_SKILLS, apart=2.0)
        population = class_population(history_of(N_SKILLS), draws)
        evidence = evidence_of(with_holes(rng, [[0], [1, 2]], 3))
        assert_close(fast(population, evidence), brute_force(population, draws, evidence))


class TestWidths:
    @pytest.mark.parametrize("error_var", [1e-4, 1e-10, np.finfo(float).tiny])
    def test_scores_measured_without_error(self, rng, draws, population, error_var) -> None:
        evidence = evidence_of(with_holes(rng, [[0, 2]], 4), np.full(N_SKILLS, error_var))
        got = fast(population, evidence)
        assert_close(got, brute_force(population, draws, evidence))
        seen = population.scales.from_working(evidence.values)[:, [0, 2]]
        for end in (got.mean, got.lower, got.upper):
            np.testing.assert_allclose(end[:, [0, 2]], seen, atol=3 * np.sqrt(error_var) + 1e-5)

    def test_classes_of_no_width(self, draws) -> None:
        narrow = draws._replace(covariance=1e-16 * draws.covariance)
        population = class_population(history_of(N_SKILLS), narrow)
        evidence = evidence_of(np.full((1, N_SKILLS), np.nan))
        got = fast(population, evidence)
        expected = brute_force(population, narrow, evidence)
        # a step's place may be anywhere between two draws' means
        np.testing.assert_allclose(got.mean, expected.mean, atol=1e-3)
        np.testing.assert_allclose(got.std, expected.std, atol=3e-3)
        np.testing.assert_allclose(got.lower, expected.lower, atol=0.02)
        np.testing.assert_allclose(got.upper, expected.upper, atol=0.02)

    @pytest.mark.parametrize(("value", "limit"), [(8.0, 0.002), (-40.0, 0.002), (1e6, 0.01)])
    def test_extreme_scores(self, draws, population, value, limit) -> None:
        values = np.full((2, N_SKILLS), np.nan)
        values[0, 1], values[1, :2] = value, [value, -value]
        evidence = evidence_of(values)
        got = fast(population, evidence)
        assert_close(got, brute_force(population, draws, evidence), mean=limit, end=2 * limit)
        for end in (got.mean, got.lower, got.upper):
            assert ((end >= 0.0) & (end <= 1.0)).all()


class TestScales:
    def test_unbounded_skills_and_chance(self, rng, draws) -> None:
        scores = history_of(N_SKILLS).values
        table = pd.DataFrame(scores, columns=[f"skill_{column}" for column in range(N_SKILLS)])
        table["skill_1"] = 40.0 * table["skill_1"] - 20.0
        scale = {"skill_1": "unbounded", "skill_2": Scale.multiple_choice(4)}
        scale |= {"skill_0": "0-1", "skill_3": "0-1"}
        table.index = [f"row {row}" for row in range(len(table))]
        table["skill_2"] = 0.25 + 0.75 * table["skill_2"]
        population = class_population(History.from_dataframe(table, scale=scale), draws)
        evidence = evidence_of(with_holes(rng, [[0], [1, 2]], 3))
        got = fast(population, evidence)
        expected = brute_force(population, draws, evidence)
        unit = np.array([1.0, population.scales.spread[1], 1.0, 1.0])
        assert_close(*(Summary(*(part / unit for part in one)) for one in (got, expected)))

    def test_measured_proportions_have_steps(self, rng, draws) -> None:
        known = history_of(N_SKILLS)
        table = pd.DataFrame(known.values, index=known.agents, columns=known.skills)
        history = History.from_dataframe(table, scale="0-1", n_items=40)
        profiles = class_population(history, draws).profiles(table.iloc[:3, :2], n_items=40)
        exact, quick = (
            profiles.to_dataset(kind="score", method=method) for method in ("exact", "fast")
        )
        for end in ("lower", "upper"):
            np.testing.assert_array_equal(quick[end], exact[end])
        assert float(np.abs(quick["mean"] - exact["mean"]).max()) < 0.05


def test_one_agents_profile_does_not_load_the_compiler() -> None:
    program = (
        "import sys; import skillinfer_bayes.profiles.engine; sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class TestTables:
    def table(self, rng: np.random.Generator, n_agents: int) -> pd.DataFrame:
        scores = pd.DataFrame(rng.uniform(0.05, 0.95, (n_agents, N_SKILLS)))
        scores.columns = [f"skill_{column}" for column in range(N_SKILLS)]
        scores.index = [f"new {row}" for row in range(n_agents)]
        return scores.mask(rng.random(scores.shape) < 0.5)

    def test_auto_is_exact_for_few_agents_and_fast_for_many(self, rng, population) -> None:
        for n_agents, method in [(FAST_CLASSES_FROM, "exact"), (FAST_CLASSES_FROM + 1, "fast")]:
            profiles = population.profiles(self.table(rng, n_agents))
            assert profiles.to_dataset().identical(profiles.to_dataset(method=method))
        assert not profiles.to_dataset().identical(profiles.to_dataset(method="exact"))

    def test_fast_is_close_to_exact_where_classes_repeat(self) -> None:
        population = class_population(history_of(2), TWO_SKILLS.repeated(40))
        profiles = population.profiles(
            pd.DataFrame({"skill_0": [0.2, 0.7, 0.99]}, index=["one", "other", "third"])
        )
        exact, quick = (profiles.to_dataset(method=method) for method in ("exact", "fast"))
        for name, limit in (("mean", 2e-4), ("std", 2e-4), ("lower", 5e-4), ("upper", 5e-4)):
            assert float(np.abs(quick[name] - exact[name]).max()) < limit

    def test_an_agent_alone_and_in_a_table(self, rng, population) -> None:
        profiles = population.profiles(self.table(rng, 20))
        together = profiles.to_dataset(method="fast")
        for agent in profiles.agents[:5]:
            row = self.row(profiles, agent)
            alone = fast(population, row)
            for name, part in zip(SHARES, alone, strict=True):
                np.testing.assert_allclose(part[0], together[name].sel(agent=agent), atol=1e-3)

    @staticmethod
    def row(profiles, agent: str) -> Evidence:
        at = profiles.agents.index(agent)
        return profiles._evidence.take(slice(at, at + 1))

    def test_blocks_change_nothing_much(self, rng, draws, population) -> None:
        values = with_holes(rng, [[1]], BLOCK + 3)
        whole = fast(population, evidence_of(values))
        # the same agents in other blocks; rounding their average moves components between bins
        turned = fast(population, evidence_of(values[::-1]))
        for one, other in zip(whole, turned, strict=True):
            np.testing.assert_allclose(one, other[::-1], atol=2e-4)
