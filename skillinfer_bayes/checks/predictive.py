"""Whether tables that the model simulates look like the history.

Prior predictive checks ask it of the prior, posterior predictive checks of the fit (Gelman, Meng
and Stern (1996), Posterior predictive assessment of model fitness via realized discrepancies,
Statistica Sinica 6). The fit has seen the history, so the p-values of a good model crowd around
one half and a small one says more than its size.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.checks.replicates import prior_population, replicate, spread_draws
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.posterior import Posterior
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.profiles.evidence import Evidence

type FloatArray = NDArray[np.float64]
type Statistics = dict[str, FloatArray]

CHUNK_CELLS = 2_000_000
MOST_CELLS = 40_000_000
FEWEST_FOR_SHAPE = 5


def posterior_predictive(
    posterior: Posterior,
    history: History,
    evidence: Evidence,
    *,
    n_replicates: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare the history with tables simulated from the fit, skill by skill.

    Parameters
    ----------
    posterior : Posterior
    history : History
    evidence : Evidence
        The history's own.
    n_replicates : int
        Tables to simulate, fewer if there are fewer draws or the table is very large.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        `statistic`, `skill` (empty for the whole table), `observed`, `lower` and `upper` (the
        central 95 % of the simulated ones) and `p`, two-sided.
    """
    kept = spread_draws(posterior, _affordable(n_replicates, evidence))
    observed = _statistics(evidence.values[None], history)
    simulated = [_statistics(part, history) for part in _tables(kept, evidence, rng)]
    rows = []
    for name, values in observed.items():
        replicated = np.concatenate([part[name] for part in simulated])
        labels = history.skills if values.shape[1] == history.n_skills else ("",)
        for column, label in enumerate(labels):
            row = _compared(values[0, column], replicated[:, column])
            if row is not None:
                rows.append({"statistic": name, "skill": label, **row})
    return pd.DataFrame(rows)


def prior_predictive(
    priors: Priors,
    history: History,
    evidence: Evidence,
    *,
    n_replicates: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare the history with tables simulated from the prior; result as above.

    The working scale makes every skill's own mean 0 and spread 1, which a good prior allows; that
    leaves the overall spread, the farthest score (in its skill's own sds, from its mean) and how
    skills move together to compare.
    """
    count = _affordable(n_replicates, evidence)
    prior = prior_population(
        history.skills,
        priors,
        count,
        rng,
        Design.of(history),
        history.scales.typical,
        history.observed.sum(axis=0).astype(np.float64),
    )
    observed = overall_statistics(evidence.values[None])
    simulated = [overall_statistics(part) for part in _tables(prior, evidence, rng)]
    rows = []
    for name, values in observed.items():
        row = _compared(values[0], np.concatenate([part[name] for part in simulated]))
        if row is not None:
            rows.append({"statistic": name, "skill": "", **row})
    return pd.DataFrame(rows)


def _affordable(wanted: int, evidence: Evidence) -> int:
    return max(100, min(wanted, MOST_CELLS // max(evidence.values.size, 1)))


def _tables(
    posterior: Posterior, evidence: Evidence, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """Chunks of simulated tables, (c, N, K)."""
    draws = posterior.tree.children["posterior"].to_dataset()
    size = max(1, CHUNK_CELLS // max(evidence.values.size, 1))
    for chain in range(posterior.n_chains):
        for start in range(0, posterior.n_draws, size):
            part = draws.isel(chain=[chain], draw=slice(start, start + size))
            chunk = Posterior(xr.DataTree.from_dict({"posterior": part}))
            yield replicate(chunk, evidence, rng)


def _compared(observed: float, replicated: FloatArray) -> dict[str, float] | None:
    """Where a statistic lies among simulated ones; None where it is not defined."""
    known = replicated[np.isfinite(replicated)]
    if not np.isfinite(observed) or not len(known):
        return None
    below = 1 + int((known <= observed).sum())
    above = 1 + int((known >= observed).sum())
    lower, upper = np.quantile(known, [0.025, 0.975])
    p = min(1.0, 2.0 * min(below, above) / (len(known) + 1))
    return {"observed": float(observed), "lower": float(lower), "upper": float(upper), "p": p}


def _statistics(tables: FloatArray, history: History) -> Statistics:
    """Statistics of tables (R, N, K): (R, K) or (R, 1) each."""
    mean, sd, skew = _shape(tables)
    edges = _at_bounds(tables, history)
    return {
        "mean": mean,
        "sd": sd,
        "skewness": skew,
        "lowest": np.nanmin(tables, axis=1),
        "highest": np.nanmax(tables, axis=1),
        "share at the lower bound": edges[0],
        "share at the upper bound": edges[1],
        "mean correlation": mean_correlation(tables)[:, None],
    }


def overall_statistics(tables: FloatArray) -> Statistics:
    """Statistics of whole tables (R, N, K), (R,) each."""
    mean, sd, _ = _shape(tables)
    known = ~np.isnan(sd[0])
    if not known.any():
        undefined = np.full(len(tables), np.nan)
        return {"mean sd": undefined, "farthest score": undefined, "mean correlation": undefined}
    off = np.abs(tables - mean[:, None, :]) / sd[:, None, :]
    return {
        "mean sd": sd[:, known].mean(axis=1),
        "farthest score": np.nanmax(off[:, :, known], axis=(1, 2)),
        "mean correlation": mean_correlation(tables),
    }


def _shape(tables: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, sd and skewness of every skill, (R, K) each; NaN where too few scores say it."""
    seen = ~np.isnan(tables[0])
    count = seen.sum(axis=0)
    filled = np.where(seen, tables, 0.0)
    mean = filled.sum(axis=1) / count
    centred = np.where(seen, tables - mean[:, None, :], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (centred**2).sum(axis=1) / (count - 1)
        skew = (centred**3).sum(axis=1) / count / variance**1.5
    few = count < FEWEST_FOR_SHAPE
    return mean, np.sqrt(np.where(count > 1, variance, np.nan)), np.where(few, np.nan, skew)


def mean_correlation(tables: FloatArray) -> FloatArray:
    """Mean correlation between skills over the agents that have both, (R,).

    A skill's mean and sd are those of all its scores; pairs that fewer than five agents have are
    left out.
    """
    seen = ~np.isnan(tables[0])
    mean, sd, _ = _shape(tables)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(seen, (tables - mean[:, None, :]) / sd[:, None, :], 0.0)
        both = seen.astype(np.float64).T @ seen
        correlation = np.swapaxes(z, 1, 2) @ z / both
    pairs = (both >= FEWEST_FOR_SHAPE) & ~np.eye(len(both), dtype=bool)
    if not pairs.any():
        return np.full(len(tables), np.nan)
    return np.asarray(correlation[:, pairs].mean(axis=1))


def _at_bounds(tables: FloatArray, history: History) -> tuple[FloatArray, FloatArray]:
    """Shares of scores that are at the lower and upper bounds, (R, K); NaN without bounds.

    A proportion of n items is at a bound when rounding to whole items puts it there.
    """
    scales, links = history.scales, history.scales.links
    seen = ~np.isnan(tables[0])
    scores = scales.from_working(tables)
    step = np.full(seen.shape, 1e-9)
    if history.n_items is not None:
        items = np.where(np.isnan(history.n_items), np.inf, history.n_items)
        step = np.maximum(step, 0.5 / items)
    # items are counted from the floor, and no skill lies below what guessing scores
    low, high = links.base + step * links.span, links.base + links.width - step * links.span
    count = seen.sum(axis=0)
    shares = []
    for at in (scores <= low, scores >= high):
        held = (at & seen).sum(axis=1) / count
        shares.append(np.where(scales.bounded, held, np.nan))
    return shares[0], shares[1]
