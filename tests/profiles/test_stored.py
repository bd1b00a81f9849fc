"""Profiles in files: what cannot be read or written says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.profiles.profile import Profile


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"`source` must be a file of JSON text, got .*profile\.json'"),
        (b"\xff\xfe{}", r"`source` must be a file of JSON text, got .*profile\.json'"),
        (b"[" * 100_000, "`source` must be JSON text, or a Path to a file of it"),
    ],
    ids=["missing", "not UTF-8", "nested deeply"],
)
def test_files_that_hold_no_json(population, tmp_path: Path, content, message) -> None:
    path = tmp_path / "profile.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Profile.from_json(path, population)


def test_a_folder_is_no_file(population, tmp_path: Path) -> None:
    profile = population.profile()
    with pytest.raises(InputError, match="`source` must be a file of JSON text"):
        Profile.from_json(tmp_path, population)
    with pytest.raises(InputError, match="`path` must be a file, got the folder"):
        profile.to_json(tmp_path)
    with pytest.raises(InputError, match=r"`path` must be in an existing folder, .*; make the fol"):
        profile.to_json(tmp_path / "nowhere" / "profile.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("agent", [None, True, 1.5, ["x"]])
def test_an_agent_has_a_name(population, agent) -> None:
    with pytest.raises(InputError, match=r"the profile's 'agent' must be text, got"):
        Profile.from_dict(population.profile().to_dict() | {"agent": agent}, population)


@pytest.mark.parametrize("other", [None, "population.nc"])
def test_a_profile_is_read_with_its_population(population, other) -> None:
    with pytest.raises(InputError, match=r"`population` must be the Population .* got (None|s)"):
        Profile.from_dict(population.profile().to_dict(), other)


def test_an_agent_may_be_a_number_or_left_out(population) -> None:
    stored = population.profile("x").to_dict()
    assert Profile.from_dict(stored | {"agent": 7}, population).agent == "7"
    del stored["agent"]
    assert Profile.from_dict(stored, population).agent == "agent"
