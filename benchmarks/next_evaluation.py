"""What to measure next: regret and profile error against the number of measurements.

Held-out agents have a few scores; one score after another is revealed where a method asks for it.
All methods choose and predict with this package's profiles, so that only what they measure
differs; "peer alone" also chooses with `skillinfer`. Two questions: which agent is best for a
task (regret, against measured scores), and what all agents can do (mean absolute error over all
cells of the table, revealed ones included).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from benchmarks._common import print_machine, print_table
from benchmarks._held_out import (
    Split,
    add_split_arguments,
    peer_population,
    random_task,
    read_splits,
    weight_vector,
)
from skillinfer_bayes.profiles.engine import Kind
from skillinfer_bayes.profiles.joint import Member, read_members
from skillinfer_bayes.profiles.task import Task
from skillinfer_bayes.routing.next_evaluation import Method, next_evaluations

# Weighed and observed skills of a random task.
TABLES = {"bfcl_v4": (3, 2), "open_llm_leaderboard_v2": (3, 1)}
LOOK_AHEAD = 4
SHOWN = (0, 1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 60)

type Cell = tuple[int, int]


@dataclass
class Bench:
    """What is revealed of the agents of one split, and what follows from it."""

    split: Split
    peer: Any
    cache: dict[tuple[int, bytes], np.ndarray] = field(default_factory=dict)
    drawn: dict[tuple[object, ...], tuple[np.ndarray, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.truth = self.split.truth.to_numpy()
        self.skills = self.split.truth.columns
        self.agents = self.split.truth.index

    @contextmanager
    def keep_draws(self) -> Iterator[None]:
        """Draw every agent once per set of shown cells: most calls differ in one agent only."""
        draw = Member.draws

        def kept(member: Member, *kinds: Kind) -> tuple[np.ndarray, ...]:
            key = (member.agent, member.evidence.observed.tobytes(), kinds)
            if key not in self.drawn:
                self.drawn[key] = draw(member, *kinds)
            return self.drawn[key]

        with mock.patch.object(Member, "draws", kept):
            yield
        self.drawn.clear()

    def means(self, shown: np.ndarray) -> np.ndarray:
        """Our posterior means of all skills, (A, K), given which cells are shown."""
        return np.stack([self._kept("ours", row, shown[row]) for row in range(len(shown))])

    def peer_tables(self, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of `skillinfer`, (A, K) each."""
        both = np.stack([self._kept("peer", row, shown[row]) for row in range(len(shown))])
        return both[:, 0], both[:, 1]

    def _kept(self, who: str, row: int, shown: np.ndarray) -> np.ndarray:
        key = (row, who.encode() + shown.tobytes())
        if key not in self.cache:
            table = self.split.truth.iloc[[row]].where(shown[None])
            self.cache[key] = self._ours(table) if who == "ours" else self._peer(table)
        return self.cache[key]

    def _ours(self, table: pd.DataFrame) -> np.ndarray:
        group = read_members(self.split.population.profiles(table))
        return group.members[0].draws("skill")[0].mean(axis=0)

    def _peer(self, table: pd.DataFrame) -> np.ndarray:
        profile = self.peer.profile()
        known = table.iloc[0].dropna().to_dict()
        if known:
            profile.observe_many(known)
        return np.stack([profile.mean(), profile.std()])


type Chooser = Callable[[Bench, np.ndarray, Task | None, np.random.Generator], list[Cell]]


def ours(method: Method | None, ahead: int) -> Chooser:
    """Our plan for the next few measurements; the first `ahead` of them are made."""

    def choose(bench: Bench, shown: np.ndarray, task: Task | None, _: object) -> list[Cell]:
        profiles = bench.split.population.profiles(bench.split.truth.where(shown))
        budget = max(LOOK_AHEAD, ahead)
        table = next_evaluations(profiles, task, budget=budget, method=method).table.head(ahead)
        rows = bench.agents.get_indexer(table["agent"]).tolist()
        return list(zip(rows, bench.skills.get_indexer(table["skill"]).tolist(), strict=True))

    return choose


def at_random(
    bench: Bench, shown: np.ndarray, task: Task | None, rng: np.random.Generator
) -> list[Cell]:
    """Any cell."""
    cells = np.argwhere(~shown)
    return [tuple(cells[rng.integers(len(cells))].tolist())] if len(cells) else []


def in_order(
    bench: Bench, shown: np.ndarray, task: Task | None, rng: np.random.Generator
) -> list[Cell]:
    """One benchmark after the other, in the table's order, each for all agents."""
    cells = np.argwhere(~shown.T)
    return [(int(cells[0, 1]), int(cells[0, 0]))] if len(cells) else []


def most_uncertain(
    bench: Bench, shown: np.ndarray, task: Task | None, rng: np.random.Generator
) -> list[Cell]:
    """The cell with the highest standard deviation in the peer's profiles."""
    _, std = bench.peer_tables(shown)
    return _highest(np.where(shown, -np.inf, std))


def of_the_task(inner: Chooser) -> Chooser:
    """As another rule, among the task's skills while they last."""

    def choose(
        bench: Bench, shown: np.ndarray, task: Task | None, rng: np.random.Generator
    ) -> list[Cell]:
        asked = bench.skills.isin(list(task.weights)) if task else np.ones(len(bench.skills), bool)
        return inner(bench, shown | ~asked, task, rng)

    return choose


def _highest(values: np.ndarray) -> list[Cell]:
    place = int(np.argmax(values))
    if values.flat[place] == -np.inf:
        return []
    return [divmod(place, values.shape[1])]


RANDOM = "random"
FOR_TASKS: dict[str, Chooser] = {
    "ours: regret": ours("regret", 1),
    "ours: information": ours("information", 2),
    RANDOM: at_random,
    "fixed order": in_order,
    "peer's most_uncertain": most_uncertain,
    "random, task's skills": of_the_task(at_random),
    "most_uncertain, task's skills": of_the_task(most_uncertain),
}
FOR_PROFILES: dict[str, Chooser] = {
    "ours: shrinkage": ours("shrinkage", 10),
    "ours: information": ours("information", 10),
    "ours: variance": ours("variance", 10),
    RANDOM: at_random,
    "fixed order": in_order,
    "peer's most_uncertain": most_uncertain,
}
CHANCE = ("random", "random, task's skills")


def reveal(
    bench: Bench,
    shown: np.ndarray,
    task: Task | None,
    choose: Chooser,
    steps: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Which cells are shown after 0, 1, 2 ... measurements; nothing changes where a rule stops."""
    shown = shown.copy()
    queue: list[Cell] = []
    stopped = False
    yield shown
    for _ in range(steps):
        if not queue and not stopped:
            queue = choose(bench, shown, task, rng)
            stopped = not queue
        if queue:
            shown[queue.pop(0)] = True
        yield shown


def run_task(bench: Bench, number: int, chosen: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Regret after each number of measurements, for every rule."""
    rng = np.random.default_rng([bench.split.number, number])
    task, known = random_task(bench.skills, *TABLES[chosen.table], rng)
    weights = weight_vector(task, bench.skills)
    start = np.tile(bench.skills.isin(known), (len(bench.agents), 1))
    value = bench.truth @ weights
    loss = value.max() - value
    for name, choose in FOR_TASKS.items():
        for repeat in range(chosen.repeats if name in CHANCE else 1):
            seed = np.random.default_rng([bench.split.number, number, repeat])
            path = reveal(bench, start, task, choose, chosen.steps, seed)
            for step, shown in enumerate(path):
                row = {"split": bench.split.number, "task": number, "step": step}
                row["hidden"] = int((~shown).sum())
                made = int(shown.sum() - start.sum())
                best = int(np.argmax(bench.means(shown) @ weights))
                yield row | {"rule": name, "value": loss[best], "made": made}
                if name == "peer's most_uncertain":
                    best = int(np.argmax(bench.peer_tables(shown)[0] @ weights))
                    yield row | {"rule": "peer alone", "value": loss[best], "made": made}


def run_profiles(bench: Bench, chosen: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Mean absolute error of all cells after each number of measurements, for every rule."""
    rng = np.random.default_rng([bench.split.number, 999])
    _, known = random_task(bench.skills, *TABLES[chosen.table], rng)
    start = np.tile(bench.skills.isin(known), (len(bench.agents), 1))
    for name, choose in FOR_PROFILES.items():
        for repeat in range(chosen.repeats if name in CHANCE else 1):
            seed = np.random.default_rng([bench.split.number, repeat])
            path = reveal(bench, start, None, choose, chosen.profile_steps, seed)
            for step, shown in enumerate(path):
                row = {"split": bench.split.number, "task": 0, "step": step, "rule": name}
                row["hidden"] = int((~shown).sum())
                error = float(np.abs(bench.means(shown) - bench.truth).mean())
                yield row | {"value": error, "made": int(shown.sum() - start.sum())}
                if name == "peer's most_uncertain":
                    error = float(np.abs(bench.peer_tables(shown)[0] - bench.truth).mean())
                    yield row | {"rule": "peer alone", "value": error}


def needed(curve: np.ndarray, level: float) -> str:
    """Fewest measurements after which a curve is at a level or below, and stays there."""
    highest_from_here = np.maximum.accumulate(curve[::-1])[::-1]
    below = np.flatnonzero(highest_from_here <= level + 1e-12)
    return str(int(below[0])) if len(below) else "-"


def print_curves(rows: pd.DataFrame, what: str, first: str) -> None:
    """Curves, their means with errors from the splits, and measurements needed."""
    curves = rows.pivot_table(index="rule", columns="step", values="value", aggfunc="mean")
    curves = curves.loc[list(dict.fromkeys(rows["rule"]))]
    last = int(curves.columns.max())
    steps = [step for step in SHOWN if step <= last]
    by_split = rows.groupby(["rule", "split"])["value"].mean().unstack("split")
    lines = []
    for rule in curves.index:
        gap = by_split.loc[rule] - by_split.loc[first]
        error = gap.std(ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.nan
        more = "" if rule == first else f"{gap.mean():+.4f} +- {error:.4f}"
        lines.append([rule, *(f"{curves.loc[rule, step]:.4f}" for step in steps), more])
    print(f"{what} after so many measurements; the last column is the mean over all of them")
    print_table(lines, ["rule", *map(str, steps), f"more than {first}"])
    chance = curves.loc[RANDOM].to_numpy()
    levels = [step for step in (last // 4, last // 2, last) if step]
    lines = [
        [rule, *(needed(curves.loc[rule].to_numpy(), chance[step]) for step in levels)]
        for rule in curves.index
    ]
    print(f"measurements needed to be where random is after {', '.join(map(str, levels))}")
    print_table(lines, ["rule", *(f"random at {step}" for step in levels)])
    hidden = rows[rows["rule"] == RANDOM].groupby("step")["hidden"].max()
    for step in levels:
        found = needed(curves.loc[first].to_numpy(), chance[step])
        if not hidden[step]:
            print(f"random at {step} has measured everything: there is nothing to choose")
        elif found != "-":
            share = int(found) / step
            met = "met" if share <= 2 / 3 else "NOT met"
            print(f"{first} / random at {step}: {share:.2f} (at most 0.67: {met})")
    made = rows[(rows["step"] == last)].groupby("rule")["made"].mean()
    if made[first] < last:
        print(f"{first} stopped after {made[first]:.1f} measurements on average, as worth no more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=TABLES, required=True)
    add_split_arguments(parser, splits=4, held_out=12)
    parser.add_argument("--tasks", type=int, default=10, help="random tasks per split")
    parser.add_argument("--steps", type=int, default=24, help="measurements per task")
    parser.add_argument("--profile-steps", type=int, default=60, help="measurements of profiles")
    parser.add_argument("--repeats", type=int, default=4, help="repeats of what is random")
    chosen = parser.parse_args()
    print_machine()
    tasks, profiles = [], []
    for split in read_splits(chosen.table, chosen):
        bench = Bench(split, peer_population(split.history, normalize=False))
        with bench.keep_draws():
            profiles += list(run_profiles(bench, chosen))
        for number in range(chosen.tasks):
            with bench.keep_draws():
                tasks += list(run_task(bench, number, chosen))
        print(f"split {split.number}: {len(split.truth)} agents held out", flush=True)
    weighed, observed = TABLES[chosen.table]
    print(
        f"\n{chosen.table}: {chosen.splits} splits, {chosen.tasks} tasks each, {observed} skills "
        f"observed at the start, {weighed} others weighed"
    )
    print_curves(pd.DataFrame(tasks), "regret", "ours: regret")
    print()
    print_curves(pd.DataFrame(profiles), "mean absolute error of the profiles", "ours: shrinkage")


if __name__ == "__main__":
    main()
