"""The history: a validated, immutable table of agents by skills."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from skillinfer_bayes.exceptions import PACKAGE_FOLDER, HistoryError, HistoryWarning
from skillinfer_bayes.history.building import (
    check_cells,
    check_scale_names,
    choose_scales,
    find_filled,
    fit_scales,
    warn_constant,
)
from skillinfer_bayes.history.cells import (
    agent_positions,
    read_flag,
    read_labels,
    read_mask,
    read_numbers,
    read_side_table,
)
from skillinfer_bayes.history.facts import (
    read_covariates,
    read_descriptions,
    read_groups,
    split_columns,
)
from skillinfer_bayes.history.files import read_table
from skillinfer_bayes.history.links import BoolArray, FloatArray, Scale, ScaleSpec
from skillinfer_bayes.history.measurement import WorkingData, working_data
from skillinfer_bayes.history.scales import Scales

type SideTable = pd.DataFrame | pd.Series | Mapping[str, float] | ArrayLike | None


@dataclass(frozen=True, eq=False)
class History:
    """Scores of N agents on K skills, with empty cells allowed.

    Make one with `from_dataframe`, `from_csv` or `from_parquet`, which check everything; the
    constructor does not. Arrays cannot be written to, and nothing is shared with the caller.

    Attributes
    ----------
    agents, skills : tuple of str
        Row and column names.
    values : array of shape (N, K)
        Scores in the user's units, NaN where missing.
    scales : Scales
        Bounds, links and working scale of every skill.
    n_items, stderr : array of shape (N, K) or None
        Items behind a score, or its standard error in score units; NaN where not given.
    normalize : bool
        Whether match scores min-max scale each skill by the history first.
    groups : tuple of str or None
        One family or provider per agent.
    covariates : array of shape (N, P) or None
        Numeric agent covariates, complete.
    covariate_names : tuple of str
    skill_descriptions : tuple of str
        One per skill, empty where not given.
    dropped : tuple of str
        What was left out and why, in words.
    """

    agents: tuple[str, ...]
    skills: tuple[str, ...]
    values: FloatArray
    scales: Scales
    n_items: FloatArray | None = None
    stderr: FloatArray | None = None
    normalize: bool = False
    groups: tuple[str, ...] | None = None
    covariates: FloatArray | None = None
    covariate_names: tuple[str, ...] = ()
    skill_descriptions: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("values", "n_items", "stderr", "covariates"):
            given = getattr(self, name)
            if given is not None:
                array = np.array(given, dtype=np.float64)
                array.setflags(write=False)
                object.__setattr__(self, name, array)
        if not self.skill_descriptions:
            object.__setattr__(self, "skill_descriptions", ("",) * len(self.skills))

    def __setstate__(self, state: Mapping[str, object]) -> None:
        self.__dict__.update(state)
        self.__post_init__()  # an unpickled array can be written to

    @classmethod
    def from_dataframe(
        cls,
        scores: pd.DataFrame,
        *,
        scale: ScaleSpec | Mapping[str, ScaleSpec] = "auto",
        n_items: SideTable = None,
        stderr: SideTable = None,
        normalize: bool = False,
        groups: str | Mapping[str, str] | pd.Series | Sequence[str] | None = None,
        covariates: Sequence[str] | pd.DataFrame | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> History:
        """Check a table of scores and fix its scales.

        Parameters
        ----------
        scores : DataFrame of shape (N, K)
            Indexed by agent, one column per skill, empty cells allowed; at least 3 agents.
        scale : "auto", scale, or mapping from skill to scale, default "auto"
            `"0-1"`, `"percent"`, `"unbounded"`, `(lower, upper)` or a `Scale`, for all skills or
            for those named; the others are read off the scores.
        n_items : DataFrame, mapping by skill, array or int, optional
            How many items each score is a proportion of; bounded skills only.
        stderr : DataFrame, mapping by skill, array or float, optional
            Standard errors in score units.
        normalize : bool, default False
            Min-max scale each skill by the history in match scores. Scores and predictions stay
            in the units of `scores`.
        groups : column of `scores`, mapping or Series by agent, or sequence, optional
            One family or provider per agent.
        covariates : columns of `scores`, or DataFrame indexed by agent, optional
            Numeric covariates without gaps.
        descriptions : mapping from skill to str, optional
            What a skill means, for prompts.

        Returns
        -------
        History

        Raises
        ------
        HistoryError
            If names repeat, a cell is not a usable number or outside its bounds, a skill has
            fewer than two distinct scores, fewer than three agents have scores, or another
            table does not match.
        UnknownSkillError
            If `scale`, `descriptions`, `n_items` or `stderr` name a skill that is not there.
        ConfigError
            If a scale cannot be understood.

        Warns
        -----
        HistoryWarning
            If empty rows or columns are dropped, scores do not fit their item counts, or a
            covariate is the same for all agents.
        """
        if not isinstance(scores, pd.DataFrame):
            kind = type(scores).__name__
            raise HistoryError(f"`scores` must be a DataFrame of agents by skills, got {kind}")
        table, groups, covariates = split_columns(scores, groups, covariates)
        agents = read_labels(table.index, "agent")
        skills = read_labels(table.columns, "skill")
        covariate_values, covariate_names = read_covariates(covariates, agents)
        draft = cls(
            agents=agents,
            skills=skills,
            values=read_numbers(table, "scores", agents, skills),
            scales=Scales(skills, (Scale.unbounded(),) * len(skills)),
            n_items=read_side_table(n_items, "n_items", agents, skills),
            stderr=read_side_table(stderr, "stderr", agents, skills),
            normalize=read_flag("normalize", normalize),
            groups=read_groups(groups, agents),
            covariates=covariate_values,
            covariate_names=covariate_names,
            skill_descriptions=read_descriptions(descriptions, skills),
        )
        check_scale_names(scale, skills)
        return _fitted(_checked(_without_empty(draft), scale))

    @classmethod
    def from_csv(
        cls,
        path: str | Path,
        *,
        scale: ScaleSpec | Mapping[str, ScaleSpec] = "auto",
        n_items: SideTable = None,
        stderr: SideTable = None,
        normalize: bool = False,
        groups: str | Mapping[str, str] | pd.Series | Sequence[str] | None = None,
        covariates: Sequence[str] | pd.DataFrame | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> History:
        """Read a CSV (or TSV) file whose first column names the agents.

        Other parameters, errors and warnings as `from_dataframe`.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        History
        """
        return cls.from_dataframe(
            read_table(path, text=groups if isinstance(groups, str) else None),
            scale=scale,
            n_items=n_items,
            stderr=stderr,
            normalize=normalize,
            groups=groups,
            covariates=covariates,
            descriptions=descriptions,
        )

    # one reader tells the formats apart by the file's ending
    from_parquet = from_csv

    @property
    def n_agents(self) -> int:
        """Number of agents, N."""
        return len(self.agents)

    @property
    def n_skills(self) -> int:
        """Number of skills, K."""
        return len(self.skills)

    @property
    def observed(self) -> BoolArray:
        """Which cells hold a score, (N, K)."""
        return ~np.isnan(self.values)

    @property
    def typical_items(self) -> FloatArray:
        """Median item count behind each skill's scores, whole, (K,); NaN where none is known."""
        if self.n_items is None:
            return np.full(self.n_skills, np.nan)
        counts = np.where(self.observed, self.n_items, np.nan).T
        columns = [column[~np.isnan(column)] for column in counts]
        medians = [np.median(column) if column.size else np.nan for column in columns]
        return np.floor(np.array(medians) + 0.5)

    @property
    def descriptions(self) -> dict[str, str]:
        """Descriptions of the skills that have one; a new dict each time."""
        pairs = zip(self.skills, self.skill_descriptions, strict=True)
        return {skill: text for skill, text in pairs if text}

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 of everything that a fit depends on, as 64 hex digits."""
        digest = hashlib.sha256()
        labels = {
            "agents": self.agents,
            "skills": self.skills,
            "scales": self.scales.to_dict(),
            "groups": self.groups,
            "covariate_names": self.covariate_names,
            "normalize": self.normalize,
        }
        digest.update(json.dumps(labels, sort_keys=True).encode())
        for name in ("values", "n_items", "stderr", "covariates"):
            digest.update(name.encode() + _canonical_bytes(getattr(self, name)))
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self.data_hash == other.data_hash

    def __hash__(self) -> int:
        return hash(self.data_hash)

    def __repr__(self) -> str:
        filled = float(self.observed.mean())
        return f"History({self.n_agents} agents x {self.n_skills} skills, {filled:.0%} filled)"

    def to_dataframe(self) -> pd.DataFrame:
        """Scores as a new DataFrame (agent by skill), NaN where missing."""
        return pd.DataFrame(
            self.values.copy(),
            index=pd.Index(self.agents, name="agent"),
            columns=pd.Index(self.skills, name="skill"),
        )

    def working(self) -> WorkingData:
        """Scores and measurement errors on the working scale, where the model lives."""
        return working_data(self.values, self.scales, self.n_items, self.stderr)

    def select(self, agents: Sequence[str]) -> History:
        """Keep some agents only, in the given order.

        Links and bounds stay; location and spread come from the agents that are kept.

        Parameters
        ----------
        agents : sequence of str
            At least three names, each once.

        Raises
        ------
        UnknownAgentError
            If a name is not an agent of the history.
        HistoryError
            If `agents` is no list of names, a name repeats, or what is left is no usable history.
        """
        kept = _take(self, agent_positions(agents, self.agents), range(self.n_skills))
        return _fitted(_without_empty(kept))

    def hide(self, mask: ArrayLike) -> History:
        """Blank some cells, with their item counts and standard errors.

        Links and bounds stay; location and spread come from the scores that are left.

        Parameters
        ----------
        mask : bool array of shape (N, K)
            True where a score is to be hidden; a DataFrame is matched by name.

        Raises
        ------
        HistoryError
            If the mask has another shape or repeats a name, or what is left is no usable history.

        Warns
        -----
        HistoryWarning
            If a row or column becomes empty and is dropped.
        """
        hidden = read_mask(mask, self.agents, self.skills)
        blanked = replace(
            self,
            values=np.where(hidden, np.nan, self.values),
            n_items=None if self.n_items is None else np.where(hidden, np.nan, self.n_items),
            stderr=None if self.stderr is None else np.where(hidden, np.nan, self.stderr),
        )
        return _fitted(_without_empty(blanked))


def _rows_and_columns(
    table: FloatArray | None, rows: Sequence[int], columns: Sequence[int]
) -> FloatArray | None:
    return None if table is None else table[np.ix_(list(rows), list(columns))]


def _take(history: History, rows: Sequence[int], columns: Sequence[int]) -> History:
    """Keep some rows and columns; the scales are not yet fitted to them."""
    texts, groups, covariates = history.skill_descriptions, history.groups, history.covariates
    return replace(
        history,
        agents=tuple(history.agents[i] for i in rows),
        skills=tuple(history.skills[i] for i in columns),
        values=history.values[np.ix_(list(rows), list(columns))],
        scales=history.scales.take(columns),
        n_items=_rows_and_columns(history.n_items, rows, columns),
        stderr=_rows_and_columns(history.stderr, rows, columns),
        groups=None if groups is None else tuple(groups[i] for i in rows),
        covariates=None if covariates is None else covariates[list(rows)],
        skill_descriptions=tuple(texts[i] for i in columns),
    )


def _without_empty(history: History) -> History:
    rows, columns, notes = find_filled(history.values, history.agents, history.skills)
    for note in notes:
        warnings.warn(note, HistoryWarning, skip_file_prefixes=(PACKAGE_FOLDER,))
    kept = _take(history, rows, columns)
    return replace(kept, dropped=history.dropped + notes)


def _checked(history: History, spec: ScaleSpec | Mapping[str, ScaleSpec]) -> History:
    scales = choose_scales(history.values, history.agents, history.skills, spec)
    values = check_cells(history.values, history.n_items, history.stderr, scales, history.agents)
    warn_constant(history.covariates, history.covariate_names)
    return replace(history, values=values, scales=scales)


def _fitted(history: History) -> History:
    scales = fit_scales(
        history.values,
        history.n_items,
        history.stderr,
        history.scales,
        normalize=history.normalize,
    )
    return replace(history, scales=scales)


def _canonical_bytes(table: FloatArray | None) -> bytes:
    """Give the same bytes for the same numbers, whatever the machine, zero's sign or NaN."""
    if table is None:
        return b"none"
    plain = np.where(np.isnan(table), np.nan, table + 0.0)
    return str(plain.shape).encode() + plain.astype("<f8").tobytes()
