"""The posterior as the rest of the package sees it; the only reader of the model's variable names.

Reading needs no PyMC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import PopulationFileError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.design import Design

type FloatArray = NDArray[np.float64]

CLASS_DIMS: dict[str, tuple[str, ...]] = {
    "class_means": ("class", "skill"),
    "class_covariance": ("skill", "skill_bis"),
    "class_weights": ("class",),
    "class_scales": ("class",),
}
DIMS: dict[str, tuple[str, ...]] = {
    "mu": ("skill",),
    "covariance": ("skill", "skill_bis"),
    "loadings": ("skill", "factor"),
    "own_sd": ("skill",),
    "nu": (),
    "effects": ("effect", "factor"),
    "group_sd": (),
    "agent_noise_sd": (),
    **CLASS_DIMS,
}
# With a scale per cell the covariance is not stored: it is made of the loadings and own sds.
CELL_MARK = "agent_noise_sd"
HYPERPARAMETERS = (
    "general",
    "own_log_mean",
    "own_log_spread",
    "skill_spread",
    "class_sd",
    "centre_agents",
)
KEPT = (*DIMS, *HYPERPARAMETERS)
KEPT_STATS = ("diverging", "energy", "n_steps", "depth", "tree_depth", "step_size", "lp", "logp")


class Classes(NamedTuple):
    """Latent classes of agents under S posterior draws, in no order that means anything.

    means : (S, C, K), of agents without covariates and groups, working scale
    covariance : (S, K, K), of a class of scale 1
    weights : (S, C), adding up to one
    scales : (S, C), which multiply standard deviations
    """

    means: FloatArray
    covariance: FloatArray
    weights: FloatArray
    scales: FloatArray

    def only(self, number: int) -> Classes:
        """Give one of the classes."""
        one = slice(number, number + 1)
        return Classes(
            self.means[:, one], self.covariance, self.weights[:, one], self.scales[:, one]
        )


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior draws of the population's mean and covariance, on the working scale.

    Parameters
    ----------
    tree : xarray.DataTree
        Groups `posterior`, `sample_stats`, `observed_data`, `constant_data`. Kept as a copy whose
        arrays, shared with the caller's, cannot be written to.

    Raises
    ------
    PopulationFileError
        If a group or a variable is missing, or its dims are not what they should be.
    """

    tree: xr.DataTree

    def __post_init__(self) -> None:
        if "posterior" not in self.tree.children:
            raise PopulationFileError("the draws hold no group 'posterior'")
        object.__setattr__(self, "tree", _frozen(self.tree))
        posterior = self._dataset
        needed: tuple[str, ...] = ("mu", "covariance")
        if CELL_MARK in posterior.data_vars:
            needed = ("mu", "loadings", "own_sd", "nu")
        elif any(name in posterior.data_vars for name in CLASS_DIMS):
            needed += tuple(CLASS_DIMS)
        if "effects" in posterior.data_vars:
            needed += ("loadings",)
        for name in needed:
            if name not in posterior.data_vars:
                raise PopulationFileError(f"the posterior holds no variable {name!r}")
        for name, dims in DIMS.items():
            if name not in posterior.data_vars:
                continue
            found = posterior[name].dims
            if found != ("chain", "draw", *dims):
                raise PopulationFileError(f"{name!r} must have dims {dims}, found {found}")

    @property
    def _dataset(self) -> xr.Dataset:
        return self.tree.children["posterior"].to_dataset()

    @cached_property
    def skills(self) -> tuple[str, ...]:
        """Names of the K skills."""
        return tuple(str(name) for name in self._dataset["skill"].values)

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return int(self._dataset.sizes["chain"])

    @property
    def n_draws(self) -> int:
        """Draws per chain."""
        return int(self._dataset.sizes["draw"])

    @cached_property
    def mean(self) -> FloatArray:
        """Population means, (S, K), chains one after the other."""
        return self._flat("mu")

    @cached_property
    def covariance(self) -> FloatArray:
        """Population covariances, (S, K, K); with Student-t tails, its scale matrices.

        With latent classes, of all of them together.
        """
        if not self.by_cell:
            return self._flat("covariance")
        shared = self.loadings @ np.swapaxes(self.loadings, 1, 2)
        diagonal = np.arange(shared.shape[1])
        shared[:, diagonal, diagonal] += self.own_sd**2
        shared.setflags(write=False)
        return shared

    @cached_property
    def classes(self) -> Classes | None:
        """What the population is made of, where agents come from latent classes."""
        if not self.by_class:
            return None
        return Classes(*(self._flat(name) for name in CLASS_DIMS))

    @property
    def by_class(self) -> bool:
        """Whether agents come from latent classes (tails "class")."""
        return "class_means" in self._dataset

    @cached_property
    def row_covariance(self) -> FloatArray:
        """Covariances of a row about its mean, (S, K, K): with classes, of one of scale 1."""
        return self.covariance if self.classes is None else self.classes.covariance

    @property
    def by_cell(self) -> bool:
        """Whether every score has a scale of its own (tails "cell")."""
        return CELL_MARK in self._dataset

    @cached_property
    def loadings(self) -> FloatArray:
        """Loadings of the skills on the shared factors, (S, K, r); r may be 0."""
        if "loadings" not in self._dataset:
            return np.zeros((*self.mean.shape, 0))
        return self._flat("loadings")

    @cached_property
    def own_sd(self) -> FloatArray:
        """Standard deviations of what each skill does on its own, (S, K)."""
        return self._flat("own_sd")

    @cached_property
    def nu(self) -> FloatArray:
        """Degrees of freedom of the Student-t, (S,); infinite for normal tails."""
        if "nu" not in self._dataset:
            return np.full(len(self.mean), np.inf)
        return self._flat("nu")

    @cached_property
    def effects(self) -> FloatArray:
        """Effects of the design's columns on the factors, (S, P, r); P may be 0."""
        if "effects" not in self._dataset:
            return np.zeros((len(self.mean), 0, self.loadings.shape[2]))
        return self._flat("effects")

    @cached_property
    def group_sd(self) -> FloatArray:
        """Spread of the groups' effects, (S,); 0 without groups."""
        if "group_sd" not in self._dataset:
            return np.zeros(len(self.mean))
        return self._flat("group_sd")

    @cached_property
    def agent_noise_sd(self) -> FloatArray:
        """Spread of the agents' log noise, (S,)."""
        return self._flat(CELL_MARK)

    def hyperparameter(self, name: str) -> FloatArray | None:
        """Draws of a number of the prior that was learned, (S,); None where there is none."""
        return self._flat(name) if name in self._dataset else None

    def take(self, index: NDArray[np.intp]) -> Posterior:
        """Give the draws at these positions (S,), some of them more than once, in place of all."""
        found = self._dataset
        drawn = {
            str(name): (variable.dims, self._flat(str(name))[index].reshape(variable.shape))
            for name, variable in found.data_vars.items()
        }
        return Posterior(xr.DataTree.from_dict({"posterior": xr.Dataset(drawn, found.coords)}))

    def _flat(self, name: str) -> FloatArray:
        values = self._dataset[name].values
        flat = np.ascontiguousarray(values.reshape(-1, *values.shape[2:]), dtype=np.float64)
        flat.setflags(write=False)
        return flat

    @property
    def seed(self) -> int:
        """Seed of the random numbers that predictions use: the draws' own."""
        return int(self.draws_hash[:16], 16)

    @cached_property
    def draws_hash(self) -> str:
        """SHA-256 of what predictions depend on."""
        digest = hashlib.sha256()
        digest.update("\0".join(self.skills).encode())
        for name in DIMS:
            if name in self._dataset:
                digest.update(name.encode())
                digest.update(self._flat(name).tobytes())
        return digest.hexdigest()


def _frozen(tree: xr.DataTree) -> xr.DataTree:
    """Give a copy that has read-only views of the tree's arrays; so have copies of it."""
    frozen = tree.copy()
    for group in frozen.subtree:
        for variable in group.data_vars.values():
            view = variable.values.view()
            view.setflags(write=False)
            variable.data = view
    return frozen


def tidy_posterior(
    tree: xr.DataTree, skills: Sequence[str], design: Design
) -> tuple[xr.Dataset, xr.Dataset]:
    """Keep what is of use from a sampler's output, and put the skills' names on it."""
    posterior = tree.children["posterior"].to_dataset()
    posterior = posterior[[name for name in KEPT if name in posterior]]
    names = np.asarray(list(skills), dtype=object).astype(str)
    posterior = posterior.assign_coords(skill=names, skill_bis=names)
    if "factor" in posterior.dims:
        posterior = posterior.assign_coords(factor=np.arange(posterior.sizes["factor"]))
    if "effect" in posterior.dims:
        posterior = posterior.assign_coords(effect=list(design.labels))
    if "class" in posterior.dims:
        posterior = posterior.assign_coords({"class": np.arange(posterior.sizes["class"])})
    stats = tree.children["sample_stats"].to_dataset()
    stats = stats[[name for name in KEPT_STATS if name in stats]]
    return posterior, stats.assign_coords(chain=posterior["chain"], draw=posterior["draw"])


def attach_history(posterior: xr.Dataset, stats: xr.Dataset, history: History) -> xr.DataTree:
    """Put draws and the data that they come from into one tree."""
    coords = {"agent": list(history.agents), "skill": list(history.skills)}
    dims = ("agent", "skill")
    observed = xr.Dataset({"score": (dims, history.values)}, coords=coords)
    constant = xr.Dataset(coords=coords)
    for name in ("n_items", "stderr"):
        table = getattr(history, name)
        if table is not None:
            constant[name] = (dims, table)
    if history.groups is not None:
        constant["group"] = ("agent", list(history.groups))
    if history.covariates is not None:
        constant = constant.assign_coords(covariate=list(history.covariate_names))
        constant["covariates"] = (("agent", "covariate"), history.covariates)
    constant["location"] = ("skill", history.scales.location)
    constant["spread"] = ("skill", history.scales.spread)
    return xr.DataTree.from_dict(
        {
            "posterior": posterior,
            "sample_stats": stats,
            "observed_data": observed,
            "constant_data": constant,
        }
    )
