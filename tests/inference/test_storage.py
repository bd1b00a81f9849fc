"""Saved populations come back whole; everything else is refused with a reason."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from skillinfer_bayes import History, Population
from skillinfer_bayes.exceptions import PopulationFileError, PopulationVersionError
from skillinfer_bayes.testing import fake_population, simulate_history

SCORES = simulate_history(12, 4, missing=0.2, random_seed=8).scores.round(2)


def with_everything() -> History:
    table = 100.0 * SCORES
    table["skill_3"] = table["skill_3"].fillna(50.0) + 1000.0
    stderr = pd.DataFrame(np.nan, index=table.index, columns=table.columns)
    stderr["skill_3"] = 12.5
    return History.from_dataframe(
        table,
        scale={"skill_3": "unbounded", "skill_1": (-10, 120)},
        stderr=stderr,
        normalize=True,
        groups=["a", "b", "c"] * 4,
        covariates=pd.DataFrame({"year": range(12), "größe": [1.5, 2.5] * 6}, index=table.index),
        descriptions={"skill_0": "Sums & products, \N{GREEK SMALL LETTER PI} included"},
    )


@pytest.mark.parametrize("name", ["a::b.nc", "~root", "::"])
def test_names_that_look_like_addresses(tmp_path, monkeypatch, name) -> None:
    monkeypatch.chdir(tmp_path)
    population = fake_population(SCORES)
    population.save(name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Population.load(name).population_id == population.population_id


def test_a_link_keeps_leading_to_the_file(tmp_path) -> None:
    target, link = tmp_path / "target.nc", tmp_path / "link.nc"
    fake_population(SCORES).save(target)
    link.symlink_to(target)
    other = fake_population(SCORES, random_seed=5)
    other.save(link)
    assert link.is_symlink()
    assert Population.load(target).population_id == other.population_id


HISTORIES: dict[str, Callable[[], History]] = {
    "scores alone": lambda: History.from_dataframe(SCORES),
    "item counts": lambda: History.from_dataframe(SCORES, n_items=200),
    "standard errors": lambda: History.from_dataframe(SCORES, stderr=0.02),
    "everything": with_everything,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pop.nc"


@pytest.fixture
def saved(path: Path) -> Path:
    fake_population(History.from_dataframe(SCORES), draws=10).save(path)
    return path


@pytest.mark.parametrize("kind", list(HISTORIES))
def test_round_trip(kind: str, path: Path) -> None:
    history = HISTORIES[kind]()
    before = fake_population(history, draws=40)
    before.save(path)
    after = Population.load(path)
    assert after.history == history
    assert after.scales == history.scales
    assert after.population_id == before.population_id
    assert after.settings == before.settings
    for name in ("n_items", "stderr", "covariates"):
        given, back = getattr(history, name), getattr(after.history, name)
        assert (given is None) == (back is None)
        if given is not None:
            np.testing.assert_array_equal(back, given)
    plain = ("groups", "covariate_names", "normalize", "skill_descriptions", "dropped", "agents")
    for name in plain:
        assert getattr(after.history, name) == getattr(history, name)
    np.testing.assert_array_equal(after.posterior.covariance, before.posterior.covariance)


def test_predictions_survive_to_the_last_digit(saved: Path) -> None:
    before = fake_population(History.from_dataframe(SCORES), draws=10)
    tables = [pop.profile().observe("skill_1", 0.4).predict() for pop in (before, load(saved))]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def load(path: Path) -> Population:
    return Population.load(path)


KNOWN = {"group": "b", "covariates": {"year": 3.0, "größe": 1.5}}
VARIABLES = {
    "agent": {"mu", "covariance", "loadings", "own_sd", "nu", "effects", "group_sd"},
    "cell": {"mu", "loadings", "own_sd", "nu", "effects", "group_sd", "agent_noise_sd"},
}


@pytest.mark.parametrize("tails", list(VARIABLES))
@pytest.mark.parametrize("group", ["b", "a new one"])
def test_heavy_tails_groups_and_covariates_survive(path: Path, tails: str, group: str) -> None:
    before = fake_population(with_everything(), draws=10, tails=tails)
    before.save(path)
    after = load(path)
    assert set(after.data["posterior"].data_vars) == VARIABLES[tails]
    assert after.population_id == before.population_id
    assert list(after.data["posterior/effects"]["effect"].values) == [
        "covariate: year",
        "covariate: größe",
        "group: a",
        "group: b",
        "group: c",
    ]
    profiles = [
        pop.profile(**{**KNOWN, "group": group}).observe("skill_1", 40.0) for pop in (before, after)
    ]
    tables = [profile.predict(kind="score") for profile in profiles]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    np.testing.assert_array_equal(*(profile.draws().values for profile in profiles))


@pytest.mark.parametrize(
    ("tails", "variable", "message"),
    [
        ("cell", "mu", "no variable 'mu'"),
        ("cell", "loadings", "no variable 'loadings'"),
        ("cell", "own_sd", "no variable 'own_sd'"),
        ("cell", "nu", "no variable 'nu'"),
        # without its mark it would have to be a population of rows
        ("cell", "agent_noise_sd", "no variable 'covariance'"),
        ("cell", "effects", "the draws in .* hash differs"),
        ("agent", "nu", "the draws in .* hash differs"),
        ("agent", "loadings", "no variable 'loadings'"),
        ("agent", "effects", "the draws in .* hash differs"),
        ("agent", "group_sd", "the draws in .* hash differs"),
    ],
)
def test_a_file_that_lacks_a_variable_is_refused(
    path: Path, tails: str, variable: str, message: str
) -> None:
    fake_population(with_everything(), draws=5, tails=tails).save(path)
    with h5py.File(path, "a") as file:
        del file[f"posterior/{variable}"]
    with pytest.raises(PopulationFileError, match=message):
        load(path)


@pytest.mark.parametrize("variable", ["nu", "effects", "group_sd", "agent_noise_sd", "own_sd"])
def test_changed_draws_of_heavy_tails_are_noticed(path: Path, variable: str) -> None:
    fake_population(with_everything(), draws=5, tails="cell").save(path)
    with h5py.File(path, "a") as file:
        flat = file[f"posterior/{variable}"][...]
        flat.flat[0] *= 0.999
        file[f"posterior/{variable}"][...] = flat
    with pytest.raises(PopulationFileError, match=r"the draws in .* hash differs"):
        load(path)


def test_a_description_may_change_and_be_saved_again(saved: Path) -> None:
    described = load(saved).describe_skills({"skill_2": "reads code"})
    described.save(saved)
    assert load(saved).history.descriptions == {"skill_2": "reads code"}


def test_names_of_any_alphabet_survive(path: Path) -> None:
    table = SCORES.rename(columns={"skill_0": "数学"}, index={"agent_0": "modèle/数 ñ"})
    fake_population(table, draws=5).save(path)
    back = load(path)
    assert back.agents[0] == "modèle/数 ñ"
    assert back.history.skills[0] == "数学"


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(PopulationFileError, match=r"no file '.*pop\.nc'; fit a population"):
        load(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PopulationFileError, match=r"no folder '.*nowhere'; make it first"):
        fake_population(draws=5).save(tmp_path / "nowhere" / "pop.nc")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(PopulationFileError, match=r"is a folder; name a file in it"):
        fake_population(draws=5).save(tmp_path)
    with pytest.raises(PopulationFileError, match="no file"):
        load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(PopulationFileError, match="damaged or not a netCDF file"):
        load(saved)


def test_a_text_file_is_refused(path: Path) -> None:
    path.write_text("agent,math\nx,0.5\n" * 100, encoding="utf-8")
    with pytest.raises(PopulationFileError, match="damaged or not a netCDF file"):
        load(path)


# h5netcdf's file object cannot close itself when opening it broke off half-way
@pytest.mark.filterwarnings("ignore:Exception ignored in.*:pytest.PytestUnraisableExceptionWarning")
def test_overwritten_bytes_are_noticed(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    middle = len(whole) // 2
    whole[middle - 3000 : middle + 3000] = b"\xff" * 6000
    saved.write_bytes(bytes(whole))
    with pytest.raises(PopulationFileError, match="damaged or not a netCDF file"):
        load(saved)
    gc.collect()  # now, so that its complaint falls into this test


@pytest.mark.parametrize("name", ["posterior/draw", "observed_data/agent"])
def test_a_lost_coordinate_is_damage(saved: Path, name: str) -> None:
    with h5py.File(saved, "a") as file:
        del file[name]
    with pytest.raises(PopulationFileError, match="damaged or not a netCDF file"):
        load(saved)


def test_somebody_elses_netcdf_is_refused(path: Path) -> None:
    xr.Dataset({"posterior": ("x", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(PopulationFileError, match="was not written by this package"):
        load(path)


def test_a_newer_format_asks_for_an_update(saved: Path) -> None:
    with h5py.File(saved, "a") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(
        PopulationVersionError, match=r"format version 99 .*reads up to 2; update skillinfer_bayes"
    ):
        load(saved)


@pytest.mark.parametrize("value", ["soon", ""])
def test_a_version_that_is_no_number_is_damage(saved: Path, value: str) -> None:
    with h5py.File(saved, "a") as file:
        file.attrs["format_version"] = value
    with pytest.raises(PopulationFileError, match="damaged"):
        load(saved)


@pytest.mark.parametrize(
    ("variable", "part"),
    [
        ("observed_data/score", "history"),
        ("posterior/mu", "draws"),
        ("posterior/covariance", "draws"),
    ],
)
def test_changed_numbers_are_noticed(saved: Path, variable: str, part: str) -> None:
    with h5py.File(saved, "a") as file:
        flat = file[variable][...]
        flat[np.unravel_index(np.nanargmax(flat), flat.shape)] *= 0.999
        file[variable][...] = flat
    with pytest.raises(PopulationFileError, match=f"the {part} in .* hash differs"):
        load(saved)


def test_changed_names_are_noticed(saved: Path) -> None:
    with h5py.File(saved, "a") as file:
        names = file["observed_data/agent"]
        names[0] = "someone else"
    with pytest.raises(PopulationFileError, match=r"the history in .* hash differs"):
        load(saved)


@pytest.mark.parametrize("attribute", ["settings", "history", "data_hash", "draws_hash"])
def test_a_missing_attribute_is_damage(saved: Path, attribute: str) -> None:
    with h5py.File(saved, "a") as file:
        del file.attrs[attribute]
    with pytest.raises(PopulationFileError, match=f"is damaged: .*{attribute}"):
        load(saved)


@pytest.mark.parametrize("text", ["{", "[]", '{"scales": {}}'])
def test_an_unreadable_history_is_damage(saved: Path, text: str) -> None:
    with h5py.File(saved, "a") as file:
        file.attrs["history"] = text
    with pytest.raises(PopulationFileError, match="is damaged"):
        load(saved)


def test_a_missing_variable_is_named(saved: Path) -> None:
    with h5py.File(saved, "a") as file:
        del file["posterior/mu"]
    with pytest.raises(PopulationFileError, match="no variable 'mu'"):
        load(saved)


def test_nothing_half_written_when_writing_fails(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def break_off(tree: xr.DataTree, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", break_off)
    for target in (saved, saved.with_name("new.nc")):
        with pytest.raises(OSError, match="no space left"):
            fake_population(draws=5).save(target)
    assert saved.read_bytes() == before
    assert [item.name for item in saved.parent.iterdir()] == [saved.name]


def test_files_without_what_diagnostics_read_are_damaged(saved: Path) -> None:
    with h5py.File(saved, "a") as file:
        del file["sample_stats"]
    with pytest.raises(PopulationFileError, match=r"is damaged: .*sample_stats"):
        Population.load(saved)


@pytest.mark.parametrize(("attribute", "value"), [("settings", "[]"), ("format_version", 0)])
def test_attributes_that_no_version_wrote_are_damage(saved: Path, attribute, value) -> None:
    with h5py.File(saved, "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(PopulationFileError, match="is damaged"):
        Population.load(saved)
