"""What the priors allow before they see a score, beside what the public tables hold.

Tables are simulated from the prior with a real table's agents, holes and measurement errors, on
its working scale; printed is where the real one lies among them. Each prior is also made narrower
and wider: a prior that is too narrow leaves real tables in its tails, one that is too wide spends
itself on tables that nobody has seen.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kurtosis, skew

from benchmarks._common import print_table
from benchmarks.accuracy import TABLES, read_history
from skillinfer_bayes.checks.predictive import overall_statistics
from skillinfer_bayes.checks.replicates import prior_population, replicate
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import Priors
from skillinfer_bayes.profiles.evidence import evidence_of_history

type FloatArray = NDArray[np.float64]

MOST_AGENTS = 100
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "weak general factor": {"general_mean": 0.4, "general_sd": 0.1},
    "any general factor": {"general_mean": 0.0, "general_sd": 3.0},
    "own sds small": {"own_log_mean": -1.7, "own_log_sd": 0.1},
    "own sds anything": {"own_log_mean": 0.0, "own_log_sd": 2.0},
    "one class": {"n_classes": 1, "class_scale_sd": 0.01},
    "classes near": {"class_sd": 0.2, "class_scale_sd": 0.05},
    "classes far": {"class_sd": 10.0},
    "class scales anything": {"class_scale_sd": 2.0},
}


def statistics(tables: FloatArray) -> dict[str, FloatArray]:
    """Of tables (R, N, K): (R,) each."""
    overall = overall_statistics(tables)
    lopsided = np.asarray(skew(tables, axis=1, nan_policy="omit"))
    peaked = np.asarray(kurtosis(tables, axis=1, fisher=False, nan_policy="omit"))
    return {
        "mean sd of a skill": overall["mean sd"],
        "mean correlation": overall["mean correlation"],
        "mean |skewness|": np.abs(lopsided).mean(axis=1),
        "median kurtosis": np.median(peaked, axis=1),
        # 1 at most, for two points; .33 for a normal law, .55 for a uniform one (Sarle)
        "highest bimodality": ((lopsided**2 + 1.0) / peaked).max(axis=1),
        "farthest score, in sds": overall["farthest score"],
    }


def compare(history: History, priors: Priors, n_tables: int, seed: int) -> list[list[object]]:
    """One row per statistic: the table's, what the prior expects, and where the table lies."""
    rng = np.random.default_rng(seed)
    evidence = evidence_of_history(history)
    prior = prior_population(
        history.skills,
        priors.resolve_for(history),
        n_tables,
        rng,
        typical=history.scales.typical,
        n_scores=history.observed.sum(axis=0).astype(np.float64),
    )
    simulated = statistics(replicate(prior, evidence, rng))
    rows: list[list[object]] = []
    for name, found in statistics(evidence.values[None]).items():
        low, middle, high = np.nanquantile(simulated[name], [0.05, 0.5, 0.95])
        below = float(np.nanmean(simulated[name] <= found[0]))
        span = f"{low:.2f} - {high:.2f}"
        mark = "" if 0.025 < below < 0.975 else "  *"
        rows.append([name, f"{found[0]:.2f}", f"{middle:.2f}", span, f"{below:.3f}{mark}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES[:3]))
    parser.add_argument("--tails", default="auto", help="as Priors; 'class' shows its priors, too")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["default"])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    for table in chosen.tables:
        history, _ = read_history(table, with_items=True)
        rng = np.random.default_rng(chosen.seed)
        drawn = np.sort(rng.permutation(history.n_agents)[:MOST_AGENTS])
        history = history.select([history.agents[row] for row in drawn])
        for variant in chosen.variants:
            priors = replace(Priors(tails=chosen.tails), **VARIANTS[variant])
            print(f"\n{table}, {history.n_agents} agents, tails {chosen.tails!r}, {variant}")
            print_table(
                compare(history, priors, chosen.simulations, chosen.seed),
                ["statistic", "table", "median", "90 % of the prior's tables", "below it"],
            )


if __name__ == "__main__":
    main()
