"""Populations fitted without some agents, what is true of these, and random tasks for them."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks._common import DATA, read_scores
from skillinfer_bayes import Population, Task
from skillinfer_bayes.checks.scores import load
from skillinfer_bayes.exceptions import ConvergenceWarning
from skillinfer_bayes.history.links import FloatArray

FIT_SETTINGS = {"chains": 4, "draws": 500, "tune": 1000}


class Split(NamedTuple):
    """A population, and agents that it has not seen."""

    number: int
    population: Population
    history: pd.DataFrame
    truth: pd.DataFrame
    metadata: pd.DataFrame


def add_split_arguments(parser: argparse.ArgumentParser, *, splits: int, held_out: int) -> None:
    parser.add_argument("--splits", type=int, default=splits)
    parser.add_argument("--first-split", type=int, default=1)
    parser.add_argument(
        "--held-out",
        type=int,
        default=held_out,
        help="base models (or agents, where the table has none) to leave out of each history",
    )
    parser.add_argument(
        "--one-variant", action="store_true", help="keep one variant of each held-out base model"
    )
    parser.add_argument("--fits", type=Path, help="folder that keeps the fits for the next run")


def read_splits(table: str, chosen: argparse.Namespace) -> Iterator[Split]:
    """Random splits of a public table; variants of a base model stay on one side."""
    scores = read_scores(table)
    scores = scores[~scores.duplicated()]
    metadata = pd.read_csv(DATA / f"{table}_metadata.csv", index_col=0).loc[scores.index]
    bases = metadata.get("base_model", pd.Series(scores.index, index=scores.index))
    for number in range(chosen.first_split, chosen.first_split + chosen.splits):
        rng = np.random.default_rng(number)
        out = bases.isin(rng.permutation(bases.unique())[: chosen.held_out])
        population = _population(table, scores[~out], number, chosen)
        # the tables list the best agents first, which must not tell anybody anything
        agents = rng.permutation(scores.index[out].to_numpy(dtype=object))
        if chosen.one_variant:
            agents = agents[~bases.loc[agents].duplicated().to_numpy()]
        yield Split(number, population, scores[~out], scores.loc[agents], metadata.loc[agents])


def _population(
    table: str, history: pd.DataFrame, number: int, chosen: argparse.Namespace
) -> Population:
    kept = chosen.fits and chosen.fits / f"{table}_{chosen.held_out}_{number}.nc"
    if kept and kept.is_file():
        return Population.load(kept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below
        population = Population.from_dataframe(
            history, settings=FIT_SETTINGS, random_seed=number, progressbar=False
        )
    verdict = population.convergence
    print(
        f"{table}, split {number}: {len(history)} agents in the history, "
        f"{verdict.divergences} divergences, R-hat {verdict.rhat:.3f}",
        flush=True,
    )
    if kept:
        chosen.fits.mkdir(parents=True, exist_ok=True)
        population.save(kept)
    return population


def random_task(
    skills: pd.Index, n_weighed: int, n_observed: int, rng: np.random.Generator
) -> tuple[Task, list[str]]:
    """A task over some skills with random weights, and other skills to be observed."""
    names = rng.permutation(skills.to_numpy(dtype=object))
    weights = rng.dirichlet(np.ones(n_weighed))
    task = Task(dict(zip(names[:n_weighed], np.maximum(weights, 0.01).tolist(), strict=True)))
    return task, [str(name) for name in names[n_weighed : n_weighed + n_observed]]


def weight_vector(task: Task, skills: pd.Index) -> FloatArray:
    """Weights over all skills that add up to 1."""
    weights: FloatArray = np.array([task.weights.get(skill, 0.0) for skill in skills])
    return weights / np.sum(weights)


def peer_population(history: pd.DataFrame, *, normalize: bool) -> Any:
    """Fit the package `skillinfer`."""
    return load("skillinfer").Population.from_dataframe(history, normalize=normalize)


def peer_profiles(split: Split, known: pd.DataFrame, *, normalize: bool) -> FloatArray:
    """What `skillinfer` expects of every agent and skill, in score units, (A, K)."""
    low, high = split.history.min(), split.history.max()
    if not normalize:
        low, high = 0.0 * low, 0.0 * high + 1.0
    population = peer_population(split.history, normalize=normalize)
    scaled = (known - low[known.columns]) / (high - low)[known.columns]
    means = [
        population.profile().observe_many(row.dropna().to_dict()).mean()
        for _, row in scaled.iterrows()
    ]
    scores: FloatArray = np.stack(means) * (high - low).to_numpy() + low.to_numpy()
    return scores
