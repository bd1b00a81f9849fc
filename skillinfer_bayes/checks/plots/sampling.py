"""Figures of how the fit was sampled, and of what the prior did; ArviZ draws them.

All show identified quantities only: means, log sds and correlations of skills. Loadings of shared
factors turn and change sign between chains without changing any prediction.
"""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from skillinfer_bayes.checks.diagnostics import identified_quantities
from skillinfer_bayes.checks.plots.style import (
    PALETTE,
    SMALL_SIZE,
    TEXT_SIZE,
    check_count,
    check_type,
    pick,
    short_labels,
)
from skillinfer_bayes.exceptions import InputError, MissingDependencyError
from skillinfer_bayes.population import Population

if TYPE_CHECKING:
    from arviz_plots.plot_collection import PlotCollection
    from arviz_plots.plot_matrix import PlotMatrix

COLUMNS = 3
HOW = "fit one with `Population.from_dataframe`"
WRAP_AT = 34
# A name as `repr` writes it, by which an apostrophe asks for the other quotes.
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")


def worst_quantities(population: Population, n: int = 6) -> list[str]:
    """Name the quantities that the sampler estimated worst.

    Parameters
    ----------
    population : Population
    n : int, default 6

    Returns
    -------
    list of str
        Largest R-hat first; with one chain, smallest effective sample size first.
    """
    import arviz_stats

    check_type("population", population, Population, HOW)
    check_count("n", n)
    found = _quantities(population)
    with np.errstate(divide="ignore", invalid="ignore"):  # of what never moved
        if found.sizes["chain"] > 1:
            badness = arviz_stats.rhat(found)["value"].values
        else:
            badness = -arviz_stats.ess(found, method="bulk")["value"].values
    badness = np.nan_to_num(badness, nan=np.inf, posinf=np.inf)
    order = np.argsort(-badness, kind="stable")
    return [str(found["quantity"].values[position]) for position in order[:n]]


def plot_trace(
    population: Population, *, quantities: Sequence[str] | None = None, n: int = 6
) -> PlotCollection:
    """Draw the chains' paths; healthy ones look like noise on top of each other.

    Parameters
    ----------
    population : Population
    quantities : sequence of str, optional
        Such as "mean of 'math'". Default: the `n` that were estimated worst.
    n : int, default 6

    Returns
    -------
    PlotCollection

    Raises
    ------
    InputError, ConfigError
        If an argument cannot be used.
    MissingDependencyError
        If arviz-plots is not installed.
    """
    tree = _tree(population, quantities, n)
    looks = _looks(tree, 1.9, colour_chains=True)
    looks["visuals"] |= {"trace": {"width": 0.5, "alpha": 0.75}, "xlabel": {"size": SMALL_SIZE}}
    drawn: PlotCollection = _library().plot_trace(tree, **looks)
    return drawn


def plot_rank(
    population: Population, *, quantities: Sequence[str] | None = None, n: int = 6
) -> PlotCollection:
    """Draw how evenly each chain's draws rank among all; healthy ones stay near 0.

    Differences of the ranks' empirical distribution from the uniform one, with points marked
    where they are suspicious (Sailynoja, Burkner and Vehtari (2022),
    doi:10.1007/s11222-022-10090-6).

    Parameters
    ----------
    population : Population
        With at least two chains.
    quantities : sequence of str, optional
        Default: the `n` that were estimated worst.
    n : int, default 6

    Returns
    -------
    PlotCollection

    Raises
    ------
    InputError, ConfigError, MissingDependencyError
        As `plot_trace`.
    """
    tree = _tree(population, quantities, n)
    if tree["posterior"].sizes["chain"] < 2:
        raise InputError("`population` must have at least two chains to compare, got one")
    looks = _looks(tree, 2.1, colour_chains=True)
    looks["visuals"] |= {"xlabel": {"size": SMALL_SIZE}}
    drawn: PlotCollection = _library().plot_rank(tree, **looks)
    return drawn


def plot_energy(population: Population) -> PlotCollection:
    """Draw the sampler's energy against its changes; healthy ones look alike.

    Where the changes are much narrower, the sampler moves too slowly through the tails (Betancourt
    (2016), arXiv:1604.00695).

    Parameters
    ----------
    population : Population

    Returns
    -------
    PlotCollection

    Raises
    ------
    InputError
        If the sampler left no energy.
    MissingDependencyError
        If arviz-plots is not installed.
    """
    tree = check_type("population", population, Population, HOW).data
    if "energy" not in tree["sample_stats"].data_vars:
        raise InputError("`population` must come from a sampler that records its energy")
    drawn: PlotCollection = _library().plot_energy(
        tree,
        backend="matplotlib",
        color=[PALETTE[0], PALETTE[1]],
        figure_kwargs={"figsize": (8.4, 3.2), "layout": "constrained"},
    )
    chains = tree["sample_stats"].sizes["chain"]
    for ax in drawn.viz["figure"].item().axes:
        if ax.get_title() == "BFMI":
            ax.set_yticks(range(chains))
            ax.set_xlim(left=0.0)
    return drawn


def plot_pairs(
    population: Population, *, quantities: Sequence[str] | None = None, n: int = 4
) -> PlotMatrix:
    """Draw pairs of quantities against each other, with divergent transitions marked.

    Parameters
    ----------
    population : Population
    quantities : sequence of str, optional
        At least two. Default: the `n` that were estimated worst.
    n : int, default 4

    Returns
    -------
    PlotMatrix

    Raises
    ------
    InputError, ConfigError, MissingDependencyError
        As `plot_trace`.
    """
    tree = _tree(population, quantities, check_count("n", n, 2))
    count = tree["posterior"].sizes["quantity"]
    if count < 2:
        raise InputError("`quantities` must name at least two, got one")
    side = 1.2 + 1.75 * count
    drawn: PlotMatrix = _library().plot_pair(
        tree,
        backend="matplotlib",
        labeller=_labeller(tree),
        visuals={
            "divergence": {"color": PALETTE[1], "alpha": 0.9},
            "scatter": {"alpha": 0.25, "color": PALETTE[0], "size": 6},
            "xlabel": {"size": SMALL_SIZE},
            "ylabel": {"size": SMALL_SIZE},
        },
        figure_kwargs={"figsize": (side, side), "layout": "constrained"},
    )
    return drawn


def plot_prior_posterior(
    population: Population,
    prior: xr.Dataset | xr.DataTree,
    *,
    quantities: Sequence[str] | None = None,
    n: int = 6,
) -> PlotCollection:
    """Draw what was believed before and after seeing the history.

    Parameters
    ----------
    population : Population
    prior : Dataset, or DataTree with a group `prior`
        Draws from the prior with the posterior's variables and dims, as
        `pymc.sample_prior_predictive` gives them for the model of the same history; without a
        coordinate `skill`, in the order of the population's skills.
    quantities : sequence of str, optional
        Default: the `n` that moved most, in prior standard deviations.
    n : int, default 6

    Returns
    -------
    PlotCollection

    Raises
    ------
    InputError
        If the prior's draws do not fit the posterior's.
    ConfigError, MissingDependencyError
        As `plot_trace`.
    """
    check_type("population", population, Population, HOW)
    check_count("n", n)
    after = _quantities(population)
    before = _prior_quantities(prior, population)
    if quantities is None:
        shift = after["value"].mean(("chain", "draw")) - before["value"].mean(("chain", "draw"))
        moved = np.abs((shift / before["value"].std(("chain", "draw"))).values)
        order = np.argsort(-moved, kind="stable")[:n]
        names = [str(after["quantity"].values[position]) for position in order]
    else:
        names = pick(quantities, list(map(str, after["quantity"].values)), "quantities")
    tree = xr.DataTree.from_dict(
        {"prior": before.sel(quantity=names), "posterior": after.sel(quantity=names)}
    )
    looks = _looks(tree, 1.9, colour_chains=False)
    drawn: PlotCollection = _library().plot_prior_posterior(
        tree, color=[PALETTE[4], PALETTE[0]], **looks
    )
    return drawn


def _prior_quantities(prior: object, population: Population) -> xr.Dataset:
    if isinstance(prior, xr.DataTree):
        if "prior" not in prior.children:
            raise InputError(f"`prior` must have a group 'prior', got {list(prior.children)}")
        prior = prior.children["prior"].to_dataset()
    draws = check_type("prior", prior, xr.Dataset, "sample it with pymc.sample_prior_predictive")
    skills = list(population.posterior.skills)
    if "mu" not in draws or draws["mu"].sizes.get("skill") != len(skills):
        raise InputError(f"`prior` must hold draws of 'mu' for {len(skills)} skills")
    names = skills  # without names of their own, the draws are in the population's order
    for dim in ("skill", "skill_bis"):
        if dim in draws.coords:
            names = pick(draws[dim].values, skills, "prior")
        draws = draws.assign_coords({dim: names})
    return identified_quantities(draws.sel(skill=skills, skill_bis=skills))


def _quantities(population: Population) -> xr.Dataset:
    return identified_quantities(population.posterior.tree.children["posterior"].to_dataset())


def _tree(population: Population, quantities: Sequence[str] | None, n: int) -> xr.DataTree:
    """Chosen quantities and the sampler's divergences, in the groups that ArviZ reads."""
    check_type("population", population, Population, HOW)
    check_count("n", n)
    found = _quantities(population)
    known = [str(name) for name in found["quantity"].values]
    if quantities is None:
        names = worst_quantities(population, n)
    else:
        names = pick(quantities, known, "quantities")
    stats = population.posterior.tree.children["sample_stats"].to_dataset()
    kept = stats[[name for name in ("diverging",) if name in stats]]
    return xr.DataTree.from_dict({"posterior": found.sel(quantity=names), "sample_stats": kept})


def _looks(tree: xr.DataTree, height: float, *, colour_chains: bool) -> dict[str, Any]:
    count = tree["posterior"].sizes["quantity"]
    columns = min(count, COLUMNS)
    rows = -(-count // columns)
    looks: dict[str, Any] = {
        "backend": "matplotlib",
        "labeller": _labeller(tree),
        "col_wrap": columns,
        "visuals": {"title": {"size": TEXT_SIZE - 1}},
        "figure_kwargs": {
            "figsize": (3.3 * columns + 0.8, height * rows + 0.5),
            "layout": "constrained",
        },
    }
    if colour_chains:
        chains = tree["posterior"].sizes["chain"]
        looks["aes"] = {"color": ["chain"]}
        looks["color"] = [PALETTE[chain % len(PALETTE)] for chain in range(chains)]
    return looks


def _labeller(tree: xr.DataTree) -> Any:
    """Labels of the quantities alone, not of the variable that holds them."""
    from arviz_base.labels import NoVarLabeller

    quantities = map(str, tree["posterior"].to_dataset()["quantity"].values)
    skills = [skill for quantity in quantities for skill in QUOTED.findall(quantity)]
    names = [ast.literal_eval(skill) for skill in skills]
    short = dict(zip(skills, short_labels(names, WRAP_AT - 6), strict=True))

    class Short(NoVarLabeller):  # type: ignore[misc, unused-ignore]
        def make_label_vert(self, var_name: Any, sel: Any, isel: Any) -> str:
            quantity = str(sel.get("quantity", var_name))
            name = QUOTED.sub(lambda found: f"'{short[found[0]]}'", quantity)
            return "\n".join(textwrap.wrap(name, WRAP_AT, break_long_words=False))

        def make_label_flat(self, var_name: Any, sel: Any, isel: Any) -> str:
            return self.make_label_vert(var_name, sel, isel)

    return Short()


def _library() -> Any:
    """Import arviz-plots, which takes a second, or say how to install it."""
    try:
        return importlib.import_module("arviz_plots")
    except ImportError as error:
        raise MissingDependencyError(
            "this figure needs arviz-plots; install it with `pip install 'skillinfer_bayes[plots]'`"
        ) from error
