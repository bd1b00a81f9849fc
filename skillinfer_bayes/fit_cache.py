"""Keeping a fit for the next time the very same one is asked for.

A fit with a seed is a function of its history, priors, settings and library versions; all of
them name the file, so a change in any of them fits again.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

from skillinfer_bayes.exceptions import PopulationFileError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import Priors, SamplerSettings
from skillinfer_bayes.population import Population

LIBRARIES = ("skillinfer_bayes", "nutpie", "numba", "numpy", "pymc", "pytensor")


def kept_fit(folder: Path, history: History, settings: SamplerSettings) -> Path:
    """Path of the file that a fit with the default priors is kept in.

    Parameters
    ----------
    folder : Path
    history : History
    settings : SamplerSettings
        With a `random_seed`.
    """
    identity = {
        "history": history.data_hash,
        "priors": Priors().resolve_for(history).to_dict(),
        "settings": settings.to_dict(),
        "versions": {name: version(name) for name in LIBRARIES},
    }
    text = json.dumps(identity, sort_keys=True)
    return folder / f"fit-{hashlib.sha256(text.encode()).hexdigest()[:24]}.nc"


def load_kept_fit(path: Path) -> Population | None:
    """Read a kept fit; None if there is none or it cannot be read."""
    try:
        return Population.load(path)
    except PopulationFileError:
        return None


def keep_fit(path: Path, population: Population) -> bool:
    """Keep a converged fit; False if it did not converge or the folder cannot be written."""
    if not population.convergence.converged:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        population.save(path)
    except OSError:
        return False
    return True
