"""The command `skillinfer-bayes diagnose`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from skillinfer_bayes.cli import main
from skillinfer_bayes.testing import fake_population


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "population.nc"
    fake_population(chains=4, draws=300).save(path)
    return str(path)


def test_a_table_is_printed(saved: str) -> None:
    result = CliRunner().invoke(main, ["diagnose", saved])
    assert result.exit_code == 0
    assert result.stdout.startswith("diagnosis: ")
    assert "duplicated agents" in result.stdout
    assert "check the fit" in result.stderr


def test_json_is_all_that_goes_to_standard_output(saved: str) -> None:
    result = CliRunner().invoke(main, ["diagnose", saved, "--json"])
    assert result.exit_code == 0
    given = json.loads(result.stdout)
    assert {"ok", "lines", "tables"} == set(given)
    assert given["lines"][0]["check"] == "R-hat"
    assert result.stderr == ""


def test_a_fit_that_did_not_converge_has_its_exit_code(tmp_path: Path) -> None:
    path = tmp_path / "population.nc"
    fake_population(chains=2, draws=20).save(path)
    result = CliRunner().invoke(main, ["diagnose", str(path), "--json", "-q"])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["ok"] is False


def test_a_file_that_is_no_population(tmp_path: Path) -> None:
    path = tmp_path / "population.nc"
    path.write_text("no")
    result = CliRunner().invoke(main, ["diagnose", str(path)])
    assert result.exit_code == 1
    assert CliRunner().invoke(main, ["diagnose", str(tmp_path / "none.nc")]).exit_code == 2
