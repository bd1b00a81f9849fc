"""The report of `Population.diagnose`: a line per check, and the tables behind them."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

type Verdict = Literal["ok", "look", "fail", "skipped"]

WIDTH = 100
MARKS: dict[str, str] = {"ok": "ok", "look": "LOOK", "fail": "FAIL", "skipped": "-"}


@dataclass(frozen=True)
class Line:
    """One check.

    Parameters
    ----------
    check : str
        What was checked.
    verdict : {"ok", "look", "fail", "skipped"}
        `"fail"`: do not use the fit as it is. `"look"`: something that a careful user looks at.
        `"skipped"`: the check is not available here, and `value` says why.
    value : str
        What was found.
    advice : str
        What to do; empty where there is nothing to do.
    """

    check: str
    verdict: Verdict
    value: str
    advice: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis:
    """Everything that was checked of a fit.

    Prints as a short table, and shows as one in a notebook.

    Parameters
    ----------
    lines : tuple of Line
    tables : mapping of str to DataFrame
        Details: `convergence`, `prior_predictive`, `posterior_predictive`, `agents`, `scores`,
        `calibration`, `duplicates` and `sensitivity`, as far as they are available.
    """

    lines: tuple[Line, ...]
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no check found anything."""
        return all(line.verdict in ("ok", "skipped") for line in self.lines)

    @property
    def problems(self) -> tuple[Line, ...]:
        """Lines with something to do, the failed ones first."""
        found = [line for line in self.lines if line.verdict in ("fail", "look")]
        return tuple(sorted(found, key=lambda line: line.verdict != "fail"))

    def __getitem__(self, check: str) -> Line:
        """Give the line of a check by its name."""
        for line in self.lines:
            if line.check == check:
                return line
        raise KeyError(check)

    def to_dataframe(self) -> pd.DataFrame:
        """One row per check: `verdict`, `value` and `advice`, indexed by `check`."""
        return pd.DataFrame([asdict(line) for line in self.lines]).set_index("check")

    def to_dict(self) -> dict[str, Any]:
        """Lines and tables as plain data that JSON can hold; what is not a number is None."""
        return {
            "ok": self.ok,
            "lines": [asdict(line) for line in self.lines],
            "tables": {name: _records(table) for name, table in self.tables.items()},
        }

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        checks = max((len(line.check) for line in self.lines), default=0)
        marks = max(map(len, MARKS.values()))
        indent = " " * (checks + marks + 4)
        text = []
        for line in self.lines:
            head = f"{line.check:<{checks}}  {MARKS[line.verdict]:<{marks}}  "
            text += textwrap.wrap(line.value, WIDTH, initial_indent=head, subsequent_indent=indent)
            if line.advice:
                arrow = f"{indent}-> "
                text += textwrap.wrap(
                    line.advice, WIDTH, initial_indent=arrow, subsequent_indent=f"{indent}   "
                )
        return "\n".join([self._verdict, "", *text])

    def _repr_html_(self) -> str:
        """Table for notebooks; all text is escaped."""
        cells = [(line.check, MARKS[line.verdict], line.value, line.advice) for line in self.lines]
        head = "".join(f"<th>{name}</th>" for name in ("check", "verdict", "value", "what to do"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in cells
        )
        title = html.escape(self._verdict)
        return f"<p><b>{title}</b></p><table><tr>{head}</tr>{body}</table>"

    @property
    def _verdict(self) -> str:
        counts = {
            verdict: sum(line.verdict == verdict for line in self.lines)
            for verdict in ("fail", "look")
        }
        if self.ok:
            return "diagnosis: nothing found"
        parts = [
            f"{counts['fail']} failed" if counts["fail"] else "",
            f"{counts['look']} to look at" if counts["look"] else "",
        ]
        return "diagnosis: " + ", ".join(filter(None, parts))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain data, a named index included."""
    flat = table.reset_index() if table.index.name is not None else table
    return [
        {str(name): _plain(value) for name, value in row.items()}
        for row in flat.to_dict(orient="records")
    ]


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and not math.isfinite(plain):
        return None
    return plain
