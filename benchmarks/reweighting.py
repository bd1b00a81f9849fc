"""Should a new agent's own scores weigh the posterior draws? Held-out error with and without.

The same fits, splits and observed scores; `--table` and `--n` as in `benchmarks.accuracy`.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from scoringrules import crps_ensemble

from benchmarks._common import print_machine, print_table
from benchmarks.accuracy import protocol_cases, read_history
from skillinfer_bayes import History, Population, SamplerSettings
from skillinfer_bayes.exceptions import ConvergenceWarning


def fit(history: History, draws: int, seed: int) -> Population:
    settings = SamplerSettings(draws=draws, tune=draws, chains=2, random_seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return Population.from_history(history, settings=settings, progressbar=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="bfcl_v4")
    parser.add_argument("--n", type=int, nargs="+", default=[20])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    print_machine()
    history, together = read_history(chosen.table, with_items=True)
    cases = protocol_cases(history, together, chosen, range(chosen.repeats))
    rows: dict[tuple[int, bool], list[tuple[float, float, float]]] = {}
    for case in cases:
        population = fit(case.history, chosen.draws, chosen.seed)
        shown, truth = case.rows, case.truth
        for reweight in (False, True):
            profiles = population.profiles(shown, n_items=case.n_items, reweight=reweight)
            khat = 0.0
            if reweight:
                khat = float((profiles.to_dataset()["khat"] > 0.7).mean())
            draws = profiles.draws(kind="score").values
            draws = draws.reshape(-1, *draws.shape[2:])
            hidden = truth.notna().to_numpy()
            actual = truth.to_numpy()[hidden]
            found = draws[:, hidden].T
            lower, upper = np.quantile(found, [0.05, 0.95], axis=1)
            rows.setdefault((len(case.history.agents), reweight), []).append(
                (
                    float(crps_ensemble(actual, found).mean()),
                    float(np.mean((lower <= actual) & (actual <= upper))),
                    khat,
                )
            )
    print_table(
        [
            [f"N = {n}, {'weighted' if weighted else 'plain'}", *np.mean(found, axis=0).tolist()]
            for (n, weighted), found in sorted(rows.items())
        ],
        header=("draws", "CRPS", "coverage", "share with k-hat > 0.7"),
    )


if __name__ == "__main__":
    main()
