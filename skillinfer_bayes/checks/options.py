"""Options of the checks, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skillinfer_bayes.exceptions import ConfigError, InputError, closest_match_hint
from skillinfer_bayes.history.table import History


def as_history(given: History | pd.DataFrame) -> History:
    """Give a history as it is, or make one of a table of scores."""
    return given if isinstance(given, History) else History.from_dataframe(given)


def check_count(name: str, low: int, value: object) -> int:
    """Give a whole number of at least `low` back, or raise ConfigError."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise ConfigError(f"`{name}` must be a whole number of at least {low}, got {value!r}")
    return int(value)


def check_share(name: str, value: object, *, zero: bool = False) -> float:
    """Give a share between 0 and 1 back, or raise ConfigError; 0 itself where `zero`."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    share = float(value) if number else -1.0  # type: ignore[arg-type]
    if not (0.0 < share < 1.0 or (zero and share == 0.0)):
        raise ConfigError(f"`{name}` must be a share between 0 and 1, got {value!r}")
    return share


def as_list(name: str, given: object) -> list[Any]:
    """Give one value or several as a list; ConfigError if there is none."""
    if isinstance(given, str) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        return [given]
    found = list(given)
    if not found:
        raise ConfigError(f"`{name}` must hold at least one value, got {given!r}; or leave it out")
    return found


def check_by(by: object, columns: Iterable[str]) -> list[str]:
    """Give the columns to keep apart as a list; ConfigError unless they are columns, each once."""
    names, known = as_list("by", by), list(columns)
    for name in names:
        if name not in known:
            raise ConfigError(f"`by` must name columns; {closest_match_hint(name, known)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"`by` must name each column once, got {names!r}; leave out the repeats")
    return names


def check_columns(table: object, columns: Sequence[str], argument: str) -> pd.DataFrame:
    """Give a table back if it has rows and all the columns.

    Raises
    ------
    InputError
        Otherwise.
    """
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"`{argument}` must be a DataFrame, got {type(table).__name__}")
    for name in columns:
        if name not in table.columns:
            raise InputError(
                f"`{argument}` must have a column {name!r}; "
                f"{closest_match_hint(name, map(str, table.columns))}"
            )
    if table.empty:
        raise InputError(f"`{argument}` must have at least one row, got none")
    return table
