"""Learning curves: one fit, the same targets, more and more scores shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes.checks import fitted
from skillinfer_bayes.checks import learning_curve as module
from skillinfer_bayes.checks.fitted import forecast_of
from skillinfer_bayes.checks.learning_curve import learning_curve
from skillinfer_bayes.checks.rivals import RIVALS
from skillinfer_bayes.checks.scores import NormalForecast
from skillinfer_bayes.checks.splits import curve_cases
from skillinfer_bayes.exceptions import ConfigError
from skillinfer_bayes.testing import fake_population

QUIET = {"progressbar": False, "random_seed": 4}


def ours_without_a_fit(case):
    return forecast_of(fake_population(case.history, draws=200, random_seed=case.seed), case)


def shown_share(case):
    """A forecast whose error is known: less for every score shown."""
    shown = case.rows.notna().sum(axis=1).to_numpy()[:, None]
    exact = case.truth.fillna(0.5).to_numpy()
    return NormalForecast(exact + 1.0 / (1.0 + shown), np.full(exact.shape, 0.1))


@pytest.fixture
def cases(make_history):
    return list(
        curve_cases(
            make_history(40, missing=0.2),
            n_observed=[0, 1, 3],
            n_history=None,
            repeats=range(3),
            n_test=9,
            keep_together=None,
            random_seed=2,
        )
    )


def test_only_what_is_shown_changes(cases) -> None:
    for run in cases:
        none, one, three = run
        assert none.history is one.history is three.history
        for case in (one, three):
            pd.testing.assert_frame_equal(case.truth, none.truth)
        for case, number in zip(run, (0, 1, 3), strict=True):
            assert (case.rows.notna().sum(axis=1) == number).all()
            assert not (case.rows.notna() & case.truth.notna()).any(axis=None)
            assert case.n_items.notna().equals(case.rows.notna())
        assert one.rows.equals(three.rows.where(one.rows.notna()))
        assert three.truth.notna().any(axis=1).all()
        assert set(three.truth.index).isdisjoint(three.history.agents)
    assert set(cases[0][0].truth.index) != set(cases[1][0].truth.index)


def test_too_few_scores_to_show(make_history) -> None:
    with pytest.raises(ConfigError, match=r"`n_test` must be at most \d+ for this table, got 30"):
        learning_curve(
            make_history(60, missing=0.4), n_observed=[5], n_test=30, methods=["mean"], **QUIET
        )
    with pytest.raises(ConfigError, match=r"`n_history` must be at most 30 beside 10 new agents"):
        learning_curve(make_history(40), n_test=10, n_history=31, methods=["mean"], **QUIET)


def test_figures_follow_from_the_forecasts(make_history) -> None:
    curve = learning_curve(
        make_history(40),
        n_observed=[2, 0, 1],
        repeats=3,
        methods={"known": shown_share, "mean": RIVALS["mean"]},
        **QUIET,
    )
    assert curve["method"].tolist() == ["known"] * 3 + ["mean"] * 3
    assert curve["n_observed"].tolist() == [0, 1, 2] * 2
    assert (curve["n_scores"] == 3 * 13 * 4).all()
    known, mean = curve.iloc[:3], curve.iloc[3:]
    assert known["mae"].tolist() == pytest.approx([1.0, 1 / 2, 1 / 3])
    assert known["mae_se"].tolist() == pytest.approx([0.0] * 3, abs=1e-12)
    assert mean["crps"].nunique() == mean["width_90"].nunique() == 1
    assert (mean[["mae_se", "crps_se", "coverage_90_se", "width_90_se"]] > 0.0).all(axis=None)
    assert "seconds" not in curve


def test_more_scores_help(make_history) -> None:
    methods = {"ours": ours_without_a_fit, "peer": RIVALS["peer"]}
    curve = learning_curve(
        make_history(90), n_observed=[0, 2, 4], repeats=3, methods=methods, **QUIET
    ).set_index(["method", "n_observed"])
    for method in methods:
        assert curve["crps"][method].is_monotonic_decreasing
        assert curve["width_90"][method].is_monotonic_decreasing
    assert curve["coverage_90"]["ours"].between(0.75, 0.99).all()


def test_one_fit_serves_all_numbers_of_a_repeat(make_history, monkeypatch) -> None:
    fits = []

    def fit(case, priors, settings):
        fits.append((case.repeat, priors, settings))
        return fake_population(case.history, draws=100, random_seed=case.seed)

    monkeypatch.setattr(module, "fit_case", fit)
    monkeypatch.setattr(fitted, "fit_case", None)
    options = {"n_observed": [0, 1, 2], "repeats": 2, "methods": ["ours", "mean"]}
    curve = learning_curve(make_history(30), priors={"rank": 1}, settings={}, **options, **QUIET)
    assert fits == [(0, {"rank": 1}, {}), (1, {"rank": 1}, {})]
    assert set(curve["method"]) == {"ours", "mean"}
    again = learning_curve(make_history(30), priors={"rank": 1}, settings={}, **options, **QUIET)
    pd.testing.assert_frame_equal(curve, again)


def test_default_numbers_and_other_columns(make_history) -> None:
    curve = learning_curve(
        make_history(30), repeats=1, methods=["mean"], by=["skill"], n_test=8, **QUIET
    )
    assert sorted(set(curve["n_observed"])) == [0, 1, 2, 3]
    assert curve.columns[:3].tolist() == ["method", "n_observed", "skill"]
    assert curve["skill"].nunique() == 6
    assert curve["mae_se"].isna().all()


def test_one_number_may_stand_alone(make_history) -> None:
    options = {"methods": ["mean"], "repeats": 1, **QUIET}
    alone, listed = (
        learning_curve(make_history(), n_observed=given, **options) for given in (np.int64(2), [2])
    )
    pd.testing.assert_frame_equal(alone, listed)


def test_columns_are_checked_before_anything_is_fitted(make_history) -> None:
    def never(case):
        raise AssertionError("a method was asked")

    with pytest.raises(ConfigError, match="`by` must name columns; did you mean 'skill'"):
        learning_curve(make_history(), by=["skil"], methods={"never": never}, **QUIET)


def test_columns_and_methods_may_be_given_in_other_forms(make_history) -> None:
    options = {"repeats": 2, "n_observed": [1, 2], **QUIET}
    plain = learning_curve(make_history(), by=["skill"], methods=["mean"], **options)
    for by in (pd.Index(["skill"]), np.array(["skill"]), "skill"):
        methods = (name for name in ["mean"])
        again = learning_curve(make_history(), by=by, methods=methods, **options)
        pd.testing.assert_frame_equal(again, plain)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_observed": [1, 6]}, r"`n_observed` must hold numbers below 6.*got \[1, 6\]"),
        ({"n_observed": []}, r"`n_observed` must hold at least one value, got \[\]"),
        ({"n_observed": 6}, "`n_observed` must hold numbers below 6.*got 6"),
        ({"n_observed": "2"}, "`n_observed` must be a whole number of at least 0, got '2'"),
        ({"by": ["method"]}, r"`by` must name columns besides method, .*\['method'\]; leave"),
        ({"by": 5}, "`by` must name columns"),
        ({"by": ["skill", "skill"]}, "`by` must name each column once"),
        ({"by": ["crps"]}, "`by` must name columns"),
        ({"random_seed": -1}, "`random_seed` must be a whole number of at least 0, got -1"),
        ({"n_observed": [-1]}, "`n_observed` must be a whole number of at least 0, got -1"),
        ({"n_observed": [0.5]}, "`n_observed` must be a whole number of at least 0, got 0.5"),
        ({"n_history": 2}, "`n_history` must be a whole number of at least 3, got 2"),
        ({"repeats": 0}, "`repeats` must be a whole number of at least 1, got 0"),
        ({"methods": ["ourz"]}, "unknown method 'ourz'; did you mean 'ours'"),
        ({"by": ["skil"]}, "`by` must name columns; did you mean 'skill'"),
    ],
)
def test_bad_options(make_history, changed, message) -> None:
    options = {"methods": ["mean"], "repeats": 1} | changed
    with pytest.raises(ConfigError, match=message):
        learning_curve(make_history(), **(QUIET | options))
