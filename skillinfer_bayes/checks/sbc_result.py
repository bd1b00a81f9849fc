"""What simulation-based calibration found: ranks of truths among draws, and how even they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from skillinfer_bayes.profiles.engine import check_ci_prob

type FloatArray = NDArray[np.float64]

ALPHA = 0.01
BAND_SIMULATIONS = 1000
TOUCHING = 1e-9


@dataclass(frozen=True, eq=False)
class SBCResult:
    """Ranks of simulated truths among the draws of their fits.

    Parameters
    ----------
    ranks : DataArray of int with dims (simulation, quantity)
        Draws below the truth, 0 to `n_ranks`; coordinate `kind` on `quantity`.
    n_ranks : int
        Draws that a truth was ranked among.
    divergences : array of shape (simulations,)
        Divergent transitions of each fit.
    seconds : float
        Of all simulations together.
    random_seed : int
    """

    ranks: xr.DataArray
    n_ranks: int
    divergences: NDArray[np.int64]
    seconds: float
    random_seed: int

    @cached_property
    def pit(self) -> xr.DataArray:
        """Ranks spread evenly over 0 to 1, dims (quantity, simulation): uniform if all is well.

        Each rank becomes a random number within its step, so that nothing is left of the steps.
        """
        rng = np.random.default_rng(self.random_seed)
        ranks = self.ranks.transpose("quantity", "simulation")
        within = rng.random(ranks.shape)
        return ((ranks + within) / (self.n_ranks + 1)).rename("pit")

    @cached_property
    def tests(self) -> pd.DataFrame:
        """How uniform each quantity's ranks are.

        Returns
        -------
        DataFrame indexed by `quantity`
            `kind`; `p_value` of the ordered-ranks test of Tesso and Vehtari (2026),
            arXiv:2603.02928; `p_adjusted`, the same adjusted for the number of quantities
            (Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x; the least is
            Simes' test of all together); `inside`, whether the ranks' ECDF stays within the
            simultaneous 95 % band; `bias`, the mean of the ranks less one half (below 0: draws
            too high); `spread`, their variance over the uniform's (above 1: draws too narrow).
        """
        from arviz_stats.base import array_stats

        pit = self.pit.values
        found, _, _ = array_stats.uniformity_test(pit, axis=-1, method="pot_c")
        p_value = np.clip(found, 0.0, 1.0)
        band = self.ecdf(0.95)
        # the curve often touches the band, in one way of computing or in the other
        above, below = band["difference"] - band["lower"], band["upper"] - band["difference"]
        within = (above > -TOUCHING) & (below > -TOUCHING)
        return pd.DataFrame(
            {
                "kind": self.ranks["kind"].values,
                "p_value": p_value,
                "p_adjusted": false_discovery_control(p_value),
                "inside": within.all("x").values,
                "bias": pit.mean(axis=1) - 0.5,
                "spread": 12.0 * pit.var(axis=1),
            },
            index=pd.Index(self.ranks["quantity"].values, name="quantity"),
        )

    def ecdf(self, ci_prob: float = 0.95) -> xr.Dataset:
        """Empirical distribution of the ranks less the uniform's, with its simultaneous band.

        Parameters
        ----------
        ci_prob : float, default 0.95
            How often a uniform sample stays within the band from end to end (Sailynoja, Burkner
            and Vehtari (2022), doi:10.1007/s11222-022-10090-6).

        Returns
        -------
        Dataset with dims (quantity, x)
            `difference` and the band's `lower` and `upper` ends, the last two with dim x only.
        """
        from arviz_stats.base import array_stats

        check_ci_prob(ci_prob)
        pit = self.pit
        size = pit.sizes["simulation"]
        x, lower, upper = simultaneous_band(size, ci_prob)
        _, difference = array_stats.ecdf(pit.values, npoints=size + 1, pit=True, axis=-1)
        return xr.Dataset(
            {
                "difference": (("quantity", "x"), difference),
                "lower": ("x", lower),
                "upper": ("x", upper),
            },
            coords={"x": x, "quantity": pit["quantity"], "kind": pit["kind"]},
        )

    def summary(self) -> pd.DataFrame:
        """Test results by kind of quantity.

        Returns
        -------
        DataFrame indexed by `kind`
            `quantities` (how many), `outside` (how many leave the 95 % band, one in twenty by
            chance), `least_p` and `least_p_adjusted`, and the means of `bias` and `spread`.
        """
        by_kind = self.tests.groupby("kind", sort=False)
        return pd.DataFrame(
            {
                "quantities": by_kind.size(),
                "outside": by_kind["inside"].agg(lambda inside: int((~inside).sum())),
                "least_p": by_kind["p_value"].min(),
                "least_p_adjusted": by_kind["p_adjusted"].min(),
                "bias": by_kind["bias"].mean(),
                "spread": by_kind["spread"].mean(),
            }
        )

    @property
    def uniform(self) -> bool:
        """Whether no quantity's ranks are uneven at the 1 % level, all tests together."""
        return bool((self.tests["p_adjusted"] >= ALPHA).all())

    def to_datatree(self) -> xr.DataTree:
        """Give the ranks on 0 to 1 in the group that `arviz_plots.plot_ecdf_pit` reads."""
        parts = {}
        for kind, rows in self.pit.groupby("kind", squeeze=False):
            name = "_".join(str(kind).replace(",", "").split())
            dims = {"quantity": f"{name}_quantity", "simulation": "draw"}
            parts[name] = rows.drop_vars("kind").rename(dims).expand_dims(chain=[0])
        order = {name: part.transpose("chain", "draw", ...) for name, part in parts.items()}
        return xr.DataTree.from_dict({"prior_sbc": xr.Dataset(order)})

    def __str__(self) -> str:
        size = self.ranks.sizes
        worst = self.tests["p_adjusted"].idxmin()
        verdict = "uniform" if self.uniform else "NOT uniform"
        return (
            f"ranks {verdict}: {size['simulation']} simulations, {size['quantity']} quantities, "
            f"least adjusted p {self.tests['p_adjusted'].min():.3f} ({worst}), "
            f"{(~self.tests['inside']).sum()} outside the 95 % band, "
            f"{self.divergences.sum()} divergences, {self.seconds:.0f} s"
        )


@lru_cache(maxsize=16)
def simultaneous_band(size: int, ci_prob: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Where the ECDF of `size` uniform numbers stays, less the uniform's.

    Returns
    -------
    x, lower, upper : arrays of shape (size + 1,)
    """
    from arviz_stats.ecdf_utils import ecdf_pit

    rng = np.random.default_rng(0)
    x, _, lower, upper = ecdf_pit(np.zeros(size), ci_prob, BAND_SIMULATIONS, rng=rng)
    band = x, lower - x, upper - x
    for part in band:
        part.setflags(write=False)  # every caller gets the same arrays
    return band
