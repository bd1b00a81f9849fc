"""Populations of latent classes from given draws, and what they should say; no MCMC."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from brute_force import NODES, Marginal, grid
from numpy.typing import NDArray
from scipy import stats
from scipy.special import logsumexp

from skillinfer_bayes import History, Population
from skillinfer_bayes.inference.posterior import CLASS_DIMS, Posterior
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.testing import FAKE_SETTINGS, population_of_draws

type FloatArray = NDArray[np.float64]

N_SKILLS = 4
AGENTS = ("one", "other", "third")
NO_ERROR = np.zeros(N_SKILLS)
ERROR_VAR = np.array([0.1, 0.2, 0.05, 0.4])


class Draws(NamedTuple):
    """S draws of C classes of agents with K skills.

    means : (S, C, K); covariance : (S, K, K); weights, scales : (S, C)
    """

    means: FloatArray
    covariance: FloatArray
    weights: FloatArray
    scales: FloatArray

    def repeated(self, times: int) -> Draws:
        """The same draws over and over."""
        return Draws(*(np.concatenate([array] * times) for array in self))

    def moved(self, shift: FloatArray) -> Draws:
        """All classes of a draw moved by (S, K)."""
        return self._replace(means=self.means + shift[:, None, :])

    def moments(self) -> tuple[FloatArray, FloatArray]:
        """Means (S, K) and covariances (S, K, K) of the classes together, class by class."""
        mean = np.zeros(self.means[:, 0].shape)
        second = np.zeros(self.covariance.shape)
        for c in range(self.weights.shape[1]):
            weight, centre = self.weights[:, c, None], self.means[:, c]
            mean += weight * centre
            about = np.einsum("si,sj->sij", centre, centre)
            within = self.scales[:, c, None, None] ** 2 * self.covariance
            second += weight[..., None] * (about + within)
        return mean, second - np.einsum("si,sj->sij", mean, mean)

    def responsibilities(
        self, draw: int, values: FloatArray, error_var: FloatArray
    ) -> tuple[FloatArray, float]:
        """Of each class for scores (K,) with NaN where there are none; and the log density."""
        seen = np.flatnonzero(~np.isnan(values))
        terms = np.log(self.weights[draw])
        for c in range(len(terms)):
            if len(seen):
                block = self.covariance[draw][np.ix_(seen, seen)] + np.diag(error_var[seen])
                terms[c] += stats.multivariate_normal.logpdf(
                    values[seen], self.means[draw, c, seen], self.scales[draw, c] ** 2 * block
                )
        total = float(logsumexp(terms))
        return np.exp(terms - total), total


# Two kinds of agents that differ in what skill 0 says of skill 1, and rare, scattered ones.
TWO_SKILLS = Draws(
    means=np.array([[[-1.0, -0.8], [0.9, 1.2], [0.2, -1.5]]]),
    covariance=np.array([[[0.5, 0.2], [0.2, 0.4]]]),
    weights=np.array([[0.55, 0.35, 0.1]]),
    scales=np.array([[0.7, 1.0, 2.0]]),
)


def draw_classes(
    rng: np.random.Generator, n_draws: int, n_skills: int, n_classes: int = 3, apart: float = 1.0
) -> Draws:
    """Draws at random."""
    root = rng.standard_normal((n_draws, n_skills, n_skills))
    return Draws(
        apart * rng.standard_normal((n_draws, n_classes, n_skills)),
        root @ np.swapaxes(root, 1, 2) / n_skills + 0.2 * np.eye(n_skills),
        rng.dirichlet(2.0 * np.ones(n_classes), n_draws),
        rng.uniform(0.6, 1.8, (n_draws, n_classes)),
    )


def class_population(history: History, draws: Draws, **others: Any) -> Population:
    """Wrap draws, one chain, as a population; `others` as `population_of_draws`, (S, ...)."""
    mean, covariance = draws.moments()
    given = {name: np.asarray(array)[None] for name, array in others.items()}
    plain = population_of_draws(history, mean[None], covariance[None], **given)
    groups = {name: group.to_dataset() for name, group in plain.data.children.items()}
    arrays = dict(zip(CLASS_DIMS, draws, strict=True))
    groups["posterior"] = groups["posterior"].assign(
        {
            name: (("chain", "draw", *CLASS_DIMS[name]), array[None])
            for name, array in arrays.items()
        }
    )
    return Population(history, Posterior(xr.DataTree.from_dict(groups)), FAKE_SETTINGS)


def two_skills_of_classes(
    draws: Draws, value: float, error_var: float
) -> tuple[Marginal, Marginal]:
    """Both skills given one measurement of the first, from the joint density of all three.

    Of the first draw. A class widens the measurement's error too.
    """
    covariance = draws.covariance[0]
    joint = np.empty((3, 3))
    joint[:2, :2] = covariance
    joint[2] = joint[:, 2] = [*covariance[0], covariance[0, 0] + error_var]
    joint[2, :2] = covariance[0]
    means = draws.means[0]
    # points lie dense where the measurement and the population agree to look
    trust = covariance[0, 0] / (covariance[0, 0] + error_var)
    near = 0.3 * np.sqrt(trust * error_var)
    middle = draws.weights[0] @ means
    first, first_width = grid(middle[0] + trust * (value - middle[0]), near)
    second, second_width = grid(middle[1], 0.3 * np.sqrt(covariance[1, 1]))
    points = np.empty((NODES, NODES, 3))
    points[..., 0], points[..., 1] = np.meshgrid(first, second, indexing="ij")
    points[..., 2] = value
    density = np.zeros((NODES, NODES))
    for mean, weight, scale in zip(means, draws.weights[0], draws.scales[0], strict=True):
        centre = [*mean, mean[0]]
        density += weight * stats.multivariate_normal.pdf(points, centre, scale**2 * joint)
    mass = density * first_width[:, None] * second_width
    mass /= mass.sum()
    return Marginal(first, mass.sum(axis=1)), Marginal(second, mass.sum(axis=0))


def evidence_of(values: np.ndarray, **known) -> Evidence:
    errors = np.broadcast_to(ERROR_VAR, values.shape)
    return Evidence(AGENTS[: len(values)], values, errors, values, **known)


def some_values(rng: np.random.Generator) -> np.ndarray:
    """Two skills measured, one, and none."""
    values = np.full((3, N_SKILLS), np.nan)
    values[0, [2, 0]] = rng.standard_normal(2)
    values[1, 3] = 1.5
    return values


def mixture_of(draws: Draws, values: np.ndarray, pull: FloatArray | float = 0.0):
    """Weights (C,), means (C, K) and covariances (C, K, K) of an agent, by inverting matrices.

    `pull` (K, K) is what a group that the history lacks adds to the covariance of every class.
    """
    seen = np.flatnonzero(~np.isnan(values))
    logs, means, covariances = np.log(draws.weights[0]), [], []
    for c, (mean, scale) in enumerate(zip(draws.means[0], draws.scales[0], strict=True)):
        covariance = scale**2 * draws.covariance[0] + pull
        block = covariance[np.ix_(seen, seen)] + scale**2 * np.diag(ERROR_VAR[seen])
        gain = covariance[:, seen] @ np.linalg.inv(block)
        means.append(mean + gain @ (values[seen] - mean[seen]))
        covariances.append(covariance - gain @ covariance[seen])
        if len(seen):
            logs[c] += stats.multivariate_normal.logpdf(values[seen], mean[seen], block)
    return np.exp(logs - logsumexp(logs)), np.array(means), np.array(covariances)


def moments_of(weights, means, covariances) -> tuple[np.ndarray, np.ndarray]:
    mean = weights @ means
    parts = [
        weight * (covariance + np.outer(centre - mean, centre - mean))
        for weight, centre, covariance in zip(weights, means, covariances, strict=True)
    ]
    return mean, np.sum(parts, axis=0)
