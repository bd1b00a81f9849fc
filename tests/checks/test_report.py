"""The report as text, as HTML, as a table and as plain data."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes.checks.report import Diagnosis, Line

LINES = (
    Line("R-hat", "ok", "1.001 at worst"),
    Line("outlier agents", "look", "1 of 9 agents: <b>odd</b>", "check the row"),
    Line("divergences", "fail", "3", "raise `target_accept`"),
    Line("tree depth", "skipped", "not available from this sampler"),
)


@pytest.fixture
def report() -> Diagnosis:
    table = pd.DataFrame({"p": [0.5, np.nan], "n": np.array([1, 2])}, index=["a", "b"])
    return Diagnosis(LINES, {"agents": table.rename_axis("agent")})


def test_text_has_a_verdict_and_what_to_do(report: Diagnosis) -> None:
    text = str(report).splitlines()
    assert text[0] == "diagnosis: 1 failed, 1 to look at"
    assert "R-hat           ok    1.001 at worst" in text
    assert "divergences     FAIL  3" in text
    assert text[text.index("divergences     FAIL  3") + 1].strip() == "-> raise `target_accept`"
    assert all(len(line) <= 100 for line in text)
    assert repr(report) == str(report)


def test_nothing_found_says_so() -> None:
    report = Diagnosis((LINES[0], LINES[3]))
    assert report.ok
    assert str(report).startswith("diagnosis: nothing found")
    assert report.problems == ()


def test_problems_come_failed_first(report: Diagnosis) -> None:
    assert not report.ok
    assert [line.check for line in report.problems] == ["divergences", "outlier agents"]


def test_html_is_escaped(report: Diagnosis) -> None:
    shown = report._repr_html_()
    assert "<b>odd</b>" not in shown
    assert "&lt;b&gt;odd&lt;/b&gt;" in shown
    assert shown.count("<tr>") == 5


def test_plain_data_survives_json(report: Diagnosis) -> None:
    given = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert given["ok"] is False
    assert given["lines"][2] == dataclasses.asdict(LINES[2])
    assert given["tables"]["agents"] == [
        {"agent": "a", "p": 0.5, "n": 1},
        {"agent": "b", "p": None, "n": 2},
    ]


def test_lines_by_name_and_as_a_table(report: Diagnosis) -> None:
    assert report["divergences"] == LINES[2]
    with pytest.raises(KeyError, match="nothing"):
        report["nothing"]
    assert report.to_dataframe().loc["outlier agents", "verdict"] == "look"


def test_the_report_does_not_change(report: Diagnosis) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.lines = ()  # type: ignore[misc]
