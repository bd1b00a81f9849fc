"""Groups, covariates and descriptions: read as users write them, or refused with a reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes.exceptions import HistoryError, UnknownAgentError, UnknownSkillError
from skillinfer_bayes.history.facts import find_groups, read_descriptions, read_groups
from skillinfer_bayes.history.table import History

AGENTS = ("one", "two", "three", "four")


@pytest.fixture
def scores() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(rng.random((4, 2)), index=AGENTS, columns=["math", "code"])


class TestGroups:
    def test_whole_numbers_stay_so_beside_a_gap(self) -> None:
        column = pd.Series([1, None, 2, 2.5], index=AGENTS)
        assert find_groups(column, AGENTS) == ["1", None, "2", "2.5"]
        assert find_groups(column.tolist(), AGENTS) == ["1", None, "2", "2.5"]
        assert find_groups(np.array([1, 2, 2, 3], dtype="float32"), AGENTS) == list("1223")
        assert read_groups([1, 2, 2, 3], AGENTS) == ("1", "2", "2", "3")

    def test_every_form_says_the_same(self) -> None:
        by_agent = {"four": "y", "three": "y", "two": "x", "one": "x", "other": "z"}
        forms = [by_agent, pd.Series(by_agent), list("xxyy"), np.array(list("xxyy")), iter("xxyy")]
        for form in forms:
            assert read_groups(form, AGENTS) == ("x", "x", "y", "y")

    def test_a_missing_group_is_none_or_refused(self) -> None:
        given = {"one": "x", "two": np.nan, "three": None, "four": pd.NA, "other": "y"}
        assert find_groups(given, AGENTS) == ["x", None, None, None]
        with pytest.raises(HistoryError, match=r"a group for every agent, got none for \['two', "):
            read_groups(given, AGENTS)

    def test_a_name_that_is_no_agent_is_named_where_an_agent_goes_without(self) -> None:
        with pytest.raises(
            UnknownAgentError,
            match=r"'thre' in `groups`, which has nothing for \['three'\]; did you mean 'three'\?",
        ):
            find_groups({"one": "x", "two": "x", "thre": "y", "four": "y"}, AGENTS)

    def test_an_agent_named_twice_is_refused(self) -> None:
        twice = pd.Series(list("xxyyz"), index=[*AGENTS, "two"])
        with pytest.raises(HistoryError, match="name each agent once, got 'two' 2 times; leave"):
            read_groups(twice, AGENTS)

    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ("abcd", "'abcd'"),
            (5, "5"),
            (np.array("x"), "ndarray"),
            (pd.DataFrame({"family": list("xxyy")}), "DataFrame"),
            ({"x", "y", "z", "u"}, "set"),
        ],
    )
    def test_what_is_no_group_per_agent_is_refused(self, given, shown) -> None:
        with pytest.raises(
            HistoryError, match=rf"`together` must be a mapping or Series .*, got {shown}; give a"
        ):
            read_groups(given, AGENTS, argument="together")

    def test_a_group_has_one_name(self) -> None:
        with pytest.raises(HistoryError, match=r"`groups` must hold names, got \['x'\]; give one"):
            read_groups([["x"]] * 4, AGENTS)


class TestColumns:
    def test_columns_with_numbers_for_names_can_be_named(self, scores) -> None:
        table = scores.assign(family=list("xxyy"), year=range(4)).set_axis([0, 1, 3, 2], axis=1)
        history = History.from_dataframe(table, groups="3", covariates=["2"])
        assert history.skills == ("0", "1")
        assert history.groups == ("x", "x", "y", "y")
        assert history.covariates.tolist() == [[0.0], [1.0], [2.0], [3.0]]
        assert History.from_dataframe(table, groups="3", covariates=[2]) == history

    def test_a_column_that_comes_twice_is_refused(self, scores) -> None:
        table = pd.concat([scores, pd.DataFrame([list("xy")] * 4, AGENTS, ["fam", "fam"])], axis=1)
        for argument, given in (("groups", "fam"), ("covariates", ["fam"])):
            with pytest.raises(
                HistoryError, match=rf"`{argument}` must name one column .*'fam', which 2 columns"
            ):
                History.from_dataframe(table, **{argument: given})

    def test_numbers_name_no_columns(self, scores) -> None:
        with pytest.raises(HistoryError, match=r"`groups` must be a mapping or Series .*, got 5"):
            History.from_dataframe(scores, groups=5)
        with pytest.raises(HistoryError, match=r"`covariates` must be names of columns .*, got 5;"):
            History.from_dataframe(scores, covariates=5)


class TestDescriptions:
    def test_a_missing_text_is_not_given(self, scores) -> None:
        for missing in (None, np.nan, pd.NA):
            history = History.from_dataframe(scores, descriptions={"math": missing, "code": "c"})
            assert history.descriptions == {"code": "c"}
        given = pd.Series({"code": "new", "math": None})
        assert read_descriptions(given, ("math", "code"), ("old", "old")) == ("old", "new")

    def test_names_become_text(self) -> None:
        assert read_descriptions({1: "first"}, ("0", "1")) == ("", "first")

    def test_a_text_is_no_mapping(self, scores) -> None:
        with pytest.raises(HistoryError, match="`descriptions` must map skills to texts, got 'abc"):
            History.from_dataframe(scores, descriptions="abc")
        with pytest.raises(UnknownSkillError, match="'maths' in `descriptions`"):
            History.from_dataframe(scores, descriptions=pd.Series({"maths": "?"}))
