"""The package itself as one of the methods that held-out evaluation compares."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skillinfer_bayes.checks.rivals import Method
from skillinfer_bayes.checks.scores import DrawnForecast
from skillinfer_bayes.checks.splits import Case
from skillinfer_bayes.exceptions import ConvergenceWarning, HistoryWarning
from skillinfer_bayes.fit_options import read_priors, read_settings
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import Priors, SamplerSettings

if TYPE_CHECKING:
    from skillinfer_bayes.population import Population

REPORTED_CI = 0.9


def package_method(
    priors: Priors | Mapping[str, Any] | None = None,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
    *,
    pooled: bool = False,
) -> Method:
    """Fit this package to a case and predict measured scores.

    Parameters
    ----------
    priors, settings : optional
        As `Population.from_history`; the seed is the case's.
    pooled : bool, default False
        Learn from what is shown of the agents to predict, too.
    """
    prior, how = read_priors(priors), read_settings(settings)

    def predict(case: Case) -> DrawnForecast:
        learned = replace(case, history=pool(case)) if pooled else case
        return forecast_of(fit_case(learned, prior, how), case)

    return predict


def pool(case: Case) -> History:
    """Add the scores that are shown of a case's agents to its history, one row each."""
    history = case.history
    if case.of_history:
        return history
    named = list(history.covariate_names)
    # an agent that shows nothing adds nothing
    shown = case.rows.notna().any(axis=1)

    def both(values: Any, new: pd.DataFrame | None, columns: list[str]) -> pd.DataFrame | None:
        if values is None or new is None:
            return None
        old = pd.DataFrame(values, index=list(history.agents), columns=columns)
        return pd.concat([old, new[shown]])

    skills, groups = list(history.skills), None
    if history.groups is not None and case.groups is not None:
        groups = pd.Series([*history.groups, *case.groups], [*history.agents, *case.rows.index])
        groups = groups[[*history.agents, *case.rows.index[shown]]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HistoryWarning)  # told when the table was read
        return History.from_dataframe(
            pd.concat([history.to_dataframe(), case.rows[shown]]),
            scale=dict(zip(skills, history.scales.scales, strict=True)),
            n_items=both(history.n_items, case.n_items, skills),
            stderr=both(history.stderr, case.stderr, skills),
            groups=groups,
            covariates=both(history.covariates, case.covariates, named),
        )


def fit_case(
    case: Case,
    priors: Priors | Mapping[str, Any] | None = None,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
) -> Population:
    """Fit a case's history; a fit that did not converge says so in its forecast's notes."""
    from skillinfer_bayes.population import Population

    how = replace(read_settings(settings), random_seed=case.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # counted instead
        return Population.from_history(
            case.history,
            priors=priors,
            settings=how,
            progressbar=False,
        )


def forecast_of(population: Population, case: Case) -> DrawnForecast:
    """Predict a case's measured scores with a fitted population."""
    if case.of_history:
        profiles = population.completed()
    else:
        profiles = population.profiles(
            case.rows,
            n_items=case.n_items,
            stderr=case.stderr,
            groups=case.groups,
            covariates=case.covariates,
        )
    summary = profiles.to_dataset(kind="score", ci_prob=REPORTED_CI)
    draws = profiles.draws(kind="score").transpose("chain", "draw", "agent", "skill").values
    verdict = population.convergence
    values, scales = case.history.values, case.history.scales
    observed_span = np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
    return DrawnForecast(
        draws=draws.reshape(-1, *draws.shape[2:]),
        mean=summary["mean"].values,
        std=summary["std"].values,
        resolution=0.01 * np.nanstd(values, axis=0),
        span=np.where(scales.bounded, scales.upper - scales.lower, observed_span),
        intervals={REPORTED_CI: (summary["lower"].values, summary["upper"].values)},
        notes={
            "divergences": verdict.divergences,
            "converged": float(verdict.converged),
            "rhat": verdict.rhat,
            "ess": verdict.ess,
        },
        counted=True,
    )
