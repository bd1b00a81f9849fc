"""Whether a fit converged, said in one line and in detail.

Thresholds are those of Vehtari et al. (2021), doi:10.1214/20-BA1221, for R-hat and effective
sample size, and of Betancourt (2016), arXiv:1604.00695, for the energy diagnostic.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import PACKAGE_FOLDER, ConvergenceWarning

MAX_RHAT = 1.01
MIN_ESS = 400.0
MIN_BFMI = 0.3
MAX_CORRELATIONS = 2000


@dataclass(frozen=True)
class Convergence:
    """Worst values over what the data identify: population means, scales and correlations.

    Factor loadings flip sign and rotate between chains, and latent classes change places, without
    any effect on predictions, so they are left out.

    Parameters
    ----------
    rhat : float
        Largest R-hat; NaN with fewer than two chains of four draws, or where draws of a quantity
        are constant or not finite.
    ess_bulk, ess_tail : float
        Smallest effective sample sizes, in draws.
    bfmi : float
        Smallest energy Bayesian fraction of missing information over chains.
    divergences : int
    worst : str
        The quantity with the largest R-hat, or the first without one.
    n_chains, n_draws : int
    """

    rhat: float
    ess_bulk: float
    ess_tail: float
    bfmi: float
    divergences: int
    worst: str
    n_chains: int
    n_draws: int

    @property
    def ess(self) -> float:
        """Smaller of the two effective sample sizes; NaN if either is."""
        return float(np.minimum(self.ess_bulk, self.ess_tail))

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong and what to change, a sentence each; empty if nothing is."""
        found = []
        if self.divergences:
            found.append(
                f"{self.divergences} divergent transitions: raise `target_accept` (0.99), or give "
                "narrower priors"
            )
        if not self.rhat < MAX_RHAT:
            found.append(
                f"R-hat {self.rhat:.3f} of {self.worst} is not below {MAX_RHAT}: raise `tune` "
                f"and `draws`, and run at least 4 chains (now {self.n_chains})"
            )
        least = self.ess
        if not least > MIN_ESS:
            factor = np.ceil(MIN_ESS / max(least, 1.0) * 1.2)
            draws = int(factor * self.n_draws) if np.isfinite(factor) else 2 * self.n_draws
            found.append(
                f"effective sample size {least:.0f} is not above {MIN_ESS:.0f}: raise `draws` "
                f"to {draws}"
            )
        if not self.bfmi > MIN_BFMI:
            found.append(
                f"E-BFMI {self.bfmi:.2f} is not above {MIN_BFMI}: raise `tune`, or give narrower "
                "priors to the scales"
            )
        return tuple(found)

    @property
    def converged(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Numbers and verdict as plain data."""
        return {**asdict(self), "converged": self.converged, "problems": list(self.problems)}

    @classmethod
    def from_dict(cls, given: object) -> Self | None:
        """Read what `to_dict` gave, as fits keep it; None for anything else."""
        names = {one.name for one in fields(cls)}
        if not isinstance(given, Mapping) or not names <= set(given):
            return None
        return cls(**{name: given[name] for name in names})

    def __str__(self) -> str:
        verdict = "converged" if self.converged else "NOT converged"
        return (
            f"{verdict}: R-hat {self.rhat:.3f}, ESS bulk {self.ess_bulk:.0f} tail "
            f"{self.ess_tail:.0f}, divergences {self.divergences}, E-BFMI {self.bfmi:.2f}"
        )


def check_convergence(tree: xr.DataTree, known: object = None) -> Convergence:
    """Compute the convergence diagnostics of a fit.

    Parameters
    ----------
    tree : xarray.DataTree
        Groups `posterior` (as `Posterior` takes it) and `sample_stats`.
    known : mapping, optional
        What `Convergence.to_dict` gave of this very fit, to be taken instead.

    Returns
    -------
    Convergence
    """
    kept = Convergence.from_dict(known)
    if kept is not None:
        return kept
    import arviz_stats  # a second of imports that loading and profiling do without

    quantities = identified_quantities(tree.children["posterior"].to_dataset())
    sizes = quantities.sizes
    stats = tree.children["sample_stats"].to_dataset()
    worst, largest = "every quantity (one chain only)", float("nan")
    bfmi = xr.DataArray(np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN is a finding
        if sizes["chain"] > 1:
            rhat = arviz_stats.rhat(quantities)["value"]
            worst = str(rhat["quantity"].values[int(np.argmax(rhat.values))])
            largest = float(rhat.max(skipna=False))
        if "energy" in stats:
            bfmi = arviz_stats.bfmi(tree)["energy"]
        bulk, tail = (
            float(arviz_stats.ess(quantities, method=method)["value"].min(skipna=False))
            for method in ("bulk", "tail")
        )
    return Convergence(
        rhat=largest,
        ess_bulk=bulk,
        ess_tail=tail,
        bfmi=float(bfmi.min(skipna=False)),
        divergences=int(stats["diverging"].sum()) if "diverging" in stats else 0,
        worst=worst,
        n_chains=int(sizes["chain"]),
        n_draws=int(sizes["draw"]),
    )


def identified_quantities(posterior: xr.Dataset) -> xr.Dataset:
    """Means, log scales and correlations between skills as one variable, dim `quantity`.

    Loadings are left out: they rotate and change sign without changing any prediction, as latent
    classes change places; the moments are those of all classes together. Of very many correlations
    an evenly spaced part is taken.
    """
    skills = [str(name) for name in posterior["skill"].values]
    first, second = np.tril_indices(len(skills), -1)
    if len(first) > MAX_CORRELATIONS:
        chosen = np.linspace(0, len(first) - 1, MAX_CORRELATIONS).astype(np.intp)
        first, second = first[chosen], second[chosen]
    variance, between = _second_moments(posterior, first, second)
    sd = np.sqrt(variance)
    correlation = between / (sd[..., first] * sd[..., second])
    parts = [posterior["mu"].values, np.log(sd), correlation]
    names = [
        *(f"mean of {name!r}" for name in skills),
        *(f"log sd of {name!r}" for name in skills),
        *(
            f"correlation of {skills[a]!r} and {skills[b]!r}"
            for a, b in zip(first, second, strict=True)
        ),
    ]
    if "nu" in posterior:
        parts.append(np.log(posterior["nu"].values)[..., None])
        names.append("log degrees of freedom")
    return xr.Dataset(
        {"value": (("chain", "draw", "quantity"), np.concatenate(parts, axis=-1))},
        coords={
            "chain": posterior["chain"].values,
            "draw": posterior["draw"].values,
            "quantity": names,
        },
    )


def _second_moments(
    posterior: xr.Dataset, first: NDArray[np.intp], second: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances (chain, draw, K) and covariances of the given pairs of skills."""
    if "covariance" in posterior:
        covariance = posterior["covariance"].values
        return np.einsum("...kk->...k", covariance), covariance[..., first, second]
    loadings, own_sd = posterior["loadings"].values, posterior["own_sd"].values
    variance = np.einsum("...kr,...kr->...k", loadings, loadings) + own_sd**2
    pairs = np.einsum("...kr,...kr->...k", loadings[..., first, :], loadings[..., second, :])
    return variance, pairs


def warn_unless_converged(convergence: Convergence) -> None:
    """Issue a ConvergenceWarning that says what is wrong and what to change."""
    if not convergence.converged:
        message = "the fit did not converge: " + "; ".join(convergence.problems)
        # it points at the caller's code, whichever of our functions was called there
        warnings.warn(message, ConvergenceWarning, skip_file_prefixes=(PACKAGE_FOLDER,))
