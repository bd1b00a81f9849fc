"""A history's rows as the likelihood takes them: plain arrays, collapsed where nothing is lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD, WorkingData
from skillinfer_bayes.history.table import History

DEFAULT_ERROR_VAR = DEFAULT_ERROR_SD**2

type FloatArray = NDArray[np.float64]


class Rows(NamedTuple):
    """Rows of the likelihood; R rows, K skills, B blocks of collapsed rows.

    values : (R, K), working scale, 0 where not observed; the mean of a collapsed block
    observed : (R, K) int8
    error_var : (R, K), variance of the measurement error, working scale
    n_agents : (R,), agents that the row stands for
    scatter : (B, K, K), sums of squares and products about a block's mean
    scatter_row : (R,) int64, the row's block in `scatter`, or -1
    """

    values: FloatArray
    observed: NDArray[np.int8]
    error_var: FloatArray
    n_agents: FloatArray
    scatter: FloatArray
    scatter_row: NDArray[np.int64]


def collapse_rows(data: WorkingData, *, keep_agents: bool = False) -> Rows:
    """Group the rows of a table by the set of skills observed.

    Without errors of their own, rows that share a set enter a Gaussian likelihood only through
    their count, mean and scatter, so a set costs the same however many agents share it.

    Parameters
    ----------
    data : WorkingData
        Values (N, K) with NaN for missing, and error variances (N, K) or None.
    keep_agents : bool, default False
        One row per agent even so: for means that differ between agents.
    """
    observed = ~np.isnan(data.values)
    if data.error_var is not None or keep_agents:
        return _one_row_each(data, observed)
    patterns, member = np.unique(observed, axis=0, return_inverse=True)
    member = member.reshape(-1)
    n_rows, n_skills = patterns.shape
    filled = np.where(observed, data.values, 0.0)
    count = np.bincount(member, minlength=n_rows).astype(np.float64)
    values = np.zeros((n_rows, n_skills))
    np.add.at(values, member, filled)
    values /= count[:, None]
    shared = np.flatnonzero(count > 1)
    scatter = np.zeros((len(shared), n_skills, n_skills))
    scatter_row = np.full(n_rows, -1, dtype=np.int64)
    for block, row in enumerate(shared):
        centred = filled[member == row] - values[row]
        scatter[block] = centred.T @ centred
        scatter_row[row] = block
    error_var = np.full((n_rows, n_skills), DEFAULT_ERROR_VAR)
    return Rows(values, patterns.astype(np.int8), error_var, count, scatter, scatter_row)


def _one_row_each(data: WorkingData, observed: NDArray[np.bool_]) -> Rows:
    """Keep every agent, those with the same skills observed next to each other."""
    n_agents, n_skills = observed.shape
    order = np.lexsort(observed.T)
    error_var = np.full(observed.shape, DEFAULT_ERROR_VAR)
    if data.error_var is not None:
        error_var = np.where(observed, data.error_var, DEFAULT_ERROR_VAR)
    return Rows(
        values=np.where(observed, data.values, 0.0)[order],
        observed=observed[order].astype(np.int8),
        error_var=error_var[order],
        n_agents=np.ones(n_agents),
        scatter=np.zeros((0, n_skills, n_skills)),
        scatter_row=np.full(n_agents, -1, dtype=np.int64),
    )


def rows_of(history: History) -> Rows:
    """Rows of a history's likelihood."""
    return collapse_rows(history.working())
