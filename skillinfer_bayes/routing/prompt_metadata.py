"""What is known of agents besides their skills, checked and put into words for the prompt."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from decimal import Decimal

from skillinfer_bayes.exceptions import MetadataError, closest_match_hint
from skillinfer_bayes.routing.labels import (
    holds_score,
    line_start,
    one_line,
    quoted,
    reads_like_own,
)
from skillinfer_bayes.routing.metadata_values import (
    check_by_agent,
    is_missing,
    is_number,
    plain_value,
)

# Shown first, in this order: key -> (label, text before the number, text after it).
KNOWN_METADATA = {
    "cost_per_1k": ("Cost", "$", "/1k tokens"),
    "avg_latency_ms": ("Latency", "", "ms"),
    "rate_limit_rpm": ("Rate limit", "", " req/min"),
}
# How a table's headings put the same.
HEADINGS = {
    key: f"{label} ({before}{after.strip()})"
    for key, (label, before, after) in KNOWN_METADATA.items()
}
# Of these, none at all is a value: there is no limit.
CAN_BE_UNLIMITED = frozenset({"rate_limit_rpm"})
LARGEST_EXACT_FLOAT = 2**53
ABSENT = "-"
# A threshold or a scale's end is shown with all of the digits that it was given with.
GIVEN_DIGITS = 12


def check_metadata(
    metadata: Mapping[str, Mapping[str, object]] | None, agents: Iterable[str]
) -> dict[str, Mapping[str, object]]:
    """Check that metadata and profiles name the same agents.

    Parameters
    ----------
    metadata : mapping of str to mapping, optional
    agents : iterable of str
        The agents that have a profile.

    Returns
    -------
    dict of str to mapping
        Empty without metadata.

    Raises
    ------
    MetadataError
        If an agent is missing, unknown, has no mapping, a value cannot be put into words, or a
        cost, latency or rate limit is negative, or a cost or latency infinite.
    """
    if metadata is None:
        return {}
    names = list(agents)
    check_by_agent(metadata)
    for name in metadata:
        if name not in names:
            raise MetadataError(
                f"`metadata` must name only agents that have a profile, got {name!r}; "
                f"{closest_match_hint(name, names)}"
            )
    for name in names:
        if name not in metadata:
            raise MetadataError(
                f"`metadata` must cover every agent that has a profile, got nothing for "
                f"{name!r}; add it (an empty mapping will do), or pass no metadata at all"
            )
        if not isinstance(metadata[name], Mapping):
            raise MetadataError(
                f"`metadata` must map each agent to a mapping, got {metadata[name]!r} for "
                f"{name!r}; write for example {{'cost_per_1k': 0.005}}"
            )
        for key, value in metadata[name].items():
            _check_showable(name, key, value)
        for key in KNOWN_METADATA:
            _check_size(name, key, plain_value(metadata[name].get(key)))
    return {name: metadata[name] for name in names}


def metadata_lines(facts: Mapping[str, object], skills: Iterable[str]) -> list[str]:
    """Put one agent's metadata into lines: what is known by name on one, then one per key.

    Parameters
    ----------
    facts : mapping of str to object
    skills : iterable of str
        The skills that are shown; a key that reads like one of them is quoted.

    Returns
    -------
    list of str
    """
    known = [
        f"{label}: {_entry(facts[key], before, after)}"
        for key, (label, before, after) in KNOWN_METADATA.items()
        if key in facts
    ]
    lines = [", ".join(known)] if known else []
    shown = list(skills)
    return lines + [
        one_line(f"{_readable_key(key, shown)}: {_own_value(key, value)}")
        for key, value in facts.items()
        if key not in KNOWN_METADATA
    ]


def metadata_columns(
    table: Iterable[Mapping[str, object]], skills: Iterable[str]
) -> dict[object, str]:
    """Find the columns that a table of several agents' metadata needs.

    Parameters
    ----------
    table : iterable of mapping
        One mapping per agent.
    skills : iterable of str
        The skills that have columns.

    Returns
    -------
    dict of key to str
        Heading by key, with the unit; the keys known by name come first.
    """
    keys: dict[object, None] = {}
    for facts in table:
        keys.update(dict.fromkeys(facts))
    shown = list(skills)
    known: dict[object, str] = {key: text for key, text in HEADINGS.items() if key in keys}
    return known | {key: _readable_key(key, shown) for key in keys if key not in HEADINGS}


def metadata_cell(facts: Mapping[str, object], key: object) -> str:
    """Put one entry into a table's cell, without its unit.

    Parameters
    ----------
    facts : mapping of str to object
    key : object

    Returns
    -------
    str
        ``-`` where the agent has no such entry.
    """
    if key not in facts:
        return ABSENT
    value = facts[key]  # type: ignore[index]
    text = _with_unit(value, "", "") if key in KNOWN_METADATA else _own_value(key, value)
    return text or ABSENT


def _check_showable(name: str, key: object, value: object) -> None:
    """Find out now whether a value has a text: it may be of any class."""
    try:
        _with_unit(value, "", ""), _readable_key(key)
    except Exception as error:
        raise MetadataError(
            f"`metadata` must hold values that can be put into words, got one of type "
            f"{type(value).__name__} for agent {name!r} that fails with {type(error).__name__}; "
            "convert it to a number or a text"
        ) from error


def _check_size(name: str, key: str, value: object) -> None:
    if not is_number(value) or is_missing(value):
        return
    finite = value < math.inf or key in CAN_BE_UNLIMITED  # type: ignore[operator]
    if not finite or value < 0:  # type: ignore[operator]
        raise MetadataError(
            f"`metadata` must not be {'negative' if finite else 'infinite'}, got {value!r} for "
            f"{key!r} of agent {name!r}; correct the number, or use None if it is not known"
        )


def _with_unit(value: object, before: str, after: str) -> str:
    value = plain_value(value)
    if is_missing(value) or not is_number(value):
        return _value_text(value)
    return "unlimited" if value == math.inf else f"{before}{_value_text(value)}{after}"


def _entry(value: object, before: str, after: str) -> str:
    """Put a value on a line that it shares with others, whose labels a text could repeat."""
    text = _with_unit(value, before, after)
    return quoted(text) if _is_text(value) else text


def _own_value(key: object, value: object) -> str:
    """Put a value behind its key, in quotes where both could pass for a line of the prompt."""
    text = _value_text(value)
    # a key that is quoted itself is clear enough
    unclear = reads_like_own(f"{key}:") and not is_taken(str(key))
    unclear = unclear or holds_score(text)
    return quoted(text) if unclear and _is_text(value) else text


def _is_text(value: object) -> bool:
    value = plain_value(value)
    return not isinstance(value, bool | numbers.Real) and not is_missing(value)


def _readable_key(key: object, skills: Iterable[str] = ()) -> str:
    if is_taken(str(key), skills):
        return quoted(str(key))
    text = line_start(str(key).replace("_", " "))
    return text[:1].upper() + text[1:]


def _value_text(value: object) -> str:
    value = plain_value(value)
    if is_missing(value):
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return number_text(float(value))
    return one_line(str(value).strip())


def is_taken(name: str, skills: Iterable[str] = ()) -> bool:
    """Tell whether the name of a skill or a key could pass for what the prompt says itself."""
    return reads_like_own(name, (*HEADINGS.values(), *skills))


def number_text(number: float, digits: int = 6) -> str:
    """Write a number as a reader needs it.

    Parameters
    ----------
    number : float
    digits : int, default 6
        How many to show of a number that is not whole.

    Returns
    -------
    str
        Never ``3e-05``: a model may misread an exponent.
    """
    if number.is_integer() and abs(number) < LARGEST_EXACT_FLOAT:
        return str(int(number))
    return format(Decimal(f"{number:.{digits}g}"), "f")
