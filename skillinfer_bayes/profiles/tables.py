"""Labelled results for agents, from the engine's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.profiles.context import Context, check_threshold
from skillinfer_bayes.profiles.engine import Kind, Method, Summary, check_ci_prob
from skillinfer_bayes.profiles.evidence import Evidence
from skillinfer_bayes.profiles.task import Task

type FloatArray = NDArray[np.float64]

SOURCES = ("inferred", "observed")
CHUNK_AGENTS = 256


def summary_dataset(context: Context, evidence: Evidence, summary: Summary) -> xr.Dataset:
    """`mean`, `std`, `lower`, `upper` and `observed`, dims (agent, skill)."""
    dims = ("agent", "skill")
    variables: dict[str, Any] = {name: (dims, values) for name, values in summary._asdict().items()}
    if evidence.reweight:
        variables["khat"] = ("agent", context.engine.khat(evidence))
    return xr.Dataset(
        {**variables, "observed": (dims, evidence.observed)},
        coords={"agent": list(evidence.agents), "skill": list(context.skills)},
    )


def summary_frame(context: Context, evidence: Evidence, summary: Summary) -> pd.DataFrame:
    """One row per agent and skill: `mean`, `std`, `lower`, `upper`, `source`."""
    index = pd.MultiIndex.from_product([evidence.agents, context.skills], names=["agent", "skill"])
    columns = {name: values.reshape(-1) for name, values in summary._asdict().items()}
    source = np.asarray(SOURCES, dtype=object)[evidence.observed.reshape(-1).astype(int)]
    return pd.DataFrame({**columns, "source": source}, index=index)


def draws_array(context: Context, evidence: Evidence, kind: Kind) -> xr.DataArray:
    """Joint draws in score units, dims (chain, draw, agent, skill)."""
    posterior = context.posterior
    flat = context.engine.draws(evidence, kind=kind)
    shape = (posterior.n_chains, posterior.n_draws, *flat.shape[1:])
    return xr.DataArray(
        flat.reshape(shape),
        dims=("chain", "draw", "agent", "skill"),
        coords={
            "chain": np.arange(shape[0]),
            "draw": np.arange(shape[1]),
            "agent": list(evidence.agents),
            "skill": list(context.skills),
        },
        name="score" if kind == "score" else "skill_level",
    )


def match_frame(
    context: Context,
    evidence: Evidence,
    task: Task | Mapping[str, float],
    threshold: float | None,
    ci_prob: float,
    method: Method = "auto",
) -> pd.DataFrame:
    """Match scores, one row per agent: `score`, `std`, `lower`, `upper`, `p_above_threshold`.

    The expected score is the weighted mean of the skills' means; its spread, interval and tail
    come from joint draws, which a link and correlated skills make necessary.
    """
    check_ci_prob(ci_prob)
    weights = context.weights(task)
    if threshold is not None:
        threshold = check_threshold(threshold, *context.task_bounds(weights), "the task's score")
    means = context.engine.summarise(evidence, ci_prob=ci_prob, method=method).mean
    columns = {
        "score": context.task_scores(means, weights),
        **_spread_of_draws(context, evidence, weights, threshold, ci_prob),
    }
    index = pd.Index(list(evidence.agents), name="agent")
    return pd.DataFrame(columns, index=index)


def _spread_of_draws(
    context: Context,
    evidence: Evidence,
    weights: FloatArray,
    threshold: float | None,
    ci_prob: float,
) -> dict[str, FloatArray]:
    """Give standard deviation, interval ends and tail probability of the match score, each (A,)."""
    tails = [0.5 - 0.5 * ci_prob, 0.5 + 0.5 * ci_prob]
    parts = []
    for start in range(0, max(len(evidence.agents), 1), CHUNK_AGENTS):
        chunk = evidence.take(slice(start, start + CHUNK_AGENTS))
        scores = context.task_scores(context.engine.draws(chunk), weights)
        above = np.nan if threshold is None else (scores > threshold).mean(axis=0)
        lower, upper = np.quantile(scores, tails, axis=0)
        parts.append((scores.std(axis=0), lower, upper, above * np.ones(scores.shape[1])))
    names = ("std", "lower", "upper", "p_above_threshold")
    return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
