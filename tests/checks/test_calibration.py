"""PIT values and coverage curves of predictions that are right, too narrow, too high."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, kstest

from skillinfer_bayes.checks.calibration import (
    CI_PROBS,
    GRID,
    calibration,
    clustered_mean,
    share_interval,
)
from skillinfer_bayes.checks.rivals import RIVALS
from skillinfer_bayes.checks.scores import DrawnForecast, NormalForecast
from skillinfer_bayes.checks.validation import held_out
from skillinfer_bayes.exceptions import ConfigError, InputError

COUNT = 4000


def cells_of(scores: np.ndarray, **methods: NormalForecast | DrawnForecast) -> pd.DataFrame:
    """What held-out evaluation would say of scores (A, K)."""
    n_agents, n_skills = scores.shape
    parts = []
    for method, forecast in methods.items():
        low, high = forecast.below(scores)
        parts.append(
            pd.DataFrame(
                {
                    "method": method,
                    "repeat": 0,
                    "agent": np.repeat([f"agent_{row}" for row in range(n_agents)], n_skills),
                    "skill": np.tile([f"skill_{column}" for column in range(n_skills)], n_agents),
                    "p_below": low.ravel(),
                    "p_not_above": high.ravel(),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(COUNT // 4, 4))


@pytest.fixture(scope="module")
def cells(scores) -> pd.DataFrame:
    zero, one = np.zeros_like(scores), np.ones_like(scores)
    return cells_of(
        scores,
        right=NormalForecast(zero, one),
        narrow=NormalForecast(zero, 0.5 * one),
        high=NormalForecast(zero + 1.0, one),
    )


def test_right_predictions_have_uniform_pits_and_keep_their_coverage(cells) -> None:
    found = calibration(cells)
    right = found.pit[found.pit["method"] == "right"]
    assert kstest(right["pit"], "uniform").pvalue > 0.01
    curve = found.coverage.query("method == 'right'")
    assert curve["ci_prob"].to_numpy() == pytest.approx(CI_PROBS)
    off = (curve["coverage"] - curve["ci_prob"]) / curve["std_error"]
    assert off.abs().max() < 3.5
    at_90 = curve[curve["ci_prob"] == 0.9].iloc[0]
    assert at_90["std_error"] == pytest.approx(np.sqrt(0.09 / COUNT), rel=0.15)


def test_faults_show_in_the_summary_and_the_curves(cells) -> None:
    found = calibration(cells)
    summary = found.summary()
    assert summary["n_scores"].tolist() == [COUNT] * 3
    assert summary["n_agents"].tolist() == [COUNT // 4] * 3
    assert summary.loc["right", ["bias", "spread"]].tolist() == pytest.approx([0.0, 1.0], abs=0.05)
    assert summary.loc["right", "coverage_error"] < 0.02
    assert summary.loc["narrow", "spread"] > 1.5
    assert abs(summary.loc["narrow", "bias"]) < 0.03
    assert summary.loc["high", "bias"] < -0.2
    narrow = found.coverage.query("method == 'narrow' and ci_prob == 0.9")["coverage"].item()
    assert narrow == pytest.approx(0.589, abs=0.03)  # of 1.645 halves of a standard deviation
    curves = found.ecdf.set_index(["method", "pit"])["difference"]
    assert curves["narrow", 0.1] > 0.1
    assert curves["narrow", 0.9] < -0.1
    assert (curves["high"].iloc[1:-1] > 0.0).all()
    assert curves["right"].abs().max() < 0.03
    assert found.ecdf["pit"].unique().tolist() == GRID.tolist()


def test_every_skill_on_its_own(scores) -> None:
    sd = np.broadcast_to([1.0, 1.0, 0.5, 1.0], scores.shape)
    cells = cells_of(scores, ours=NormalForecast(np.zeros_like(scores), sd))
    found = calibration(cells, ["method", "skill"])
    spread = found.summary()["spread"]["ours"]
    assert spread.idxmax() == "skill_2"
    assert spread.drop("skill_2").max() < 1.15
    columns = "method skill ci_prob coverage std_error lower upper"
    assert " ".join(found.coverage.columns) == columns
    assert len(found.coverage) == 4 * len(CI_PROBS)


@pytest.mark.parametrize(("kept", "count"), [(0, 9), (3, 9), (9, 9), (57, 60), (60, 60)])
def test_intervals_of_independent_shares_are_wilsons(kept: int, count: int) -> None:
    share = np.array([kept / count])
    found = share_interval(share, np.sqrt(share * (1.0 - share) / count), count, count)
    expected = binomtest(kept, count).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-4)


def test_intervals_of_shares_count_clusters_and_stay_within_the_possible() -> None:
    share = np.array([0.0, 0.02, 0.5, 0.98, 1.0])
    variance = share * (1.0 - share)
    alone = share_interval(share, np.sqrt(variance / 40), 40, 40)
    together = share_interval(share, np.sqrt(variance / 10), 40, 10)
    for lower, upper in (alone, together):
        assert (lower >= 0.0).all()
        assert (upper <= 1.0).all()
        assert (lower <= share).all()
        assert (share <= upper).all()
    assert (together[0][1:] < alone[0][1:]).all()
    assert (together[1][:-1] > alone[1][:-1]).all()
    for n_agents in range(1, 400):
        lower, upper = share_interval(np.array([0.0, 1.0]), np.zeros(2), n_agents, n_agents)
        assert (lower[0], upper[1]) == (0.0, 1.0)
    # nine of nine is no proof, and one agent none at all
    lower, _ = share_interval(np.ones(1), np.zeros(1), 9, 9)
    assert 0.65 < lower[0] < 0.75
    lower, upper = share_interval(np.full(1, 0.5), np.full(1, np.nan), 4, 1)
    assert upper[0] - lower[0] > 0.8


def test_steps_are_spread_evenly_and_reproducibly() -> None:
    rng = np.random.default_rng(3)
    items = rng.binomial(5, 0.6, size=(COUNT, 1)) / 5.0
    draws = np.broadcast_to(rng.binomial(5, 0.6, size=(20_000, 1, 1)) / 5.0, (20_000, COUNT, 1))
    below = DrawnForecast(draws[:, :1], items[:1], items[:1])
    steps = {value: below.below(np.array([[value]])) for value in np.unique(items)}
    cells = cells_of(items[:1], ours=below).loc[np.zeros(COUNT, dtype=int)].reset_index(drop=True)
    cells["agent"] = [f"agent_{row}" for row in range(COUNT)]
    cells["p_below"] = [float(steps[value][0][0, 0]) for value in items[:, 0]]
    cells["p_not_above"] = [float(steps[value][1][0, 0]) for value in items[:, 0]]
    found = calibration(cells)
    assert kstest(found.pit["pit"], "uniform").pvalue > 0.01
    assert kstest(cells["p_below"], "uniform").pvalue < 1e-6
    again, other = calibration(cells), calibration(cells, random_seed=1)
    pd.testing.assert_frame_equal(found.pit, again.pit)
    assert not found.pit["pit"].equals(other.pit["pit"])


def test_scores_of_one_agent_count_as_one() -> None:
    rng = np.random.default_rng(5)
    agents = np.repeat(np.arange(200), 10)
    shared = (rng.random(200) < 0.5).astype(float)[agents]
    mean, error = clustered_mean(shared[:, None], agents)
    assert error[0] == pytest.approx(np.sqrt(mean[0] * (1.0 - mean[0]) / 199.0), rel=1e-6)
    own = (rng.random(2000) < 0.5).astype(float)
    assert clustered_mean(own[:, None], agents)[1][0] == pytest.approx(0.5 / 2000**0.5, rel=0.15)
    assert np.isnan(clustered_mean(own[:10, None], agents[:10])[1][0])


def test_it_reads_what_held_out_gives(make_history) -> None:
    cells = held_out(
        make_history(40),
        repeats=2,
        methods={"mean": RIVALS["mean"], "knn": RIVALS["knn"]},
        progressbar=False,
    )
    found = calibration(cells)
    assert found.summary().index.tolist() == ["knn", "mean"]
    curve = found.coverage.query("method == 'mean' and ci_prob == 0.9")["coverage"].item()
    part = cells[cells["method"] == "mean"]
    inside = part["score"].between(part["lower_90"], part["upper_90"]).mean()
    assert curve == pytest.approx(inside)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (["methd"], "`by` must name columns; did you mean 'method'"),
        (3, "`by` must name columns; known names: 'method'"),
        ([], r"`by` must hold at least one value, got \[\]"),
        (["method", "method"], "`by` must name each column once"),
    ],
)
def test_bad_columns(cells, by, message) -> None:
    with pytest.raises(ConfigError, match=message):
        calibration(cells, by)


@pytest.mark.parametrize(
    "by",
    ["method", pd.Index(["method"]), np.array(["method"]), (name for name in ["method"])],
    ids=["str", "Index", "array", "generator"],
)
def test_columns_may_be_given_in_other_forms(cells, by) -> None:
    pd.testing.assert_frame_equal(calibration(cells, by).pit, calibration(cells).pit)


@pytest.mark.parametrize("seed", [-1, 1.5, "x"])
def test_bad_seeds(cells, seed) -> None:
    with pytest.raises(ConfigError, match="`random_seed` must be a whole number of at least 0"):
        calibration(cells, random_seed=seed)


@pytest.mark.parametrize("by", [["converged"], ["method", "converged"]])
def test_missing_values_are_values_of_their_own(cells, by: list[str]) -> None:
    some = cells.assign(converged=np.where(cells["skill"] == "skill_0", np.nan, 1.0))
    found = calibration(some, by)
    summary, known = found.summary(), calibration(some.fillna(0.0), by).summary()
    assert summary["n_scores"].sum() == len(cells)
    assert summary.notna().all(axis=None)
    assert sorted(summary["coverage_error"]) == pytest.approx(sorted(known["coverage_error"]))
    assert len(found.coverage) == len(summary) * len(CI_PROBS)
    assert len(found.ecdf) == len(summary) * len(GRID)


def test_what_is_no_table_of_predictions(cells) -> None:
    with pytest.raises(InputError, match="`cells` must be a DataFrame, got int"):
        calibration(5)
    with pytest.raises(InputError, match="`cells` must have a column 'p_below'"):
        calibration(cells.drop(columns="p_below"))
