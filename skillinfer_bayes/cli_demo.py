"""The population of the command line's demonstration: fitted once, then kept."""

from __future__ import annotations

import importlib

import pandas as pd
from platformdirs import user_cache_path

from skillinfer_bayes import demo as data
from skillinfer_bayes.cli_steps import Steps
from skillinfer_bayes.fit_cache import keep_fit, kept_fit, load_kept_fit
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import SamplerSettings
from skillinfer_bayes.population import Population


def demo_population(seed: int, refit: bool, steps: Steps) -> Population:
    """Fit the example, or take the fit that an earlier run kept."""
    table = pd.DataFrame(dict(data.HISTORY), index=list(data.HISTORY_AGENTS))
    history = History.from_dataframe(table)
    settings = SamplerSettings(random_seed=seed)
    path = kept_fit(user_cache_path("skillinfer_bayes"), history, settings)
    if not refit:
        with steps.step("look for this fit from an earlier run"):
            kept = load_kept_fit(path)
        if kept is not None:
            steps.note(f"taken from {path}; skillinfer-bayes demo --refit fits it again")
            return kept
    with steps.step("load the libraries"):
        importlib.import_module("skillinfer_bayes.inference.sampling")
    shape = f"{history.n_agents} agents x {history.n_skills} skills"
    with steps.step(f"fit the population ({shape})", draws_bar=True):
        population = Population.from_history(
            history, settings=settings, progressbar=not steps.quiet
        )
    steps.parts(population.settings["seconds"])
    keep_fit(path, population)
    return population
