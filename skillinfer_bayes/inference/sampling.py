"""Draw from the posterior: the only module that samples."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from pymc.sampling.parallel import ParallelSamplingError
from threadpoolctl import threadpool_limits

from skillinfer_bayes.exceptions import ConfigError, MissingDependencyError, SamplingError
from skillinfer_bayes.history.measurement import WorkingData
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design
from skillinfer_bayes.inference.model import build_model_of_rows, centres_means
from skillinfer_bayes.inference.posterior import (
    CLASS_DIMS,
    DIMS,
    KEPT,
    attach_history,
    tidy_posterior,
)
from skillinfer_bayes.inference.priors import Priors, SamplerSettings
from skillinfer_bayes.inference.rows import (
    Cells,
    Rows,
    Table,
    model_data,
    rows_of,
    rows_of_data,
)
from skillinfer_bayes.inference.wishart import CONJUGATE, with_populations

MAX_COMPILED = 8
_compiled: OrderedDict[tuple[object, ...], Any] = OrderedDict()
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
    priors = priors.resolve_for(history)
    posterior, sample_stats = sample_rows(
        rows_of(history, priors),
        history.skills,
        priors,
        settings,
        design=Design.of(history),
        progressbar=progressbar,
        stopwatch=stopwatch,
    )
    return attach_history(posterior, sample_stats, history)


def sample_rows(
    rows: Rows | Cells | Table,
    skills: Sequence[str],
    priors: Priors,
    settings: SamplerSettings,
    *,
    design: Design | None = None,
    progressbar: bool = True,
    stopwatch: Stopwatch | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Fit the model to scores that are on the working scale already.

    Parameters
    ----------
    rows : Rows, Cells or Table
        As `rows_of` gives them for these priors.
    skills : sequence of K str
    priors : Priors
        Resolved.
    settings : SamplerSettings
    design : Design, optional
        What the columns of `rows.design` are. Default: there are none.
    progressbar, stopwatch
        As `sample_posterior`.

    Returns
    -------
    posterior, sample_stats : Dataset with dims (chain, draw, ...)

    Raises
    ------
    SamplingError, MissingDependencyError
        As `sample_posterior`.
    """
    design = design or Design.without_columns()
    job = _Job(rows, len(skills), len(design.covariates), priors, settings)
    stopwatch = stopwatch or Stopwatch()
    # chains run side by side, and threads of BLAS within each only get in their way
    with quiet_blas_warning(), threadpool_limits(limits=1, user_api="blas"):
        tree = _SAMPLERS[settings.sampler](job, progressbar, stopwatch)
    if isinstance(rows, Table):
        with stopwatch.step("sample"):
            sampled = tree.children["posterior"]
            rng = np.random.default_rng(settings.random_seed)
            sampled.dataset = with_populations(sampled.to_dataset(), rng)
    return tidy_posterior(tree, skills, design)


def draw_prior(
    skills: Sequence[str], priors: Priors, *, n_scores: int, draws: int, random_seed: int
) -> xr.Dataset:
    """Draw populations from the prior.

    Parameters
    ----------
    skills : sequence of K str
    priors : Priors
        Resolved; any tails but "cell", no groups and no covariates.
    n_scores : int
        Scores of each skill that set its unit.
    draws : int
    random_seed : int

    Returns
    -------
    Dataset with dims (chain, draw, ...)
        Independent draws in one chain, laid out as a posterior.

    Raises
    ------
    ConfigError
        If the tails are "cell", where a covariance does not say everything.
    """
    if priors.tails == "cell":
        raise ConfigError("`priors` must have tails 'normal', 'agent' or 'class', got 'cell'")
    no_scores = WorkingData(np.full((1, len(skills)), np.nan), None)
    rows = rows_of_data(no_scores, priors, n_scores=np.full(len(skills), float(n_scores)))
    model = build_model_of_rows(rows, skills, priors)
    dims = {name: DIMS[name] for name in ("mu", "covariance", "nu", *CLASS_DIMS)} | CONJUGATE
    names = [name for name in dims if name in model.named_vars]
    with quiet_blas_warning():
        values = pm.draw([model[name] for name in names], draws=draws, random_seed=random_seed)
    if draws == 1:  # has no axis of draws then
        values = [value[None] for value in values]
    coords = {"chain": [0], "draw": np.arange(draws)}
    coords |= {"skill": list(skills), "skill_bis": list(skills)}
    if priors.tails == "class":
        coords["class"] = np.arange(priors.n_classes)
    drawn = xr.Dataset(
        {
            name: (("chain", "draw", *dims[name]), value[None])
            for name, value in zip(names, values, strict=True)
        },
        coords=coords,
    )
    if isinstance(rows, Table):
        drawn = with_populations(drawn, np.random.default_rng(random_seed))
    return drawn


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
    except (RuntimeError, ValueError, ParallelSamplingError) as error:
        raise SamplingError(
            f"the sampler stopped: {error}; try another `random_seed`, a larger `target_accept`, "
            "or narrower priors"
        ) from error


@dataclass(frozen=True)
class _Job:
    """What is sampled and how."""

    rows: Rows | Cells | Table
    n_skills: int
    n_covariates: int
    priors: Priors
    settings: SamplerSettings

    def build(self) -> pm.Model:
        names = [str(position) for position in range(self.n_skills)]
        return build_model_of_rows(self.rows, names, self.priors, self.n_covariates)

    @property
    def structure(self) -> tuple[object, ...]:
        """What the shapes of the parameters depend on; equal ones share a compiled model."""
        sizes: tuple[int, ...] = (self.n_skills, self.n_covariates, self.rows.design.shape[1])
        if isinstance(self.rows, Cells):
            sizes += (len(self.rows.design),)
        elif isinstance(self.rows, Table):
            sizes += (len(self.rows.empty_row), len(self.rows.unsure_row))
        return (self.priors, *sizes, centres_means(self.rows, self.priors))


def _compiled_for(job: _Job, stopwatch: Stopwatch) -> Any:
    """Compile for this structure and width, or reuse what was compiled before."""
    # needed only where nutpie samples
    from skillinfer_bayes.inference.kernels import compile_for_nutpie

    key = job.structure
    with _compiled_lock:
        if key not in _compiled:
            with stopwatch.step("graph"):
                model = job.build()
            with stopwatch.step("compile"):
                _compiled[key] = compile_for_nutpie(model, (*KEPT, *CONJUGATE))
            if len(_compiled) > MAX_COMPILED:
                _compiled.popitem(last=False)
        _compiled.move_to_end(key)
        return _compiled[key].with_data(**model_data(job.rows, job.priors))


def _run_nutpie(job: _Job, progressbar: bool, stopwatch: Stopwatch) -> xr.DataTree:
    with stopwatch.step("import"):
        import nutpie

    model, settings = _compiled_for(job, stopwatch), job.settings
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


def _run_pymc(job: _Job, progressbar: bool, stopwatch: Stopwatch) -> xr.DataTree:
    settings = job.settings
    with stopwatch.step("graph"):
        model = job.build()
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
