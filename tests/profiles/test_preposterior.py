"""What measurements would tell: against closed forms of jointly Gaussian draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from skillinfer_bayes.profiles.preposterior import (
    ForwardPath,
    expected_best,
    information_gains,
    measured_covariance,
    posterior_means,
    score_features,
    variance_reductions,
)

N_DRAWS = 20_000
# Skills a, b, c and what measuring each gives; the target is a + b.
SKILLS = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
ERROR_SD = np.array([0.2, 0.8, 0.2])
TARGET = np.array([1.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(5)
    skills = rng.multivariate_normal(np.array([2.0, 0.0, 0.0]), SKILLS, size=N_DRAWS)
    measured = skills + ERROR_SD * rng.standard_normal(skills.shape)
    return measured, skills @ TARGET


def explained_sd(asked: list[int]) -> float:
    """Standard deviation of the target's posterior mean after measuring some skills."""
    cross = (SKILLS @ TARGET)[asked]
    system = SKILLS[np.ix_(asked, asked)] + np.diag(ERROR_SD[asked] ** 2)
    return float(np.sqrt(cross @ np.linalg.solve(system, cross)))


class TestPosteriorMeans:
    def test_equal_the_conditional_of_a_gaussian(self, drawn) -> None:
        measured, target = drawn
        means = posterior_means(measured, target)
        for skill in range(2):
            slope = (SKILLS @ TARGET)[skill] / (SKILLS[skill, skill] + ERROR_SD[skill] ** 2)
            expected = target.mean() + slope * (measured[:, skill] - measured[:, skill].mean())
            assert np.sqrt(np.mean((means[:, skill] - expected) ** 2)) < 0.05
            assert means[:, skill].std() == pytest.approx(explained_sd([skill]), rel=0.03)

    def test_follow_a_link(self) -> None:
        rng = np.random.default_rng(8)
        skill = rng.normal(0.5, 1.0, N_DRAWS)
        measured = skill + 0.5 * rng.standard_normal(N_DRAWS)
        target = 1.0 / (1.0 + np.exp(-2.0 * skill))
        found = posterior_means(measured[:, None], target)[:, 0]
        mean, sd = 0.5 + (measured - 0.5) / 1.25, np.sqrt(0.25 / 1.25)
        nodes, weights = np.polynomial.hermite_e.hermegauss(40)
        at = mean[:, None] + sd * nodes
        exact = (1.0 / (1.0 + np.exp(-2.0 * at))) @ weights / weights.sum()
        assert np.sqrt(np.mean((found - exact) ** 2)) < 0.12 * exact.std()

    def test_keep_the_mean(self, drawn) -> None:
        measured, target = drawn
        assert np.allclose(posterior_means(measured, target).mean(axis=0), target.mean())

    def test_noise_is_hardly_taken_for_knowledge(self) -> None:
        rng = np.random.default_rng(3)
        spreads = []
        for _ in range(40):
            means = posterior_means(rng.standard_normal((500, 20)), rng.standard_normal(500))
            spreads.append(np.square(means.std(axis=0)).mean())
        # a plain cubic fit explains three parts in 499 by chance
        assert np.mean(spreads) < 0.6 * 3 / 499

    def test_a_measurement_that_never_varies_tells_nothing(self, drawn) -> None:
        _, target = drawn
        constant = np.full((N_DRAWS, 1), 0.7)
        assert (score_features(constant) == 0.0).all()
        assert np.allclose(posterior_means(constant, target), target.mean())

    def test_a_target_that_never_varies_stays(self, drawn) -> None:
        measured, _ = drawn
        assert np.allclose(posterior_means(measured, np.full(N_DRAWS, 0.4)), 0.4)


class TestForwardPath:
    def test_begins_with_what_tells_most_and_ends_with_what_tells_nothing(self, drawn) -> None:
        path = ForwardPath(*drawn, np.ones(3))
        path.extend(9)
        assert path.order == [0, 1, 2]
        sds = [means.std() for means in path.means]
        expected = [0.0, explained_sd([0]), explained_sd([0, 1]), explained_sd([0, 1, 2])]
        assert sds == pytest.approx(expected, rel=0.03, abs=1e-9)

    def test_cost_counts(self, drawn) -> None:
        path = ForwardPath(*drawn, np.array([3.0, 1.0, 1.0]))
        path.extend(1)
        assert path.order == [1]

    def test_a_repeated_measurement_comes_late(self, drawn) -> None:
        measured, target = drawn
        twice = np.column_stack([measured[:, 0], measured[:, 0], measured[:, 1]])
        path = ForwardPath(twice, target, np.ones(3))
        path.extend(3)
        assert path.order[1] == 2
        assert path.means[3].std() == pytest.approx(path.means[2].std(), rel=0.002)

    def test_everything_measured_without_error_gives_the_target(self) -> None:
        rng = np.random.default_rng(1)
        skills = rng.standard_normal((4000, 3))
        path = ForwardPath(skills, skills @ TARGET, np.ones(3))
        path.extend(3)
        assert np.abs(path.means[2] - skills @ TARGET).max() < 0.05

    def test_leaves_out_what_cannot_be_paid(self, drawn) -> None:
        path = ForwardPath(*drawn, np.array([5.0, 1.0, 1.0]))
        path.afford(4.0, 0)
        path.extend(3)
        assert path.order == [1, 2]

    def test_changes_course_when_money_runs_out(self, drawn) -> None:
        costs = np.array([1.0, 1.0, 0.9])
        path = ForwardPath(*drawn, costs)
        path.extend(3)
        kept = path.means[1]
        path.afford(0.95, 1)
        path.extend(3)
        assert path.order == [0, 2]
        assert np.allclose(path.means[1], kept)


def test_expected_best_equals_the_knowledge_gradient(drawn) -> None:
    """One agent is measured, the other is known to be `gap` better."""
    measured, target = drawn
    mean = posterior_means(measured[:, :1], target)[:, 0]
    gap, sd = 0.8, explained_sd([0])
    known = np.full(N_DRAWS, target.mean() + gap)
    gain = expected_best(np.column_stack([mean, known])) - known[0]
    z = -gap / sd
    assert gain == pytest.approx(sd * (z * norm.cdf(z) + norm.pdf(z)), rel=0.05)


class TestMoments:
    covariance = np.block([[SKILLS, SKILLS], [SKILLS, SKILLS + np.diag(ERROR_SD**2)]])
    targets, asked = np.arange(3), np.arange(3, 6)

    def test_variance_reductions(self) -> None:
        found = variance_reductions(self.covariance, self.targets, self.asked)
        for place, measurement in enumerate(self.asked):
            left = measured_covariance(self.covariance, int(measurement))
            lost = np.trace(self.covariance[:3, :3]) - np.trace(left[:3, :3])
            assert found[place] == pytest.approx(lost)

    def test_information_is_what_determinants_lose(self) -> None:
        found = information_gains(self.covariance, self.targets, self.asked)
        for place, measurement in enumerate(self.asked):
            left = measured_covariance(self.covariance, int(measurement))[:3, :3]
            lost = np.linalg.slogdet(SKILLS)[1] - np.linalg.slogdet(left)[1]
            assert found[place] == pytest.approx(0.5 * lost)

    def test_one_measurement_after_another_equals_both_at_once(self) -> None:
        order = [
            measured_covariance(measured_covariance(self.covariance, a), b)
            for a, b in [(3, 4), (4, 3)]
        ]
        both = [3, 4]
        cross = self.covariance[:, both]
        joint = self.covariance - cross @ np.linalg.solve(
            self.covariance[np.ix_(both, both)], cross.T
        )
        assert np.allclose(order[0], joint)
        assert np.allclose(order[1], joint)

    def test_what_is_known_tells_nothing_more(self) -> None:
        left = measured_covariance(self.covariance, 3)
        assert variance_reductions(left, self.targets, np.array([3]))[0] == pytest.approx(0.0)
        assert np.allclose(measured_covariance(left, 3), left)
        nothing = np.zeros((2, 2))
        assert information_gains(nothing, np.array([0]), np.array([1]))[0] == 0.0
