"""Profiles of 10,000 agents at once, against `skillinfer` in a loop.

12 skills (`--skills`), three random ones observed of each agent, 1,000 posterior draws; means,
standard deviations and 90 % intervals of every skill. The fast path approximates the mixture over
posterior draws, so its largest difference from the exact one is printed too, on a random tenth of
the agents; `--all` takes them all, `--quick` a hundredth, and a population without a fit.
`--tails class` is for latent classes.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import skillinfer
import xarray as xr

from benchmarks._common import median, print_machine, print_table, print_verdict
from skillinfer_bayes.exceptions import ConvergenceWarning
from skillinfer_bayes.population import Population
from skillinfer_bayes.testing import fake_population, simulate_history

AGENTS, OBSERVED = 10_000, 3
RUNS = 5
MAX_RATIO, MAX_MEAN, MAX_END = 0.5, 0.002, 0.005
SEED = 1


def make_agents(n_skills: int = 12) -> pd.DataFrame:
    """New agents from the population that the history came from, three scores of each."""
    complete = simulate_history(60 + AGENTS, n_skills, random_seed=SEED).complete.iloc[60:]
    order = np.random.default_rng(SEED).random(complete.shape).argsort(axis=1)
    return complete.where(order < OBSERVED)


def time_package(population: Population, table: pd.DataFrame) -> float:
    started = time.perf_counter()
    population.profiles(table).to_dataset()
    return time.perf_counter() - started


def time_peer(population: skillinfer.Population, scores: Sequence[Mapping[str, float]]) -> float:
    started = time.perf_counter()
    for observations in scores:
        population.profile().observe_many(observations).predict()
    return time.perf_counter() - started


def make_population(history: pd.DataFrame, tails: str, *, quick: bool) -> Population:
    """Fit 1,000 draws; without a fit if `quick`."""
    if quick:
        return fake_population(history, chains=2, draws=500)
    settings = {"chains": 2, "draws": 500, "tune": 1000, "random_seed": SEED}
    with warnings.catch_warnings():  # 1,000 draws is the task; the verdict asks for more
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Population.from_dataframe(
            history, priors={"tails": tails}, settings=settings, progressbar=False
        )


def print_accuracy(population: Population, table: pd.DataFrame) -> None:
    """Largest differences between the fast path and the exact mixture."""
    profiles = population.profiles(table)
    names = ["mean", "lower", "upper"]
    fast = profiles.to_dataset(method="fast")[names]
    started = time.perf_counter()
    exact = profiles.to_dataset(method="exact")[names]
    seconds = time.perf_counter() - started
    print(f"fast path against the exact mixture, {len(table)} agents (exact: {seconds:.0f} s)")
    mean, end = _apart(fast, exact)
    print_verdict("largest difference of a mean", mean, MAX_MEAN)
    print_verdict("largest difference of an interval end", end, MAX_END)


def _apart(one: xr.Dataset, other: xr.Dataset) -> tuple[float, float]:
    apart = {name: float(np.abs(one[name].values - other[name].values).max()) for name in one}
    return apart["mean"], max(apart["lower"], apart["upper"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no fit, few exact profiles")
    parser.add_argument("--all", action="store_true", help="every agent's exact profile; minutes")
    parser.add_argument("--tails", default="auto", choices=["auto", "normal", "agent", "class"])
    parser.add_argument("--skills", type=int, default=12)
    chosen = parser.parse_args()
    if chosen.quick and chosen.tails not in ("auto", "normal"):
        parser.error("--quick has no fit, so its tails are normal")
    history = simulate_history(60, chosen.skills, random_seed=SEED).scores
    population = make_population(history, chosen.tails, quick=chosen.quick)
    table = make_agents(chosen.skills)
    peer = skillinfer.Population.from_dataframe(history)
    scores = [row.dropna().to_dict() for _, row in table.iterrows()]
    print_machine()
    print(
        f"{AGENTS} agents, {chosen.skills} skills, {OBSERVED} observed, 1,000 draws, "
        f"tails {chosen.tails}; {RUNS} runs in turns"
    )
    time_package(population, table)  # the first run also reads the draws
    runs = [(time_package(population, table), time_peer(peer, scores)) for _ in range(RUNS)]
    ours, theirs = ([run[side] for run in runs] for side in (0, 1))
    print_table(
        [
            ["this package, fast path", median(ours), min(ours)],
            ["skillinfer, loop", median(theirs), min(theirs)],
        ],
        ["profiles", "median s", "least s"],
    )
    ratio = median([mine / other for mine, other in runs])
    print_verdict("median of the runs' ratios", ratio, MAX_RATIO)

    share = AGENTS if chosen.all else AGENTS // (100 if chosen.quick else 10)
    print_accuracy(
        population, table.iloc[np.random.default_rng(SEED).choice(AGENTS, share, replace=False)]
    )


if __name__ == "__main__":
    main()
