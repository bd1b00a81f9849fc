"""Choosing an agent for a task from two scores: regret of the choice, calibration of P(best).

Berkeley Function Calling Leaderboard v4 with its real cost and latency. Base models are held out
with all their variants; two skills are observed, the task weighs three others; then the choice is
held against the scores that were measured. Rivals see the same two scores, cost and latency.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks._common import print_machine, print_table
from benchmarks._held_out import (
    Split,
    add_split_arguments,
    peer_profiles,
    random_task,
    read_splits,
    weight_vector,
)
from skillinfer_bayes.profiles.task import Task
from skillinfer_bayes.routing.compare import Comparison, compare
from skillinfer_bayes.routing.orderings import first_places
from skillinfer_bayes.routing.utility import Utility, utility_draws

TABLE = "bfcl_v4"
COST, LATENCY = "cost_usd_total_run", "latency_mean_s"
# A hundredth of the score for 10 dollars more per run, or for 5 seconds more per answer.
UTILITIES = {
    "score": Utility(cost_key=COST, latency_key=LATENCY),
    "score, cost, latency": Utility(cost=0.001, latency=0.002, cost_key=COST, latency_key=LATENCY),
}
OURS = "ours: Bayes choice"
PEERS = {"peer, as it comes": True, "peer, normalize=False": False}
EDGES = np.array([0.0, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])


def expected_scores(
    split: Split, task: Task, known: Sequence[str], comparison: Comparison
) -> dict[str, np.ndarray]:
    """The task's score of every agent as each method expects it."""
    weights = weight_vector(task, split.truth.columns)
    found = {OURS: comparison.expected.values}
    for name, normalize in PEERS.items():
        found[name] = peer_profiles(split, split.truth[list(known)], normalize=normalize) @ weights
    found["observed mean"] = split.truth[list(known)].mean(axis=1).to_numpy()
    return found


def run_task(split: Split, task: Task, known: Sequence[str]) -> Iterator[dict[str, object]]:
    """One row per utility, method and agent."""
    profiles = split.population.profiles(split.truth[list(known)])
    facts = split.metadata[[COST, LATENCY]].to_dict("index")
    scores = split.truth.to_numpy() @ weight_vector(task, split.truth.columns)
    plain = compare(task, profiles, kind="score")
    for label, utility in UTILITIES.items():
        comparison = Comparison(utility_draws(plain.values, utility, facts))
        added = np.array([float(utility(np.array(0.0), facts[name])) for name in profiles])
        truth = scores + added
        loss = truth.max() - truth
        row = {"utility": label}
        for method, expected in expected_scores(split, task, known, plain).items():
            yield row | {"method": method, "regret": loss[int(np.argmax(expected + added))]}
        yield row | {"method": "random", "regret": loss.mean()}
        yield row | {
            "method": "calibration",
            "regret": loss[comparison.agents.index(comparison.choice)],
            "expected_regret": comparison.regret,
            "p_best": comparison.p_best.values,
            "was_best": first_places(truth[None])[0],
            "p_better": _pairs(comparison.p_better.values),
            "was_better": _pairs(0.5 + 0.5 * np.sign(truth[:, None] - truth)),
        }


def _pairs(matrix: np.ndarray) -> np.ndarray:
    """Entries above the diagonal, each turned so that the forecast favours it."""
    return matrix[np.triu_indices(len(matrix), 1)]


def print_regret(rows: pd.DataFrame) -> None:
    """Mean regret per method; differences with standard errors from the splits."""
    by_split = rows.pivot_table(index="split", columns="method", values="regret", aggfunc="mean")
    ours = by_split[OURS]
    lines = []
    for method in by_split.mean().sort_values().index:
        gap = by_split[method] - ours
        error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.nan
        lower = int((gap > 0).sum())
        lines.append(
            [
                method,
                f"{by_split[method].mean():.4f}",
                "" if method == OURS else f"{gap.mean():+.4f} +- {error:.4f}",
                "" if method == OURS else f"{lower} of {len(gap)}",
            ]
        )
    print_table(lines, ["method", "mean regret", "more than ours", "splits where ours is lower"])


def reliability(forecast: np.ndarray, outcome: np.ndarray) -> pd.DataFrame:
    """Forecasts in bins: how many, mean forecast, share of outcomes that came true."""
    place = np.clip(np.digitize(forecast, EDGES) - 1, 0, len(EDGES) - 2)
    table = pd.DataFrame({"bin": place, "forecast": forecast, "came_true": outcome})
    table = table.groupby("bin").agg(
        count=("forecast", "size"), forecast=("forecast", "mean"), came_true=("came_true", "mean")
    )
    return table.set_index([[f"{EDGES[at]:g} to {EDGES[at + 1]:g}" for at in table.index]])


def print_calibration(rows: pd.DataFrame, label: str, figure: Path | None) -> None:
    """Reliability of P(best) and P(A > B), and of the expected regret."""
    gaps = rows.groupby("split")[["expected_regret", "regret"]].mean().diff(axis=1)["regret"]
    error = gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else np.nan
    print(
        f"regret of the choice: expected {rows['expected_regret'].mean():.4f}, measured "
        f"{rows['regret'].mean():.4f} (difference {gaps.mean():+.4f} +- {error:.4f})"
    )
    for name, forecast, outcome in (
        ("P(best)", "p_best", "was_best"),
        ("P(A > B)", "p_better", "was_better"),
    ):
        said, was = np.concatenate(list(rows[forecast])), np.concatenate(list(rows[outcome]))
        table = reliability(said, was)
        error = float((table["count"] * (table["forecast"] - table["came_true"]).abs()).sum())
        brier, naive = np.mean((said - was) ** 2), np.mean((was.mean() - was) ** 2)
        print(
            f"{name}: calibration error {error / table['count'].sum():.4f}, Brier score "
            f"{brier:.4f} ({naive:.4f} for the base rate)"
        )
        lines = [
            [at, int(row["count"]), f"{row['forecast']:.3f}", f"{row['came_true']:.3f}"]
            for at, row in table.iterrows()
        ]
        print_table(lines, ["forecast", "count", "mean forecast", "came true"])
        if figure:
            slug = label.replace(", ", "_")
            draw(table, name, label, figure.with_stem(f"{figure.stem}_{forecast}_{slug}"))


def draw(table: pd.DataFrame, name: str, label: str, path: Path) -> None:
    """Reliability plot of a table of bins, with Wilson's intervals (doi:10.2307/2276774)."""
    from matplotlib.figure import Figure

    plot = Figure(figsize=(4.0, 4.2), layout="constrained")
    axes = plot.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    count, share = table["count"], table["came_true"]
    centre = (share * count + 2.0) / (count + 4.0)
    half = 2.0 / (count + 4.0) * np.sqrt(count * share * (1.0 - share) + 1.0)
    axes.vlines(table["forecast"], centre - half, centre + half)
    axes.plot(table["forecast"], share, marker="o", linestyle="")
    ends = (-0.03, 1.03)
    axes.set(xlabel=f"forecast {name}", ylabel="share that came true", xlim=ends, ylim=ends)
    axes.set_title(f"utility: {label}", fontsize="medium")
    plot.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_split_arguments(parser, splits=6, held_out=12)
    parser.add_argument("--tasks", type=int, default=100, help="random tasks per split")
    parser.add_argument("--observed", type=int, default=2)
    parser.add_argument("--weighed", type=int, default=3)
    parser.add_argument("--figure", type=Path, help="where to write reliability plots")
    chosen = parser.parse_args()
    print_machine()
    found = []
    for split in read_splits(TABLE, chosen):
        rng = np.random.default_rng(1000 + split.number)
        for number in range(chosen.tasks):
            task, known = random_task(split.truth.columns, chosen.weighed, chosen.observed, rng)
            for row in run_task(split, task, known):
                found.append(row | {"split": split.number, "task": number})
    rows = pd.DataFrame(found)
    print(
        f"{chosen.splits} splits, {chosen.held_out} base models held out, {chosen.tasks} tasks per "
        f"split, {chosen.observed} skills observed, {chosen.weighed} others weighed"
    )
    for label in UTILITIES:
        print(f"\nutility: {label}")
        part = rows[rows["utility"] == label]
        print_regret(part[part["method"] != "calibration"])
        print_calibration(part[part["method"] == "calibration"], label, chosen.figure)


if __name__ == "__main__":
    main()
