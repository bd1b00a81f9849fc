"""Conditioning by brute force: densities on grids, for models small enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

type FloatArray = NDArray[np.float64]

NODES = 501


class Marginal(NamedTuple):
    """A density on a grid: where, and how much."""

    at: FloatArray
    mass: FloatArray

    def mean_and_sd(self, backward: Callable[[FloatArray], FloatArray]) -> tuple[float, float]:
        """Moments of a transformed variable."""
        values = backward(self.at)
        mean = float(self.mass @ values)
        return mean, float(np.sqrt(self.mass @ (values - mean) ** 2))

    def below(self, threshold: float) -> float:
        """Probability below a threshold, half a grid cell smoothed."""
        middle = np.cumsum(self.mass) - 0.5 * self.mass
        return float(np.interp(threshold, self.at, middle))

    def quantile(self, probability: float) -> float:
        """Inverse of `below`."""
        middle = np.cumsum(self.mass) - 0.5 * self.mass
        return float(np.interp(probability, middle, self.at))


def grid(centre: float, scale: float, reach: float = 6.5) -> tuple[FloatArray, FloatArray]:
    """Points that reach hundreds of scales out, dense in the middle, and their widths."""
    u = np.linspace(-reach, reach, NODES)
    return centre + scale * np.sinh(u), scale * np.cosh(u) * (u[1] - u[0])


def two_skills(
    mean: FloatArray, covariance: FloatArray, nu: float, value: float, error_var: float
) -> tuple[Marginal, Marginal]:
    """Both skills given one measurement of the first, from the joint density of all three."""
    joint = np.empty((3, 3))
    joint[:2, :2] = covariance
    joint[2] = joint[:, 2] = [*covariance[0], covariance[0, 0] + error_var]
    joint[2, :2] = covariance[0]
    # points lie dense where the measurement and the population agree to look
    trust = covariance[0, 0] / (covariance[0, 0] + error_var)
    near = 0.3 * np.sqrt(trust * error_var)
    first, first_width = grid(mean[0] + trust * (value - mean[0]), near)
    second, second_width = grid(mean[1], 0.3 * np.sqrt(covariance[1, 1]))
    points = np.empty((NODES, NODES, 3))
    points[..., 0], points[..., 1] = np.meshgrid(first, second, indexing="ij")
    points[..., 2] = value
    centre = [*mean, mean[0]]
    if np.isinf(nu):
        density = stats.multivariate_normal.pdf(points, centre, joint)
    else:
        density = stats.multivariate_t.pdf(points, centre, joint, df=nu)
    mass = density * first_width[:, None] * second_width
    mass /= mass.sum()
    return Marginal(first, mass.sum(axis=1)), Marginal(second, mass.sum(axis=0))


class CellModel(NamedTuple):
    """One draw of a population of shared factors with a scale per score; K skills, r factors."""

    mu: FloatArray
    loadings: FloatArray
    own_sd: FloatArray
    nu: float
    noise_sd: float


class CellPosterior(NamedTuple):
    """An agent's factors and noise on a grid of M points, and each skill given them.

    weight : (M,)
    centre, scale : (M, K), of the Student-t that a skill is at a point
    degrees : (K,)
    log_density : of what was measured
    """

    weight: FloatArray
    centre: FloatArray
    scale: FloatArray
    degrees: FloatArray
    log_density: float

    def below(self, skill: int, threshold: float) -> float:
        """Probability that a skill lies below a threshold, working scale."""
        z = (threshold - self.centre[:, skill]) / self.scale[:, skill]
        return float(self.weight @ stats.t.cdf(z, self.degrees[skill]))

    @property
    def mean(self) -> FloatArray:
        """Means of all skills, working scale."""
        return self.weight @ self.centre

    @property
    def sd(self) -> FloatArray:
        """Standard deviations of all skills, working scale."""
        within = self.scale**2 * self.degrees / (self.degrees - 2.0)
        return np.sqrt(self.weight @ (within + (self.centre - self.mean) ** 2))


def cell_posterior(
    model: CellModel,
    values: FloatArray,
    error_var: FloatArray,
    pull: FloatArray,
    factor_var: float,
    nodes: tuple[int, int] = (241, 41),
    noise_reach: float = 5.0,
) -> CellPosterior:
    """An agent's posterior; `values` (K,) with NaN where nothing was measured."""
    rank = model.loadings.shape[1]
    factor_nodes, noise_nodes = nodes
    line = np.linspace(-7.0, 7.0, factor_nodes) * np.sqrt(factor_var)
    level = np.linspace(-noise_reach, noise_reach, noise_nodes)
    cell = (line[1] - line[0]) ** rank * (level[1] - level[0])
    *deviations, level = (
        axis.ravel() for axis in np.meshgrid(*[line] * rank, level, indexing="ij")
    )
    factors = np.stack(deviations, axis=1) + pull
    own_var = (model.own_sd * np.exp(model.noise_sd * level)[:, None]) ** 2
    fitted = model.mu + factors @ model.loadings.T
    seen = ~np.isnan(values)
    error_var = np.where(seen, error_var, 0.0)
    total = np.sqrt(own_var + error_var)
    residual = np.where(seen, values, 0.0) - fitted
    log_weight = stats.norm.logpdf(level)
    log_weight = log_weight + stats.norm.logpdf(factors - pull, scale=np.sqrt(factor_var)).sum(1)
    log_weight += stats.t.logpdf(residual[:, seen], model.nu, scale=total[:, seen]).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    # a measured skill keeps its share of the residual, and is the surer the better that fits
    share = own_var / total**2
    surprise = (model.nu + (residual / total) ** 2) / (model.nu + 1.0)
    return CellPosterior(
        weight / weight.sum(),
        fitted + np.where(seen, share * residual, 0.0),
        np.where(seen, np.sqrt(share * error_var * surprise), np.sqrt(own_var)),
        model.nu + seen,
        float(log_weight.max() + np.log(weight.sum() * cell)),
    )
