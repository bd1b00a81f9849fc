"""How error and interval width fall with the number of scores that are known of an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import track

from skillinfer_bayes.checks.fitted import fit_case, forecast_of
from skillinfer_bayes.checks.options import as_history, as_list, check_by, check_count
from skillinfer_bayes.checks.splits import Together, curve_cases
from skillinfer_bayes.checks.validation import (
    CASE,
    MOST_TEST,
    Methods,
    evaluate,
    pick_methods,
    summarise_held_out,
)
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import Priors, SamplerSettings

METHODS = ("ours", "peer", "mean")
NUMBERS = (0, 1, 2, 3, 5, 8, 13, 21, 34)
KEPT_APART = ("method", "n_observed", "repeat")
WITH_ERROR = ("mae", "crps", "coverage_90", "width_90")


def learning_curve(
    history: History | pd.DataFrame,
    *,
    n_observed: int | Sequence[int] | None = None,
    n_history: int | None = None,
    repeats: int = 10,
    n_test: int | None = None,
    keep_together: Together = None,
    methods: Methods = METHODS,
    by: Sequence[str] = (),
    priors: Priors | Mapping[str, Any] | None = None,
    settings: SamplerSettings | Mapping[str, Any] | None = None,
    random_seed: int = 0,
    progressbar: bool = True,
) -> pd.DataFrame:
    """Predict new agents from more and more of their scores.

    Each repeat fits one history and shows the same new agents' scores one number after the other,
    fewer as part of more; what is predicted, as measured scores, is the same for all numbers.

    Parameters
    ----------
    history : History or DataFrame of shape (N, K)
        All agents.
    n_observed : int or sequence of int, optional
        Numbers of scores to show. Default: 0, 1, 2, 3, 5, 8, 13, 21 and 34, up to half of the
        skills.
    n_history, repeats, n_test, keep_together, methods, priors, settings, random_seed, progressbar
        As `held_out`, with one `n_history` only; methods are `"ours"`, `"peer"` and `"mean"`
        unless others are asked for. New agents have at least one score more than the largest
        number shown.
    by : sequence of str, default ()
        Columns to keep apart besides: `"skill"`, `"agent"`.

    Returns
    -------
    DataFrame
        One row per method, number and value of `by`: `method`, `n_observed`, the columns of
        `summarise_held_out` without `seconds`, and `mae_se`, `crps_se`, `coverage_90_se` and
        `width_90_se`, standard errors from the repeats (NaN for a single one).

    Raises
    ------
    ConfigError
        If an option cannot be used, or there are too few agents.
    HistoryError, UnknownAgentError
        If `keep_together` does not fit the agents.
    MissingDependencyError
        If a library of the extra `validation` is not installed.
    """
    table = as_history(history)
    besides = check_by(by, [*CASE, "n_observed", "agent", "skill"]) if np.size(by) else []
    if set(KEPT_APART).intersection(besides):
        raise ConfigError(
            f"`by` must name columns besides {', '.join(KEPT_APART)}, got {by!r}; leave those out"
        )
    chosen = pick_methods(methods, priors, settings)
    numbers = _numbers(n_observed, table.n_skills)
    default = min(MOST_TEST, table.n_agents // 3)
    runs = curve_cases(
        table,
        n_observed=numbers,
        n_history=None if n_history is None else check_count("n_history", 3, n_history),
        repeats=range(check_count("repeats", 1, repeats)),
        n_test=check_count("n_test", 1, default if n_test is None else n_test),
        keep_together=keep_together,
        random_seed=check_count("random_seed", 0, random_seed),
    )
    parts = []
    for cases in track(list(runs), "learning curve", total=repeats, disable=not progressbar):
        if not isinstance(methods, Mapping) and "ours" in chosen:
            chosen["ours"] = partial(forecast_of, fit_case(cases[0], priors, settings))
        for number, case in zip(numbers, cases, strict=True):
            scored = evaluate([case], chosen, progressbar=False)
            parts.append(scored.assign(n_observed=number))
    return _curve(pd.concat(parts, ignore_index=True), ["method", "n_observed", *besides])


def _curve(cells: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    curve = summarise_held_out(cells, by).drop(columns="seconds")
    each = summarise_held_out(cells, [*by, "repeat"])
    for name in WITH_ERROR:
        repeats = each[name].groupby(by, dropna=False)
        curve[f"{name}_se"] = repeats.std() / np.sqrt(repeats.count())
    return curve.reset_index()


def _numbers(given: int | Sequence[int] | None, n_skills: int) -> list[int]:
    if given is None:
        return [number for number in NUMBERS if number <= n_skills // 2]
    listed = as_list("n_observed", given)
    numbers = sorted({check_count("n_observed", 0, number) for number in listed})
    if numbers[-1] >= n_skills:
        raise ConfigError(
            f"`n_observed` must hold numbers below {n_skills}, the number of skills, got {given!r}"
        )
    return numbers
