"""Effective draws per second of a fit, against the same model written row by row.

Each fit runs in a process of its own; its seconds are those of building, compiling and sampling,
without imports. `--quick` takes a quarter of the draws.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from benchmarks._common import (
    print_machine,
    print_table,
    print_verdict,
    read_scores,
    worker_result,
)

WANTED = 10.0
TARGET_ACCEPT = 0.9
SEED = 20261123
METHODS = {
    "row by row, PyMC's NUTS": "alternative",
    "this package, lkj": "lkj",
    "this package, default": "auto",
}


def fit_alternative(history: Any, priors: Any, draws: int) -> Any:
    """The structure `lkj` as one would write it: a multivariate normal for every row."""
    import pymc as pm
    import pytensor.tensor as pt

    from skillinfer_bayes.inference.rows import DEFAULT_ERROR_VAR

    values = history.working().values
    n_skills = values.shape[1]
    with pm.Model():
        log_mean = pm.Normal("own_log_mean", priors.own_log_centre, priors.own_log_sd)
        log_spread = pm.HalfNormal("own_log_spread", priors.own_spread_sd)
        own_sd = pt.exp(log_mean + log_spread * pm.Normal("own_offset", shape=n_skills))
        chol = own_sd[:, None] * pm.LKJCorr("omega_chol", n=n_skills, eta=priors.eta)
        covariance = pm.Deterministic("covariance", chol @ chol.T)
        mu = pm.MvNormal("mu", np.zeros(n_skills), cov=priors.mean_sd**2 * covariance)
        noisy = covariance + DEFAULT_ERROR_VAR * pt.eye(n_skills)
        pm.MvNormal("scores", mu, cov=noisy, observed=values)
        return pm.sample(
            draws=draws,
            tune=draws,
            chains=2,
            cores=2,
            target_accept=TARGET_ACCEPT,
            random_seed=SEED,
            nuts_sampler="pymc",
            progressbar=False,
            compute_convergence_checks=False,
        )


def fit_package(history: Any, priors: Any, draws: int) -> Any:
    from skillinfer_bayes.inference.priors import SamplerSettings
    from skillinfer_bayes.inference.sampling import sample_posterior

    settings = SamplerSettings(
        draws=draws,
        tune=draws,
        chains=2,
        target_accept=TARGET_ACCEPT,
        random_seed=SEED,
    )
    return sample_posterior(history, priors, settings, progressbar=False)


def work(method: str, draws: int) -> dict[str, Any]:
    """Fit once in this process; seconds, smallest bulk ESS of mean and covariance, divergences."""
    import arviz_stats
    import nutpie  # noqa: F401  # imports are not part of the fit
    import pymc  # noqa: F401

    from skillinfer_bayes.history.table import History
    from skillinfer_bayes.inference.priors import Priors

    history = History.from_dataframe(read_scores("bfcl_v4"))
    alternative = method == "alternative"
    # the textbook model is Gaussian; the default structure is taken with the default tails
    textbook = alternative or method == "lkj"
    priors = Priors(covariance="lkj", tails="normal") if textbook else Priors()
    started = time.perf_counter()
    tree = (fit_alternative if alternative else fit_package)(history, priors, draws)
    seconds = time.perf_counter() - started
    posterior = tree["posterior"]
    lower = np.tril_indices(history.n_skills)
    drawn = np.concatenate(
        [posterior["mu"].values, posterior["covariance"].values[..., lower[0], lower[1]]], axis=-1
    )
    effective = arviz_stats.base.array_stats.ess(drawn, chain_axis=0, draw_axis=1, method="bulk")
    return {
        "seconds": seconds,
        "ess": float(np.min(effective)),
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "mean": drawn.mean(axis=(0, 1)).tolist(),
        "error": (drawn.std(axis=(0, 1)) / np.sqrt(effective)).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the draws")
    parser.add_argument("--worker", choices=list(METHODS.values()), help=argparse.SUPPRESS)
    parser.add_argument("--draws", type=int, default=500, help="kept, and as many for tuning")
    chosen = parser.parse_args()
    if chosen.worker:
        print(json.dumps(work(chosen.worker, chosen.draws)))
        return
    read_scores("bfcl_v4")
    draws = chosen.draws // 4 if chosen.quick else chosen.draws
    print_machine()
    print(f"bfcl_v4, 2 chains, {draws} + {draws}, target_accept {TARGET_ACCEPT}")
    print("a fresh process per fit")
    results = {}
    for name, method in METHODS.items():
        arguments = ["-m", "benchmarks.fit_speed", "--worker", method, "--draws", str(draws)]
        results[name] = worker_result(arguments)
        print(f"  {name}: {results[name][0]['seconds']:.1f} s", flush=True)
    rows = [
        [
            name,
            one["seconds"],
            timing.cpu,
            one["ess"],
            one["divergences"],
            one["ess"] / one["seconds"],
        ]
        for name, (one, timing) in results.items()
    ]
    header = ["fit", "wall s", "cpu s (with imports)", "min ESS", "divergences", "min ESS / s"]
    print_table(rows, header)
    row_by_row, package = (results[name][0] for name in list(METHODS)[:2])
    error = np.hypot(row_by_row["error"], package["error"])
    apart = np.abs(np.subtract(row_by_row["mean"], package["mean"])) / error
    print(
        f"posterior means of the two lkj fits differ by at most {apart.max():.1f} standard errors"
    )
    print_verdict(
        "min ESS per second, lkj to row by row", rows[1][-1] / rows[0][-1], WANTED, at_least=True
    )


if __name__ == "__main__":
    main()
