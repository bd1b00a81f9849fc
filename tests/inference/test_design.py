"""What is known of agents besides scores: read as users write it, turned into columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes import History
from skillinfer_bayes.exceptions import HistoryWarning, InputError, UnknownAgentError
from skillinfer_bayes.inference.design import Design, plain_facts

AGENTS = ("alpha", "beta", "gamma", "delta")
COVARIATES = pd.DataFrame(
    {"year": [2021.0, 2022, 2024, 2025], "open": [True, False, False, True]}, index=AGENTS
)
GROUPS = ("north", "south", "north", "west")
TYPICAL = {"year": 2023.0, "open": 0.5}
NEW = ("one", "other")


def history_with(**known: object) -> History:
    scores = pd.DataFrame({"a": [0.1, 0.5, 0.7, 0.2], "b": [0.3, 0.2, 0.9, 0.4]}, index=AGENTS)
    return History.from_dataframe(scores, **known)


def design_with(*names: str) -> Design:
    known = {"groups": list(GROUPS), "covariates": COVARIATES}
    return Design.of(history_with(**{name: known[name] for name in names}))


@pytest.fixture
def both() -> Design:
    return design_with("groups", "covariates")


@pytest.fixture
def grouped() -> Design:
    return design_with("groups")


@pytest.fixture
def measured() -> Design:
    return design_with("covariates")


@pytest.fixture
def neither() -> Design:
    return design_with()


class TestColumns:
    def test_covariates_come_first_and_groups_in_alphabetical_order(self, both) -> None:
        assert both.n_columns == 5
        assert both.labels == (
            "covariate: year",
            "covariate: open",
            "group: north",
            "group: south",
            "group: west",
        )

    def test_covariates_are_standardised_by_the_history(self, both) -> None:
        rows = both.of_history(history_with(groups=list(GROUPS), covariates=COVARIATES))
        np.testing.assert_allclose(rows[:, :2].mean(axis=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(rows[:, :2].std(axis=0, ddof=1), 1.0)
        np.testing.assert_allclose(
            rows[:, 0], (COVARIATES["year"] - 2023.0) / COVARIATES["year"].std()
        )

    def test_each_agent_stands_in_its_groups_column(self, grouped) -> None:
        rows = grouped.of_history(history_with(groups=list(GROUPS)))
        np.testing.assert_array_equal(rows, [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])

    def test_a_covariate_that_never_differs_does_nothing(self) -> None:
        constant = COVARIATES.assign(same=1e9 / 3.0)
        with pytest.warns(HistoryWarning, match=r"got \['same'\] with one value for all"):
            history = history_with(covariates=constant)
        design = Design.of(history)
        np.testing.assert_array_equal(design.of_history(history)[:, 2], 0.0)
        for same in (1e9 / 3.0, 0.0, -1e9):
            rows, _ = design.read(NEW, None, TYPICAL | {"same": same})
            np.testing.assert_array_equal(rows, 0.0)
        _, told = design.describe(rows[0], False)
        assert told == pytest.approx(TYPICAL | {"same": 1e9 / 3.0})

    def test_what_covariates_are_scaled_by_cannot_be_written_to(self, both) -> None:
        for array in (both.centre, both.spread):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0.0

    def test_without_groups_and_covariates_there_is_no_column(self, neither) -> None:
        assert neither.n_columns == 0
        assert neither.labels == ()
        rows, unknown = neither.read(NEW)
        assert rows.shape == (2, 0)
        assert not unknown.any()

    def test_the_historys_own_agents_are_never_unknown(self, both) -> None:
        rows, unknown = both.agents(COVARIATES.to_numpy(float), GROUPS, 4)
        assert not unknown.any()
        np.testing.assert_array_equal(
            rows, both.of_history(history_with(groups=list(GROUPS), covariates=COVARIATES))
        )


class TestReadingGroups:
    @pytest.mark.parametrize(
        "form",
        [
            {"one": "south", "other": "north"},
            pd.Series({"other": "north", "one": "south"}),
            ["south", "north"],
            np.array(["south", "north"]),
        ],
        ids=["mapping", "series", "list", "array"],
    )
    def test_every_form_says_the_same(self, grouped, form) -> None:
        rows, unknown = grouped.read(NEW, form)
        np.testing.assert_array_equal(rows, [[0, 1, 0], [1, 0, 0]])
        assert not unknown.any()

    def test_one_name_stands_for_all(self, grouped) -> None:
        rows, _ = grouped.read(NEW, "west")
        np.testing.assert_array_equal(rows, [[0, 0, 1], [0, 0, 1]])

    @pytest.mark.parametrize(
        "form",
        [None, "east", ["east", None], {"one": "east"}, [np.nan, pd.NA]],
        ids=["nothing", "new", "new and none", "one is left out", "missing values"],
    )
    def test_new_and_missing_groups_are_unknown(self, grouped, form) -> None:
        rows, unknown = grouped.read(NEW, form)
        assert unknown.all()
        assert not rows.any()

    def test_groups_need_a_history_with_groups(self, neither, measured) -> None:
        for design in (neither, measured):
            with pytest.raises(
                InputError,
                match=r"`groups` must be left out, got 'x': .*without groups; give `groups=` to",
            ):
                design.read(NEW, "x", TYPICAL if design is measured else None)

    @pytest.mark.parametrize("form", [["south"], ["south"] * 3, []])
    def test_there_is_one_group_per_agent(self, grouped, form) -> None:
        with pytest.raises(InputError, match=rf"one group per agent \(2\), got {len(form)}"):
            grouped.read(NEW, form)

    def test_numbers_beside_a_gap_are_the_historys(self) -> None:
        design = Design.of(history_with(groups=[1, 2, 1, 3]))
        for form in (
            pd.Series([2, None], index=list(NEW)),
            [2.0, np.nan],
            {"one": 2, "other": None},
        ):
            rows, unknown = design.read(NEW, form)
            np.testing.assert_array_equal(rows, [[0, 1, 0], [0, 0, 0]])
            assert unknown.tolist() == [False, True]

    def test_a_name_that_is_no_agent_is_not_ignored(self, grouped) -> None:
        with pytest.raises(UnknownAgentError, match=r"'on' in `groups`, .*nothing for \['one'\]"):
            grouped.read(NEW, {"on": "south", "other": "north"})
        with pytest.raises(InputError, match="name each agent once, got 'one' 2 times"):
            grouped.read(NEW, pd.Series(["south", "north", "west"], index=[*NEW, "one"]))

    def test_a_table_is_no_column(self, grouped) -> None:
        with pytest.raises(InputError, match=r"got DataFrame; give .* itself: table\['family'\]"):
            grouped.read(("family",), pd.DataFrame({"family": ["north"]}))

    def test_a_number_is_no_group(self, grouped) -> None:
        with pytest.raises(
            InputError, match=r"`groups` must be a mapping or Series by agent, .*, got 5; give"
        ):
            grouped.read(NEW, 5)


class TestReadingCovariates:
    def test_a_table_is_matched_by_name(self, measured) -> None:
        table = pd.DataFrame(
            {"open": [False, True, True], "year": [2023.0, 2021.0, 0.0]}, ["other", "one", "third"]
        )
        rows, _ = measured.read(NEW, None, table)
        again, _ = measured.read(NEW, None, table.iloc[::-1][["year", "open"]])
        np.testing.assert_array_equal(rows, again)
        history = measured.of_history(history_with(covariates=COVARIATES))
        np.testing.assert_allclose(rows[0], history[0])
        assert rows[1, 0] == 0.0

    def test_a_mapping_stands_for_all(self, measured) -> None:
        rows, _ = measured.read(NEW, None, {"open": True, "year": 2021})
        expected = measured.of_history(history_with(covariates=COVARIATES))[0]
        np.testing.assert_allclose(rows, [expected, expected])

    def test_a_mapping_does_without_agents_and_without_names(self, measured) -> None:
        assert measured.read((), None, TYPICAL).rows.shape == (0, 2)
        np.testing.assert_array_equal(measured.read(("",), None, TYPICAL).rows, [[0.0, 0.0]])

    def test_nothing_is_needed_where_there_are_none(self, neither) -> None:
        for form in (None, {}, pd.DataFrame(index=list(NEW))):
            assert neither.read(NEW, None, form).rows.shape == (2, 0)

    @pytest.mark.parametrize(
        ("form", "missing", "unexpected"),
        [
            (None, r"\['year', 'open'\]", r"\[\]"),
            ({"year": 2022}, r"\['open'\]", r"\[\]"),
            ({"yaer": 2022, "open": 1}, r"\['year'\]", r"\['yaer'\]"),
            (pd.DataFrame({"open": [1, 0]}, index=list(NEW)), r"\['year'\]", r"\[\]"),
            (np.ones((2, 2)), r"\['year', 'open'\]", r"\[\]"),
        ],
    )
    def test_a_missing_covariate_says_how_to_impute_it(
        self, measured, form, missing, unexpected
    ) -> None:
        with pytest.raises(
            InputError,
            match=rf"`covariates` must be \['year', 'open'\].*missing {missing}, unexpected "
            rf"{unexpected}\. Impute .* the history's means: {{'year': 2023\.0, 'open': 0\.5}}",
        ):
            measured.read(NEW, None, form)

    def test_a_missing_agent_says_how_to_impute_it(self, measured) -> None:
        table = pd.DataFrame([TYPICAL], index=["one"])
        with pytest.raises(
            InputError, match=r"none for \['other'\]; impute one, .*covariates\.median\(\)"
        ):
            measured.read(NEW, None, table)

    @pytest.mark.parametrize(
        ("cell", "message"),
        [
            (np.nan, r"be complete, got an empty cell for agent 'other', .*year'; fill it .*fill"),
            (np.inf, "be finite, got inf for agent 'other'"),
            ("late", "hold numbers, got 'late' for agent 'other'"),
        ],
    )
    def test_a_bad_cell_is_named(self, measured, cell, message) -> None:
        table = pd.DataFrame([TYPICAL, TYPICAL], index=list(NEW)).astype(object)
        table.loc["other", "year"] = cell
        with pytest.raises(InputError, match=f"`covariates` must {message}"):
            measured.read(NEW, None, table)
        with pytest.raises(InputError, match=message.replace("other", "any")):
            measured.read(NEW, None, {**TYPICAL, "year": cell})

    def test_names_are_used_once(self, measured) -> None:
        table = pd.DataFrame([TYPICAL] * 3, index=[*NEW, "one"])
        with pytest.raises(InputError, match="`covariates` must name each agent once, got 'one' 2"):
            measured.read(NEW, None, table)
        wide = pd.DataFrame([[1.0, 2.0, 3.0]] * 2, list(NEW), ["year", "open", "open"])
        with pytest.raises(InputError, match="`covariates` must name each covariate once, got 'op"):
            measured.read(NEW, None, wide)

    def test_covariates_need_a_history_with_covariates(self, neither, grouped) -> None:
        for design in (neither, grouped):
            for form in (TYPICAL, pd.DataFrame([TYPICAL] * 2, index=list(NEW))):
                with pytest.raises(
                    InputError,
                    match=r"`covariates` must be left out, got \['year', 'open'\]: .*without cov",
                ):
                    design.read(NEW, None, form)
        with pytest.raises(InputError, match=r"`covariates` must be a DataFrame .*, got nd"):
            neither.read(NEW, None, np.ones((2, 2)))


class TestDescribing:
    @given(
        year=st.floats(1990, 2100),
        open_=st.booleans(),
        group=st.sampled_from([*sorted(set(GROUPS)), "east", None]),
    )
    def test_reading_a_description_gives_the_same_row(self, year, open_, group) -> None:
        design = design_with("groups", "covariates")
        rows, unknown = design.read(("x",), group, {"year": year, "open": open_})
        told = design.describe(rows[0], bool(unknown[0]))
        assert told[0] == (group if group in GROUPS else None)
        assert told[1] == pytest.approx({"year": year, "open": float(open_)}, abs=1e-9)
        again, still_unknown = design.read(("x",), *told)
        np.testing.assert_allclose(again, rows, atol=1e-9)
        np.testing.assert_array_equal(still_unknown, unknown)

    def test_what_there_is_none_of_is_none(self, neither, grouped, measured) -> None:
        assert neither.describe(np.zeros(0), False) == (None, None)
        assert grouped.describe(np.array([0.0, 1.0, 0.0]), False) == ("south", None)
        assert grouped.describe(np.zeros(3), True) == (None, None)
        assert measured.describe(np.zeros(2), False) == (None, TYPICAL)


class TestFactsOfOneAgent:
    def test_numbers_become_plain(self) -> None:
        given_ = {"year": np.int64(2024), "open": np.bool_(True), "size": 1.5}
        group, covariates = plain_facts("north", given_)
        assert group == "north"
        assert covariates == given_
        assert [type(value) for value in covariates.values()] == [int, bool, float]
        assert plain_facts(None, pd.Series({"year": 2024.0})) == (None, {"year": 2024.0})
        assert plain_facts(None, None) == (None, None)

    @pytest.mark.parametrize("group", [5, ["north"], np.nan])
    def test_a_group_is_text(self, group) -> None:
        with pytest.raises(InputError, match="`group` must be text, got"):
            plain_facts(group, None)

    @pytest.mark.parametrize("covariates", [[2024.0], 2024.0, "year", pd.DataFrame([TYPICAL])])
    def test_covariates_have_names(self, covariates) -> None:
        with pytest.raises(InputError, match="`covariates` must map names to numbers, got"):
            plain_facts(None, covariates)
