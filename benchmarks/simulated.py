"""Tables like a real one, drawn from a fit to it: there the model is right.

A fit predicts such a table as well as anything can that does not know the population, so what
holes cost there is what they take away, and not what the model gets wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skillinfer_bayes import Population
from skillinfer_bayes.checks.replicates import replicate
from skillinfer_bayes.exceptions import ConvergenceWarning, HistoryWarning
from skillinfer_bayes.history.table import History
from skillinfer_bayes.profiles.evidence import evidence_of_history

_fits: dict[str, Population] = {}


def fit_once(
    name: str, history: History, priors: Mapping[str, Any], settings: Mapping[str, Any], seed: int
) -> Population:
    """Fit a whole table, the first time that it is asked for by this name."""
    if name not in _fits:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            _fits[name] = Population.from_history(
                history,
                priors=priors,
                settings={**settings, "random_seed": seed},
                progressbar=False,
            )
    return _fits[name]


def draw_history(population: Population, repeat: int, seed: int) -> History:
    """As many agents as the fit's history, of one posterior draw; their holes, counts and errors.

    Parameters
    ----------
    population : Population
    repeat, seed : int
        Together say which draw, and what comes of it.
    """
    history = population.history
    rng = np.random.default_rng([seed, repeat])
    tables = replicate(population.posterior, evidence_of_history(history), rng)
    scores = history.scales.from_working(tables[rng.integers(len(tables))])
    n_items = history.n_items
    if n_items is not None:
        scores = np.where(np.isnan(n_items), scores, np.rint(scores * n_items) / n_items)
    labels = {"index": list(history.agents), "columns": list(history.skills)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HistoryWarning)
        return History.from_dataframe(
            pd.DataFrame(scores, **labels),
            scale=dict(zip(history.skills, history.scales.scales, strict=True)),
            n_items=None if n_items is None else pd.DataFrame(n_items, **labels),
        )
