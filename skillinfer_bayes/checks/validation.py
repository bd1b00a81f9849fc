"""Held-out evaluation: predict scores that were set aside, and see how good that was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from skillinfer_bayes.checks.fitted import package_method
from skillinfer_bayes.checks.options import (
    as_history,
    as_list,
    check_by,
    check_columns,
    check_count,
    check_share,
)
from skillinfer_bayes.checks.rivals import RIVALS, Method
from skillinfer_bayes.checks.scores import DrawnForecast, unrounded
from skillinfer_bayes.checks.splits import Case, Together, agent_cases, cell_cases
from skillinfer_bayes.exceptions import ConfigError, closest_match_hint
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import Priors, SamplerSettings

type Methods = Sequence[str] | Mapping[str, Method]

METHODS = ("ours", "peer", "mean", "imputer", "knn")
CI_PROBS = (0.5, 0.8, 0.9, 0.95)
MOST_TEST = 40
MIN_RANKED = 3
CASE = ["repeat", "n_history", "hidden", "method"]
NOTES = ("divergences", "converged", "rhat", "ess")
ENDS = tuple(f"{end}_{100 * ci_prob:.0f}" for ci_prob in CI_PROBS for end in ("lower", "upper"))
SUMMARISED = (*CASE, "skill", "score", "mean", "crps", "log_score", *ENDS, "seconds", *NOTES[:2])


def held_out(
    history: History | pd.DataFrame,
    *,
    n_history: int | Sequence[int] | None = None,
    repeats: int = 10,
    n_test: int | None = None,
    share_observed: float = 1 / 3,
    hide: float | Sequence[float] = 0.0,
    keep_together: Together = None,
    methods: Methods = METHODS,
    priors: Priors | Mapping[str, Any] | None = None,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
    random_seed: int = 0,
    progressbar: bool = True,
) -> pd.DataFrame:
    """Predict agents that the history does not hold, from a part of their scores.

    Each repeat draws new agents at random, learns from others, is shown some of the new agents'
    scores and predicts the rest as measured scores. All methods see the same.

    Parameters
    ----------
    history : History or DataFrame of shape (N, K)
        All agents. Its groups and covariates are known of new agents too.
    n_history : int or sequence of int, optional
        How many agents to learn from, repeats left out. Default: all that are not tested, nor
        kept together with one that is; their number may differ between repeats.
    repeats : int, default 10
    n_test : int, optional
        New agents per repeat. Default: a third of all, at most 40.
    share_observed : float, default 1/3
        Share of each new agent's scores that is shown, rounded, at least one.
    hide : float or sequence of float, default 0.0
        Share of the history's cells to blank at random, repeats left out.
    keep_together : mapping or Series by agent, or sequence in order, optional
        Agents with the same value are never on different sides; nor are exact duplicates.
    methods : sequence of names, or mapping from name to method
        `"ours"`, `"ours_pooled"` (whose history has a row for each new agent, with the scores
        that it shows), `"peer"` (the PyPI package `skillinfer`), `"peer_raw"` (without its
        min-max scaling), `"mean"`, `"imputer"` and `"imputer_residual"` (by regression),
        `"knn"`; or functions from a case to a forecast.
    priors, settings : optional
        Of our fits. A seed in `settings` is replaced by one per case.
    random_seed : int, default 0
    progressbar : bool, default True

    Returns
    -------
    DataFrame
        One row per predicted score and method: `repeat`, `n_history`, `hidden`, `method`,
        `agent`, `skill`, `score`, `mean`, `std`, `crps`, `log_score`, `lower_50`, `upper_50` and
        so on up to 95, `p_below`, `p_not_above`, `seconds`, and for our fits `divergences`,
        `converged`, `rhat`, `ess`, the last five being those of the whole case. Summarise it
        with `summarise_held_out`.

    Raises
    ------
    ConfigError
        If an option cannot be used, there are too few agents, or so many scores cannot be hidden.
    HistoryError, UnknownAgentError
        If `keep_together` does not fit the agents.
    MissingDependencyError
        If a library of the extra `validation` is not installed.
    """
    table = as_history(history)
    default = min(MOST_TEST, table.n_agents // 3)
    tested = check_count("n_test", 1, default if n_test is None else n_test)
    sizes: list[int | None] = [None]
    if n_history is not None:
        given = as_list("n_history", n_history)
        sizes = list(dict.fromkeys(check_count("n_history", 3, size) for size in given))
    hidden = [check_share("hide", share, zero=True) for share in as_list("hide", hide)]
    shares = list(dict.fromkeys(hidden))
    count = check_count("repeats", 1, repeats)
    cases = agent_cases(
        table,
        n_history=sizes,
        repeats=range(count),
        n_test=tested,
        share_observed=check_share("share_observed", share_observed),
        hidden=shares,
        keep_together=keep_together,
        random_seed=check_count("random_seed", 0, random_seed),
    )
    total = count * len(sizes) * len(shares)
    chosen = pick_methods(methods, priors, settings)
    # all of them before the first fit: one that cannot be made ends nothing in the middle
    return evaluate(list(cases), chosen, total, progressbar=progressbar)


def held_out_cells(
    history: History | pd.DataFrame,
    *,
    share: float = 0.2,
    repeats: int = 10,
    methods: Methods = METHODS,
    priors: Priors | Mapping[str, Any] | None = None,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
    random_seed: int = 0,
    progressbar: bool = True,
) -> pd.DataFrame:
    """Hide random cells of the whole table and predict them from all that is left.

    Parameters
    ----------
    history : History or DataFrame of shape (N, K)
        Exact duplicates of a row are left out.
    share : float, default 0.2
        Share of the observed cells to hide.
    repeats, methods, priors, settings, random_seed, progressbar
        As `held_out`.

    Returns
    -------
    DataFrame
        As `held_out`; `hidden` is the share.

    Raises
    ------
    ConfigError
        If an option cannot be used.
    MissingDependencyError
        If a library of the extra `validation` is not installed.
    """
    count = check_count("repeats", 1, repeats)
    cases = cell_cases(
        as_history(history),
        share=check_share("share", share),
        repeats=range(count),
        random_seed=check_count("random_seed", 0, random_seed),
    )
    chosen = pick_methods(methods, priors, settings)
    return evaluate(list(cases), chosen, count, progressbar=progressbar)


def evaluate(
    cases: Iterable[Case],
    methods: Mapping[str, Method],
    total: int | None = None,
    *,
    progressbar: bool = True,
) -> pd.DataFrame:
    """Let every method predict every case; a row per predicted score, as `held_out`."""
    steps = track(cases, "held-out evaluation", total=total, disable=not progressbar)
    tables = [_score(case, name, method) for case in steps for name, method in methods.items()]
    return pd.concat(tables, ignore_index=True)


def _score(case: Case, name: str, method: Method) -> pd.DataFrame:
    started = time.perf_counter()
    forecast = method(case)
    seconds = time.perf_counter() - started
    truth = case.truth.to_numpy(dtype=float)
    cells = ~np.isnan(truth)
    counted = isinstance(forecast, DrawnForecast) and forecast.counted
    exact = unrounded(truth, case.history) if counted else truth
    scores = np.where(cells, truth, forecast.mean)
    rows, columns = np.nonzero(cells)
    lower, upper = forecast.below(np.where(cells, exact, forecast.mean))
    columns_of: dict[str, Any] = {
        "repeat": case.repeat,
        "n_history": case.n_history,
        "hidden": case.hidden,
        "method": name,
        "agent": case.truth.index.to_numpy()[rows],
        "skill": case.truth.columns.to_numpy()[columns],
        "score": truth[cells],
        "mean": forecast.mean[cells],
        "std": forecast.std[cells],
        "crps": forecast.crps(scores)[cells],
        "log_score": forecast.log_score(scores)[cells],
    }
    for ci_prob in CI_PROBS:
        for end, values in zip(("lower", "upper"), forecast.interval(ci_prob), strict=True):
            # an end that the table would show as this score is this score
            shown = np.where(values == exact, truth, values)
            columns_of[f"{end}_{100 * ci_prob:.0f}"] = shown[cells]
    columns_of |= {"p_below": lower[cells], "p_not_above": upper[cells], "seconds": seconds}
    for note in NOTES:
        columns_of[note] = forecast.notes.get(note, np.nan)
    return pd.DataFrame(columns_of)


def summarise_held_out(
    cells: pd.DataFrame, by: Sequence[str] = ("n_history", "hidden", "method")
) -> pd.DataFrame:
    """Average held-out results.

    Parameters
    ----------
    cells : DataFrame
        What `held_out` returned.
    by : sequence of str, default ("n_history", "hidden", "method")
        Columns to keep apart, such as `"skill"` or `"repeat"`.

    Returns
    -------
    DataFrame indexed by `by`
        `n_scores`, `mae`, `rmse`, `bias` (predicted minus measured), `crps`, `log_score`;
        `coverage_50`, `width_50` and so on up to 95; `rank_correlation`, Spearman's between
        predicted and measured scores of a repeat's agents on a skill, averaged over skills with
        at least three of them; `divergences` (sum over fits), `converged` (share of fits) and
        `seconds` (mean over fits).

    Raises
    ------
    InputError
        If `cells` are not such results.
    ConfigError
        If `by` does not name columns, each once.
    """
    cells = check_columns(cells, SUMMARISED, "cells")
    names = check_by(by, cells.columns)
    off = cells["mean"] - cells["score"]
    parts = {
        "n_scores": pd.Series(1, index=cells.index),
        "mae": off.abs(),
        "rmse": off**2,
        "bias": off,
        "crps": cells["crps"],
        "log_score": cells["log_score"],
    }
    for level in (f"{100 * ci_prob:.0f}" for ci_prob in CI_PROBS):
        lower, upper = cells[f"lower_{level}"], cells[f"upper_{level}"]
        parts[f"coverage_{level}"] = cells["score"].between(lower, upper).astype(float)
        parts[f"width_{level}"] = upper - lower
    keys = [cells[name] for name in names]
    grouped = pd.DataFrame(parts).groupby(keys, sort=True, dropna=False)
    summary = grouped.mean()
    summary["n_scores"] = grouped.size()
    summary["rmse"] = np.sqrt(summary["rmse"])
    summary["rank_correlation"] = _rank_correlation(cells, names)
    fits = cells.drop_duplicates(list(dict.fromkeys([*CASE, *names])))
    fits = fits.groupby(names, dropna=False)
    summary["divergences"] = fits["divergences"].sum(min_count=1)
    summary["converged"] = fits["converged"].mean()
    summary["seconds"] = fits["seconds"].mean()
    return summary


def _rank_correlation(cells: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """Spearman's correlation over agents, per case and skill, averaged."""
    unit = list(dict.fromkeys([*CASE, "skill", *by]))
    keys = [cells[name] for name in unit]
    ranks = cells.groupby(unit, dropna=False)[["mean", "score"]].rank()
    centred = ranks - ranks.groupby(keys, dropna=False).transform("mean")
    products = pd.DataFrame(
        {
            "cross": centred["mean"] * centred["score"],
            "size": centred["mean"] ** 2,
            "other": centred["score"] ** 2,
            "count": 1.0,
        }
    )
    sums = products.groupby(keys, dropna=False).sum()
    usable = (sums["count"] >= MIN_RANKED) & (sums["size"] > 0) & (sums["other"] > 0)
    kept = sums[usable]
    correlation = kept["cross"] / (kept["size"] * kept["other"]) ** 0.5
    average: pd.Series = correlation.groupby(list(by), dropna=False).mean()
    return average


def pick_methods(
    methods: Methods,
    priors: Priors | Mapping[str, Any] | None = None,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
) -> dict[str, Method]:
    """Turn names of methods into functions; ConfigError with the closest match for others."""
    given: object = methods  # callers may hold anything
    names = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    if not names:
        raise ConfigError(f"`methods` must be a list of names, got {given!r}; such as ['ours']")
    if isinstance(methods, Mapping):
        _check_callable(methods)
        return dict(methods)
    known = {
        "ours": package_method(priors, settings),
        "ours_pooled": package_method(priors, settings, pooled=True),
        **RIVALS,
    }
    for name in names:
        if name not in list(known):
            raise ConfigError(f"unknown method {name!r}; {closest_match_hint(name, known)}")
    return {name: known[name] for name in names}


def _check_callable(methods: Mapping[str, object]) -> None:
    for name, method in methods.items():
        if not callable(method):
            raise ConfigError(
                f"`methods` must map names to functions from a case to a forecast, got {method!r} "
                f"for {name!r}; give the package's own methods as a list of names"
            )
