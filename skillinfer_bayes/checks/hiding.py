"""What is left of a history when some of its agents are set aside and some of its cells hidden."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError, HistoryError, HistoryWarning
from skillinfer_bayes.history.table import History

type FloatArray = NDArray[np.float64]
type BoolArray = NDArray[np.bool_]


def learned(
    history: History, rows: Sequence[int], share: float, order: FloatArray, argument: str = "hide"
) -> History:
    """Give some agents' history with a share of its cells hidden.

    Skills on which the agents do not differ cannot be learned; they are left out.

    Parameters
    ----------
    history : History
    rows : sequence of int
        Positions of the agents to keep.
    share : float
        Share of their observed cells to hide.
    order : array of shape (len(rows), K)
        Which cells to hide first.
    argument : str, default "hide"
        What the caller's share is called.

    Raises
    ------
    ConfigError
        If so many cannot be hidden, or none would be, or what is left is no usable history.
    """
    # below a chance level scores differ and what is learned from them does not
    table = history.scales.links.forward(history.values[rows])
    cells = hidden_cells(table, share, order)
    total, wanted = int((~np.isnan(table)).sum()), _wanted(table, share)
    if share and not wanted:
        raise ConfigError(
            f"`{argument}` must hide at least one score, got {share:g} of {total}; raise it"
        )
    if cells.sum() < wanted:
        raise ConfigError(
            f"`{argument}` must leave every agent one score and every skill two, got {share:g}; of "
            f"the {total} scores of {len(rows)} agents it can hide {cells.sum()}, so lower it"
        )
    mask = np.zeros(history.values.shape, dtype=bool)
    mask[rows] = cells
    mask[:, [len(np.unique(column[~np.isnan(column)])) < 2 for column in table.T]] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HistoryWarning)
        try:
            left = history.hide(mask)
            kept = set(left.agents)
            return left.select([history.agents[row] for row in rows if history.agents[row] in kept])
        except HistoryError as error:
            raise ConfigError(
                f"`n_history` must leave a history to learn from, got {len(rows)} agents that do "
                f"not ({error}); raise it, or hide fewer scores"
            ) from error


def hidden_cells(values: FloatArray, share: float, order: FloatArray) -> BoolArray:
    """Choose cells to hide, lowest `order` first.

    Parameters
    ----------
    values : array of shape (N, K)
        Link units, NaN where missing.
    share : float
        Share of the observed cells.
    order : array of shape (N, K)

    Returns
    -------
    bool array of shape (N, K)
        No row loses its last score, and no column all but one of its distinct values.
    """
    left, wanted = ~np.isnan(values), _wanted(values, share)
    start = left.copy()
    for flat in np.argsort(order, axis=None):
        if not wanted:
            break
        row, column = divmod(int(flat), values.shape[1])
        if not left[row, column] or left[row].sum() < 2:
            continue
        left[row, column] = False
        rest = values[left[:, column], column]
        if rest.size < 2 or rest.min() == rest.max():
            left[row, column] = True
            continue
        wanted -= 1
    return start & ~left


def _wanted(values: FloatArray, share: float) -> int:
    """How many of the observed cells a share of them is."""
    return round(share * int((~np.isnan(values)).sum()))
