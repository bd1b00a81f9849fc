"""How a fit's time grows with skills K and agents N, complete and half missing.

The cost of one gradient is timed for the model with normal tails, whose complete rows collapse to
their sufficient statistics (not with `--items`), and for the default or `--tails`. Fits are timed
where the gradient's cost says that they will end within `--patience` seconds; the others are said
to be left out.
"""

from __future__ import annotations

import argparse
import time
import warnings
from ctypes import POINTER, c_double

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks._common import median, print_machine, print_table
from skillinfer_bayes import History, Population, Priors, SamplerSettings
from skillinfer_bayes.exceptions import ConvergenceWarning, HistoryWarning
from skillinfer_bayes.inference.kernels import compile_for_nutpie
from skillinfer_bayes.inference.model import build_model
from skillinfer_bayes.inference.posterior import KEPT
from skillinfer_bayes.inference.priors import TAILS
from skillinfer_bayes.testing import simulate_history

SKILLS = (5, 10, 20, 40, 80, 160)
AGENTS = (50, 500, 5000)
DRAWS = 200
LEAPFROGS = 40  # a draw's gradients, roughly, to guess a fit's time


def history_of(n_agents: int, n_skills: int, missing: float, n_items: int | None) -> History:
    simulation = simulate_history(
        n_agents, n_skills, rank=2, missing=missing, bounded=True, random_seed=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HistoryWarning)
        return History.from_dataframe(simulation.scores, n_items=n_items)


def gradient_seconds(history: History, priors: Priors) -> float:
    """Seconds of one evaluation of the log density with its gradient, as the sampler asks."""
    compiled = compile_for_nutpie(build_model(history, priors), KEPT)
    point = compiled.initial_point_func(1)
    gradient, logp = np.zeros_like(point), np.zeros(1)
    pointers = [array.ctypes.data_as(POINTER(c_double)) for array in (point, gradient, logp)]

    def evaluate() -> None:
        compiled.compiled_logp_func.ctypes(len(point), *pointers, compiled.user_data.ctypes.data)

    times = []
    with threadpool_limits(limits=1, user_api="blas"):
        evaluate()
        for _ in range(7):
            begun = time.perf_counter()
            rounds = 0
            while time.perf_counter() - begun < 0.05:
                evaluate()
                rounds += 1
            times.append((time.perf_counter() - begun) / rounds)
    return median(times)


def fit(history: History, priors: Priors) -> tuple[float, float, int]:
    """Seconds of a default fit of 2 x 200 draws, smallest bulk ESS, divergences."""
    settings = SamplerSettings(draws=DRAWS, tune=DRAWS, chains=2, random_seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        population = Population.from_history(
            history, priors=priors, settings=settings, progressbar=False
        )
    seconds = population.settings["seconds"]["sample"]
    return seconds, population.convergence.ess_bulk, population.convergence.divergences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skills", type=int, nargs="+", default=SKILLS)
    parser.add_argument("--agents", type=int, nargs="+", default=AGENTS)
    parser.add_argument("--items", type=int, help="items behind every score; each row its errors")
    parser.add_argument("--tails", choices=TAILS, default="auto", help="instead of the default's")
    parser.add_argument("--patience", type=float, default=60.0)
    chosen = parser.parse_args()
    priors = Priors(tails=chosen.tails)
    print_machine()
    header = ["skills", "agents", "missing", "tails", "normal_ms", "default_ms"]
    header += ["fit_s", "ess", "ess_per_s", "divergences"]
    rows: list[list[object]] = []
    costs: dict[tuple[int, int, float], float] = {}
    for n_skills in chosen.skills:
        for n_agents in chosen.agents:
            for missing in (0.0, 0.5):
                history = history_of(n_agents, n_skills, missing, chosen.items)
                resolved = priors.resolve_for(history)
                plain = gradient_seconds(history, Priors(tails="normal"))
                default = plain
                if resolved.tails != "normal":
                    default = gradient_seconds(history, priors)
                guess = default * LEAPFROGS * 2 * DRAWS
                row: list[object] = [n_skills, n_agents, missing, resolved.tails]
                costs[n_skills, n_agents, missing] = plain
                row += [1e3 * plain, 1e3 * default]
                if guess > chosen.patience:
                    row += [f"~{guess:.0f}", "-", "-", "-"]
                else:
                    seconds, ess, divergences = fit(history, priors)
                    row += [seconds, ess, ess / seconds, divergences]
                rows.append(row)
                print(
                    " ".join(f"{x:.3g}" if isinstance(x, float) else str(x) for x in row),
                    flush=True,
                )
    print_table(rows, header)
    least, most = chosen.agents[0], chosen.agents[-1]
    for n_skills in chosen.skills:
        print(
            f"K = {n_skills}, complete, normal tails: a gradient for {most} agents costs "
            f"{costs[n_skills, most, 0.0] / costs[n_skills, least, 0.0]:.2f} times that for {least}"
        )


if __name__ == "__main__":
    main()
