"""What a history holds besides scores: agents' groups and covariates, skills' descriptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skillinfer_bayes.exceptions import (
    HistoryError,
    InputError,
    UnknownAgentError,
    closest_match_hint,
)
from skillinfer_bayes.history.cells import (
    check_skill_names,
    check_storable,
    read_labels,
    read_numbers,
)
from skillinfer_bayes.history.links import BoolArray, FloatArray

#: Squares of larger numbers are too large for a float.
LARGEST_COVARIATE = 1e150


def read_groups(
    given: Any, agents: tuple[str, ...], *, argument: str = "groups"
) -> tuple[str, ...] | None:
    """One group name per agent, from a mapping or Series by agent or a sequence in order.

    Raises
    ------
    HistoryError
        If an agent has no group, or what is given cannot be used.
    UnknownAgentError
        If agents are left out and others named instead.
    """
    if given is None:
        return None
    groups = find_groups(given, agents, argument=argument)
    lacking = [name for name, group in zip(agents, groups, strict=True) if group is None]
    if lacking:
        raise HistoryError(
            f"`{argument}` must name a group for every agent, got none for {lacking[:5]}; give an "
            "agent without relatives a group of its own"
        )
    return tuple(group for group in groups if group is not None)


def find_groups(
    given: Any,
    agents: tuple[str, ...],
    *,
    argument: str = "groups",
    error: type[InputError] = HistoryError,
) -> list[str | None]:
    """One group name per agent, None where there is none.

    Parameters
    ----------
    given : mapping or Series by agent, or sequence in order
        A mapping may name others besides, as long as it leaves no agent out.
    agents : tuple of str
    argument : str, default "groups"
        What the caller's argument is called.
    error : type of InputError, default HistoryError

    Raises
    ------
    InputError
        Of type `error`, if it is none of these, names an agent twice, has another length than
        the agents, or holds something that is no name.
    UnknownAgentError
        If agents are left out and others named instead.
    """
    if isinstance(given, Mapping | pd.Series):
        found = _by_agent(given, agents, argument, error)
    elif isinstance(given, str | set | frozenset | pd.DataFrame) or not _has_items(given):
        shown = repr(given) if isinstance(given, str | int | float) else type(given).__name__
        raise error(
            f"`{argument}` must be a mapping or Series by agent, or a sequence in order, got "
            f"{shown}; give a column of a table as the column itself: table['family']"
        )
    else:
        found = list(given)
    if len(found) != len(agents):
        raise error(f"`{argument}` must hold one group per agent ({len(agents)}), got {len(found)}")
    names = [_group_name(group, argument, error) for group in found]
    check_storable([name for name in names if name is not None], "group", argument, error)
    return names


def _has_items(given: Any) -> bool:
    return isinstance(given, Iterable) and getattr(given, "ndim", 1) > 0


def _by_agent(
    given: Mapping[Any, Any] | pd.Series,
    agents: Sequence[str],
    argument: str,
    error: type[InputError],
) -> list[Any]:
    names = [str(name) for name, _ in given.items()]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise error(
            f"`{argument}` must name each agent once, got {repeated[0]!r} "
            f"{names.count(repeated[0])} times; leave out the repeats"
        )
    by_name = {str(name): group for name, group in given.items()}
    lacking = [name for name in agents if name not in by_name]
    known = set(agents)
    stray = next((name for name in names if name not in known), None)
    if lacking and stray is not None:
        raise UnknownAgentError(
            f"unknown agent {stray!r} in `{argument}`, which has nothing for {lacking[:5]}; "
            f"{closest_match_hint(stray, lacking)}"
        )
    return [by_name.get(name) for name in agents]


def _group_name(group: object, argument: str, error: type[InputError]) -> str | None:
    if not pd.api.types.is_scalar(group):
        raise error(f"`{argument}` must hold names, got {group!r}; give one name per agent")
    if pd.isna(group):
        return None
    # a whole number is the same group in a column with gaps, which makes it a float
    if isinstance(group, float | np.floating) and float(group).is_integer():
        return str(int(group))
    return str(group)


def read_covariates(
    given: pd.DataFrame | None,
    agents: tuple[str, ...],
    error: type[InputError] = HistoryError,
) -> tuple[FloatArray | None, tuple[str, ...]]:
    """Numeric covariates (N, P) in the agents' order, and their names.

    Raises
    ------
    HistoryError, or what `error` says
        If an agent is absent or has an empty or non-numeric cell.
    """
    if given is None:
        return None, ()
    if not isinstance(given, pd.DataFrame):
        kind = type(given).__name__
        raise error(f"`covariates` must be a DataFrame indexed by agent, got {kind}")
    names = read_labels(given.columns, "covariate", argument="covariates", error=error)
    frame = given.copy()
    rows = read_labels(given.index, "agent", argument="covariates", error=error)
    frame.index = pd.Index(rows, dtype=object)
    frame.columns = pd.Index(names, dtype=object)
    lacking = [name for name in agents if name not in frame.index]
    if lacking:
        raise error(
            f"`covariates` must have a row for every agent, got none for {lacking[:5]}; impute "
            "one, for example with covariates.median()"
        )
    frame = frame.loc[list(agents)]
    for name in names:  # yes/no covariates are welcome as 1 and 0
        if pd.api.types.is_bool_dtype(frame[name].dtype):
            frame[name] = frame[name].astype("float64")
        elif frame[name].dtype == object:
            frame[name] = frame[name].map(lambda cell: int(cell) if _is_flag(cell) else cell)
    values = read_numbers(frame, "covariates", agents, names, error=error)
    fill = "fill it first, for example with covariates.fillna(covariates.median())"
    for bad, rule, fix in (
        (np.isnan(values), "complete, got an empty cell", fill),
        (
            np.abs(values) > LARGEST_COVARIATE,
            f"at most {LARGEST_COVARIATE:g} in size, got {{:g}}",
            "give it in a larger unit",
        ),
    ):
        cells = np.argwhere(bad)
        if len(cells):
            row, column = (int(i) for i in cells[0])
            raise error(
                f"`covariates` must be {rule.format(values[row, column])} for agent "
                f"{agents[row]!r}, covariate {names[column]!r}; {fix}"
            )
    return values, names


def _is_flag(cell: object) -> bool:
    return isinstance(cell, bool | np.bool_)


def constant_columns(covariates: FloatArray) -> BoolArray:
    """Which covariates (N, P) are the same for all agents, up to rounding: (P,)."""
    spread = covariates.std(axis=0, ddof=1)
    return np.asarray(spread <= 1e-12 * np.abs(covariates).max(axis=0, initial=0.0))


def split_columns(
    scores: pd.DataFrame, groups: Any, covariates: Any
) -> tuple[pd.DataFrame, Any, Any]:
    """Move columns named as groups or covariates out of the scores.

    Raises
    ------
    HistoryError
        If a name stands for several columns, or covariates are neither names nor a table.
    UnknownSkillError
        If a name is no column.
    """
    taken: list[int] = []
    if isinstance(groups, str):
        taken = _columns_called([groups], scores, "groups")
        groups = scores.iloc[:, taken[0]].tolist()
    if covariates is not None and not isinstance(covariates, pd.DataFrame):
        names = [covariates] if isinstance(covariates, str) else covariates
        if not _has_items(names):
            raise HistoryError(
                "`covariates` must be names of columns or a DataFrame indexed by agent, got "
                f"{covariates!r}; name the columns in a list"
            )
        places = _columns_called(list(names), scores, "covariates")
        taken, covariates = taken + places, scores.iloc[:, places]
    kept = [place for place in range(scores.shape[1]) if place not in set(taken)]
    return scores.iloc[:, kept], groups, covariates


def _columns_called(wanted: Sequence[Any], scores: pd.DataFrame, argument: str) -> list[int]:
    names = [str(name) for name in scores.columns]
    check_skill_names(argument, wanted, names)
    for name in map(str, wanted):
        if names.count(name) > 1:
            raise HistoryError(
                f"`{argument}` must name one column of the scores, got {name!r}, which "
                f"{names.count(name)} columns are called; rename or drop the repeats"
            )
    return [names.index(str(name)) for name in wanted]


def read_descriptions(
    given: Any, skills: Sequence[str], before: Sequence[str] = ()
) -> tuple[str, ...]:
    """Text of each skill, empty where none is given.

    Parameters
    ----------
    given : mapping or Series from skill to text, or None
        A missing text is not given.
    skills : sequence of str
    before : sequence of str, optional
        Texts of the skills for which none is given.

    Raises
    ------
    HistoryError
        If they are no mapping.
    UnknownSkillError
        If a name is no skill.
    """
    kept = dict(zip(skills, before, strict=True)) if before else {}
    if given is not None and not isinstance(given, Mapping | pd.Series):
        raise HistoryError(
            f"`descriptions` must map skills to texts, got {given!r}; "
            "write for example {'math': 'Solves equations'}"
        )
    items = [] if given is None else list(given.items())
    check_skill_names("descriptions", [name for name, _ in items], skills)
    kept |= {str(name): str(text) for name, text in items if not _is_missing(text)}
    return tuple(kept.get(name, "") for name in skills)


def _is_missing(value: object) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))
