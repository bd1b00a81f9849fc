"""Profiles of 10,000 agents at once, against `skillinfer` in a loop.

12 skills, three random ones observed of each agent, 1,000 posterior draws; means, standard
deviations and 90 % intervals of every skill. The fast path keeps the mixture's first four moments,
so its largest difference from the exact mixture is printed too, on a random tenth of the agents;
`--all` takes them all, `--quick` a hundredth, and a population without a fit.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import skillinfer

from benchmarks._common import median, print_machine, print_table, print_verdict
from skillinfer_bayes.exceptions import ConvergenceWarning
from skillinfer_bayes.population import Population
from skillinfer_bayes.testing import fake_population, simulate_history

AGENTS, SKILLS, OBSERVED = 10_000, 12, 3
RUNS = 5
MAX_RATIO, MAX_MEAN, MAX_END = 0.5, 0.002, 0.005
SEED = 1


def make_agents() -> pd.DataFrame:
    """New agents from the population that the history came from, three scores of each."""
    complete = simulate_history(60 + AGENTS, SKILLS, random_seed=SEED).complete.iloc[60:]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no fit, few exact profiles")
    parser.add_argument("--all", action="store_true", help="every agent's exact profile; minutes")
    chosen = parser.parse_args()
    history = simulate_history(60, SKILLS, random_seed=SEED).scores
    if chosen.quick:
        population = fake_population(history, chains=2, draws=500)
    else:
        settings = {"chains": 2, "draws": 500, "tune": 1000, "random_seed": SEED}
        with warnings.catch_warnings():  # 1,000 draws is the task; the verdict asks for more
            warnings.simplefilter("ignore", ConvergenceWarning)
            population = Population.from_dataframe(history, settings=settings, progressbar=False)
    table = make_agents()
    peer = skillinfer.Population.from_dataframe(history)
    scores = [row.dropna().to_dict() for _, row in table.iterrows()]
    print_machine()
    print(
        f"{AGENTS} agents, {SKILLS} skills, {OBSERVED} observed, 1,000 draws; {RUNS} runs in turns"
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
    rows = np.random.default_rng(SEED).choice(AGENTS, share, replace=False)
    profiles = population.profiles(table.iloc[rows])
    started = time.perf_counter()
    exact = profiles.to_dataset(method="exact")[["mean", "lower", "upper"]]
    seconds = time.perf_counter() - started
    apart = np.abs(profiles.to_dataset(method="fast")[list(exact)] - exact)
    print(f"fast path against the exact mixture, {share} agents (exact: {seconds:.0f} s)")
    print_verdict("largest difference of a mean", float(apart["mean"].max()), MAX_MEAN)
    ends = max(float(apart[end].max()) for end in ("lower", "upper"))
    print_verdict("largest difference of an interval end", ends, MAX_END)


if __name__ == "__main__":
    main()
