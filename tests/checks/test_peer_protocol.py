"""Our figures of the peer against those that its own held-out evaluation gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import skillinfer
from skillinfer.validation import held_out_evaluation

from skillinfer_bayes.checks.rivals import RIVALS
from skillinfer_bayes.checks.splits import Case
from skillinfer_bayes.checks.validation import evaluate, summarise_held_out
from skillinfer_bayes.history.table import History
from skillinfer_bayes.testing import simulate_history

# Where the protocols coincide: complete histories of scores on 0-1 that nobody rescales, and the
# noise that the peer's profiles assume by default, which its evaluation also adds to what it shows.
SEEDS, SHARE = (42, 43, 44), 0.4


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    # far from the bounds, where the peer's profiles clip and its evaluation does not
    return 0.3 + 0.4 * simulate_history(60, 7, random_seed=3).scores


def peers_split(scores: pd.DataFrame, seed: int) -> tuple[Case, float]:
    """The one split of `held_out_evaluation`, drawn as it draws it, and the noise."""
    rng = np.random.default_rng(seed)
    n_agents, n_skills = scores.shape
    order = rng.permutation(n_agents)
    test, train = order[: n_agents // 5], order[n_agents // 5 :]
    history = History.from_dataframe(scores.iloc[train], scale="0-1")
    fitted = skillinfer.Population.from_dataframe(scores.iloc[train], normalize=False)
    noise = fitted.profile().noise
    table = scores.iloc[test]
    shown = np.full(table.shape, np.nan)
    for row, values in enumerate(table.to_numpy()):
        size = int(n_skills * SHARE)
        chosen = rng.choice(n_skills, size=size, replace=False)
        shown[row, chosen] = values[chosen] + rng.normal(0.0, noise, size)
    case = Case(
        repeat=seed,
        n_history=len(train),
        hidden=0.0,
        history=history,
        rows=pd.DataFrame(shown, index=table.index, columns=table.columns),
        n_items=None,
        stderr=None,
        truth=table.where(np.isnan(shown)),
        of_history=False,
        seed=0,
    )
    return case, noise


@pytest.fixture(scope="module")
def splits(scores) -> list[tuple[Case, float]]:
    return [peers_split(scores, seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def theirs(scores, splits) -> pd.DataFrame:
    population = skillinfer.Population.from_dataframe(scores, normalize=False)
    tables = [
        held_out_evaluation(
            population, frac_observed=SHARE, n_splits=1, obs_noise=noise, seed=case.repeat
        ).assign(repeat=case.repeat)
        for case, noise in splits
    ]
    return pd.concat(tables).set_index(["method", "repeat", "entity"]).sort_index()


@pytest.fixture(scope="module")
def ours(splits) -> pd.DataFrame:
    methods = {"kalman": RIVALS["peer_raw"], "prior": RIVALS["mean"]}
    cells = evaluate([case for case, _ in splits], methods, progressbar=False)
    return summarise_held_out(cells, ["method", "repeat", "agent"])


@pytest.mark.parametrize(
    ("method", "measure", "theirs_is"),
    [
        ("kalman", "mae", "mae"),
        ("kalman", "rmse", "rmse"),
        ("kalman", "coverage_90", "calibration_coverage"),
        ("kalman", "log_score", "mean_log_likelihood"),
        ("prior", "mae", "mae"),
        ("prior", "rmse", "rmse"),
    ],
)
def test_every_agents_figures_are_the_peers_own(ours, theirs, method, measure, theirs_is) -> None:
    mine, other = ours.loc[method, measure], theirs.loc[method, theirs_is]
    assert len(mine) == len(other) == len(SEEDS) * 12
    expected = other.rename_axis(["repeat", "agent"]).reindex(mine.index)
    sign = -1.0 if measure == "log_score" else 1.0
    assert mine.to_numpy() == pytest.approx(sign * expected.to_numpy(), rel=1e-9)


def test_what_it_says_of_all_agents_agrees(ours, theirs) -> None:
    for measure, name in (("mae", "mae"), ("coverage_90", "calibration_coverage")):
        mine = ours.loc["kalman", measure].mean()
        assert mine == pytest.approx(theirs.loc["kalman", name].mean(), rel=1e-9)
        assert 0.0 < mine < 1.0
