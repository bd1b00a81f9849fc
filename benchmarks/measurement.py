"""Which likelihood for scores that are shares of items? Held-out error and coverage of each.

The same splits and priors, history and new agents alike:

- no counts: every score has the default error;
- delta method: the binomial variance, or a share of it, carried through the link;
- binomial: the history's counts are binomial given latent skills, which are sampled with the rest;
  a new agent is conditioned by the delta method all the same.

A share below 1 says that scores vary less than binomial ones, and is used for the error of the
predicted scores too.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt

from benchmarks._common import print_machine, print_table
from benchmarks.accuracy import SETTING, protocol_cases, ratios, read_history
from skillinfer_bayes import History, Population, Priors
from skillinfer_bayes.checks.fitted import fit_case, forecast_of
from skillinfer_bayes.checks.scores import Forecast
from skillinfer_bayes.checks.splits import Case
from skillinfer_bayes.checks.validation import evaluate, summarise_held_out
from skillinfer_bayes.history import measurement
from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.model import build_model_of_rows
from skillinfer_bayes.inference.posterior import Posterior, attach_history, tidy_posterior
from skillinfer_bayes.inference.rows import collapse_rows
from skillinfer_bayes.inference.sampling import quiet_blas_warning
from skillinfer_bayes.profiles import engine

SHARES = (1.0, 0.5, 0.25)
LEAST_RATE = 1e-6


@contextmanager
def share_of_variance(share: float) -> Iterator[None]:
    """Use another share of the binomial variance, wherever it is used."""
    with ExitStack() as stack:
        for module in (measurement, engine):
            stack.enter_context(patch.object(module, "ITEM_VARIANCE_SHARE", share))
        yield


def binomial_model(history: History, priors: Priors) -> pm.Model:
    """The default model of rows with the latent skills spelled out and counts in their place."""
    n_agents, n_skills = history.values.shape
    empty = collapse_rows(WorkingData(np.full((1, n_skills), np.nan), None), keep_agents=True)
    rows = empty._replace(n_scores=np.full(n_skills, float(n_agents)))
    scales = history.scales
    if history.n_items is None or not history.observed.all() or (scales.links.floor != 0.0).any():
        raise ValueError("the binomial model takes a table without holes, with items and no chance")
    with build_model_of_rows(rows, history.skills, priors) as model:
        skill = pm.MvStudentT(
            "latent",
            nu=model["nu"],
            mu=model["mu"],
            scale=model["covariance"],
            shape=(n_agents, n_skills),
        )
        # the link's way back, with its ends folded onto 0 and 1
        rate = 0.5 + (0.5 + scales.links.margin) * pt.tanh(
            0.5 * (scales.location + scales.spread * skill)
        )
        rate = pt.clip(rate, LEAST_RATE, 1.0 - LEAST_RATE)
        # averages of subtasks are no whole counts, so the density is written out
        correct, wrong = history.values, 1.0 - history.values
        density = history.n_items * (correct * pt.log(rate) + wrong * pt.log1p(-rate))
        pm.Potential("counts", pt.sum(density))
    return model


def fit_binomial(case: Case, draws: int) -> Population:
    """Fit a case's history by its counts."""
    history = case.history
    priors = Priors(tails="agent").resolve(history.n_skills, history.values.size)
    with quiet_blas_warning():
        tree = pm.sample(
            draws=draws,
            tune=draws,
            chains=2,
            random_seed=case.seed,
            nuts_sampler="nutpie",
            target_accept=0.9,
            progressbar=False,
            quiet=True,
            compute_convergence_checks=False,
            model=binomial_model(history, priors),
        )
    posterior, stats = tidy_posterior(tree, history.skills, Design.of(history))
    return Population(history, Posterior(attach_history(posterior, stats, history)))


def by_delta_method(case: Case, share: float, draws: int) -> Forecast:
    with share_of_variance(share):
        settings = {"draws": draws, "tune": draws, "chains": 2}
        return forecast_of(fit_case(case, Priors(tails="agent"), settings), case)


def by_counts(case: Case, share: float, draws: int) -> Forecast:
    with share_of_variance(share):
        return forecast_of(fit_binomial(case, draws), case)


def held_out_cells(chosen: argparse.Namespace) -> pd.DataFrame:
    """Every predicted score by every likelihood."""
    known = {
        f"delta method, {share:g}": partial(by_delta_method, share=share, draws=chosen.draws)
        for share in SHARES
    }
    for share in () if chosen.no_binomial else SHARES[:2]:
        known[f"binomial, {share:g}"] = partial(by_counts, share=share, draws=chosen.draws)
    unknown = {"no counts": partial(by_delta_method, share=1.0, draws=chosen.draws)}
    repeats, parts = range(chosen.repeats), []
    for methods, with_items in ((known, True), (unknown, False)):
        history, together = read_history(chosen.table, with_items=with_items)
        cases = protocol_cases(history, together, chosen, repeats)
        parts.append(evaluate(cases, methods, len(chosen.n) * len(repeats)))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", default="bfcl_v4")
    parser.add_argument("--n", type=int, nargs="+", default=[20])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--no-binomial", action="store_true", help="leave out the slow ones")
    chosen = parser.parse_args()
    print_machine()
    for (size, _), cells in held_out_cells(chosen).groupby(SETTING):
        whole = summarise_held_out(cells, ["method"])
        skills = summarise_held_out(cells, ["method", "skill"])["coverage_90"]
        by_repeat = summarise_held_out(cells, ["method", "repeat"])["crps"]
        fits = cells.drop_duplicates(["method", "repeat"]).groupby("method")
        print(f"\n{chosen.table}, N = {size}")
        print_table(
            [
                [
                    name,
                    f"{one['crps']:.4f}",
                    ratios(by_repeat, str(name), "delta method, 1"),
                    f"{one['coverage_90']:.3f}",
                    f"{skills[name].min():.2f} - {skills[name].max():.2f}",
                    f"{one['width_90']:.3f}",
                    int(fits.get_group(name)["divergences"].sum()),
                    f"{fits.get_group(name)['seconds'].mean():.1f}",
                ]
                for name, one in whole.iterrows()
            ],
            ["likelihood", "CRPS", "to delta, 1", "cover", "skills", "width", "div.", "s a fit"],
        )


if __name__ == "__main__":
    main()
