"""Whether predictions claim as much as they can keep: PIT values and coverage curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skillinfer_bayes.checks.options import check_by, check_columns, check_count

type FloatArray = NDArray[np.float64]
type AgentIndex = NDArray[np.intp]
type Curve = Callable[[FloatArray, AgentIndex], dict[str, FloatArray]]

CI_PROBS = np.round(np.arange(0.05, 1.0, 0.05), 2)
GRID = np.round(np.linspace(0.0, 1.0, 41), 3)
TWO_SIDED = 1.96  # standard errors to either side of a 95 % interval


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where measured scores lie within their predictions: finished data for plots.

    Parameters
    ----------
    pit : DataFrame
        One row per predicted score: the columns of `by`, `repeat`, `agent`, `skill` and `pit`,
        the probability given to a lower score. Uniform on 0 to 1 if predictions are calibrated.
    by : tuple of str
        Columns whose values are kept apart.
    """

    pit: pd.DataFrame
    by: tuple[str, ...]

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """How often central intervals hold the score.

        Returns
        -------
        DataFrame
            The columns of `by`, `ci_prob` (claimed), `coverage` (kept), `std_error`, and `lower`
            and `upper`, the ends of its 95 % interval, which never leave 0 to 1. Scores of one
            agent are off together, so the standard error counts agents, not scores (Liang and
            Zeger (1986), doi:10.1093/biomet/73.1.13).
        """
        return self._curves(_coverage)

    @cached_property
    def ecdf(self) -> pd.DataFrame:
        """Distribution of the PIT values less the uniform's.

        Returns
        -------
        DataFrame
            The columns of `by`, `pit` (0 to 1), `difference` and `std_error`, as for `coverage`.
            Above zero on the left and below on the right: predictions are too narrow. Above zero
            throughout: they are too high.
        """
        return self._curves(_ecdf)

    def summary(self) -> pd.DataFrame:
        """Figures of each value of `by`.

        Returns
        -------
        DataFrame indexed by `by`
            `n_scores` and `n_agents`; `bias`, the mean PIT less one half (below 0: predictions
            too high); `spread`, the PIT's variance over the uniform's (above 1:
            too narrow); `coverage_error`, the mean distance between claimed and kept coverage.
        """
        rows = self.pit.groupby(list(self.by), sort=True, dropna=False)
        curve = self.coverage
        off = (curve["coverage"] - curve["ci_prob"]).abs()
        keys = [curve[name] for name in self.by]
        return pd.DataFrame(
            {
                "n_scores": rows.size(),
                "n_agents": rows["agent"].nunique(),
                "bias": rows["pit"].mean() - 0.5,
                "spread": 12.0 * rows["pit"].var(ddof=0),
                "coverage_error": off.groupby(keys, dropna=False).mean(),
            }
        )

    def _curves(self, curve: Curve) -> pd.DataFrame:
        parts = []
        for key, rows in self.pit.groupby(list(self.by), sort=True, dropna=False):
            values = curve(rows["pit"].to_numpy(), pd.factorize(rows["agent"])[0])
            parts.append(pd.DataFrame(dict(zip(self.by, key, strict=True)) | values))
        return pd.concat(parts, ignore_index=True)


def calibration(
    cells: pd.DataFrame, by: Sequence[str] = ("method",), *, random_seed: int = 0
) -> Calibration:
    """Find where measured scores lie within their predictions.

    A proportion of few items falls on steps of its prediction; its PIT value is drawn at random
    within the step (Czado, Gneiting and Held (2009), doi:10.1111/j.1541-0420.2009.01191.x).

    Parameters
    ----------
    cells : DataFrame
        What `held_out` or `held_out_cells` returned.
    by : sequence of str, default ("method",)
        Columns to keep apart: `("method",)` is the overall calibration, `("method", "skill")`
        that of every skill.
    random_seed : int, default 0

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If `cells` are not such predictions.
    ConfigError
        If `by` does not name columns, each once, or the seed cannot be used.
    """
    cells = check_columns(cells, ("repeat", "agent", "skill", "p_below", "p_not_above"), "cells")
    names = check_by(by, cells.columns)
    seed = check_count("random_seed", 0, random_seed)
    within = np.random.default_rng(seed).random(len(cells))
    step = cells["p_not_above"] - cells["p_below"]
    columns = list(dict.fromkeys([*names, "repeat", "agent", "skill"]))
    return Calibration(cells[columns].assign(pit=cells["p_below"] + within * step), tuple(names))


def clustered_mean(values: FloatArray, cluster: AgentIndex) -> tuple[FloatArray, FloatArray]:
    """Means of columns and their standard errors where rows of a cluster depend on each other.

    Parameters
    ----------
    values : array of shape (n, G)
    cluster : array of shape (n,)
        Numbers from 0 to C - 1.

    Returns
    -------
    mean, std_error : arrays of shape (G,)
        The standard error is NaN for a single cluster.
    """
    mean = values.mean(axis=0)
    count = int(cluster.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, cluster, values - mean)
    correction = count / (count - 1) if count > 1 else np.nan
    return mean, np.sqrt(correction * (sums**2).sum(axis=0)) / len(values)


def share_interval(
    share: FloatArray, std_error: FloatArray, n_scores: int, n_clusters: int
) -> tuple[FloatArray, FloatArray]:
    """Find the 95 % interval of a share, of use even where it is 0 or 1.

    Wilson's (1927), doi:10.1080/01621459.1927.10502953, for as many independent scores as the
    standard error is worth (Korn and Graubard (1998), Confidence intervals for proportions with
    small expected number of positive counts estimated from survey data, Survey Methodology 24). A
    share of 0 or 1 has no standard error; there the clusters count.

    Parameters
    ----------
    share, std_error : arrays of shape (G,)
    n_scores, n_clusters : int

    Returns
    -------
    lower, upper : arrays of shape (G,)
    """
    variance = share * (1.0 - share)
    known = (variance > 0.0) & (std_error > 0.0)
    worth = np.full(share.shape, float(n_clusters))
    worth[known] = np.minimum(variance[known] / std_error[known] ** 2, n_scores)
    z2 = TWO_SIDED**2 / worth
    centre = (share + 0.5 * z2) / (1.0 + z2)
    reach = np.sqrt(variance * z2 + 0.25 * z2**2) / (1.0 + z2)
    lower, upper = np.maximum(centre - reach, 0.0), np.minimum(centre + reach, 1.0)
    # a share of 0 or 1 is an end itself, which rounding may miss
    return np.minimum(lower, share), np.maximum(upper, share)


def _coverage(pit: FloatArray, agent: AgentIndex) -> dict[str, FloatArray]:
    kept = np.abs(2.0 * pit[:, None] - 1.0) <= CI_PROBS
    mean, error = clustered_mean(kept.astype(np.float64), agent)
    lower, upper = share_interval(mean, error, len(pit), int(agent.max()) + 1)
    ends = {"lower": lower, "upper": upper}
    return {"ci_prob": CI_PROBS, "coverage": mean, "std_error": error, **ends}


def _ecdf(pit: FloatArray, agent: AgentIndex) -> dict[str, FloatArray]:
    below = pit[:, None] <= GRID
    mean, error = clustered_mean(below.astype(np.float64), agent)
    return {"pit": GRID, "difference": mean - GRID, "std_error": error}
