"""Draw from the posterior: the only module that samples."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from skillinfer_bayes.exceptions import MissingDependencyError, SamplingError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.model import build_model_of_rows
from skillinfer_bayes.inference.posterior import attach_history, tidy_posterior
from skillinfer_bayes.inference.priors import Priors, SamplerSettings
from skillinfer_bayes.inference.rows import Rows, rows_of

MAX_COMPILED = 8
_compiled: OrderedDict[tuple[int, Priors], Any] = OrderedDict()
_compiled_lock = threading.Lock()


@dataclass
class Stopwatch:
    """Seconds spent in each named step, for reports of where the time goes."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def sample_posterior(
    history: History,
    priors: Priors,
    settings: SamplerSettings,
    *,
    progressbar: bool = True,
    stopwatch: Stopwatch | None = None,
) -> xr.DataTree:
    """Fit the model to a history.

    With nutpie the model is compiled once for a structure and a number of skills, and takes
    other histories without compiling again.

    Parameters
    ----------
    history : History
        Of N agents and K skills.
    priors : Priors
    settings : SamplerSettings
        With `random_seed` given, the draws are reproducible on the same versions.
    progressbar : bool, default True
    stopwatch : Stopwatch, optional
        Told the seconds that building, compiling and sampling took.

    Returns
    -------
    xarray.DataTree
        Groups `posterior` (chain, draw, ...), `sample_stats`, `observed_data` and `constant_data`.

    Raises
    ------
    SamplingError
        If the sampler could not run.
    MissingDependencyError
        If the chosen sampler is not installed.
    """
    stopwatch = stopwatch or Stopwatch()
    rows = rows_of(history)
    run = _SAMPLERS[settings.sampler]
    with quiet_blas_warning():
        tree = run(rows, priors.resolve(history.n_skills), settings, progressbar, stopwatch)
    posterior, sample_stats = tidy_posterior(tree, history.skills)
    return attach_history(posterior, sample_stats, history)


@contextmanager
def quiet_blas_warning() -> Iterator[None]:
    """Silence the C backend's advice on BLAS: what runs here runs on numba, which has its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PyTensor could not link to a BLAS")
        yield


def _cores(settings: SamplerSettings) -> int:
    return settings.cores or min(settings.chains, os.cpu_count() or 1)


def _guarded(call: Callable[[], xr.DataTree]) -> xr.DataTree:
    """Turn what the sampler throws into one typed error."""
    try:
        return call()
    except (RuntimeError, ValueError, pm.exceptions.SamplingError) as error:
        raise SamplingError(
            f"the sampler stopped: {error}; try another `random_seed`, a larger `target_accept`, "
            "or narrower priors"
        ) from error


def _compiled_for(rows: Rows, priors: Priors, stopwatch: Stopwatch) -> Any:
    """Compile for this structure and width, or reuse what was compiled before."""
    import nutpie

    n_skills = rows.values.shape[1]
    key = (n_skills, priors)
    with _compiled_lock:
        if key not in _compiled:
            names = [str(position) for position in range(n_skills)]
            with stopwatch.step("graph"):
                model = build_model_of_rows(rows, names, priors)
            with stopwatch.step("compile"):
                _compiled[key] = nutpie.compile_pymc_model(model)
            if len(_compiled) > MAX_COMPILED:
                _compiled.popitem(last=False)
        _compiled.move_to_end(key)
        return _compiled[key].with_data(**rows._asdict())


def _run_nutpie(
    rows: Rows,
    priors: Priors,
    settings: SamplerSettings,
    progressbar: bool,
    stopwatch: Stopwatch,
) -> xr.DataTree:
    with stopwatch.step("import"):
        import nutpie

    model = _compiled_for(rows, priors, stopwatch)
    with stopwatch.step("sample"):
        return _guarded(
            lambda: nutpie.sample(
                model,
                draws=settings.draws,
                tune=settings.tune,
                chains=settings.chains,
                cores=_cores(settings),
                seed=settings.random_seed,
                target_accept=settings.target_accept,
                save_warmup=False,
                progress_bar=progressbar,
            )
        )


def _run_pymc(
    rows: Rows,
    priors: Priors,
    settings: SamplerSettings,
    progressbar: bool,
    stopwatch: Stopwatch,
) -> xr.DataTree:
    names = [str(position) for position in range(rows.values.shape[1])]
    with stopwatch.step("graph"):
        model = build_model_of_rows(rows, names, priors)
    if settings.sampler == "numpyro":
        _prepare_numpyro()
    with stopwatch.step("sample"):
        return _guarded(
            lambda: pm.sample(
                draws=settings.draws,
                tune=settings.tune,
                chains=settings.chains,
                cores=_cores(settings),
                random_seed=settings.random_seed,
                progressbar=progressbar,
                quiet=not progressbar,
                nuts_sampler=settings.sampler,
                target_accept=settings.target_accept,
                compute_convergence_checks=False,
                model=model,
            )
        )


def _prepare_numpyro() -> None:
    """Teach JAX the likelihood, or say what to install."""
    try:
        import numpyro  # noqa: F401  # only to see whether it is there

        from skillinfer_bayes.inference import likelihood_jax  # noqa: F401  # registers itself
    except ImportError as error:
        raise MissingDependencyError(
            "`sampler='numpyro'` needs numpyro; install it with "
            "`pip install 'skillinfer_bayes[numpyro]'`, or leave out `sampler`"
        ) from error


_SAMPLERS: dict[str, Callable[..., xr.DataTree]] = {
    "nutpie": _run_nutpie,
    "pymc": _run_pymc,
    "numpyro": _run_pymc,
}


def fresh_seed() -> int:
    """Draw a seed from the operating system, to be recorded with the fit."""
    return int(np.random.SeedSequence().generate_state(1)[0])
