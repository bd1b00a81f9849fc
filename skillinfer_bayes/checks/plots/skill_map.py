"""A map of the skills: near each other where they rise together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from skillinfer_bayes.checks.plots.placing import place_labels
from skillinfer_bayes.checks.plots.style import (
    PALETTE,
    check_type,
    colours_of,
    legend_of,
    new_figure,
    short_labels,
    tidy,
)
from skillinfer_bayes.exceptions import InputError, UnknownSkillError, closest_match_hint
from skillinfer_bayes.population import Population

LONGEST_NAME = 26
OTHER = "other"


def plot_skill_map(
    population: Population, *, categories: Mapping[str, str] | None = None
) -> Figure:
    """Draw skills as points on a plane, near each other where they rise together.

    Classical scaling of the distances sqrt(2 - 2 correlation), from the posterior mean (Gower
    (1966), doi:10.1093/biomet/53.3-4.325).

    Parameters
    ----------
    population : Population
        With at least three skills.
    categories : mapping from skill to category, optional
        Each category has a colour and a marker; skills that it leaves out are "other". Default:
        what stands before a colon in a skill's name, such as "Knowledge: Biology", where up to
        eight categories come of it.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there are fewer than three skills, or more than eight categories.
    UnknownSkillError
        If `categories` names something that is not a skill.
    """
    check_type("population", population, Population, "fit one with `Population.from_dataframe`")
    found = population.correlation()
    mean, skills = found["mean"].values, [str(name) for name in found["skill"].values]
    count = len(skills)
    if count < 3:
        raise InputError(f"`population` must have at least 3 skills for a map, got {count}")
    belongs, names = _read_categories(categories, skills)
    looks = colours_of(belongs, "categories")
    centring = np.eye(count) - 1.0 / count
    values, vectors = np.linalg.eigh(centring @ mean @ centring)
    top = values[::-1][:2]
    points = vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(top, 0.0))
    share = np.maximum(top, 0.0) / values[values > 0.0].sum()
    side = float(np.clip(4.2 + 0.12 * count, 5.0, 11.0))
    figure = new_figure(side * 1.2, side)
    ax = figure.add_subplot()
    handles = {}
    for category, (colour, marker) in looks.items():
        rows = [row for row, name in enumerate(belongs) if name == category]
        right, up = points[rows].T
        handles[category] = ax.scatter(
            right, up, s=28, color=colour, marker=marker, zorder=3, label=category
        )
    tidy(
        ax,
        title="Skills that rise together lie together",
        xlabel=f"first direction ({share[0]:.0%} of the spread)",
        ylabel=f"second direction ({share[1]:.0%})",
        grid="both",
    )
    ax.margins(0.18, 0.1)
    ax.set_aspect("equal", adjustable="datalim")
    if len(looks) > 1:
        legend_of(figure, handles)
    place_labels(figure, ax, points, short_labels(names, LONGEST_NAME))
    return figure


def _read_categories(
    given: Mapping[str, str] | None, skills: list[str]
) -> tuple[list[str], list[str]]:
    """Category of each skill, and what is left of its name."""
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(
                f"`categories` must map skills to categories, got {type(given).__name__}"
            )
        for skill in given:
            if skill not in skills:
                hint = closest_match_hint(str(skill), skills)
                raise UnknownSkillError(f"`categories` holds the unknown skill {skill!r}; {hint}")
        return [str(given.get(skill, OTHER)) for skill in skills], skills
    parts = [skill.partition(":") for skill in skills]
    found = [before.strip() if colon else OTHER for before, colon, _ in parts]
    if not 1 < len(set(found)) <= len(PALETTE):
        return [""] * len(skills), skills
    return found, [after.strip() if colon else before for before, colon, after in parts]
