"""Figures of agents' profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from skillinfer_bayes.checks.options import check_columns
from skillinfer_bayes.checks.plots.style import (
    INFERRED,
    LONGEST_LABEL,
    MUTED,
    OBSERVED,
    SMALL_SIZE,
    TEXT_SIZE,
    TRUTH,
    check_count,
    check_share,
    check_type,
    colours_of,
    legend_of,
    name_rows,
    new_figure,
    panels_of,
    pick,
    rows_height,
    short_labels,
    shorten,
    tidy,
    write_title,
)
from skillinfer_bayes.exceptions import InputError, UnknownSkillError, closest_match_hint
from skillinfer_bayes.profiles.engine import Kind
from skillinfer_bayes.profiles.profile import Profile

INNER_PROB = 0.5
MOST_SHOWN = 12
HOW = "make one with `Population.profile`"

type Agents = Mapping[str, Profile] | Profile


def plot_profile(
    profile: Profile,
    *,
    ci_prob: float = 0.9,
    kind: Kind = "skill",
    reference: Mapping[str, float] | pd.Series | None = None,
    skills: Sequence[str] | None = None,
) -> Figure:
    """Draw one agent's skills, best first, with intervals and marks on those that were measured.

    Parameters
    ----------
    profile : Profile
    ci_prob : float, default 0.9
        Mass of the thin interval; the thick one holds half.
    kind : {"skill", "score"}, default "skill"
        The latent skill, or a score that would be measured.
    reference : mapping from skill to score, optional
        Scores that became known later, to compare with.
    skills : sequence of str, optional
        Which to show. Default: all.

    Returns
    -------
    Figure

    Raises
    ------
    InputError, ConfigError
        If an argument cannot be used.
    UnknownSkillError
        If `reference` names something that is not a skill.
    """
    probability = check_share("ci_prob", ci_prob)
    check_type("profile", profile, Profile, HOW)
    shown = list(profile.skills) if skills is None else pick(skills, profile.skills, "skills")
    known = _check_reference(reference, profile.skills)
    wide = profile.predict(ci_prob=probability, kind=kind)
    narrow = profile.predict(ci_prob=INNER_PROB, kind=kind)
    bounds = profile.score_bounds
    panels = panels_of({skill: bounds[skill] for skill in shown})
    labels = dict(zip(shown, short_labels(shown), strict=True))
    figure, axes = _stack([len(panel) for panel in panels], 6.6)
    for ax, panel in zip(axes, panels, strict=True):
        order = sorted(panel, key=lambda skill: -float(wide.at[skill, "mean"]))
        measured = [skill in profile.observed for skill in order]
        for source, of, colour in (("inferred", False, INFERRED), ("observed", True, OBSERVED)):
            rows = [row for row, seen in enumerate(measured) if seen is of]
            names = [order[row] for row in rows]
            label = f"{source}: mean, 50 % and {100 * probability:g} % interval"
            _intervals(ax, rows, wide.loc[names], narrow.loc[names], colour, label)
        for row, skill in enumerate(order):
            if skill in profile.observed:
                score = profile.observations[skill]
                ax.plot(
                    score,
                    row,
                    "|",
                    color=TRUTH,
                    markersize=11,
                    markeredgewidth=1.6,
                    label="measured score",
                    zorder=4,
                )
            if skill in known:
                ax.plot(
                    known[skill],
                    row,
                    "D",
                    markerfacecolor="white",
                    color=TRUTH,
                    markersize=5,
                    label="reference score",
                    zorder=5,
                )
        name_rows(ax, [labels[skill] for skill in order])
        tidy(ax)
    what = "skill level" if kind == "skill" else "score that would be measured"
    write_title(axes[0], shorten(profile.agent, 60))
    axes[-1].set_xlabel(what, fontsize=TEXT_SIZE)
    legend_of(figure, columns=2)
    return figure


def _check_reference(
    reference: Mapping[str, float] | pd.Series | None, skills: Sequence[str]
) -> dict[str, float]:
    given = {} if reference is None else reference
    if not isinstance(given, Mapping | pd.Series):
        kind = type(given).__name__
        raise InputError(f"`reference` must be a mapping from skill to score, got {kind}")
    known = {}
    for name, score in given.items():
        skill = str(name)
        if skill not in skills:
            hint = closest_match_hint(skill, skills)
            raise UnknownSkillError(f"`reference` holds the unknown skill {skill!r}; {hint}")
        if isinstance(score, bool) or not isinstance(score, int | float | np.number):
            raise InputError(f"`reference` of {skill!r} must be a number, got {score!r}")
        known[skill] = float(score)
    return {skill: score for skill, score in known.items() if np.isfinite(score)}


def _stack(rows: Sequence[int], width: float, per_row: float = 0.27) -> tuple[Figure, list[Axes]]:
    """Panels one above the other, as high as they have rows."""
    heights = [rows_height(count, per_row, around=0.5) for count in rows]
    figure = new_figure(width, sum(heights) + 0.9)
    grid = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights)
    return figure, list(grid[:, 0])


def _intervals(
    ax: Axes,
    rows: Sequence[float],
    wide: pd.DataFrame,
    narrow: pd.DataFrame,
    colour: str,
    label: str,
    marker: str = "o",
) -> None:
    if not len(rows):
        return
    ax.hlines(rows, wide["lower"], wide["upper"], color=colour, linewidth=1.2)
    ax.hlines(rows, narrow["lower"], narrow["upper"], color=colour, linewidth=3.4)
    ax.plot(
        wide["mean"],
        rows,
        marker,
        color=colour,
        markeredgecolor="white",
        markersize=6.5,
        label=label,
        linestyle="none",
        zorder=3,
    )


def plot_agents(
    profiles: Agents,
    *,
    skills: Sequence[str] | None = None,
    n_skills: int = MOST_SHOWN,
    ci_prob: float = 0.9,
    kind: Kind = "skill",
) -> Figure:
    """Draw several agents' intervals side by side, skill by skill.

    Parameters
    ----------
    profiles : Profiles, mapping from agent to Profile, or Profile
        At most eight agents.
    skills : sequence of str, optional
        Which to show, in this order. Default: the skills on which the agents differ most.
    n_skills : int, default 12
        How many to choose where `skills` is not given.
    ci_prob : float, default 0.9
    kind : {"skill", "score"}, default "skill"

    Returns
    -------
    Figure

    Raises
    ------
    InputError, ConfigError
        If an argument cannot be used, or there are too many agents.
    """
    probability = check_share("ci_prob", ci_prob)
    agents = agents_of(profiles)
    looks = colours_of(agents, "agents")
    first = next(iter(agents.values()))
    tables = {
        name: (profile.predict(ci_prob=probability, kind=kind), set(profile.observed))
        for name, profile in agents.items()
    }
    means = pd.DataFrame({name: table["mean"] for name, (table, _) in tables.items()})
    title = ""
    if skills is None:
        count = check_count("n_skills", n_skills)
        stds = pd.DataFrame({name: table["std"] for name, (table, _) in tables.items()})
        # in units of what is uncertain, so that skills on any scale compare
        differ = (means.max(axis=1) - means.min(axis=1)) / stds.mean(axis=1)
        shown = list(differ.sort_values(ascending=False, kind="stable").index[:count])
        if len(agents) == 1:
            shown = list(means.iloc[:, 0].sort_values(ascending=False).index[:count])
        elif count < len(first.skills):
            title = f"The {len(shown)} of {len(first.skills)} skills where the agents differ most"
    else:
        shown = pick(skills, first.skills, "skills")
    bounds = first.score_bounds
    panels = panels_of({skill: bounds[skill] for skill in shown})
    labels = dict(zip(shown, short_labels(shown), strict=True))
    per_row = 0.16 + 0.13 * len(agents)
    figure, axes = _stack([len(panel) for panel in panels], 6.8, per_row)
    offsets = (np.arange(len(agents)) - (len(agents) - 1) / 2) * 0.72 / max(len(agents), 2)
    handles = {}
    for ax, panel in zip(axes, panels, strict=True):
        for offset, (name, (table, observed)) in zip(offsets, tables.items(), strict=True):
            colour, marker = looks[name]
            rows, part = np.arange(len(panel)) + offset, table.loc[panel]
            ax.hlines(rows, part["lower"], part["upper"], color=colour, linewidth=1.8)
            seen = np.array([skill in observed for skill in panel])
            style: dict[str, Any] = {
                "markersize": 5.5,
                "linestyle": "none",
                "color": colour,
                "zorder": 3,
            }
            (handles[name],) = ax.plot(
                part["mean"],
                rows,
                marker,
                markeredgecolor=colour,
                markerfacecolor="white",
                label=name,
                **style,
            )
            ax.plot(part["mean"][seen], rows[seen], marker, **style)
        for edge in np.arange(len(panel) - 1) + 0.5:
            ax.axhline(edge, color=MUTED, linewidth=0.4)
        name_rows(ax, [labels[skill] for skill in panel])
        tidy(ax)
    write_title(axes[0], title)
    what = "skill level" if kind == "skill" else "score that would be measured"
    axes[-1].set_xlabel(
        f"{what}, {100 * probability:g} % interval (filled: measured)", fontsize=TEXT_SIZE
    )
    longest = max(len(name) for name in agents)
    legend_of(figure, handles, columns=2 if longest <= LONGEST_LABEL else 1)
    return figure


def agents_of(profiles: Agents) -> dict[str, Profile]:
    """Give profiles by agent, whatever form they come in; InputError if they do not fit."""
    given: object = profiles
    if isinstance(given, Profile):
        return {given.agent: given}
    if not isinstance(given, Mapping) or not given:
        raise InputError(
            "`profiles` must be a Profiles, a Profile or a mapping from agent to Profile with at "
            f"least one entry, got {type(given).__name__}"
        )
    agents = {str(name): check_type("profiles", one, Profile, HOW) for name, one in given.items()}
    if len({profile.population_id for profile in agents.values()}) > 1:
        raise InputError("`profiles` must come from one population")
    return agents


def plot_uncertainty(path: pd.DataFrame) -> Figure:
    """Draw how the uncertainty of a profile falls with every score that comes in.

    Parameters
    ----------
    path : DataFrame
        What `uncertainty_path` gave: `step`, `added`, `skill`, `std`, `observed`.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If a column is missing.
    """
    table = check_columns(path, ("step", "added", "skill", "std", "observed"), "path")
    stds = table.pivot(index="step", columns="skill", values="std")
    measured = table.pivot(index="step", columns="skill", values="observed").astype(bool)
    shares = stds / stds.iloc[0].where(stds.iloc[0] > 0.0)
    steps = np.arange(len(stds))
    figure = new_figure(max(5.6, 0.75 * len(steps) + 2.4), 4.2)
    ax = figure.add_subplot()
    for position, skill in enumerate(shares):
        ax.plot(
            steps,
            shares[skill],
            color=MUTED,
            linewidth=0.7,
            alpha=0.45,
            label=None if position else "one skill",
        )
    mean = shares.mean(axis=1)
    rest = shares.where(~measured).mean(axis=1)
    ax.plot(steps, mean, "o-", color=INFERRED, linewidth=2.0, label="mean of all skills")
    ax.plot(
        steps,
        rest,
        "s--",
        color=OBSERVED,
        linewidth=1.5,
        markersize=4.5,
        label="mean of those not measured yet",
    )
    for step in steps[1:]:
        change = round(float(mean.iloc[step] - mean.iloc[step - 1]), 2)
        ax.annotate(
            f"{change:+.0%}" if change else "0%",
            (step, mean.iloc[step]),
            (0, -13),
            color=INFERRED,
            textcoords="offset points",
            ha="center",
            fontsize=SMALL_SIZE,
            zorder=5,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    added = table.groupby("step")["added"].first()
    names = [f"+ {label}" if label else "before any score" for label in short_labels(added, 26)]
    ax.set_xticks(steps, names, rotation=35, ha="right", rotation_mode="anchor")
    tidy(
        ax,
        title="Uncertainty after each score",
        grid="y",
        ylabel="posterior sd, share of that at the start",
    )
    ax.set_ylim(0.0, max(1.05, float(np.nanmax(shares.to_numpy())) * 1.03))
    legend_of(figure)
    return figure
