"""Figures of how well agents fit a task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from arviz_stats.base import array_stats
from matplotlib.figure import Figure

from skillinfer_bayes.checks.plots.profiles import Agents, agents_of
from skillinfer_bayes.checks.plots.style import (
    INFERRED,
    OBSERVED,
    SMALL_SIZE,
    TEXT_SIZE,
    TRUTH,
    FloatArray,
    new_figure,
    short_labels,
    shorten,
    tidy,
    write_title,
)
from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.profiles.profile import Profile
from skillinfer_bayes.profiles.task import Task, as_task

MOST_RIDGES = 40
LONGEST_TITLE = 58


def plot_match(
    profiles: Agents, task: Task | Mapping[str, float], threshold: float | None = None
) -> Figure:
    """Draw each agent's posterior of a task's score, best first, and what of it clears a bar.

    Parameters
    ----------
    profiles : Profiles, mapping from agent to Profile, or Profile
        At most 40 agents.
    task : Task or mapping from skill to weight
    threshold : float, optional
        The bar, in the units of the match score; what lies above it is dark.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there are too many agents, or none.
    UnknownSkillError, TaskError, ThresholdError
        As `Profile.match_score`.
    """
    agents = agents_of(profiles)
    if len(agents) > MOST_RIDGES:
        raise InputError(f"`profiles` must hold at most {MOST_RIDGES} agents, got {len(agents)}")
    wanted = as_task(task)
    found = {name: profile.match_score(wanted, threshold) for name, profile in agents.items()}
    order = sorted(agents, key=lambda name: -found[name].score)
    figure = new_figure(6.8, 1.5 + 0.5 * len(order))
    ax = figure.add_subplot()
    for row, name in enumerate(order):
        grid, density = _density(_task_draws(agents[name], wanted))
        height = -0.78 * density / density.max()
        ax.fill_between(grid, row, row + height, color=INFERRED, alpha=0.28, linewidth=0)
        if threshold is not None:
            over = grid >= threshold
            ax.fill_between(grid[over], row, row + height[over], color=INFERRED, linewidth=0)
        ax.plot(grid, row + height, color=INFERRED, linewidth=1.0)
        result = found[name]
        ax.plot([result.lower, result.upper], [row + 0.1] * 2, color=TRUTH, linewidth=1.6)
        ax.plot(result.score, row + 0.1, "o", color=TRUTH, markersize=4.5)
        if result.p_above_threshold is not None:
            ax.annotate(
                f"P = {result.p_above_threshold:.0%}",
                (1.01, row - 0.2),
                va="center",
                xycoords=("axes fraction", "data"),
                fontsize=TEXT_SIZE,
            )
    if threshold is not None:
        ax.axvline(threshold, color=OBSERVED, linestyle="--", linewidth=1.3)
        ax.annotate(
            f"threshold {threshold:g}",
            (threshold, 1.0),
            (0, 3),
            fontsize=SMALL_SIZE,
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=OBSERVED,
            ha="center",
            va="bottom",
        )
    ax.set_yticks(range(len(order)), short_labels(order), fontsize=TEXT_SIZE)
    ax.set_ylim(len(order) - 0.6, -0.95)
    tidy(ax, xlabel="task fit: mean, 90 % interval and posterior density")
    write_title(ax, _in_words(wanted), pad=16)
    return figure


def _in_words(task: Task) -> str:
    """Give a task's description, or its skills with their weights, the most important first."""
    if task.description:
        return shorten(task.description, LONGEST_TITLE)
    labels = short_labels(task.skills, 26)
    parts = [
        f"{label} ({task.weights[skill]:g})"
        for skill, label in zip(task.skills, labels, strict=True)
    ]
    while len(parts) > 1 and len(", ".join(parts)) > LONGEST_TITLE:
        parts = [*parts[:-2], "…"] if parts[-1] == "…" else [*parts[:-1], "…"]
    return "Task fit: " + ", ".join(parts)


def _task_draws(profile: Profile, task: Task) -> FloatArray:
    """Posterior draws of the match score, (S,)."""
    context = profile._context
    draws = profile.draws().isel(agent=0).values.reshape(-1, len(profile.skills))
    return context.task_scores(draws, context.weights(task))


def _density(draws: FloatArray) -> tuple[FloatArray, FloatArray]:
    if np.ptp(draws) == 0.0:
        return draws[:1].repeat(2), np.ones(2)
    grid, density, _ = array_stats.kde(draws)
    return np.asarray(grid), np.asarray(density)
