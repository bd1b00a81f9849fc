"""Figures of held-out evaluation: which method errs least, and whose intervals keep their word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from skillinfer_bayes.checks.calibration import TWO_SIDED
from skillinfer_bayes.checks.options import check_columns
from skillinfer_bayes.checks.plots.style import (
    MUTED,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    legend_of,
    method_colours,
    name_rows,
    new_figure,
    pick,
    rows_height,
    short_labels,
    tidy,
)
from skillinfer_bayes.checks.validation import summarise_held_out
from skillinfer_bayes.exceptions import ConfigError, InputError

MOST_POINTS = 4000


class Figures(NamedTuple):
    """How a column of a summary is shown."""

    label: str
    aim: float | None = None
    least: float = -np.inf
    most: float = np.inf

    def around(self, at: Any, off: Any) -> tuple[Any, Any]:
        """Give the ends of an interval, within what the figure can be."""
        return np.clip(at - off, self.least, None), np.clip(at + off, None, self.most)


METRICS = {
    "mae": Figures("mean absolute error", least=0.0),
    "rmse": Figures("root mean squared error", least=0.0),
    "bias": Figures("bias", 0.0),
    "crps": Figures("CRPS", least=0.0),
    "log_score": Figures("log score (negative log density)"),
    **{
        f"coverage_{p}": Figures(f"coverage of {p} % intervals", p / 100, 0.0, 1.0)
        for p in (50, 80, 90, 95)
    },
    **{f"width_{p}": Figures(f"width of {p} % intervals", least=0.0) for p in (50, 80, 90, 95)},
    "rank_correlation": Figures("rank correlation", least=-1.0, most=1.0),
}
SHOWN = ("mae", "crps", "coverage_90", "width_90")


def plot_methods(cells: pd.DataFrame, *, metrics: Sequence[str] = SHOWN) -> Figure:
    """Draw how methods compare on scores that they had not seen.

    Means over repeats with 95 % intervals from the repeats' scatter; against the size of the
    history where several were tried. Methods meet the same cases, so differences are surer than
    overlapping intervals suggest.

    Parameters
    ----------
    cells : DataFrame
        What `held_out` or `held_out_cells` gave, of one share of hidden cells.
    metrics : sequence of str, default ("mae", "crps", "coverage_90", "width_90")
        Columns of `summarise_held_out`.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If a column is missing, several shares are hidden, or there are more than eight methods.
    ConfigError
        If a metric is not known, or comes more than once.
    """
    table = check_columns(
        cells, ("method", "n_history", "hidden", "repeat", "score", "mean"), "cells"
    )
    if table["hidden"].nunique() > 1:
        raise InputError(
            "`cells` must be of one share of hidden cells, got "
            f"{sorted(table['hidden'].unique().tolist())}; select one with cells[cells['hidden'] "
            "== ...]"
        )
    shown = pick(metrics, METRICS, "metrics", ConfigError)
    by = ["method", "n_history"]
    each = summarise_held_out(table, [*by, "repeat"])[shown]
    groups = each.groupby(by)
    mean, reach = groups.mean(), TWO_SIDED * groups.std() / np.sqrt(groups.count())
    looks = method_colours(table["method"])
    if table["n_history"].nunique() > 1:
        return _methods_by_size(mean, reach, looks, shown)
    order = sorted(looks, key=lambda name: float(mean.loc[name, shown[0]].iloc[0]))
    figure = new_figure(2.4 * len(shown) + 1.4, rows_height(len(order), 0.34))
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for ax, name in zip(axes, shown, strict=True):
        for row, method in enumerate(order):
            colour, marker = looks[method]
            at = float(mean.loc[method, name].iloc[0])
            off = float(np.nan_to_num(reach.loc[method, name].iloc[0]))
            lower, upper = METRICS[name].around(at, off)
            ends = [[at - lower], [upper - at]]
            ax.errorbar(at, row, xerr=ends, fmt=marker, color=colour, markersize=6.5, capsize=2)
        _aim(ax.axvline, METRICS[name])
        tidy(ax, xlabel=METRICS[name].label)
        ax.margins(x=0.15)
    name_rows(axes[0], short_labels(order))
    repeats = table["repeat"].nunique()
    figure.suptitle(f"Held-out scores, mean of {repeats} repeats", fontsize=TITLE_SIZE)
    return figure


def _methods_by_size(
    mean: pd.DataFrame,
    reach: pd.DataFrame,
    looks: dict[str, tuple[str, str]],
    metrics: Sequence[str],
) -> Figure:
    across = min(len(metrics), 2)
    down = -(-len(metrics) // across)
    figure = new_figure(4.1 * across, 2.7 * down + 0.6)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax in axes[len(metrics) :]:
        ax.set_axis_off()
    sizes = sorted({int(size) for size in mean.index.get_level_values("n_history")})
    handles: dict[str, Any] = {}
    aside = 0.012 * (sizes[-1] - sizes[0]) * (np.arange(len(looks)) - (len(looks) - 1) / 2)
    for ax, name in zip(axes, metrics, strict=False):
        for shift, (method, (colour, marker)) in zip(aside, looks.items(), strict=True):
            line, off = mean.loc[method, name], reach.loc[method, name].fillna(0.0)
            style: dict[str, Any] = {
                "fmt": f"{marker}-",
                "color": colour,
                "markersize": 5,
                "capsize": 2,
                "label": method,
                "linewidth": 1.2,
            }
            lower, upper = METRICS[name].around(line, off)
            ends = [line - lower, upper - line]
            handles[method] = ax.errorbar(line.index + shift, line, yerr=ends, **style)
        _aim(ax.axhline, METRICS[name])
        ax.set_xticks(sizes)
        tidy(ax, xlabel="agents in the history", ylabel=METRICS[name].label, grid="y")
    legend_of(figure, handles)
    return figure


def _aim(line: object, metric: Figures) -> None:
    if metric.aim is not None and callable(line):
        line(metric.aim, color=MUTED, linestyle="--", linewidth=1.0, zorder=0)


def plot_predictions(cells: pd.DataFrame, *, random_seed: int = 0) -> Figure:
    """Draw predicted against measured scores, a panel per method; on the line is right.

    Bars are 90 % intervals, left out where there are more than 150 scores. Of more than 4,000
    scores per method a random part is shown.

    Parameters
    ----------
    cells : DataFrame
        What `held_out` or `held_out_cells` gave, or a table with columns `method`, `score`,
        `mean`, `lower_90` and `upper_90`.
    random_seed : int, default 0

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If a column is missing, or there are more than eight methods.
    """
    table = check_columns(cells, ("method", "score", "mean", "lower_90", "upper_90"), "cells")
    looks = method_colours(table["method"])
    across = min(len(looks), 4)
    down = -(-len(looks) // across)
    figure = new_figure(2.9 * across + 0.6, 3.0 * down + 0.5)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    ends = [
        float(table[["score", "mean"]].min().min()),
        float(table[["score", "mean"]].max().max()),
    ]
    for ax in axes[len(looks) :]:
        ax.set_axis_off()
    titles = short_labels(looks, 24)
    for ax, (method, (colour, _)), title in zip(axes, looks.items(), titles, strict=False):
        part = table[table["method"].astype(str) == method]
        part = part.sample(min(len(part), MOST_POINTS), random_state=random_seed)
        ax.plot(ends, ends, color=MUTED, linewidth=1.0, zorder=1)
        if len(part) <= 150:
            ax.vlines(part["score"], part["lower_90"], part["upper_90"], color=colour, alpha=0.35)
        faint = float(np.clip(6.0 / np.sqrt(len(part)), 0.12, 0.9))
        ax.scatter(part["score"], part["mean"], s=9, color=colour, alpha=faint, linewidths=0)
        error = float((part["mean"] - part["score"]).abs().mean())
        tidy(ax, title=title, grid="both")
        ax.annotate(f"MAE {error:.3g}", (0.04, 0.93), xycoords="axes fraction", fontsize=SMALL_SIZE)
    figure.supxlabel("measured score", fontsize=TEXT_SIZE)
    figure.supylabel("predicted score", fontsize=TEXT_SIZE)
    return figure


def plot_learning_curve(curve: pd.DataFrame) -> Figure:
    """Draw how error and interval width fall with the number of scores known of an agent.

    Parameters
    ----------
    curve : DataFrame
        What `learning_curve` gave without `by`: `method`, `n_observed`, `mae`, `width_90`,
        `coverage_90` and their standard errors `mae_se` and so on.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If a column is missing, rows are kept apart by more than method and number, or there are
        more than eight methods.
    """
    shown = ("mae", "width_90", "coverage_90")
    wanted = ["method", "n_observed", *shown, *(f"{name}_se" for name in shown)]
    table = check_columns(curve, wanted, "curve")
    if table.duplicated(["method", "n_observed"]).any():
        raise InputError(
            "`curve` must have one row per method and number; select one value of the other columns"
        )
    looks = method_colours(table["method"])
    figure = new_figure(9.6, 3.5)
    axes = figure.subplots(1, len(shown))
    handles: dict[str, Any] = {}
    for ax, name in zip(axes, shown, strict=True):
        for method, (colour, marker) in looks.items():
            part = table[table["method"].astype(str) == method].sort_values("n_observed")
            off = TWO_SIDED * part[f"{name}_se"].fillna(0.0)
            x, y = part["n_observed"], part[name]
            lower, upper = METRICS[name].around(y, off)
            ax.fill_between(x, lower, upper, color=colour, alpha=0.15, linewidth=0)
            style: dict[str, Any] = {"color": colour, "markersize": 4.5, "label": method}
            (handles[method],) = ax.plot(x, y, f"{marker}-", **style)
        _aim(ax.axhline, METRICS[name])
        ax.set_xticks(sorted(table["n_observed"].unique()))
        tidy(ax, xlabel="scores known of the agent", ylabel=METRICS[name].label, grid="y")
        if METRICS[name].aim is None:
            ax.set_ylim(bottom=0.0)
    legend_of(figure, handles)
    return figure
