"""How good a prediction with its uncertainty was, cell by cell.

Scoring rules are those of `scoringrules`; see Gneiting and Raftery (2007),
doi:10.1198/016214506000001437.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr, ndtri

from skillinfer_bayes.exceptions import MissingDependencyError
from skillinfer_bayes.history.measurement import impossible_counts
from skillinfer_bayes.history.table import History

type FloatArray = NDArray[np.float64]

MIN_SD = 1e-9
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class Forecast(Protocol):
    """Predictions of A agents' scores on K skills, all arrays of shape (A, K)."""

    @property
    def mean(self) -> FloatArray:
        """Expected scores."""

    @property
    def std(self) -> FloatArray:
        """Their standard deviations."""

    @property
    def notes(self) -> Mapping[str, float]:
        """What to record of the fit behind it, such as divergences."""

    def interval(self, ci_prob: float) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends."""

    def crps(self, scores: FloatArray) -> FloatArray:
        """Continuous ranked probability score, score units; NaN where the score is."""

    def log_score(self, scores: FloatArray) -> FloatArray:
        """Negative log density at the scores."""

    def below(self, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Probability of a score below, and of one not above, the scores."""


@dataclass(frozen=True, eq=False)
class NormalForecast:
    """Normal predictions; interval ends are clipped to what is possible.

    Parameters
    ----------
    mean, std : arrays of shape (A, K)
    lowest, highest : arrays of shape (K,)
        Bounds of the scores, infinite where there are none.
    """

    mean: FloatArray
    std: FloatArray
    lowest: FloatArray | float = -np.inf
    highest: FloatArray | float = np.inf
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def _sd(self) -> FloatArray:
        return np.maximum(self.std, MIN_SD)

    def interval(self, ci_prob: float) -> tuple[FloatArray, FloatArray]:
        """Equal-tailed, clipped to the bounds."""
        reach = ndtri(0.5 + 0.5 * ci_prob) * self._sd
        return (
            np.clip(self.mean - reach, self.lowest, self.highest),
            np.clip(self.mean + reach, self.lowest, self.highest),
        )

    def crps(self, scores: FloatArray) -> FloatArray:
        """Take the closed form."""
        return np.asarray(load("scoringrules").crps_normal(scores, self.mean, self._sd))

    def log_score(self, scores: FloatArray) -> FloatArray:
        """Take the closed form, finite however far off the score is."""
        z = (scores - self.mean) / self._sd
        return np.asarray(0.5 * z**2 + np.log(self._sd) + HALF_LOG_2PI)

    def below(self, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the normal's distribution function, which knows no bounds, both times.

        Intervals are clipped, so these say more of coverage than the clipped ends keep where a
        score lies beyond the `lowest` or `highest` of a method that clips to what it has seen.
        """
        probability = np.asarray(ndtr((scores - self.mean) / self._sd))
        return probability, probability


@dataclass(frozen=True, eq=False)
class DrawnForecast:
    """Predictions given as draws.

    Parameters
    ----------
    draws : array of shape (S, A, K)
    mean, std : arrays of shape (A, K)
        What the method reports; not taken from the draws.
    resolution : array of shape (K,)
        Least bandwidth of the density behind the log score, score units.
    span : array of shape (K,)
        How far apart scores can be.
    intervals : mapping from ci_prob to (lower, upper)
        Intervals that the method reports itself; others are quantiles of the draws.
    counted : bool, default False
        Whether draws of skills with item counts are proportions of the history's typical count.
    """

    draws: FloatArray
    mean: FloatArray
    std: FloatArray
    resolution: FloatArray | float = 1e-3
    span: FloatArray | float = 1.0
    intervals: Mapping[float, tuple[FloatArray, FloatArray]] = field(default_factory=dict)
    notes: Mapping[str, float] = field(default_factory=dict)
    counted: bool = False

    def interval(self, ci_prob: float) -> tuple[FloatArray, FloatArray]:
        """Equal-tailed."""
        if ci_prob in self.intervals:
            return self.intervals[ci_prob]
        tails = [0.5 - 0.5 * ci_prob, 0.5 + 0.5 * ci_prob]
        lower, upper = np.quantile(self.draws, tails, axis=0, method="inverted_cdf")
        return lower, upper

    def crps(self, scores: FloatArray) -> FloatArray:
        """Exact for the draws' own distribution, which is never better than what they sample."""
        rules = load("scoringrules")
        return np.asarray(rules.crps_ensemble(scores, self.draws, m_axis=0, estimator="qd"))

    def log_score(self, scores: FloatArray) -> FloatArray:
        """By a normal kernel density of the draws, Silverman's bandwidth.

        S draws cannot tell a density of nothing from one of less than a draw in S, so one more
        draw is spread evenly over `span`; otherwise one score in their tail outweighs all others.
        """
        quarter, three = np.quantile(self.draws, [0.25, 0.75], axis=0)
        spread = self.draws.std(axis=0)
        robust = np.where(three > quarter, np.minimum(spread, (three - quarter) / 1.34), spread)
        width = np.maximum(1.06 * robust * len(self.draws) ** -0.2, self.resolution)
        heights = logsumexp(-0.5 * ((scores - self.draws) / width) ** 2, axis=0)
        even = np.broadcast_to(-np.log(self.span), heights.shape)
        density = np.logaddexp(heights - np.log(width) - HALF_LOG_2PI, even)
        return np.asarray(math.log(len(self.draws) + 1) - density)

    def below(self, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Shares of the draws."""
        return (self.draws < scores).mean(axis=0), (self.draws <= scores).mean(axis=0)


def unrounded(scores: FloatArray, history: History) -> FloatArray:
    """Give the proportions back that a table shows rounded: 10 / 24 for .4167.

    Parameters
    ----------
    scores : array of shape (A, K)
        Of the table that the history comes from, NaN where missing.
    history : History
        Whose typical item counts to take.

    Returns
    -------
    array of shape (A, K)
        A score that is no proportion of that many items, or has no item count, stays as it is.
    """
    links, bounded = history.scales.links, history.scales.bounded
    items = np.where(bounded, history.typical_items, np.nan)
    table = np.concatenate([history.values, scores])  # a column has one number of decimals
    other = impossible_counts(table, np.broadcast_to(items, table.shape), history.scales)
    hits = np.rint(links.share_of_items(scores) * items)
    exact = links.floor + links.span * hits / items  # as predictions are made, to the last digit
    return np.where(other[history.n_agents :] | np.isnan(exact), scores, exact)


def load(module: str) -> Any:
    """Import an optional library, or say how to install it.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"held-out evaluation needs {module.partition('.')[0]}; install it with "
            "`pip install 'skillinfer_bayes[validation]'`"
        ) from error
