"""Figures of calibration: whether intervals keep their word, on real scores and simulated ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from skillinfer_bayes.checks.calibration import TWO_SIDED, Calibration
from skillinfer_bayes.checks.plots.style import (
    FAINT,
    INFERRED,
    MUTED,
    OBSERVED,
    TEXT_SIZE,
    check_count,
    check_share,
    check_type,
    colours_of,
    legend_of,
    method_colours,
    name_rows,
    new_figure,
    rows_height,
    short_labels,
    tidy,
)
from skillinfer_bayes.checks.sbc_result import TOUCHING, SBCResult
from skillinfer_bayes.exceptions import ConfigError, InputError


def plot_calibration(calibration: Calibration, *, ci_prob: float = 0.9) -> Figure:
    """Draw whether intervals hold as many scores as they claim, and where scores fall in them.

    For a calibration by one column (such as `method`): coverage against what was claimed, and the
    distribution of the PIT values less the uniform's; bands are 95 % intervals. By two columns
    (such as `method` and `skill`): coverage of the `ci_prob` intervals for each value of the
    second.

    Parameters
    ----------
    calibration : Calibration
        What `calibration` gave.
    ci_prob : float, default 0.9
        Only for a calibration by two columns; a multiple of 0.05.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the calibration is by more than two columns, or by more than eight methods.
    ConfigError
        If there is no coverage at `ci_prob`.
    """
    found: Calibration = check_type(
        "calibration", calibration, Calibration, "make one with `calibration(cells)`"
    )
    probability = check_share("ci_prob", ci_prob)
    if len(found.by) > 2:
        raise InputError(f"`calibration` must be by one or two columns, got {found.by}")
    groups = found.coverage[found.by[0]]
    if found.by[0] == "method":
        looks = method_colours(groups)
    else:
        looks = colours_of(groups, f"values of {found.by[0]!r}")
    if len(found.by) == 2:
        return _coverage_rows(found, looks, probability)
    figure = new_figure(8.2, 4.1)
    claimed, pit = figure.subplots(1, 2)
    claimed.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0)
    pit.axhline(0.0, color=MUTED, linewidth=1.0)
    ecdf = found.ecdf
    off = TWO_SIDED * ecdf["std_error"].fillna(0.0)
    ecdf = ecdf.assign(lower=ecdf["difference"] - off, upper=ecdf["difference"] + off)
    curves = (
        (claimed, found.coverage, "ci_prob", "coverage"),
        (pit, ecdf, "pit", "difference"),
    )
    handles: dict[str, Any] = {}
    for ax, table, x, y in curves:
        for name, (colour, marker) in looks.items():
            part = table[table[found.by[0]].astype(str) == name]
            ax.fill_between(part[x], part["lower"], part["upper"], color=colour, alpha=0.13, lw=0)
            (handles[name],) = ax.plot(
                part[x],
                part[y],
                color=colour,
                marker=marker,
                markersize=3.5,
                markevery=4,
                linewidth=1.3,
                label=name,
            )
    tidy(
        claimed,
        title="Coverage",
        grid="both",
        xlabel="mass that the interval claims",
        ylabel="share of scores within",
    )
    tidy(
        pit,
        title="PIT, cumulative less uniform",
        grid="both",
        xlabel="probability given to a lower score",
        ylabel="difference",
    )
    claimed.set_xlim(0, 1)
    claimed.set_ylim(0, 1)
    pit.set_xlim(0, 1)
    legend_of(figure, handles)
    return figure


def _coverage_rows(
    found: Calibration, looks: dict[str, tuple[str, str]], probability: float
) -> Figure:
    first, second = found.by
    at = found.coverage[np.isclose(found.coverage["ci_prob"], probability)]
    if at.empty:
        raise ConfigError(f"`ci_prob` must be a multiple of 0.05, got {probability:g}")
    off = (at["coverage"] - probability).abs().groupby(at[second]).max()
    order = [str(name) for name in off.sort_values(ascending=False, kind="stable").index]
    figure = new_figure(6.2, rows_height(len(order), 0.16 + 0.09 * len(looks)))
    ax = figure.add_subplot()
    handles: dict[str, Any] = {}
    shifts = (np.arange(len(looks)) - (len(looks) - 1) / 2) * 0.66 / max(len(looks), 2)
    for shift, (name, (colour, marker)) in zip(shifts, looks.items(), strict=True):
        part = at[at[first].astype(str) == name]
        rows = [order.index(str(value)) + shift for value in part[second]]
        reach = (part["coverage"] - part["lower"], part["upper"] - part["coverage"])
        style: dict[str, Any] = {
            "fmt": marker,
            "color": colour,
            "markersize": 4.5,
            "elinewidth": 1.0,
        }
        handles[name] = ax.errorbar(part["coverage"], rows, xerr=reach, label=name, **style)
    ax.axvline(probability, color=MUTED, linestyle="--", linewidth=1.0)
    name_rows(ax, short_labels(order))
    tidy(
        ax,
        title=f"Coverage of {100 * probability:g} % intervals, by {second}",
        xlabel="share of scores within, 95 % interval",
    )
    ax.set_xlim(right=1.02)
    legend_of(figure, handles)
    return figure


def plot_sbc(result: SBCResult, *, ci_prob: float = 0.95, columns: int = 4) -> Figure:
    """Draw whether simulated truths rank evenly among the draws of their fits.

    Cumulative distribution of the ranks less the uniform's, a panel per kind of quantity and a
    line per quantity, with the simultaneous band; lines that leave it are dark.

    Parameters
    ----------
    result : SBCResult
        What `sbc` gave.
    ci_prob : float, default 0.95
        How often a line of uniform ranks stays within the band from end to end.
    columns : int, default 4
        Panels side by side.

    Returns
    -------
    Figure

    Raises
    ------
    InputError, ConfigError
        If an argument cannot be used.
    """
    check_type("result", result, SBCResult, "make one with `sbc`")
    found = result.ecdf(check_share("ci_prob", ci_prob))
    kinds = list(dict.fromkeys(str(kind) for kind in found["kind"].values))
    across = min(len(kinds), check_count("columns", columns))
    down = -(-len(kinds) // across)
    figure = new_figure(2.9 * across + 0.5, 2.7 * down + 0.6)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    x, lower, upper = (found[name].values for name in ("x", "lower", "upper"))
    for ax in axes[len(kinds) :]:
        ax.set_axis_off()
    for ax, kind, label in zip(axes, kinds, short_labels(kinds), strict=False):
        ax.fill_between(x, lower, upper, color=FAINT, alpha=0.6, linewidth=0)
        lines = found["difference"].values[found["kind"].values == kind]
        outside = ((lines < lower - TOUCHING) | (lines > upper + TOUCHING)).any(axis=1)
        for line, out in sorted(zip(lines, outside, strict=True), key=lambda pair: bool(pair[1])):
            ax.plot(
                x,
                line,
                color=OBSERVED if out else INFERRED,
                linewidth=1.4 if out else 0.7,
                alpha=1.0 if out else 0.6,
            )
        tidy(ax, title=f"{label}\n{int(outside.sum())} of {len(lines)} outside", grid="")
        ax.title.set_fontsize(TEXT_SIZE)
    figure.supxlabel(
        f"rank of the truth, {result.ranks.sizes['simulation']} simulations", fontsize=TEXT_SIZE
    )
    figure.supylabel("cumulative less uniform", fontsize=TEXT_SIZE)
    return figure
