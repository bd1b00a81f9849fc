"""Metadata of agents, read from the files that the command line is given."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillinfer_bayes.cli_io import read_json_rows, read_text
from skillinfer_bayes.exceptions import MetadataError
from skillinfer_bayes.routing.metadata_values import is_finite
from skillinfer_bayes.routing.prompt_metadata import KNOWN_METADATA

TRUTH = {"true": True, "false": False}


def read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    """Read what is known about each agent besides its scores.

    Parameters
    ----------
    path : Path
        CSV with the agents in the first column, where an empty cell means unknown, or JSON of the
        form ``{"agent": {"key": value}}``.

    Returns
    -------
    dict
        From agents to their entries. In CSV, true and false become truth values, and texts become
        numbers where those would be written just like them; if a column has other texts of digits,
        such as 3.10, 007 or 2024_06, all its cells stay texts, which limits still read
        as numbers. What is known to be a number, as costs are, becomes one in any case.

    Raises
    ------
    MetadataError
        If the file cannot be read, or an agent or a column comes twice.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return read_json_rows(path, MetadataError)
    if suffix == ".csv":
        return _read_csv_rows(path)
    raise MetadataError(f"`--metadata` must end in .csv or .json, got {str(path)!r}")


def _read_csv_rows(path: Path) -> dict[str, dict[str, Any]]:
    text = io.StringIO(read_text(path, MetadataError), newline="")
    try:
        # spreadsheets leave lines of nothing but separators behind
        lines = [line for line in csv.reader(text) if any(map(str.strip, line))]
    except csv.Error as error:
        raise MetadataError(
            f"{str(path)!r} cannot be read as CSV: {error}; look for a quote that is not closed"
        ) from error
    if len(lines) < 2 or len(lines[0]) < 2:
        raise MetadataError(
            f"{str(path)!r} must have a header line, an agent column and at least one more column"
        )
    header = [name.strip() for name in lines[0]]
    agents: dict[str, dict[str, str]] = {}
    for line in lines[1:]:
        if len(line) != len(header) or line[0] in agents or len(set(header)) < len(header):
            raise MetadataError(
                f"{str(path)!r} must have {len(header)} different columns and one line per agent; "
                f"look at the line of {line[0]!r}"
            )
        cells = zip(header[1:], line[1:], strict=True)
        agents[line[0]] = {key: cell.strip() for key, cell in cells if cell.strip()}
    texts = {key for key in header if key not in KNOWN_METADATA and _is_of_texts(key, agents)}
    return {
        agent: {key: _value(key, cell, is_text=key in texts) for key, cell in cells.items()}
        for agent, cells in agents.items()
    }


def _is_of_texts(key: str, agents: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a column has texts of digits, such as versions, that numbers would not keep."""
    for cells in agents.values():
        cell = cells.get(key, "")
        number = _number(cell) if any(map(str.isdigit, cell)) else None
        if number is not None and str(number) != cell:
            return True
    return False


def _value(key: str, cell: str, *, is_text: bool) -> int | float | str | bool:
    number = None if is_text or "_" in cell else _number(cell)
    if number is not None and (key in KNOWN_METADATA or is_finite(number)):
        return number
    return TRUTH.get(cell.lower(), cell)


def _number(cell: str) -> int | float | None:
    for convert in (int, float):
        with contextlib.suppress(ValueError):
            return convert(cell)
    return None
