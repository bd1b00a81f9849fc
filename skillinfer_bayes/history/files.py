"""Reading tables of agents by columns from files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from skillinfer_bayes.exceptions import (
    PACKAGE_FOLDER,
    HistoryError,
    HistoryWarning,
    MissingDependencyError,
)
from skillinfer_bayes.history.cells import read_labels

EMPTY_CELLS = ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "-"]
# Not a name that a skill could have by accident.
AGENT_COLUMN = "\0agent"


def read_table(path: str | Path, *, text: str | None = None) -> pd.DataFrame:
    """Read a table of agents by columns from CSV, TSV or Parquet.

    The first column of a text file holds the agents' names, taken as text whatever they look
    like. A Parquet file keeps its index; one without takes its first column.

    Parameters
    ----------
    path : str or Path
        A file ending in .csv, .tsv, .parquet or .pq.
    text : str, optional
        A column of names, taken as text too: version 3.10 is not 3.1.

    Returns
    -------
    DataFrame
        Indexed by agent.

    Warns
    -----
    HistoryWarning
        If the agents' names look like scores.

    Raises
    ------
    HistoryError
        If the file does not exist, has another ending or cannot be read.
    MissingDependencyError
        If Parquet support is not installed.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet", ".pq"):
        raise HistoryError(f"`path` must end in .csv, .tsv or .parquet, got {str(file)!r}")
    if not file.is_file():
        raise HistoryError(f"`path` must be an existing file, got {str(file)!r}")
    try:
        if suffix in (".parquet", ".pq"):
            return _read_parquet(file)
        return _read_text(file, "\t" if suffix == ".tsv" else ",", text)
    except ImportError as error:
        raise MissingDependencyError(
            "reading Parquet needs pyarrow; install it with: pip install pyarrow"
        ) from error
    except HistoryError:
        raise
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        raise HistoryError(f"`path` {str(file)!r} cannot be read as a table: {error}") from error


def _read_text(file: Path, separator: str, text: str | None) -> pd.DataFrame:
    # pandas renames repeated columns, so the header is read as data first; a skill may be 'NA'
    texts: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_values": [""]}
    header = pd.read_csv(file, sep=separator, header=None, nrows=1, **texts).iloc[0].str.strip()
    if len(header) < 2:
        raise HistoryError(
            f"`path` {str(file)!r} must have an agent column and skills separated by "
            f"{separator!r}, got the single column {header.iloc[0]!r}"
        )
    skills = read_labels(pd.Index(header.iloc[1:]), "skill")
    with warnings.catch_warnings():
        # rows longer than the header lose cells, of which pandas only warns
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            file,
            sep=separator,
            header=0,
            names=[AGENT_COLUMN, *skills],
            index_col=False,
            dtype=dict.fromkeys([AGENT_COLUMN, *(name for name in skills if name == text)], str),
            keep_default_na=False,
            # an agent may be called 'NA'; an empty name is none
            na_values={AGENT_COLUMN: [""], **dict.fromkeys(skills, EMPTY_CELLS)},
        )
    for name in skills:
        if name != text and not pd.api.types.is_numeric_dtype(frame[name].dtype):
            # one text makes texts of a whole column; an error should show that one
            number = pd.to_numeric(frame[name], errors="coerce")
            frame[name] = frame[name].astype(object).where(number.isna(), number)
    # spreadsheets leave lines of nothing but separators behind
    frame = frame.dropna(how="all")
    return _indexed(frame, header.iloc[0]).rename_axis(index=header.iloc[0])


def _read_parquet(file: Path) -> pd.DataFrame:
    frame = pd.read_parquet(file)
    unnamed = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    return _indexed(frame, frame.columns[0]) if unnamed and frame.shape[1] else frame


def _indexed(frame: pd.DataFrame, name: object) -> pd.DataFrame:
    """Take the first column, of that name, for the agents'; say so where it looks like scores."""
    agents = frame.iloc[:, 0]
    values = pd.to_numeric(agents, errors="coerce")
    if len(agents) and values.is_unique and (values.notna() & (values % 1 != 0)).all():
        warnings.warn(
            f"`path` should have the agents' names in its first column, got {name!r} with nothing "
            f"but numbers such as {agents.iloc[0]}, which were taken for names; if {name!r} is a "
            "skill, put a column of names in front",
            HistoryWarning,
            skip_file_prefixes=(PACKAGE_FOLDER,),
        )
    return frame.set_index(frame.columns[0])
