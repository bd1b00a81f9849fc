"""Reading a skill's scale off its scores, with the whole table as evidence."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from skillinfer_bayes.exceptions import PACKAGE_FOLDER, HistoryError, HistoryWarning
from skillinfer_bayes.history.links import NAMED_BOUNDS, FloatArray, Scale

# A table counts as one of fractions (or of percentages) from this share of its cells on.
TABLE_SHARE = 0.8
# At most this share of a column may be a slip; a larger share is a scale of its own.
SLIP_SHARE = 0.1
TABLE_HINTS = {"0-1": Scale.unit(), "percent": Scale.percent()}


def detect_scale(values: FloatArray, table_hint: str | None = None) -> Scale:
    """Guess the scale of one skill.

    Parameters
    ----------
    values : array of shape (n,)
        Scores; NaN is ignored.
    table_hint : {"percent", "0-1"}, optional
        What most of the table's bounded columns are. A column that stays below 1 among
        percentages is taken for percentages too.

    Returns
    -------
    Scale
        0-1, percent or unbounded.
    """
    if _within(values, Scale.unit()):
        return Scale.percent() if table_hint == "percent" else Scale.unit()
    return Scale.percent() if _within(values, Scale.percent()) else Scale.unbounded()


def detect_scales(
    table: FloatArray, agents: Sequence[str], skills: Sequence[str], given: Mapping[str, Scale]
) -> dict[str, Scale]:
    """Guess the scales of the skills not given, and refuse what looks like a slip of the pen.

    Parameters
    ----------
    table : array of shape (N, K)
        Scores, NaN where missing; every column has at least one.
    agents, skills : sequence of str
        Names.
    given : mapping from skill to scale
        Those between 0 and 1 or 100 are evidence of what the table is; others are of nothing.

    Returns
    -------
    dict from skill to scale
        Of the skills that are not in `given`.

    Raises
    ------
    HistoryError
        If one score lies outside bounds that the rest of its column and the table keep to.

    Warns
    -----
    HistoryWarning
        If a column is read as percentages only because the rest of the table is.
    """
    unknown = {name: table[:, i] for i, name in enumerate(skills) if name not in given}
    # a score at its upper bound fits no narrower scale than the one given
    known = [
        np.where(np.isnan(table[:, i]), np.nan, given[name].upper)
        for i, name in enumerate(skills)
        if name in given and (given[name].lower, given[name].upper) in NAMED_BOUNDS.values()
    ]
    evidence = np.array([*unknown.values(), *known]).reshape(-1, len(table)).T
    hint = table_hint(evidence)
    _refuse_slips(evidence, agents, list(unknown))
    found = {name: detect_scale(column, hint) for name, column in unknown.items()}
    lifted = [
        name
        for name, scale in found.items()
        if scale == Scale.percent() and _within(unknown[name], Scale.unit())
    ]
    if lifted:
        warnings.warn(
            f"`scale` of {lifted} was read as percent because the rest of the table is, though no "
            f"score exceeds 1; pass scale={{{lifted[0]!r}: '0-1'}} if these are fractions",
            HistoryWarning,
            skip_file_prefixes=(PACKAGE_FOLDER,),
        )
    return found


def table_hint(table: FloatArray) -> str | None:
    """Say what most bounded columns (N, K) are: `"percent"`, `"0-1"` or None."""
    unit = sum(_within(column, Scale.unit()) for column in table.T)
    percent = sum(_within(column, Scale.percent()) for column in table.T) - unit
    if unit == percent:
        return None
    return "percent" if percent > unit else "0-1"


def _inside(values: FloatArray, scale: Scale) -> np.ndarray:
    slack = scale.tolerance
    return (values >= scale.lower - slack) & (values <= scale.upper + slack)


def _within(values: FloatArray, scale: Scale) -> bool:
    return bool(_inside(values[~np.isnan(values)], scale).all())


def _refuse_slips(table: FloatArray, agents: Sequence[str], skills: Sequence[str]) -> None:
    """Raise for a lone score outside the bounds that everything around it keeps to."""
    observed = ~np.isnan(table)
    for name, scale in TABLE_HINTS.items():
        inside = _inside(table, scale)
        if inside.sum() < TABLE_SHARE * observed.sum():
            continue
        outside = observed & ~inside
        counts = outside.sum(axis=0)
        allowed = np.maximum(1, np.floor(SLIP_SHARE * observed.sum(axis=0)))
        slips = np.flatnonzero((counts > 0) & (counts <= allowed) & (inside.sum(axis=0) >= 2))
        if len(slips):
            column = int(slips[0])
            row = int(np.flatnonzero(outside[:, column])[0])
            _raise_slip(agents[row], skills[column], float(table[row, column]), name, scale)
        # the first bounds that fit the table are its scale; wider ones would find no more
        return


def _raise_slip(agent: str, skill: str, value: float, name: str, scale: Scale) -> None:
    hint = f"did you mean {value / 100:g}? " if name == "0-1" and 1 < value <= 100 else ""
    raise HistoryError(
        f"`scores` look like a {name} table and must then be between {scale.lower:g} and "
        f"{scale.upper:g}, got {value!r} for agent {agent!r}, skill {skill!r}; {hint}correct it, "
        f"or give the scale, such as scale={{{skill!r}: 'unbounded'}}"
    )
