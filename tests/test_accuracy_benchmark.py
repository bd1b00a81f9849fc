"""The accuracy benchmark's command, and that `held_out` gives its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes import History, held_out, summarise_held_out
from skillinfer_bayes.checks.validation import held_out_cells
from skillinfer_bayes.testing import fake_population, simulate_history

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_command_prints_and_records_every_split(shared_data, tmp_path) -> None:
    out = tmp_path / "rows.csv"
    command = (
        "-m benchmarks.accuracy --table open_llm_leaderboard_v2 --n 8 20 --repeats 2 --hide 0.4"
    )
    done = subprocess.run(
        [sys.executable, *command.split(), "--methods", "mean", "knn", "--out", str(out)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        "open_llm_leaderboard_v2, N = 20, 40% of the history's cells hidden, 2 rep" in done.stdout
    )
    assert "N = 8, knn: 1." in done.stdout
    rows = pd.read_csv(out)
    assert len(rows) == 2 * 2 * 2 * 2
    assert set(rows["method"]) == {"mean", "knn"}
    assert (rows["n_scores"] == 160).all()
    assert rows[["crps", "coverage_90", "width_90"]].notna().all(axis=None)


@pytest.fixture
def accuracy(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks import accuracy

    return accuracy


def both_ways(
    accuracy: ModuleType, command: str, methods: Sequence[str], **changed: object
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predicted scores of the benchmark's command, and of the public function, seconds aside."""
    chosen = accuracy.read_arguments([*command.split(), "--methods", *methods])
    repeats = range(chosen.repeats)
    theirs = pd.concat([accuracy.run_repeat(chosen, one) for one in repeats], ignore_index=True)
    history, together = accuracy.read_history(chosen.table, with_items=not chosen.without_items)
    common = {
        "repeats": chosen.repeats,
        "methods": methods,
        "random_seed": chosen.seed,
        "progressbar": False,
        **changed,
    }
    if chosen.cells:
        ours = held_out_cells(history, share=chosen.cells, **common)
    else:
        hide = [0.0, chosen.hide] if chosen.hide else 0.0
        common |= {"n_history": chosen.n, "n_test": chosen.n_test, "keep_together": together}
        ours = held_out(history, hide=hide, **common)
    return theirs.drop(columns="seconds"), ours.drop(columns="seconds")


@pytest.mark.parametrize(
    "command",
    [
        "--table open_llm_leaderboard_v2 --n 8 20 --repeats 2 --seed 2026 --hide 0.4",
        "--table bfcl_v4 --n 20 --repeats 2 --seed 2026",
        "--table obs_scaling_base_extended --cells 0.2 --repeats 1 --seed 2026",
    ],
)
def test_held_out_gives_the_benchmarks_predictions(accuracy, command: str) -> None:
    theirs, ours = both_ways(accuracy, command, ["peer", "mean"])
    assert len(ours) > 300
    pd.testing.assert_frame_equal(theirs, ours)


def test_a_table_of_ones_own_is_read_without_duplicates(accuracy, shared_data, tmp_path) -> None:
    known, _ = accuracy.read_history("open_llm_leaderboard_v2", with_items=False)
    repeated = pd.read_csv(shared_data / "open_llm_leaderboard_v2.csv", index_col=0)
    repeated.drop(columns="family").to_csv(tmp_path / "own.csv")
    chosen = accuracy.read_arguments(["--table", str(tmp_path / "own.csv")])
    own, together = accuracy.read_history(chosen.table, with_items=True)
    assert together is None
    assert own.n_agents < len(repeated)
    pd.testing.assert_frame_equal(own.to_dataframe(), known.to_dataframe())


def test_a_table_that_is_neither_known_nor_a_file_is_named(accuracy, capsys) -> None:
    with pytest.raises(SystemExit):
        accuracy.read_arguments(["--table", "bfcl_v5"])
    assert "'bfcl_v5' is neither" in capsys.readouterr().err


def test_fits_and_what_pooling_gains_are_printed(accuracy, capsys) -> None:
    history, together = accuracy.read_history("open_llm_leaderboard_v2", with_items=True)
    options = {"n_history": 8, "n_test": 10, "keep_together": together, "progressbar": False}
    mean = held_out(history, repeats=3, methods=["mean"], **options)
    notes = {"divergences": [0, 2, 1], "converged": [1, 0, 1], "rhat": [1.0, 1.04, 1.0]}
    fitted = mean["repeat"].map(pd.DataFrame({**notes, "ess": [900, 300, 700]}).to_dict("index"))
    ours = mean.assign(**fitted.apply(pd.Series), method="ours", seconds=2.0)
    quiet = {"divergences": 0, "converged": 1, "rhat": 1.0, "ess": 800.0, "seconds": 4.0}
    pooled = mean.assign(**quiet, method="ours_pooled", crps=0.9 * mean["crps"])
    accuracy.print_setting(pd.concat([ours, pooled, mean], ignore_index=True))
    printed = capsys.readouterr().out
    assert "ours / best rival (mean): 1.000 +- 0.000" in printed
    assert "ours_pooled / ours: 0.900 +- 0.000" in printed
    assert (
        "fits of ours: 3, 3 divergences in 2 of them, 1 without a clean verdict, worst R-hat "
        "1.040, least ESS 300; 2.0 s per fit and prediction"
    ) in printed
    assert "fits of ours_pooled: 3, 0 divergences in 0 of them, 0 without" in printed


@pytest.mark.parametrize(
    ("table", "sizes", "crps"),
    [
        ("bfcl_v4", (20, 60), (0.0749, 0.0638)),
        ("open_llm_leaderboard_v2", (8, 20, 60, 300), (0.0407, 0.0346, 0.0326, 0.0314)),
    ],
)
def test_held_out_reproduces_the_recorded_figures_of_the_peer(
    accuracy, table: str, sizes: tuple[int, ...], crps: tuple[float, ...]
) -> None:
    # BENCHMARKS.md: seed 2026, ten repeats, 40 new agents that show a third of their skills
    history, together = accuracy.read_history(table, with_items=True)
    cells = held_out(
        history,
        n_history=sizes,
        n_test=40,
        keep_together=together,
        methods=["peer"],
        random_seed=2026,
        progressbar=False,
    )
    found = summarise_held_out(cells, ["n_history"])["crps"]
    assert tuple(found.round(4)) == crps


@pytest.mark.slow
def test_held_out_gives_the_benchmarks_predictions_of_our_own_fits(accuracy) -> None:
    settings = {"draws": 100, "tune": 100, "chains": 2}
    command = "--table open_llm_leaderboard_v2 --n 8 20 --repeats 2 --seed 2026"
    as_text = f"{command} --settings {json.dumps(settings, separators=(',', ':'))}"
    theirs, ours = both_ways(accuracy, as_text, ["ours"], settings=settings)
    pd.testing.assert_frame_equal(theirs, ours)


def test_simulated_tables_are_like_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    from benchmarks.simulated import draw_history

    scores = (simulate_history(40, 4, random_seed=3).scores * 50).round() / 50
    scores.iloc[::3, 1] = np.nan
    history = History.from_dataframe(scores, n_items=50)
    population = fake_population(history, draws=200)
    drawn = [draw_history(population, repeat, seed=1) for repeat in (0, 0, *range(1, 60))]
    pd.testing.assert_frame_equal(drawn[0].to_dataframe(), drawn[1].to_dataframe())
    assert not np.array_equal(drawn[1].values, drawn[2].values, equal_nan=True)
    for one in drawn:
        assert (one.agents, one.skills) == (history.agents, history.skills)
        np.testing.assert_array_equal(one.observed, history.observed)
        counts = one.values[one.observed] * 50
        np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
        assert counts.min() >= 0
        assert counts.max() <= 50
    mean = np.mean([np.nanmean(one.values, axis=0) for one in drawn], axis=0)
    spread = np.mean([np.nanstd(one.values, axis=0) for one in drawn], axis=0)
    np.testing.assert_allclose(mean, np.nanmean(history.values, axis=0), atol=0.03)
    np.testing.assert_allclose(spread, np.nanstd(history.values, axis=0), atol=0.03)
