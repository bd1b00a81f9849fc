"""Figures of a fitted population: how its skills hang together, and what the history holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from skillinfer_bayes.checks.plots.placing import GLYPH_WIDTH
from skillinfer_bayes.checks.plots.style import (
    DIVERGING,
    FAINT,
    INFERRED,
    MUTED,
    OBSERVED,
    SEQUENTIAL,
    SMALL_SIZE,
    TEXT_SIZE,
    WIDEST,
    FloatArray,
    check_count,
    check_share,
    check_type,
    label_size,
    name_rows,
    new_figure,
    rows_height,
    short_labels,
    tidy,
    write_title,
)
from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.population import Population

MOST_DRAWS = 400
LEAST_DARK = 0.25  # so that small uncertainties look small
MOST_NUMBERED = 10
MOST_COMPONENTS = 30
HOW = "fit one with `Population.from_dataframe`"


def plot_correlation(population: Population | xr.Dataset, *, cluster: bool = True) -> Figure:
    """Draw the correlations between skills with their posterior uncertainty.

    Below the diagonal the posterior mean, in colour; above it the posterior standard deviation,
    in grey. A dot marks a correlation whose sign is open: its mean is less than two standard
    deviations from 0. Up to ten skills the numbers are written into the cells.

    Parameters
    ----------
    population : Population, or Dataset with dims (skill, skill_bis)
        Or what `Population.correlation` gave: `mean` and `std`.
    cluster : bool, default True
        Put skills that rise together side by side (average linkage on 1 - correlation).

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there is nothing to correlate.
    """
    given = population.correlation() if isinstance(population, Population) else population
    found = check_type("population", given, xr.Dataset, HOW)
    if not {"mean", "std"} <= set(found) or found.sizes.get("skill", 0) < 2:
        raise InputError("`population` must have at least two skills, and their mean and std")
    mean, std = found["mean"].values, found["std"].values
    names = [str(name) for name in found["skill"].values]
    if cluster:
        order = _clustered(mean)
        mean, std = mean[np.ix_(order, order)], std[np.ix_(order, order)]
        names = [names[position] for position in order]
    return _heatmap(mean, std, names)


def _clustered(correlation: FloatArray) -> NDArray[np.intp]:
    if len(correlation) < 3:
        return np.arange(len(correlation))
    distance = np.clip(1.0 - correlation, 0.0, None)
    np.fill_diagonal(distance, 0.0)
    condensed = squareform(0.5 * (distance + distance.T), checks=False)
    tree = linkage(condensed, method="average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), dtype=np.intp)


def _heatmap(mean: FloatArray, std: FloatArray, names: list[str]) -> Figure:
    count = len(names)
    side = float(np.clip(0.29 * count, 3.6, WIDEST - 4.0))
    labels = short_labels(names)
    size = label_size(count, side)
    # the layout keeps the cells square only if there is room for the names on both sides
    room = GLYPH_WIDTH * size / 72.0 * max(len(label) for label in labels)
    figure = new_figure(side + room + 2.3, side + room + 0.9)
    figure.set_layout_engine("compressed", w_pad=0.08, h_pad=0.08)
    ax = figure.add_subplot()
    below, above = np.tri(count, k=-1, dtype=bool), ~np.tri(count, dtype=bool)
    means = ax.imshow(np.where(below, mean, np.nan), cmap=DIVERGING, vmin=-1.0, vmax=1.0)
    largest = max(float(std[above].max()), LEAST_DARK)
    stds = ax.imshow(np.where(above, std, np.nan), cmap=SEQUENTIAL, vmin=0.0, vmax=largest)
    ax.set_xticks(range(count), labels, rotation=90, fontsize=size)
    ax.set_yticks(range(count), labels, fontsize=size)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    rows, columns = np.nonzero(below & (np.abs(mean) < 2.0 * std))
    ax.scatter(columns, rows, s=10 if count <= 20 else 3, color="black", linewidths=0)
    if count <= MOST_NUMBERED:
        _write_numbers(ax, mean, std, largest)
    for image, text in ((stds, "posterior sd (above)"), (means, "posterior mean (below)")):
        bar = figure.colorbar(image, ax=ax, shrink=0.7, pad=0.01, aspect=30)
        bar.set_label(text, fontsize=TEXT_SIZE)
        bar.ax.tick_params(labelsize=SMALL_SIZE)
        bar.outline.set_visible(False)
    title = "Correlations between skills"
    note = "\n" + "dot: the sign is open" if rows.size else ""
    write_title(ax, title + note)
    return figure


def _write_numbers(ax: Axes, mean: FloatArray, std: FloatArray, largest: float) -> None:
    for row, column in np.ndindex(mean.shape):
        if row > column:
            text, dark = f"{mean[row, column]:.2f}", abs(mean[row, column]) > 0.6
            shift = 0.22 if abs(mean[row, column]) < 2.0 * std[row, column] else 0.0
        elif row < column:
            text, dark, shift = f"±{std[row, column]:.2f}", std[row, column] > 0.6 * largest, 0.0
        else:
            continue
        colour = "white" if dark else "black"
        place: dict[str, Any] = {"ha": "center", "va": "center"}
        ax.text(column, row - shift, text, fontsize=SMALL_SIZE, color=colour, **place)


def plot_spectrum(
    population: Population, *, n_components: int | None = None, ci_prob: float = 0.9
) -> Figure:
    """Draw how much variance the strongest common directions of the skills carry.

    Eigenvalues of the correlation matrix, as shares of their sum, largest first, and the running
    total; with posterior intervals.

    Parameters
    ----------
    population : Population
    n_components : int, optional
        How many to show. Default: all, at most 30.
    ci_prob : float, default 0.9

    Returns
    -------
    Figure

    Raises
    ------
    InputError, ConfigError
        If an argument cannot be used.
    """
    probability = check_share("ci_prob", ci_prob)
    correlation = _correlation_draws(check_type("population", population, Population, HOW))
    values = np.clip(np.linalg.eigvalsh(correlation)[:, ::-1], 0.0, None)
    shares = values / values.sum(axis=1, keepdims=True)
    asked = MOST_COMPONENTS if n_components is None else check_count("n_components", n_components)
    shown = min(asked, shares.shape[1])
    figure = new_figure(max(5.0, 0.28 * shown + 3.0), 3.8)
    ax = figure.add_subplot()
    at = np.arange(1, shown + 1)
    running = shares.cumsum(axis=1)
    for draws, colour, marker, label in (
        (shares, INFERRED, "o", "each direction"),
        (running, OBSERVED, "s", "running total"),
    ):
        lower, middle, upper = _band(draws[:, :shown], probability)
        ax.fill_between(at, lower, upper, color=colour, alpha=0.2, linewidth=0)
        ax.plot(at, middle, color=colour, marker=marker, markersize=4, label=label)
    ax.axhline(0.9, color=MUTED, linestyle="--", linewidth=0.9)
    enough = 1 + np.argmax(running >= 0.9, axis=1)
    few, many = np.quantile(
        enough, [0.5 - probability / 2, 0.5 + probability / 2], method="nearest"
    )
    needed = f"{few:g}" if few == many else f"{few:g} to {many:g}"
    tidy(
        ax,
        title=f"90 % of the variance in {needed} of {shares.shape[1]} directions",
        xlabel="direction, strongest first",
        ylabel=f"share of variance, {100 * probability:g} % interval",
        grid="y",
    )
    ax.set_ylim(0.0, 1.03)
    ax.set_xticks(at if shown <= 20 else at[::2])
    ax.legend(fontsize=TEXT_SIZE, frameon=False, loc="center right")
    return figure


def plot_shared_variance(population: Population, *, ci_prob: float = 0.9) -> Figure:
    """Draw how much of each skill the other skills account for, and how much is its own.

    The shared part is the squared multiple correlation of a skill with all others,
    1 - 1 / (Sigma_jj (Sigma^-1)_jj) (Rao (1973), Linear Statistical Inference and Its
    Applications, doi:10.1002/9780470316436, section 4g). A skill with little of it must be
    measured; it cannot be inferred.

    Parameters
    ----------
    population : Population
    ci_prob : float, default 0.9

    Returns
    -------
    Figure

    Raises
    ------
    InputError, ConfigError
        If an argument cannot be used.
    """
    probability = check_share("ci_prob", ci_prob)
    correlation = _correlation_draws(check_type("population", population, Population, HOW))
    precision = np.linalg.inv(correlation)
    shared = np.clip(1.0 - 1.0 / np.einsum("skk->sk", precision), 0.0, 1.0)
    order = np.argsort(-shared.mean(axis=0), kind="stable")
    lower, _, upper = _band(shared[:, order], probability)
    mean = shared.mean(axis=0)[order]
    rows = np.arange(len(order))
    figure = new_figure(6.4, rows_height(len(order)))
    ax = figure.add_subplot()
    ax.barh(rows, mean, height=0.72, color=INFERRED, label="shared with other skills")
    ax.barh(rows, 1.0 - mean, left=mean, height=0.72, color=FAINT, label="its own")
    ends = (np.maximum(mean - lower, 0.0), np.maximum(upper - mean, 0.0))
    ax.errorbar(mean, rows, xerr=ends, fmt="none", ecolor="black", elinewidth=1.1, capsize=2)
    skills = population.posterior.skills
    name_rows(ax, short_labels(skills[position] for position in order))
    tidy(ax, title="Shared and own variance", xlabel=_interval_text("share", probability), grid="")
    ax.set_xlim(0.0, 1.0)
    figure.legend(loc="outside lower center", ncols=2, fontsize=TEXT_SIZE, frameon=False)
    return figure


def plot_skill_distributions(history: History | Population, *, n_skills: int = 60) -> Figure:
    """Draw how the history's scores on each skill are spread over its agents.

    Boxes from quartile to quartile with whiskers to the 5th and 95th percentile, and a point per
    agent. Skills on one scale share it; otherwise each is shown on its own range.

    Parameters
    ----------
    history : History or Population
    n_skills : int, default 60
        Most skills to show, those with the most scores first.

    Returns
    -------
    Figure

    Raises
    ------
    InputError, ConfigError
        If an argument cannot be used.
    """
    given = history.history if isinstance(history, Population) else history
    table = check_type("history", given, History, "or a Population")
    values, counts = table.values, table.observed.sum(axis=0)
    fullest = np.argsort(-counts, kind="stable")[: check_count("n_skills", n_skills)]
    same_units = len({scale.bounds for scale in table.scales.scales}) == 1
    if not same_units:
        lowest, highest = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        values = (values - lowest) / np.where(highest > lowest, highest - lowest, 1.0)
    columns = sorted(fullest, key=lambda column: -float(np.nanmedian(values[:, column])))
    figure = new_figure(6.8, rows_height(len(columns)))
    ax = figure.add_subplot()
    rng = np.random.default_rng(0)
    faint = float(np.clip(12.0 / np.sqrt(len(values)), 0.12, 0.8))
    for row, column in enumerate(columns):
        scores = values[~np.isnan(values[:, column]), column]
        five, first, median, third, most = np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95])
        heights = row + 0.2 * rng.uniform(-1.0, 1.0, len(scores))
        ax.scatter(scores, heights, s=5, color=INFERRED, alpha=faint, linewidths=0)
        ax.plot([five, most], [row, row], color=MUTED, linewidth=1.0)
        box: dict[str, Any] = {
            "height": 0.5,
            "edgecolor": MUTED,
            "facecolor": "none",
            "linewidth": 1.0,
        }
        ax.barh(row, third - first, left=first, **box)
        ax.plot([median, median], [row - 0.25, row + 0.25], color=OBSERVED, linewidth=2.0)
    names = short_labels(table.skills[column] for column in columns)
    holes = counts.min() < len(values)
    name_rows(
        ax,
        [
            f"{name} ({counts[column]})" if holes else name
            for name, column in zip(names, columns, strict=True)
        ],
    )
    left_out = len(counts) - len(columns)
    note = f", {left_out} skills with fewer scores left out" if left_out else ""
    tidy(
        ax,
        title=f"Scores of {table.n_agents} agents{note}",
        xlabel="score" if same_units else "score, from the least to the most seen on the skill",
    )
    handles = [
        Patch(facecolor="none", edgecolor=MUTED, label="quartiles"),
        Patch(facecolor=OBSERVED, label="median"),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2, fontsize=TEXT_SIZE, frameon=False
    )
    return figure


def _correlation_draws(population: Population) -> FloatArray:
    """Correlation matrices of evenly spaced posterior draws, (at most 400, K, K)."""
    posterior = population.posterior
    if len(posterior.skills) < 2:
        raise InputError("`population` must have at least two skills")
    total = len(posterior.mean)
    chosen = np.linspace(0, total - 1, min(MOST_DRAWS, total)).astype(int)
    if posterior.by_cell:  # all its covariances at once can take gigabytes
        loadings = posterior.loadings[chosen]
        kept = loadings @ np.swapaxes(loadings, 1, 2)
        kept += posterior.own_sd[chosen][:, :, None] ** 2 * np.eye(len(posterior.skills))
    else:
        kept = posterior.covariance[chosen]
    sd = np.sqrt(np.einsum("skk->sk", kept))
    scaled: FloatArray = kept / (sd[:, :, None] * sd[:, None, :])
    return scaled


def _band(draws: FloatArray, ci_prob: float) -> FloatArray:
    tails = [0.5 - 0.5 * ci_prob, 0.5, 0.5 + 0.5 * ci_prob]
    return np.quantile(draws, tails, axis=0)


def _interval_text(what: str, ci_prob: float) -> str:
    return f"{what}, {100 * ci_prob:g} % interval"
