"""Held-out accuracy and calibration on public tables, all methods on the same splits.

New agents: N agents are the history, 40 others show a third of their skills, the rest is
predicted as measured scores. `ours_pooled` has what they show in its history, too. `--hide`
repeats this with that share of the history's cells blanked and prints what it costs. `--cells 0.2`
hides a share of the whole table's cells instead, and predicts those. `--simulated` draws a table
like the real one from a fit to it, in which the model is right, for each repeat. Every split's
figures go to `--out`.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks._common import DATA, print_machine, print_table, read_scores
from benchmarks.simulated import draw_history, fit_once
from skillinfer_bayes.checks.rivals import RIVALS
from skillinfer_bayes.checks.splits import Case, agent_cases, cell_cases
from skillinfer_bayes.checks.validation import (
    evaluate,
    pick_methods,
    summarise_held_out,
)
from skillinfer_bayes.exceptions import HistoryWarning
from skillinfer_bayes.history.datasets import onet
from skillinfer_bayes.history.table import History

TABLES = ("bfcl_v4", "open_llm_leaderboard_v2", "obs_scaling_base_extended", "benchpress", "onet")
SETTING = ["n_history", "hidden"]
N_TEST = 40


def read_history(name: str, *, with_items: bool) -> tuple[History, pd.Series | None]:
    """A table without exact duplicates, and what its splits keep together."""
    if name.endswith(".csv"):
        scores = pd.read_csv(name, index_col=0)
        return History.from_dataframe(scores[~scores.duplicated()]), None
    if name == "onet":
        scores = onet().scores
        return History.from_dataframe(scores[~scores.duplicated()]), None
    scores = read_scores(name)
    scores = scores[~scores.duplicated()]
    items = DATA / f"{name}_n_items.csv"
    n_items = None
    if with_items and items.is_file():
        n_items = pd.read_csv(items, index_col=0).loc[scores.index, scores.columns]
    metadata = pd.read_csv(DATA / f"{name}_metadata.csv", index_col=0).loc[scores.index]
    with warnings.catch_warnings():
        # averages of subtasks are no whole counts
        warnings.simplefilter("ignore", HistoryWarning)
        history = History.from_dataframe(scores, n_items=n_items)
    return history, metadata.get("base_model")


def protocol_cases(
    history: History,
    together: pd.Series | None,
    chosen: argparse.Namespace,
    repeats: Sequence[int],
    hidden: Sequence[float] = (0.0,),
    n_test: int = N_TEST,
) -> Iterator[Case]:
    """New agents of whom a third of the skills are shown, by `--n` and `--seed`."""
    return agent_cases(
        history,
        n_history=chosen.n,
        repeats=repeats,
        n_test=n_test,
        share_observed=1 / 3,
        hidden=hidden,
        keep_together=together,
        random_seed=chosen.seed,
    )


def run_repeat(chosen: argparse.Namespace, repeat: int) -> pd.DataFrame:
    """All settings and methods of one repeat."""
    history, together = read_history(chosen.table, with_items=not chosen.without_items)
    if chosen.simulated:
        fit = fit_once(chosen.table, history, chosen.priors, chosen.settings, chosen.seed)
        history, together = draw_history(fit, repeat, chosen.seed), None
    if chosen.cells:
        cases = cell_cases(history, share=chosen.cells, repeats=[repeat], random_seed=chosen.seed)
    else:
        hidden = [0.0, chosen.hide] if chosen.hide else [0.0]
        cases = protocol_cases(history, together, chosen, [repeat], hidden, chosen.n_test)
    methods = pick_methods(chosen.methods, chosen.priors, chosen.settings)
    return evaluate(cases, methods, progressbar=False)


def ratios(by_repeat: pd.Series, first: Hashable, second: Hashable) -> str:
    """Ratio of two mean CRPS, with a standard error from the repeats."""
    one, other = by_repeat[first], by_repeat[second]
    ratio = one.mean() / other.mean()
    if len(one) < 2:
        return f"{ratio:.3f}"
    residual = (one - ratio * other).to_numpy() / other.mean()
    return f"{ratio:.3f} +- {residual.std(ddof=1) / np.sqrt(len(one)):.3f}"


def print_setting(cells: pd.DataFrame) -> None:
    """Figures of one history size and share of hidden cells."""
    whole = summarise_held_out(cells, ["method"])
    skills = summarise_held_out(cells, ["method", "skill"])["coverage_90"]
    names = list(cells["method"].unique())
    rows: list[list[object]] = []
    for name in names:
        one, each = whole.loc[name], skills[name]
        rows.append(
            [
                name,
                f"{one['crps']:.4f}",
                f"{one['mae']:.4f}",
                f"{one['rmse']:.4f}",
                f"{one['log_score']:.3f}",
                f"{one['rank_correlation']:.3f}",
                f"{one['coverage_90']:.3f}",
                f"{each.min():.2f} {each.idxmin()}",
                f"{each.max():.2f} {each.idxmax()}",
                f"{one['width_90']:.3f}",
            ]
        )
    print_table(
        rows,
        ["method", "CRPS", "MAE", "RMSE", "log s.", "rank r", "cover", "worst", "best", "width"],
    )
    if "ours" not in names:
        return
    by_repeat = summarise_held_out(cells, ["method", "repeat"])["crps"]
    rivals = [name for name in names if name in RIVALS]
    for name in [name for name in rivals if name.startswith("peer")]:
        print(f"  ours / {name}: {ratios(by_repeat, 'ours', name)}")
    if rivals:
        best = min(rivals, key=lambda name: whole.loc[name, "crps"])
        print(f"  ours / best rival ({best}): {ratios(by_repeat, 'ours', best)}")
    if "ours_pooled" in names:
        print(f"  ours_pooled / ours: {ratios(by_repeat, 'ours_pooled', 'ours')}")
    for name in [name for name in names if name.startswith("ours")]:
        print_fits(name, cells[cells["method"] == name].drop_duplicates(["repeat"]))


def print_fits(name: str, fits: pd.DataFrame) -> None:
    """How well the fits of one method sampled, and how long they took."""
    bad = int((fits["converged"] == 0).sum())
    print(
        f"  fits of {name}: {len(fits)}, {int(fits['divergences'].sum())} divergences in "
        f"{int((fits['divergences'] > 0).sum())} of them, {bad} without a clean verdict, worst "
        f"R-hat {fits['rhat'].max():.3f}, least ESS {fits['ess'].min():.0f}; "
        f"{fits['seconds'].mean():.1f} s per fit and prediction"
    )


def print_report(cells: pd.DataFrame, chosen: argparse.Namespace) -> None:
    for (size, hidden), part in cells.groupby(SETTING):
        what = f"{hidden:.0%} of the {'table' if chosen.cells else 'history'}'s cells hidden"
        print(f"\n{chosen.table}, N = {size}, {what}, {part['repeat'].nunique()} repeats")
        print_setting(part)
    if not chosen.hide or chosen.cells:
        return
    print(f"\nCRPS with {chosen.hide:.0%} of the history hidden over CRPS with the full history")
    by_repeat = summarise_held_out(cells, [*SETTING, "method", "repeat"])["crps"]
    for size in chosen.n:
        for method in cells["method"].unique():
            pair = pd.concat(
                {key: by_repeat[size, key, method] for key in (0.0, chosen.hide)},
                names=["hidden", "repeat"],
            )
            print(f"  N = {size}, {method}: {ratios(pair, chosen.hide, 0.0)}")


def write_rows(cells: pd.DataFrame, chosen: argparse.Namespace) -> None:
    """A row per split and method, and a row per predicted score where asked for."""
    if chosen.out:
        rows = summarise_held_out(cells, [*SETTING, "repeat", "method"]).reset_index()
        rows.insert(0, "table", chosen.table)
        rows.insert(1, "seed", chosen.seed)
        rows.insert(2, "priors", json.dumps(chosen.priors, sort_keys=True))
        rows.to_csv(chosen.out, index=False)
    if chosen.out_cells:
        cells.to_csv(chosen.out_cells, index=False)


def read_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--table",
        required=True,
        help=f"one of {', '.join(TABLES)}, or a .csv file of scores from 0 to 1",
    )
    parser.add_argument("--n", type=int, nargs="+", default=[20, 60], help="history sizes")
    parser.add_argument("--n-test", type=int, default=N_TEST)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--first-repeat", type=int, default=0, help="to continue or to share out")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--hide", type=float, default=0.0, help="share of the history to hide too")
    parser.add_argument(
        "--cells", type=float, default=0.0, help="hide a share of the table instead"
    )
    parser.add_argument("--methods", nargs="+", default=["ours", *RIVALS])
    parser.add_argument("--without-items", action="store_true", help="do not use item counts")
    parser.add_argument("--simulated", action="store_true", help="draw tables from a fit to it")
    parser.add_argument("--priors", type=json.loads, default={}, help="JSON, as Priors")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, as SamplerSettings")
    parser.add_argument("--jobs", type=int, default=1, help="processes; each compiles once")
    parser.add_argument("--out", type=Path, help="CSV of every split and method")
    parser.add_argument("--out-cells", type=Path, help="CSV of every predicted score")
    chosen = parser.parse_args(given)
    if chosen.table not in TABLES and not chosen.table.endswith(".csv"):
        parser.error(f"argument --table: {chosen.table!r} is neither in {TABLES} nor a .csv file")
    return chosen


def main() -> None:
    chosen = read_arguments()
    print_machine()
    started = time.perf_counter()
    repeats = range(chosen.first_repeat, chosen.first_repeat + chosen.repeats)
    parts: list[pd.DataFrame] = []

    def keep(part: pd.DataFrame) -> None:
        parts.append(part)
        write_rows(pd.concat(parts, ignore_index=True), chosen)
        spent = time.perf_counter() - started
        print(f"  {len(parts)} of {len(repeats)} repeats, {spent:.0f} s", flush=True)

    if chosen.jobs == 1:
        for repeat in repeats:
            keep(run_repeat(chosen, repeat))
    else:
        context = get_context("spawn")
        with ProcessPoolExecutor(chosen.jobs, mp_context=context) as pool:
            for part in pool.map(run_repeat, [chosen] * len(repeats), repeats):
                keep(part)
    print_report(pd.concat(parts, ignore_index=True), chosen)
    print(f"\nall in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
