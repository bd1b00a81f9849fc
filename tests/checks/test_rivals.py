"""Each rival does what its library does, and nothing that its case forbids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skillinfer
from scipy.stats import norm

from skillinfer_bayes.checks.rivals import RIVALS
from skillinfer_bayes.checks.splits import agent_cases, cell_cases
from skillinfer_bayes.history.table import History


def case_of(history: History, hidden: float = 0.0, **changed):
    options = {
        "n_history": [25],
        "repeats": [0],
        "n_test": 12,
        "share_observed": 0.5,
        "hidden": [hidden],
        "keep_together": None,
        "random_seed": 1,
    }
    return next(agent_cases(history, **(options | changed)))


@pytest.fixture(scope="module")
def case(make_history):
    return case_of(make_history(40))


@pytest.mark.parametrize("name", RIVALS)
@pytest.mark.parametrize("kind", ["full", "hidden", "cells", "three agents"])
def test_every_rival_predicts_every_kind_of_case(make_history, name, kind) -> None:
    history = make_history(40, missing=0.2)
    if kind == "cells":
        given = next(cell_cases(history, share=0.2, repeats=[0], random_seed=1))
    elif kind == "three agents":
        given = case_of(history, n_history=[3])
    else:
        given = case_of(history, hidden=0.4 if kind == "hidden" else 0.0)
    forecast = RIVALS[name](given)
    assert forecast.mean.shape == forecast.std.shape == given.truth.shape
    assert np.isfinite(forecast.mean).all()
    assert ((forecast.mean >= 0.0) & (forecast.mean <= 1.0)).all()
    asked = given.truth.notna().to_numpy()
    assert (forecast.std[asked] >= 0.0).all()
    assert forecast.std[asked].mean() > 0.01


@pytest.mark.parametrize("name", RIVALS)
def test_the_truth_is_not_looked_at(case, name) -> None:
    blind = replace(case, truth=case.truth.where(case.truth.isna(), 0.123))
    for one, other in zip(
        *((forecast.mean, forecast.std) for forecast in (RIVALS[name](case), RIVALS[name](blind))),
        strict=True,
    ):
        assert (one == other).all()


def test_mean_is_the_historys(case) -> None:
    forecast = RIVALS["mean"](case)
    assert (forecast.mean == case.history.values.mean(axis=0)).all()
    assert forecast.std[3] == pytest.approx(case.history.values.std(axis=0, ddof=1))


@pytest.mark.parametrize(("name", "normalize"), [("peer", True), ("peer_raw", False)])
def test_peer_is_what_its_package_says(case, name, normalize) -> None:
    frame = case.history.to_dataframe()
    population = skillinfer.Population.from_dataframe(frame, normalize=normalize)
    low, width = (frame.min(), np.ptp(frame, axis=0)) if normalize else (0.0, 1.0)
    forecast = RIVALS[name](case)
    lower, upper = forecast.interval(0.9)
    for position, (_, row) in enumerate(case.rows.iterrows()):
        scaled = ((row - low) / width).dropna()
        table = population.profile().observe_many(scaled.to_dict()).predict(level=0.9)
        for own, column in (
            (forecast.mean, "mean"),
            (lower, "ci_lower"),
            (upper, "ci_upper"),
        ):
            back = table[column].to_numpy() * np.asarray(width) + np.asarray(low)
            assert own[position] == pytest.approx(back)


def test_the_spread_of_neighbours_is_that_of_their_errors(make_history) -> None:
    given = case_of(make_history(400), n_history=[300], n_test=90)
    for name in ("knn", "imputer_residual", "imputer"):
        forecast = RIVALS[name](given)
        z = ((given.truth - forecast.mean) / forecast.std).to_numpy()
        z = z[~np.isnan(z)]
        assert 0.8 < np.mean(z**2) < 1.25
        assert np.mean(np.abs(z) < norm.ppf(0.95)) == pytest.approx(0.9, abs=0.06)


@pytest.mark.parametrize("name", ["peer", "imputer", "imputer_residual", "knn"])
def test_what_is_known_of_an_agent_helps(make_history, name) -> None:
    given = case_of(make_history(140), n_history=[100])
    truth = given.truth.to_numpy()
    error = [np.nanmean((RIVALS[method](given).mean - truth) ** 2) for method in (name, "mean")]
    assert error[0] < 0.85 * error[1]
