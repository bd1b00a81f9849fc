"""Saving and loading a fitted population as netCDF, with its identity checked on the way in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from skillinfer_bayes.exceptions import PopulationFileError, PopulationVersionError
from skillinfer_bayes.files import replacing
from skillinfer_bayes.history.scales import Scales
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.posterior import Posterior

FORMAT = "skillinfer_bayes population"
FORMAT_VERSION = 2  # 1 knows no latent classes, and is read
ENGINE: Literal["h5netcdf"] = "h5netcdf"
# What reading raises where bytes are not what they should be.
DAMAGE = (ValueError, TypeError, AttributeError, LookupError)
COMPRESSION = {"zlib": True, "complevel": 1, "shuffle": True}


@dataclass(frozen=True, eq=False)
class Stored:
    """What a population file holds."""

    history: History
    posterior: Posterior
    settings: Mapping[str, Any]


def save_population(path: Path, history: History, posterior: Posterior, settings: Any) -> None:
    """Write a population; whatever was at `path` stays until the new file is complete.

    Parameters
    ----------
    path : Path
        Its folder must exist.
    history : History
    posterior : Posterior
    settings : mapping
        Plain data on how the fit was made.

    Raises
    ------
    PopulationFileError
        If the folder does not exist, or `path` is one itself.
    """
    if path.is_dir():
        raise PopulationFileError(f"{str(path)!r} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise PopulationFileError(f"no folder {str(path.parent)!r}; make it first")
    tree = posterior.tree.copy()
    tree.attrs = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": version("skillinfer_bayes"),
        "data_hash": history.data_hash,
        "draws_hash": posterior.draws_hash,
        "settings": json.dumps(dict(settings), sort_keys=True),
        "history": json.dumps(_history_to_dict(history)),
    }
    encoding: Any = {
        group.path: {
            str(name): COMPRESSION for name, array in group.data_vars.items() if array.size > 1000
        }
        for group in tree.subtree
    }
    with replacing(path) as temporary:
        tree.to_netcdf(temporary, engine=ENGINE, encoding=encoding)


def load_population(path: Path) -> Stored:
    """Read a population back.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Stored

    Raises
    ------
    PopulationFileError
        If there is no such file, or it is damaged, or not a population.
    PopulationVersionError
        If a newer version of the package wrote it.
    """
    if not path.is_file():
        raise PopulationFileError(f"no file {str(path)!r}; fit a population and save it first")
    try:
        # xarray takes a relative path for an address if it has two colons, and expands "~"
        tree = xr.open_datatree(path.absolute(), engine=ENGINE)
        try:
            tree.load()
        finally:
            tree.close()
    except (OSError, RuntimeError, *DAMAGE) as error:
        raise PopulationFileError(
            f"{str(path)!r} is damaged or not a netCDF file ({error}); save the population again"
        ) from error
    return _checked(tree, str(path))


def _checked(tree: xr.DataTree, name: str) -> Stored:
    """Check format, version, data and draws, in this order."""
    if tree.attrs.get("format") != FORMAT:
        raise PopulationFileError(
            f"{name!r} was not written by this package; load a file that `Population.save` wrote"
        )
    try:
        found = int(tree.attrs.get("format_version", 0))
    except (TypeError, ValueError) as error:
        raise PopulationFileError(
            f"{name!r} is damaged: {error}; save the population again"
        ) from error
    if found > FORMAT_VERSION:
        raise PopulationVersionError(
            f"{name!r} has format version {found} (package "
            f"{tree.attrs.get('package_version')}), this version reads up to {FORMAT_VERSION}; "
            "update skillinfer_bayes"
        )
    if found < 1:
        raise PopulationFileError(
            f"{name!r} is damaged: format version {found}; save the population again"
        )
    try:
        settings = json.loads(tree.attrs["settings"])
        if not isinstance(settings, dict):
            raise TypeError(f"settings are no mapping, but {settings!r}")
        tree.children["sample_stats"]  # what diagnostics read
        history = _history_from_tree(tree)
        posterior = Posterior(tree)
        matches = {
            "history": history.data_hash == tree.attrs["data_hash"],
            "draws": posterior.draws_hash == tree.attrs["draws_hash"],
        }
    except DAMAGE as error:
        raise PopulationFileError(
            f"{name!r} is damaged: {error}; save the population again"
        ) from error
    for part, same in matches.items():
        if not same:
            raise PopulationFileError(
                f"the {part} in {name!r} is not what was saved (its hash differs); restore the "
                "file or fit again"
            )
    return Stored(history, posterior, settings)


def _history_to_dict(history: History) -> dict[str, Any]:
    """Give what the tree's arrays do not hold."""
    return {
        "scales": history.scales.to_dict(),
        "normalize": history.normalize,
        "skill_descriptions": list(history.skill_descriptions),
        "dropped": list(history.dropped),
    }


def _history_from_tree(tree: xr.DataTree) -> History:
    stored = json.loads(tree.attrs["history"])
    observed, constant = (
        tree.children[name].to_dataset() for name in ("observed_data", "constant_data")
    )
    scales = Scales.from_dict(stored["scales"])
    tables = {
        name: constant[name].values if name in constant.data_vars else None
        for name in ("n_items", "stderr", "covariates", "group")
    }
    groups = tables["group"]
    names = constant["covariate"].values if "covariate" in constant.coords else ()
    return History(
        agents=tuple(str(name) for name in observed["agent"].values),
        skills=scales.skills,
        values=observed["score"].values,
        scales=scales,
        n_items=tables["n_items"],
        stderr=tables["stderr"],
        normalize=bool(stored["normalize"]),
        groups=None if groups is None else tuple(str(name) for name in groups),
        covariates=tables["covariates"],
        covariate_names=tuple(str(name) for name in names),
        skill_descriptions=tuple(stored["skill_descriptions"]),
        dropped=tuple(stored["dropped"]),
    )
