"""Agents whose family and covariates are known: by name, through every door, and on file."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from example_tables import table_of

from skillinfer_bayes import History, Population, Profile
from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.testing import fake_population

TAILS = pytest.mark.parametrize("tails", ["normal", "agent", "cell"])
GROUPS = ["north", "south", "east"] * 4
FACTS = {"year": 2022, "open": True}


def history_with(groups: bool = True, covariates: bool = True) -> History:
    table = table_of(12, seed=4)
    years = pd.DataFrame(
        {"year": 2015 + np.arange(12), "open": [True, False] * 6}, index=table.index
    )
    return History.from_dataframe(
        table, groups=GROUPS if groups else None, covariates=years if covariates else None
    )


@pytest.fixture
def tails() -> str:
    """What a population has unless a test asks for all kinds."""
    return "agent"


@pytest.fixture
def population(tails) -> Population:
    """With groups and covariates."""
    return fake_population(history_with(), draws=30, tails=tails)


def widths(profile: Profile) -> pd.Series:
    scales = profile._context.scales
    lower, upper = scales.to_working(profile.predict()[["lower", "upper"]].to_numpy().T)
    return upper - lower


class TestAsking:
    @TAILS
    def test_what_is_known_moves_the_profile(self, population) -> None:
        profiles = [
            population.profile(group="north", covariates=FACTS),
            population.profile(group="south", covariates=FACTS),
            population.profile(group="north", covariates={**FACTS, "year": 2030}),
        ]
        means = [profile.mean("math") for profile in profiles]
        assert len(set(means)) == 3

    @TAILS
    @pytest.mark.parametrize("group", [None, "a new one"])
    def test_an_unknown_group_is_allowed_and_wider(self, population, group) -> None:
        known = [widths(population.profile(group=name, covariates=FACTS)) for name in GROUPS[:3]]
        unknown = widths(population.profile(group=group, covariates=FACTS))
        for skill in range(5):
            assert unknown[skill] > min(width[skill] for width in known)
        assert unknown.mean() > np.mean(known)

    @TAILS
    def test_everything_unknown_is_the_same_unknown(self, population) -> None:
        tables = [
            population.profile(group=group, covariates=FACTS).observe("code", 0.8).predict()
            for group in (None, "new", "newer")
        ]
        for table in tables[1:]:
            pd.testing.assert_frame_equal(table, tables[0], check_exact=True)

    def test_groups_alone_and_covariates_alone(self) -> None:
        grouped = fake_population(history_with(covariates=False), draws=10)
        assert grouped.profile(group="north").mean("math") != grouped.profile().mean("math")
        measured = fake_population(history_with(groups=False), draws=10)
        early, late = (
            measured.profile(covariates={**FACTS, "year": year}).mean("math")
            for year in (2000, 2040)
        )
        assert early != late

    def test_covariates_come_in_any_order_and_as_a_series(self, population) -> None:
        forms = [FACTS, dict(reversed(FACTS.items())), pd.Series({"open": 1.0, "year": 2022.0})]
        tables = [population.profile(group="east", covariates=form).predict() for form in forms]
        for table in tables[1:]:
            pd.testing.assert_frame_equal(table, tables[0], check_exact=True)


class TestRefusing:
    def test_a_group_needs_groups(self) -> None:
        population = fake_population(history_with(groups=False), draws=5)
        for ask in (
            lambda: population.profile(group="north", covariates=FACTS),
            lambda: population.profiles(table_of(2, 1), groups="north", covariates=FACTS),
        ):
            with pytest.raises(InputError, match=r"`groups` must be left out, got 'north': .*give"):
                ask()

    def test_covariates_need_covariates(self) -> None:
        population = fake_population(history_with(covariates=False), draws=5)
        for ask in (
            lambda: population.profile(covariates=FACTS),
            lambda: population.profiles(table_of(2, 1), covariates=FACTS),
        ):
            with pytest.raises(InputError, match="`covariates` must be left out, got"):
                ask()

    def test_missing_covariates_say_how_to_impute(self, population) -> None:
        for ask in (
            lambda: population.profile(group="north"),
            lambda: population.profile(covariates={"open": True}),
            lambda: population.profiles(table_of(2, 1)),
        ):
            with pytest.raises(
                InputError, match=r"missing \['year'.*Impute .* means: {'year': 2020\.5, 'open'"
            ):
                ask()

    def test_an_agent_without_covariates_is_named(self, population) -> None:
        facts = pd.DataFrame([FACTS], index=["model_0"])
        with pytest.raises(InputError, match=r"got none for \['model_1'\]; impute one"):
            population.profiles(table_of(2, 1), covariates=facts)

    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            ({"group": 5}, "`group` must be text, got 5"),
            ({"group": ["north"]}, r"`group` must be text, got \['north'\]"),
            ({"covariates": [2022.0, 1.0]}, "`covariates` must map names to numbers"),
            ({"covariates": {**FACTS, "year": None}}, "be complete, got an empty cell .*'year'"),
            ({"covariates": {**FACTS, "year": "x"}}, "hold numbers, got 'x'"),
        ],
    )
    def test_facts_of_another_kind(self, population, facts, message) -> None:
        with pytest.raises(InputError, match=message):
            population.profile(**{"covariates": FACTS, **facts})


class TestManyAgents:
    @TAILS
    def test_the_historys_own_agents_bring_their_facts(self, population) -> None:
        history = population.history
        facts = pd.DataFrame(
            history.covariates, index=history.agents, columns=history.covariate_names
        )
        again = population.profiles(
            history.to_dataframe(), groups=list(history.groups), covariates=facts
        )
        xr.testing.assert_allclose(
            population.completed().to_dataset(), again.to_dataset(), rtol=1e-9
        )

    def test_a_look_up_knows_the_agents_facts(self, population) -> None:
        table = table_of(3, seed=1)[["math"]]
        facts = pd.DataFrame([FACTS, {**FACTS, "year": 2031}, FACTS], index=table.index)
        groups = {"model_0": "north", "model_1": "elsewhere"}
        profiles = population.profiles(table, groups=groups, covariates=facts)
        plain = [profiles[agent].to_dict() for agent in table.index]
        assert [item.get("group") for item in plain] == ["north", None, None]
        assert [item["covariates"]["year"] for item in plain] == pytest.approx([2022, 2031, 2022])
        whole = profiles.to_dataframe()
        for agent in table.index:
            pd.testing.assert_frame_equal(
                profiles[agent].predict(), whole.loc[agent], check_exact=False, rtol=1e-9
            )


class TestOnFile:
    @TAILS
    @pytest.mark.parametrize("group", ["south", "a new one", None])
    def test_json_leads_back_to_the_same_profile(self, population, group) -> None:
        profile = population.profile("x", group=group, covariates=FACTS).observe("code", 0.9)
        back = Profile.from_json(profile.to_json(), population)
        pd.testing.assert_frame_equal(back.predict(), profile.predict(), check_exact=True)
        assert back.to_dict() == profile.to_dict()
        assert back.to_dict().get("group") == group
        assert back.to_dict()["covariates"] == FACTS

    def test_a_copy_knows_the_same(self, population) -> None:
        profile = population.profile("x", group="south", covariates=FACTS).observe("code", 0.9)
        copy = profile.copy()
        pd.testing.assert_frame_equal(copy.predict(), profile.predict(), check_exact=True)
        assert copy.to_dict() == profile.to_dict()

    def test_numbers_of_numpy_are_written(self, population) -> None:
        facts = {"year": np.int64(2022), "open": np.bool_(True)}
        profile = population.profile(covariates=facts)
        assert json.loads(profile.to_json())["covariates"] == FACTS

    def test_the_callers_mapping_may_change(self, population) -> None:
        facts = dict(FACTS)
        profile = population.profile(covariates=facts)
        before = profile.predict()
        facts["year"] = 1900
        pd.testing.assert_frame_equal(profile.copy().predict(), before, check_exact=True)

    def test_what_is_not_known_is_not_written(self) -> None:
        plain = fake_population(table_of(12, seed=4), draws=5).profile().to_dict()
        assert not {"group", "covariates"} & set(plain)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"group": 5}, "the profile's 'group' must be text, got 5"),
            (
                {"covariates": [1.0]},
                r"the profile's 'covariates' must map names to numbers, got \[",
            ),
            ({"covariates": {"year": 2022}}, r"missing \['open'\]"),
            ({"covariates": None}, r"missing \['year', 'open'\]"),
        ],
    )
    def test_facts_that_were_tampered_with_are_refused(self, population, change, message) -> None:
        stored = population.profile("x", group="south", covariates=FACTS).to_dict()
        with pytest.raises(InputError, match=message):
            Profile.from_dict({**stored, **change}, population)
