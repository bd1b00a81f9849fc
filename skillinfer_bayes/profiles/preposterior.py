"""What a measurement that was not made yet would tell; joint draws in, arrays out.

A joint draw holds an agent's skills and the scores that measuring them would give. Regressing a
target, such as a task's score, on a simulated measurement estimates the target's posterior mean
as a function of what will be measured, whatever the model's inner structure, and takes in both
what changes within posterior draws and how their weights change (Strong, Oakley and Brennan
(2014), doi:10.1177/0272989X13505910, and Strong, Oakley, Brennan and Breeze (2015),
doi:10.1177/0272989X15575286). The regression is additive and cubic in every measurement on the
working scale, where skills are nearly Gaussian and a target bends through its link.

Fitted means spread too widely by chance; they are shrunk so that the share of variance that
they explain is the adjusted one (Ezekiel (1930), Methods of Correlation Analysis).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.intp]

DEGREE = 3
# Measurements beyond these many standard deviations would decide a cubic fit alone.
REACH = 5.0
# Directions of the features with less than this share of their variance are rounding.
NEGLIGIBLE = 1e-9


def score_features(measured: FloatArray) -> FloatArray:
    """Centred powers of simulated measurements.

    Parameters
    ----------
    measured : array of shape (S, m)
        Working scale.

    Returns
    -------
    array of shape (m, S, 3)
        Zero for a measurement that always gives the same.
    """
    centred = measured.T - measured.mean(axis=0)[:, None]
    spread = centred.std(axis=1, keepdims=True)
    standard = np.clip(centred / np.where(spread > 0.0, spread, 1.0), -REACH, REACH)
    powers = np.stack([standard**power for power in range(1, DEGREE + 1)], axis=2)
    features: FloatArray = powers - powers.mean(axis=1, keepdims=True)
    return features


def projections(features: FloatArray, target: FloatArray) -> tuple[FloatArray, IntArray]:
    """Least-squares fits of a centred target on each measurement alone.

    Parameters
    ----------
    features : array of shape (m, S, p)
    target : array of shape (S,)

    Returns
    -------
    fitted : array of shape (m, S)
    rank : array of shape (m,)
        Number of directions that each measurement's features span.
    """
    gram = features.transpose(0, 2, 1) @ features
    values, vectors = np.linalg.eigh(gram)
    kept = values > NEGLIGIBLE * len(target)
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    along = np.einsum("mpq,mp->mq", vectors, target @ features)
    weights = np.einsum("mpq,mq->mp", vectors, inverse * along)
    return (features @ weights[:, :, None])[:, :, 0], kept.sum(axis=1, dtype=np.intp)


def posterior_means(measured: FloatArray, target: FloatArray) -> FloatArray:
    """Posterior mean of a target, had one measurement been made, for each measurement alone.

    Parameters
    ----------
    measured : array of shape (S, m)
        Simulated measurements, working scale.
    target : array of shape (S,)

    Returns
    -------
    array of shape (S, m)
        The mean of each column is the target's mean.
    """
    centred = target - target.mean()
    fitted, rank = projections(score_features(measured), centred)
    factors = [
        _shrinkage(fit, centred, int(count)) for fit, count in zip(fitted, rank, strict=True)
    ]
    means: FloatArray = target.mean() + fitted.T * np.array(factors)
    return means


def _shrinkage(fitted: FloatArray, target: FloatArray, rank: int) -> float:
    """Square root of the adjusted share of explained variance over the plain one."""
    total, explained = float(target @ target), float(fitted @ fitted)
    if explained <= NEGLIGIBLE * total or rank >= len(target) - 1:
        return 0.0
    left = max(total - explained, 0.0) * (len(target) - 1) / (len(target) - 1 - rank)
    return float(np.sqrt(max(total - left, 0.0) / explained))


@dataclass(eq=False)
class ForwardPath:
    """Measurements of one agent in the order in which they tell most of a target per unit of cost.

    Each next one is chosen given those before it (forward selection), so that a measurement that
    would repeat what others tell comes late.

    Parameters
    ----------
    measured : array of shape (S, m)
        Simulated measurements, working scale.
    target : array of shape (S,)
    costs : array of shape (m,)
        Above 0.

    Attributes
    ----------
    order : list of int
        Positions of the measurements so far.
    means : list of arrays of shape (S,)
        Posterior mean of the target after none, one, two ... of them; one more than `order`.
    """

    measured: FloatArray
    target: FloatArray
    costs: FloatArray
    order: list[int] = field(init=False)
    means: list[FloatArray] = field(init=False)

    def __post_init__(self) -> None:
        self._limit = np.inf
        self._start()

    def _start(self) -> None:
        self._features = score_features(self.measured)
        self._centred = self.target - self.target.mean()
        self._fitted = np.zeros_like(self._centred)
        self._rank = 0
        self.order = []
        self.means = [np.full_like(self._centred, self.target.mean())]

    def afford(self, limit: float, kept: int) -> None:
        """Take no measurement that costs more than `limit` after the first `kept` ones."""
        self._limit = limit
        dear = [position for position in self.order[kept:] if self.costs[position] > limit]
        if dear:
            order = self.order[:kept]
            self._start()
            for position in order:
                self._step([position])

    def extend(self, length: int) -> None:
        """Go on until the path has `length` measurements, or no more can be made."""
        while len(self.order) < length:
            left = np.flatnonzero(self.costs <= self._limit)
            left = np.setdiff1d(left, self.order)
            if not len(left):
                return
            self._step(left)

    def _step(self, left: Sequence[int] | IntArray) -> None:
        fitted, rank = projections(self._features, self._centred - self._fitted)
        explained = np.einsum("ms,ms->m", fitted, fitted) / self.costs
        chosen = int(left[int(np.argmax(explained[left]))])
        self.order.append(chosen)
        self._fitted = self._fitted + fitted[chosen]
        self._rank += int(rank[chosen])
        factor = _shrinkage(self._fitted, self._centred, self._rank)
        self.means.append(self.target.mean() + factor * self._fitted)
        self._remove(self._features[chosen])

    def _remove(self, known: FloatArray) -> None:
        """Take what is known (S, p) out of all features."""
        left, values, _ = np.linalg.svd(known, full_matrices=False)
        basis = left[:, values**2 > NEGLIGIBLE * len(known)]
        self._features = self._features - basis @ (basis.T @ self._features)


def expected_best(means: FloatArray) -> float:
    """Average, over what may be measured, the posterior mean of the agent then chosen.

    Parameters
    ----------
    means : array of shape (S, A)
        Posterior means that the agents would have after measurements not made yet.

    Returns
    -------
    float
        Minus the same without measurements, this is the expected value of sample information
        (Raiffa and Schlaifer (1961), Applied Statistical Decision Theory), which for one
        measurement is the knowledge gradient (Frazier, Powell and Dayanik (2008),
        doi:10.1137/070693424).
    """
    return float(means.max(axis=1).mean())


def variance_reductions(covariance: FloatArray, targets: IntArray, asked: IntArray) -> FloatArray:
    """By how much each measurement alone would lower the summed variance of the targets.

    Linear regression; the criterion of Cohn, Ghahramani and Jordan (1996), doi:10.1613/jair.295.

    Parameters
    ----------
    covariance : array of shape (n, n)
        Of targets and measurements.
    targets, asked : arrays of positions

    Returns
    -------
    array of the shape of `asked`
    """
    spread = np.diag(covariance)[asked]
    reduced = (covariance[np.ix_(targets, asked)] ** 2).sum(axis=0)
    return _ratio(reduced, spread)


def information_gains(covariance: FloatArray, targets: IntArray, asked: IntArray) -> FloatArray:
    """Mutual information, in nats, of each measurement and all targets, taken as jointly Gaussian.

    Parameters and shape as `variance_reductions`; the criterion of Lindley (1956),
    doi:10.1214/aoms/1177728069.
    """
    spread = np.diag(covariance)[asked]
    cross = covariance[np.ix_(targets, asked)]
    inverse = np.linalg.pinv(covariance[np.ix_(targets, targets)], rcond=1e-10, hermitian=True)
    share = _ratio(np.einsum("tm,tu,um->m", cross, inverse, cross), spread)
    gains: FloatArray = -0.5 * np.log1p(-np.clip(share, 0.0, 1.0 - 1e-12))
    return gains


def measured_covariance(covariance: FloatArray, position: int) -> FloatArray:
    """Covariance that is left once one variable is measured."""
    if covariance[position, position] <= 0.0:
        return covariance
    column = covariance[:, position]
    left: FloatArray = covariance - np.outer(column, column) / covariance[position, position]
    return left


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    """Divide; nothing where the divisor is (nearly) nothing."""
    usable = below > np.finfo(float).tiny
    quotient: FloatArray = np.where(usable, above / np.where(usable, below, 1.0), 0.0)
    return quotient
