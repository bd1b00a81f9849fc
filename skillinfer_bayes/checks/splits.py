"""Which agents a method learns from, and which scores it has to predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skillinfer_bayes.checks.hiding import learned
from skillinfer_bayes.exceptions import ConfigError, HistoryError
from skillinfer_bayes.history.building import MIN_AGENTS
from skillinfer_bayes.history.facts import read_groups
from skillinfer_bayes.history.table import History

type FloatArray = NDArray[np.float64]
type BoolArray = NDArray[np.bool_]
type Together = Mapping[str, object] | pd.Series | Sequence[object] | None


@dataclass(frozen=True, eq=False)
class Case:
    """One thing to predict, and all that a method may look at.

    repeat, n_history : int
    hidden : float, share of the history's cells that was hidden
    history : History to learn from
    rows : DataFrame of shape (A, K), the scores known of the agents to predict, NaN elsewhere
    n_items, stderr : DataFrame of shape (A, K) or None, of these scores, NaN elsewhere
    truth : DataFrame of shape (A, K), the scores to predict, NaN elsewhere
    of_history : bool, whether the agents to predict are the history's own, holes to be filled
    seed : int, for whatever a method draws
    groups : tuple of A str or None, of the agents to predict
    covariates : DataFrame of shape (A, P) or None, of the agents to predict
    """

    repeat: int
    n_history: int
    hidden: float
    history: History
    rows: pd.DataFrame
    n_items: pd.DataFrame | None
    stderr: pd.DataFrame | None
    truth: pd.DataFrame
    of_history: bool
    seed: int
    groups: tuple[str, ...] | None = None
    covariates: pd.DataFrame | None = None


def leak_safe_groups(history: History, keep_together: Together = None) -> NDArray[np.intp]:
    """Find the agents that must stay on one side of a split.

    Parameters
    ----------
    history : History
    keep_together : mapping or Series by agent, or sequence in order, optional
        Agents with the same value stay together, such as variants of one base model.

    Returns
    -------
    array of shape (N,)
        A group's number for each agent. Agents whose rows hold the same scores and holes share
        one, and so do agents that are linked through others.

    Raises
    ------
    HistoryError, UnknownAgentError
        If `keep_together` is no value per agent, or names other agents.
    """
    rows = np.where(np.isnan(history.values), np.nan, history.values + 0.0)  # one zero, one NaN
    labellings: list[Sequence[object]] = [[row.tobytes() for row in rows]]
    given = read_groups(keep_together, history.agents, argument="keep_together")
    if given is not None:
        labellings.append(given)
    groups = np.arange(history.n_agents)
    for labels in labellings:
        first: dict[object, int] = {}
        for agent, label in enumerate(labels):
            other = first.setdefault(label, agent)
            groups[groups == groups[agent]] = groups[other]
    return np.asarray(np.unique(groups, return_inverse=True)[1].reshape(-1))


def agent_cases(
    history: History,
    *,
    n_history: Sequence[int | None],
    repeats: Sequence[int],
    n_test: int,
    share_observed: float,
    hidden: Sequence[float],
    keep_together: Together,
    random_seed: int,
) -> Iterator[Case]:
    """Random splits into a history and new agents, each repeat with several history sizes.

    Within a repeat the new agents and what is known of them stay the same, a smaller history is
    part of a larger one, and so are fewer hidden cells of more; differences between settings
    are then not differences between splits.

    Parameters
    ----------
    history : History
        All agents.
    n_history : sequence of int or None
        None takes all agents that are left.
    repeats : sequence of int
        Numbers of the repeats; each gives the same splits whichever others are asked for.
    n_test : int
    share_observed : float
        Share of each new agent's scores that is known, rounded, at least one.
    hidden : sequence of float
        Shares of the history's cells that are hidden.
    keep_together
        As `leak_safe_groups`.
    random_seed : int

    Yields
    ------
    Case

    Raises
    ------
    ConfigError
        If there are too few agents, or so many scores cannot be hidden.
    """
    groups = leak_safe_groups(history, keep_together)
    for repeat in repeats:
        rng = np.random.default_rng([random_seed, repeat])
        test, others = _two_sides(history, groups, n_test, rng)
        known = known_cells(history.observed[test], share_observed, rng)
        order = rng.random((len(others), history.n_skills))
        for wanted in n_history:
            size = _history_size(wanted, others, n_test)
            for share in hidden:
                train = learned(history, others[:size], share, order[:size], "hide")
                yield _case(
                    history, train, test, (known, ~known), (repeat, size, share), random_seed
                )


def curve_cases(
    history: History,
    *,
    n_observed: Sequence[int],
    n_history: int | None,
    repeats: Sequence[int],
    n_test: int,
    keep_together: Together,
    random_seed: int,
) -> Iterator[list[Case]]:
    """Random splits whose new agents show more and more scores.

    Within a repeat the history, the new agents and the scores to predict stay the same, and fewer
    shown scores are part of more.

    Parameters
    ----------
    n_observed : sequence of int
        Numbers of scores to show, lowest first.
    n_history : int or None
        None takes all agents that are left.
    history, repeats, n_test, keep_together, random_seed
        As `agent_cases`; a new agent has at least one score more than the largest number.

    Yields
    ------
    list of Case
        One per number.

    Raises
    ------
    ConfigError
        If there are too few agents.
    """
    groups = leak_safe_groups(history, keep_together)
    most = max(n_observed)
    for repeat in repeats:
        rng = np.random.default_rng([random_seed, repeat])
        test, others = _two_sides(history, groups, n_test, rng, least=most + 1)
        rank = shuffled_ranks(history.observed[test], rng)
        size = _history_size(n_history, others, n_test)
        train = learned(history, others[:size], 0.0, rng.random((size, history.n_skills)))
        asked = history.observed[test] & (rank >= most)
        yield [
            _case(history, train, test, (rank < number, asked), (repeat, size, 0.0), random_seed)
            for number in n_observed
        ]


def cell_cases(
    history: History, *, share: float, repeats: Sequence[int], random_seed: int
) -> Iterator[Case]:
    """Random cells of the whole table are hidden and to be predicted from all others.

    Parameters
    ----------
    history : History
        Rows that repeat another row exactly are left out: they would give the answer away.
    share : float
        Share of the observed cells to hide.
    repeats : sequence of int
    random_seed : int

    Yields
    ------
    Case

    Raises
    ------
    ConfigError
        If so many scores cannot be hidden, or none would be.
    """
    if history.n_skills < 2:
        raise ConfigError("`history` must have at least two skills to predict one by the others")
    groups = leak_safe_groups(history)
    first = np.sort(np.unique(groups, return_index=True)[1]).tolist()
    for repeat in repeats:
        rng = np.random.default_rng([random_seed, repeat])
        order = rng.random((len(first), history.n_skills))
        train = learned(history, first, share, order, "share")
        scores = history.to_dataframe().loc[list(train.agents), list(train.skills)]
        yield Case(
            repeat=repeat,
            n_history=train.n_agents,
            hidden=share,
            history=train,
            rows=train.to_dataframe(),
            n_items=None if train.n_items is None else _like(train, train.n_items),
            stderr=None if train.stderr is None else _like(train, train.stderr),
            truth=scores.mask(train.observed),
            of_history=True,
            seed=_seed(random_seed, repeat, train.n_agents, share),
        )


def _history_size(wanted: int | None, others: Sequence[int], n_test: int) -> int:
    if len(others) < MIN_AGENTS:
        raise ConfigError(
            f"`n_test` must leave at least {MIN_AGENTS} agents to learn from, got {n_test}, which "
            f"leaves {len(others)} beside their relatives; lower it, or keep fewer together"
        )
    size = len(others) if wanted is None else wanted
    if size > len(others):
        raise ConfigError(
            f"`n_history` must be at most {len(others)} beside {n_test} new agents and "
            f"their relatives, got {size}; lower it or `n_test`"
        )
    return size


def _two_sides(
    history: History,
    groups: NDArray[np.intp],
    n_test: int,
    rng: np.random.Generator,
    least: int = 2,
) -> tuple[list[int], list[int]]:
    """Rows of the new agents and of all that may be learned from, in random order."""
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    test: list[int] = []
    others: list[int] = []
    for group in rng.permutation(len(members)):
        rows = rng.permutation(members[group]).tolist()
        # a new agent needs scores to show and one to predict
        fit = [row for row in rows if history.observed[row].sum() >= least]
        if len(test) < n_test and fit:
            test += fit[: n_test - len(test)]  # their relatives are on neither side
        else:
            others += rows
    if len(test) < n_test:
        raise ConfigError(
            f"`n_test` must be at most {len(test)} for this table, got {n_test}; an agent to "
            f"predict needs at least {least} scores, and its relatives are on neither side"
        )
    return test, others


def known_cells(observed: BoolArray, share: float, rng: np.random.Generator) -> BoolArray:
    """Choose which scores of each new agent are known, (A, K); one stays to be predicted."""
    rank = shuffled_ranks(observed, rng)
    count = observed.sum(axis=1)
    known = np.clip(np.rint(share * count), 1, count - 1)
    return np.asarray(rank < known[:, None])


def shuffled_ranks(observed: BoolArray, rng: np.random.Generator) -> NDArray[np.intp]:
    """Random order of each row's observed cells, from 0, before all others: (A, K)."""
    order = np.where(observed, rng.random(observed.shape), np.inf)
    return order.argsort(axis=1).argsort(axis=1)


def _like(history: History, values: FloatArray) -> pd.DataFrame:
    return pd.DataFrame(values, index=list(history.agents), columns=list(history.skills))


def _seed(random_seed: int, repeat: int, n_history: int, hidden: float) -> int:
    key = [random_seed, repeat, n_history, round(hidden * 1e6)]
    return int(np.random.SeedSequence(key).generate_state(1)[0])


def _case(
    table: History,
    train: History,
    test: Sequence[int],
    cells: tuple[BoolArray, BoolArray],
    setting: tuple[int, int, float],
    random_seed: int,
) -> Case:
    """Make a case of rows of a table; `cells` are those known and those to predict, (A, K)."""
    known, asked = cells
    agents = [table.agents[row] for row in test]
    columns = [table.skills.index(name) for name in train.skills]

    def part(values: FloatArray | None, where: BoolArray) -> pd.DataFrame | None:
        if values is None:
            return None
        cells = np.where(where, values[test], np.nan)[:, columns]
        return pd.DataFrame(cells, index=agents, columns=list(train.skills))

    rows, truth = part(table.values, known), part(table.values, asked)
    if rows is None or truth is None:
        raise HistoryError("`history` holds no scores")
    groups, covariates = table.groups, None
    if table.covariates is not None:
        named = list(table.covariate_names)
        covariates = pd.DataFrame(table.covariates[test], index=agents, columns=named)
    return Case(
        repeat=setting[0],
        n_history=setting[1],
        hidden=setting[2],
        history=train,
        rows=rows,
        n_items=part(table.n_items, known),
        stderr=part(table.stderr, known),
        truth=truth,
        of_history=False,
        seed=_seed(random_seed, *setting),
        groups=None if groups is None else tuple(groups[row] for row in test),
        covariates=covariates,
    )
