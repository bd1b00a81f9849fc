"""A history's rows as the likelihood takes them: plain arrays, collapsed where nothing is lost."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.history.measurement import DEFAULT_ERROR_SD, WorkingData
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.priors import Priors

DEFAULT_ERROR_VAR = DEFAULT_ERROR_SD**2
# Classes are of single agents, so their rows are never collapsed.
CLASS_DATA = ("values", "observed", "error_var")

type FloatArray = NDArray[np.float64]


class Rows(NamedTuple):
    """Rows of the likelihood; R rows, K skills, B blocks of collapsed rows.

    values : (R, K), working scale, 0 where not observed; the mean of a collapsed block
    observed : (R, K) int8
    error_var : (R, K), variance of the measurement error, working scale
    n_agents : (R,), agents that the row stands for
    scatter : (B, K, K), sums of squares and products about a block's mean
    scatter_row : (R,) int64, the row's block in `scatter`, or -1
    design : (R, P), covariates and groups of the row's agent
    n_scores : (K,), scores of each skill that set its unit
    """

    values: FloatArray
    observed: NDArray[np.int8]
    error_var: FloatArray
    n_agents: FloatArray
    scatter: FloatArray
    scatter_row: NDArray[np.int64]
    design: FloatArray
    n_scores: FloatArray


class Cells(NamedTuple):
    """The same scores one by one, agent by agent; C scores of R agents.

    values, error_var : (C,), working scale
    skill_of, agent_of : (C,) int64, positions
    typical : (K,), a typical skill's spread on the working scale of each skill
    design : (R, P)
    """

    values: FloatArray
    error_var: FloatArray
    skill_of: NDArray[np.int64]
    agent_of: NDArray[np.int64]
    typical: FloatArray
    design: FloatArray


class Table(NamedTuple):
    """The same scores as one table of N agents: R rows with cells that have to be sampled.

    Rows of which everything is known, and known to be moved by nothing, enter as sums alone.

    n_agents : (), those with a score
    total : (K,), sum of the rows that are known
    products : (K, K), sums of their squares and products
    values : (R, K), working scale, the other rows; 0 in empty cells
    empty_row, empty_skill : (M,) int64, positions of the empty cells
    unsure_row, unsure_skill : (E,) int64, positions of cells with a measurement error of their own
    unsure_sd : (E,), its standard deviation, working scale
    design : (R, P)
    n_scores : (K,)
    """

    n_agents: FloatArray
    total: FloatArray
    products: FloatArray
    values: FloatArray
    empty_row: NDArray[np.int64]
    empty_skill: NDArray[np.int64]
    unsure_row: NDArray[np.int64]
    unsure_skill: NDArray[np.int64]
    unsure_sd: FloatArray
    design: FloatArray
    n_scores: FloatArray


def model_data(rows: Rows | Cells | Table, priors: Priors) -> dict[str, NDArray[Any]]:
    """Give the arrays that the model holds as data: for its likelihood, its units, its design."""
    arrays = rows._asdict()
    if priors.tails == "class":
        arrays = {name: arrays[name] for name in (*CLASS_DATA, "design", "n_scores")}
    if isinstance(rows, Table):
        # what the model does not use, it does not hold
        absent = [kind for kind in ("empty", "unsure") if not arrays[f"{kind}_row"].size]
        arrays = {name: one for name, one in arrays.items() if name.split("_")[0] not in absent}
    if not rows.design.shape[1]:
        del arrays["design"]
    if priors.covariance == "lkj":
        del arrays["n_scores"]
    return arrays


def list_cells(data: WorkingData, design: FloatArray, typical: FloatArray) -> Cells:
    """List the observed scores of a table (N, K); `design` (N, P), `typical` (K,)."""
    observed = ~np.isnan(data.values)
    agent, skill = np.nonzero(observed)
    error_var = np.full(observed.shape, DEFAULT_ERROR_VAR)
    if data.error_var is not None:
        error_var = data.error_var
    return Cells(
        values=data.values[observed],
        error_var=error_var[observed],
        skill_of=skill.astype(np.int64),
        agent_of=agent.astype(np.int64),
        typical=typical,
        design=design,
    )


def collapse_rows(
    data: WorkingData, *, keep_agents: bool = False, design: FloatArray | None = None
) -> Rows:
    """Group the rows of a table by the set of skills observed.

    Without errors of their own, rows that share a set enter a Gaussian likelihood only through
    their count, mean and scatter, so a set costs the same however many agents share it.

    Parameters
    ----------
    data : WorkingData
        Values (N, K) with NaN for missing, and error variances (N, K) or None.
    keep_agents : bool, default False
        One row per agent even so: for densities that do not factorise into such sums.
    design : array of shape (N, P), optional
        Covariates and groups; with them, one row per agent.
    """
    observed = ~np.isnan(data.values)
    if design is None:
        design = np.zeros((len(observed), 0))
    if data.error_var is not None or keep_agents or design.shape[1]:
        return _one_row_each(data, observed, design)
    # as many skills observed next to each other: they are inverted together
    keyed = np.column_stack([observed.sum(axis=1), observed])
    patterns, member = np.unique(keyed, axis=0, return_inverse=True)
    patterns, member = patterns[:, 1:], member.reshape(-1)
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
    return Rows(
        values,
        patterns.astype(np.int8),
        error_var,
        count,
        scatter,
        scatter_row,
        np.zeros((n_rows, 0)),
        observed.sum(axis=0).astype(np.float64),
    )


def _one_row_each(data: WorkingData, observed: NDArray[np.bool_], design: FloatArray) -> Rows:
    """Keep every agent, those with the same skills observed next to each other, then as many."""
    n_agents, n_skills = observed.shape
    order = np.lexsort((*observed.T, observed.sum(axis=1)))
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
        design=design[order],
        n_scores=observed.sum(axis=0).astype(np.float64),
    )


def sum_rows(data: WorkingData, design: FloatArray) -> Table:
    """Add up the rows of a table (N, K) that are known whole; `design` (N, P).

    Without an error of its own a score counts as exact: the small one that every score has is then
    part of what skills do on their own. Agents without a score are left out.
    """
    observed = ~np.isnan(data.values)
    scored = observed.any(axis=1)
    error_sd = np.zeros_like(data.values)
    if data.error_var is not None:
        own = observed & (data.error_var != DEFAULT_ERROR_VAR)
        error_sd = np.where(own, np.sqrt(data.error_var), 0.0)
    sampled = scored & (~observed | (error_sd > 0.0)).any(axis=1)
    if design.shape[1]:
        sampled = scored
    known, rest, rest_sd = data.values[scored & ~sampled], data.values[sampled], error_sd[sampled]
    empty_row, empty_skill = np.nonzero(np.isnan(rest))
    unsure_row, unsure_skill = np.nonzero(rest_sd)
    return Table(
        n_agents=np.asarray(float(scored.sum())),
        total=known.sum(axis=0),
        products=known.T @ known,
        values=np.nan_to_num(rest),
        empty_row=empty_row.astype(np.int64),
        empty_skill=empty_skill.astype(np.int64),
        unsure_row=unsure_row.astype(np.int64),
        unsure_skill=unsure_skill.astype(np.int64),
        unsure_sd=rest_sd[unsure_row, unsure_skill],
        design=design[sampled],
        n_scores=observed.sum(axis=0).astype(np.float64),
    )


def rows_of(history: History, priors: Priors) -> Rows | Cells | Table:
    """Arrange a history's scores as the likelihood of its structure takes them.

    Parameters
    ----------
    history : History
    priors : Priors
        Resolved.
    """
    design = Design.of(history).of_history(history)
    return rows_of_data(history.working(), priors, design, history.scales.typical)


def rows_of_data(
    data: WorkingData,
    priors: Priors,
    design: FloatArray | None = None,
    typical: FloatArray | None = None,
    n_scores: FloatArray | None = None,
) -> Rows | Cells | Table:
    """Arrange scores on the working scale as the likelihood of their structure takes them.

    Parameters
    ----------
    data : WorkingData
        Of N agents and K skills.
    priors : Priors
        Resolved.
    design : array of shape (N, P), optional
        Covariates and groups. Default: none.
    typical : array of shape (K,), optional
        A typical skill's spread on the working scale of each skill. Default: 1.
    n_scores : array of shape (K,), optional
        Scores that set each skill's unit. Default: those of `data`.
    """
    n_agents, n_skills = data.values.shape
    design = np.zeros((n_agents, 0)) if design is None else design
    if priors.tails == "cell":
        return list_cells(data, design, np.ones(n_skills) if typical is None else typical)
    rows: Rows | Table
    if priors.covariance == "factor_iw":
        rows = sum_rows(data, design)
    else:
        rows = collapse_rows(data, keep_agents=priors.by_agent, design=design)
    return rows if n_scores is None else rows._replace(n_scores=n_scores)
