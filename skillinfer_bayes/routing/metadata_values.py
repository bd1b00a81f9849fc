"""Facts about agents as callers hold them: by agent, and from pandas and numpy as well."""

from __future__ import annotations

import math
import numbers
import re
import sys
from collections.abc import Mapping
from decimal import Decimal

from skillinfer_bayes.exceptions import MetadataError

DECIMAL = re.compile(r"[+-]?([0-9]{1,300}(\.[0-9]*)?|\.[0-9]{1,300})([eE][+-]?[0-9]{1,3})?")


def check_by_agent(metadata: object) -> None:
    """Check that metadata are a mapping, or absent.

    Raises
    ------
    MetadataError
        If they are anything else, a table included.
    """
    if metadata is None or isinstance(metadata, Mapping):
        return
    found, hint = repr(metadata), "write for example {'agent-a': {'cost_per_1k': 0.005}}"
    if hasattr(metadata, "columns"):
        found = f"a {type(metadata).__name__}"
        hint = "with a row per agent, `to_dict(orient='index')` makes one of it"
    raise MetadataError(f"`metadata` must map agents to mappings, got {found}; {hint}")


def plain_value(value: object) -> object:
    """Give a number, a truth value or a text of numpy, `decimal` or `enum` as Python's own.

    Parameters
    ----------
    value : object

    Returns
    -------
    object
        None for what pandas calls missing; anything else as it is.
    """
    if isinstance(value, Decimal):
        return math.nan if value.is_nan() else float(value)
    if isinstance(value, str):
        return str.__str__(value)  # which an enumeration's own would replace by a name
    # values of these classes can only come from a module that is loaded already
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(value, numpy.bool_):
        return bool(value)
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return None
    return value


def read_decimal(text: str) -> float | str:
    """Take a text that is a decimal, such as 2.50 or 1E-06, for its number; leave others as texts.

    Files keep what a number would not, such as that a version is 3.10.
    """
    number = float(text) if DECIMAL.fullmatch(text.strip()) else math.inf
    return number if math.isfinite(number) else text


def is_missing(value: object) -> bool:
    """Tell whether a plain value says that something is not known: None or NaN."""
    # an integer may be too large for math.isnan
    return value is None or (isinstance(value, numbers.Real) and bool(value != value))


def is_number(value: object) -> bool:
    """Tell whether a plain value is a real number, NaN included and bools left out."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Tell whether a plain value is a number that a float can hold."""
    try:
        return is_number(value) and math.isfinite(value)  # type: ignore[arg-type]
    except OverflowError:
        return False
