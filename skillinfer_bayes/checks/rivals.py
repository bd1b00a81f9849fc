"""Other ways to fill in an agent's scores, each a function of one case.

A method that gives no spread of its own gets that of its errors in a cross-validation within the
history, made like the task itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skillinfer_bayes.checks.scores import Forecast, NormalForecast, load
from skillinfer_bayes.checks.splits import Case, known_cells

type FloatArray = NDArray[np.float64]
type Method = Callable[[Case], Forecast]

FOLDS = 5
NEIGHBOURS = (3, 5, 10, 20, 40)
ROUNDS = 10
IMPUTATIONS = 20


def predict_mean(case: Case) -> NormalForecast:
    """Mean and standard deviation of each skill in the history, whatever is known of the agent."""
    values = case.history.values
    mean, sd = np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1)
    shape = case.rows.shape
    return _bounded(case, np.broadcast_to(mean, shape), np.broadcast_to(sd, shape))


def predict_peer(case: Case) -> NormalForecast:
    """`skillinfer` as it comes: scaled to 0-1 by the history, Ledoit-Wolf, means clipped.

    It takes no holes in the history, so these are filled with the skill's mean.
    """
    return _predict_peer(case, normalize=True)


def predict_peer_raw(case: Case) -> NormalForecast:
    """`skillinfer` with `normalize=False`, for scores on 0-1."""
    return _predict_peer(case, normalize=False)


def _predict_peer(case: Case, *, normalize: bool) -> NormalForecast:
    frame = case.history.to_dataframe()
    frame = frame.fillna(frame.mean())
    low, high = frame.min().to_numpy(), frame.max().to_numpy()
    if not normalize:
        low, high = np.zeros_like(low), np.ones_like(high)
    width = high - low
    population = load("skillinfer").Population.from_dataframe(frame, normalize=normalize)
    scaled = (case.rows - low) / width
    tables = [
        population.profile().observe_many(row.dropna().to_dict()).predict()
        for _, row in scaled.iterrows()
    ]
    mean, std = (np.stack([table[name].to_numpy() for table in tables]) for name in ("mean", "std"))
    return NormalForecast(low + width * mean, width * std, low, high)


def predict_imputer(case: Case) -> NormalForecast:
    """scikit-learn's IterativeImputer with BayesianRidge; mean and spread of its imputations."""
    train, rows, centre, unit = _standardised(case)
    imputer = _regression(case.seed, sample_posterior=True).fit(train)
    filled = np.stack([imputer.transform(rows) for _ in range(IMPUTATIONS)])
    mean, sd = filled.mean(axis=0), filled.std(axis=0, ddof=1)
    return _bounded(case, centre + unit * mean, unit * sd)


def predict_imputer_residual(case: Case) -> NormalForecast:
    """scikit-learn's IterativeImputer without sampling; spread of its errors in the history."""
    # without a tolerance a complete history stops after one round, and so would new rows
    return _predict_filled(case, [_regression(case.seed, tol=0.0)])


def predict_neighbours(case: Case) -> NormalForecast:
    """scikit-learn's KNNImputer, its number of neighbours and weights chosen in the history."""
    most = max(1, case.history.n_agents // 2)
    settings = product(sorted({min(count, most) for count in NEIGHBOURS}), ("uniform", "distance"))
    knn = load("sklearn.impute").KNNImputer
    return _predict_filled(
        case,
        [
            knn(n_neighbors=count, weights=weights, keep_empty_features=True)
            for count, weights in settings
        ],
    )


def _regression(seed: int, **options: Any) -> Any:
    load("sklearn.experimental.enable_iterative_imputer")
    return load("sklearn.impute").IterativeImputer(
        max_iter=ROUNDS, keep_empty_features=True, random_state=seed, **options
    )


def _standardised(case: Case) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """History and rows in units of each skill's spread; its mean and spread, each (K,)."""
    values = case.history.values
    centre, unit = np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1)
    rows = case.rows.to_numpy(dtype=float)
    return (values - centre) / unit, (rows - centre) / unit, centre, unit


def _predict_filled(case: Case, imputers: Sequence[Any]) -> NormalForecast:
    """Fill rows with the imputer whose errors within the history are least; they are its spread."""
    train, rows, centre, unit = _standardised(case)
    errors = [_errors(imputer, train, case) for imputer in imputers]
    best = int(np.argmin([np.nanmean(one**2) for one in errors]))
    count = (~np.isnan(errors[best])).sum(axis=0)
    root = np.sqrt(np.nansum(errors[best] ** 2, axis=0) / np.maximum(count, 1))
    sd = unit * np.where(count > 1, root, 1.0)
    mean = centre + unit * _filled(imputers[best], train, rows)
    return _bounded(case, mean, np.broadcast_to(sd, mean.shape))


def _errors(imputer: Any, train: FloatArray, case: Case) -> FloatArray:
    """Errors where the history's scores were left out in turn, (N, K), NaN elsewhere."""
    errors = np.full(train.shape, np.nan)
    for agents, part, given in _folds(train, case):
        target = np.isnan(given) & ~np.isnan(train[agents])
        off = _filled(imputer, part, given) - train[agents]
        errors[agents] = np.where(target, off, errors[agents])
    return errors


def _filled(imputer: Any, train: FloatArray, rows: FloatArray) -> FloatArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", load("sklearn.exceptions").ConvergenceWarning)
        return np.asarray(imputer.fit(train).transform(rows))


def _folds(
    train: FloatArray, case: Case
) -> Iterator[tuple[NDArray[np.intp], FloatArray, FloatArray]]:
    """Agents to predict (n,), what to learn from (m, K), what is known of the agents (n, K)."""
    rng = np.random.default_rng(case.seed)
    count = min(FOLDS, len(train))
    if case.of_history:  # other cells of the same agents are known
        fold = rng.integers(count, size=train.shape)
        for number in range(count):
            part = np.where(fold == number, np.nan, train)
            yield np.arange(len(train)), part, part
        return
    known = float(case.rows.notna().to_numpy().sum())
    share = known / (known + float(case.truth.notna().to_numpy().sum()))
    for agents in np.array_split(rng.permutation(len(train)), count):
        kept = known_cells(~np.isnan(train[agents]), share, rng)
        yield agents, np.delete(train, agents, axis=0), np.where(kept, train[agents], np.nan)


def _bounded(case: Case, mean: FloatArray, std: FloatArray) -> NormalForecast:
    """Keep means and intervals within what is possible."""
    lower, upper = case.history.scales.lower, case.history.scales.upper
    return NormalForecast(np.clip(mean, lower, upper), np.asarray(std), lower, upper)


RIVALS: dict[str, Method] = {
    "peer": predict_peer,
    "peer_raw": predict_peer_raw,
    "mean": predict_mean,
    "imputer": predict_imputer,
    "imputer_residual": predict_imputer_residual,
    "knn": predict_neighbours,
}
