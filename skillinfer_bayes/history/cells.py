"""From whatever the caller holds to checked labels and plain float arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import (
    ConfigError,
    HistoryError,
    InputError,
    UnknownAgentError,
    UnknownSkillError,
    closest_match_hint,
)
from skillinfer_bayes.history.links import BoolArray, FloatArray, as_float, is_number


def read_labels(
    labels: pd.Index,
    kind: str,
    *,
    argument: str = "scores",
    error: type[InputError] = HistoryError,
) -> tuple[str, ...]:
    """Names as strings; an error for missing, empty or repeated ones, or ones no file can hold."""
    if isinstance(labels, pd.MultiIndex):
        raise error(f"`{argument}` must have one level of {kind} names, got {labels.nlevels}")
    if labels.hasnans:
        where = int(np.flatnonzero(labels.isna())[0])
        raise error(f"`{argument}` must name every {kind}, got no name at position {where}")
    names = tuple(str(label) for label in labels)
    if any(not name.strip() for name in names):
        raise error(f"`{argument}` must name every {kind}, got an empty name")
    check_storable(names, kind, argument, error)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise error(
            f"`{argument}` must name each {kind} once, got {repeated[0]!r} "
            f"{names.count(repeated[0])} times; merge or rename the repeats"
            + (f" (also {repeated[1:6]})" if len(repeated) > 1 else "")
        )
    return names


def check_storable(
    names: Iterable[str], kind: str, argument: str, error: type[InputError] = HistoryError
) -> None:
    """Refuse names with characters that files cannot hold: NUL and halves of a pair."""
    for name in names:
        if "\0" in name or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise error(
                f"`{argument}` must name every {kind} without NUL characters and surrogates, "
                f"which files cannot hold, got {name!r}; rename it"
            )


def read_numbers(
    frame: pd.DataFrame,
    argument: str,
    agents: Sequence[str],
    skills: Sequence[str],
    *,
    error: type[InputError] = HistoryError,
) -> FloatArray:
    """Cells as floats, NaN where missing.

    Parameters
    ----------
    frame : DataFrame of shape (N, K)
    argument : str
        What the caller's argument is called.
    agents, skills : sequence of str
        Names of rows and columns, for messages.
    error : type of InputError, default HistoryError

    Returns
    -------
    array of shape (N, K)

    Raises
    ------
    InputError
        Of type `error`, naming the first cell that is not a number, or infinite.
    """
    values = np.full(frame.shape, np.nan)
    for position, skill in enumerate(skills):
        values[:, position] = _read_column(frame.iloc[:, position], argument, agents, skill, error)
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, column = (int(i) for i in infinite[0])
        raise error(
            f"`{argument}` must be finite, got {values[row, column]} for agent {agents[row]!r}, "
            f"{_kind(argument)} {skills[column]!r}; {_repair(argument)}"
        )
    return values


def _read_column(
    column: pd.Series,
    argument: str,
    agents: Sequence[str],
    skill: str,
    error: type[InputError],
) -> FloatArray:
    kind = column.dtype
    real = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)
    if real and not pd.api.types.is_bool_dtype(kind):
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    cells = column.tolist()
    missing = column.isna().tolist()
    bad = [i for i, cell in enumerate(cells) if not missing[i] and not is_number(cell)]
    if bad:
        raise error(_not_numeric(argument, agents, skill, cells, bad, len(cells)))
    return np.array(
        [np.nan if gone else as_float(cell) for cell, gone in zip(cells, missing, strict=True)]
    )


def _kind(argument: str) -> str:
    return "covariate" if argument == "covariates" else "skill"


def _repair(argument: str) -> str:
    number = "replace it by a number"
    return number if argument == "covariates" else f"{number} or leave the cell empty"


def _not_numeric(
    argument: str,
    agents: Sequence[str],
    skill: str,
    cells: Sequence[object],
    bad: Sequence[int],
    total: int,
) -> str:
    first = bad[0]
    place = f"agent {agents[first]!r}, {_kind(argument)} {skill!r}"
    if len(bad) == total and total > 1 and argument == "covariates":
        fix = "drop the column, or make numbers of it"
    elif len(bad) == total and total > 1:
        fix = (
            "drop the column, pass its name as groups=, or make it the index if it holds "
            "the agents' names"
        )
    else:
        fix = _repair(argument)
    more = f" (and {len(bad) - 1} more in this column)" if len(bad) > 1 else ""
    return f"`{argument}` must hold numbers, got {cells[first]!r} for {place}{more}; {fix}"


def read_side_table(
    given: Any, argument: str, agents: tuple[str, ...], skills: tuple[str, ...]
) -> FloatArray | None:
    """Item counts or standard errors, brought into the order of the scores.

    Parameters
    ----------
    given : None, number, mapping or Series by skill, DataFrame, or array of shape (N, K)
        A DataFrame must have the scores' agents and skills, in any order; a mapping may leave
        skills out.
    argument : str
        `"n_items"` or `"stderr"`.
    agents, skills : tuple of str

    Returns
    -------
    array of shape (N, K) or None
        NaN where not given.

    Raises
    ------
    HistoryError
        If shape or labels do not match, a label repeats, or a cell is not a finite number.
    UnknownSkillError
        If a mapping names a skill that the scores lack.
    """
    if given is None:
        return None
    shape = (len(agents), len(skills))
    if isinstance(given, pd.DataFrame):
        frame = _aligned(given, argument, agents, skills)
    elif isinstance(given, Mapping | pd.Series):
        labels = pd.Index(list(given.keys()), dtype=object)
        names = read_labels(labels, "skill", argument=argument)
        check_skill_names(argument, names, skills)
        row = dict(zip(names, (value for _, value in given.items()), strict=True))
        frame = pd.DataFrame([[row.get(name) for name in skills]] * len(agents), dtype=object)
    elif (array := _array_of(given)).ndim in (0, 2):
        if array.ndim == 2 and array.shape != shape:
            raise HistoryError(
                f"`{argument}` must have the shape of the scores {shape}, got {array.shape}"
            )
        frame = pd.DataFrame(np.broadcast_to(array, shape))
    else:
        raise HistoryError(
            f"`{argument}` must be a number, a mapping by skill or a table like the scores, "
            f"got {type(given).__name__}"
        )
    return read_numbers(frame, argument, agents, skills)


def read_mask(given: Any, agents: tuple[str, ...], skills: tuple[str, ...]) -> BoolArray:
    """Which cells to hide, brought into the order of the scores.

    Parameters
    ----------
    given : DataFrame, or bool array of shape (N, K)
        A DataFrame may hold other agents and skills besides.
    agents, skills : tuple of str

    Returns
    -------
    bool array of shape (N, K)

    Raises
    ------
    HistoryError
        If shape or type do not match, or a label repeats.
    """
    if isinstance(given, pd.DataFrame):
        rows = read_labels(given.index, "agent", argument="mask")
        columns = read_labels(given.columns, "skill", argument="mask")
        for kind, wanted, found in (("agents", agents, rows), ("skills", skills, columns)):
            there = set(found)
            lacking = [name for name in wanted if name not in there]
            if lacking:
                raise HistoryError(
                    f"`mask` must have all {kind} of the history, got none for {lacking[:5]}; "
                    "give an array to go by position"
                )
        named = given.set_axis(list(rows), axis=0).set_axis(list(columns), axis=1)
        given = named.reindex(index=list(agents), columns=list(skills))
        # a nullable column becomes a plain one, unless something is missing
        if all(map(pd.api.types.is_bool_dtype, given.dtypes)) and given.notna().all(axis=None):
            given = given.astype(bool)
    mask, shape = np.asarray(given), (len(agents), len(skills))
    if mask.shape != shape or mask.dtype != np.bool_:
        raise HistoryError(
            f"`mask` must be a bool array of shape {shape}, got {mask.dtype} of shape {mask.shape}"
        )
    return mask


def _array_of(given: Any) -> NDArray[Any]:
    """Whatever numpy makes of it; without a shape where rows differ in length."""
    try:
        return np.asarray(given)
    except ValueError:
        return np.empty(0)


def _aligned(
    frame: pd.DataFrame, argument: str, agents: tuple[str, ...], skills: tuple[str, ...]
) -> pd.DataFrame:
    labelled = frame.copy()
    labelled.index = pd.Index([str(name) for name in frame.index], dtype=object)
    labelled.columns = pd.Index([str(name) for name in frame.columns], dtype=object)
    for kind, wanted, found in (
        ("agents", agents, labelled.index),
        ("skills", skills, labelled.columns),
    ):
        known = set(wanted)
        lacking = [name for name in wanted if name not in found]
        extra = [name for name in found if name not in known]
        if lacking or extra or len(found) != len(wanted):
            raise HistoryError(
                f"`{argument}` must have the same {kind} as the scores; missing "
                f"{lacking[:5]}, unexpected {extra[:5]}, {len(found)} instead of {len(wanted)}"
            )
    return labelled.loc[list(agents), list(skills)]


def check_skill_names(argument: str, names: Any, skills: Sequence[str]) -> None:
    """UnknownSkillError with the closest match for a name that is no skill."""
    for name in names:
        if str(name) not in skills:
            hint = closest_match_hint(name, skills)
            raise UnknownSkillError(f"unknown skill {name!r} in `{argument}`; {hint}")


def read_flag(name: str, given: object) -> bool:
    """Plain bool; ConfigError for anything else, such as the text "false"."""
    if not isinstance(given, bool | np.bool_):
        raise ConfigError(f"`{name}` must be True or False, got {given!r}")
    return bool(given)


def agent_positions(wanted: Sequence[str], agents: Sequence[str]) -> list[int]:
    """Where the wanted agents sit; an error for what is no list of agents, each named once."""
    given: object = wanted  # callers may hold anything
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise HistoryError(f"`agents` must be a list of names, got {given!r}; such as {agents[:2]}")
    names = read_labels(pd.Index(list(given), dtype=object), "agent", argument="agents")
    lookup = {name: i for i, name in enumerate(agents)}
    for name in names:
        if name not in lookup:
            hint = closest_match_hint(name, agents)
            raise UnknownAgentError(f"unknown agent {name!r}; {hint}")
    return [lookup[name] for name in names]
