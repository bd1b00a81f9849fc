"""One agent's profile: observe scores, ask for skills."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import xarray as xr

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.files import write_text
from skillinfer_bayes.history.cells import read_flag
from skillinfer_bayes.inference.design import plain_facts
from skillinfer_bayes.profiles import stored
from skillinfer_bayes.profiles.context import Context
from skillinfer_bayes.profiles.engine import Kind, check_ci_prob, check_kind
from skillinfer_bayes.profiles.evidence import Evidence, Observation, evidence_of_one
from skillinfer_bayes.profiles.extrapolation import caution
from skillinfer_bayes.profiles.measured import read_score, read_scores
from skillinfer_bayes.profiles.surprise import surprise
from skillinfer_bayes.profiles.tables import draws_array, match_frame, summary_frame
from skillinfer_bayes.profiles.task import MatchResult, Skill, Task


class Profile:
    """What is known of one agent: the population, conditioned on the agent's scores.

    Made by `Population.profile`. `observe` and `observe_many` change the profile in place and
    return it; the order of observations does not matter, and measurements of the same skill are
    pooled. Everything else only reads. Scores are in the history's units.

    Parameters
    ----------
    context : Context
        The population's draws and scales.
    agent : str, default "agent"
        A name for tables and plots.
    group : str, optional
        The agent's family or provider, where the history has groups.
    covariates : mapping of str to float, optional
        The agent's covariates, where the history has some.
    reweight : bool, default False
        Let the agent's own scores weigh the posterior draws.
    """

    def __init__(
        self,
        context: Context,
        agent: str = "agent",
        *,
        group: str | None = None,
        covariates: Mapping[str, float] | None = None,
        reweight: bool = False,
        observations: Mapping[str, Sequence[Observation]] | None = None,
    ) -> None:
        name: object = agent
        if not isinstance(name, str):
            raise InputError(f"`agent` must be a text, got {name!r}; write str(agent)")
        self._context = context
        self._agent = agent
        self._group, self._covariates = plain_facts(group, covariates)
        self._reweight = read_flag("reweight", reweight)
        self._design = context.design.read((agent,), self._group, self._covariates)
        given = observations or {}
        self._observations = {skill: tuple(measured) for skill, measured in given.items()}
        self._evidence_cache: Evidence | None = None
        self._tables: dict[tuple[float, Kind], pd.DataFrame] = {}

    @property
    def agent(self) -> str:
        """The agent's name."""
        return self._agent

    @property
    def skills(self) -> tuple[str, ...]:
        """Names of all skills, in the history's order."""
        return self._context.skills

    @property
    def descriptions(self) -> dict[str, str]:
        """Descriptions of the skills that have one."""
        return dict(self._context.descriptions)

    @property
    def population_id(self) -> str:
        """Identity of the population that the profile belongs to."""
        return self._context.population_id

    @property
    def normalized(self) -> bool:
        """Whether match scores rescale each skill to 0-1 by the history's range."""
        return self._context.normalize

    @property
    def observed(self) -> frozenset[str]:
        """Names of the skills that were measured."""
        return frozenset(self._observations)

    @property
    def observations(self) -> dict[str, float]:
        """Score of each observed skill; where measured repeatedly, the mean by precision."""
        scores = dict(zip(self.skills, self._evidence.scores[0].tolist(), strict=True))
        return {skill: scores[skill] for skill in self.skills if skill in self._observations}

    @property
    def score_bounds(self) -> dict[str, tuple[float, float]]:
        """Lower and upper bound of each skill's scores; infinite where unbounded."""
        scales = self._context.scales
        ends = zip(scales.lower.tolist(), scales.upper.tolist(), strict=True)
        return dict(zip(self.skills, ends, strict=True))

    @property
    def khat(self) -> float:
        """Tail shape of the importance weights; 0 without `reweight`, unreliable above 0.7."""
        if not self._reweight:
            return 0.0
        return float(self._context.engine.khat(self._evidence)[0])

    @property
    def surprise(self) -> float:
        """Chance that an agent of the population is as unusual in all its scores together.

        1 without scores; below 0.01 the history holds nothing like them, and what is inferred
        extrapolates.
        """
        return float(surprise(self._context.posterior, self._evidence)[0])

    def observe(
        self,
        skill: str | Skill | int,
        score: float | None = None,
        *,
        n_items: float | None = None,
        stderr: float | None = None,
    ) -> Profile:
        """Take in one measured score; changes this profile and returns it.

        Parameters
        ----------
        skill : str, Skill or int
            Name, position, or a `Skill` that carries a score.
        score : float, optional
            In the history's units; needed unless `skill` carries one.
        n_items : float, optional
            Items behind the score.
        stderr : float, optional
            Standard error of the score; give this or `n_items`.

        Returns
        -------
        Profile
            This one.

        Raises
        ------
        UnknownSkillError
            If there is no such skill.
        ScoreError
            If the score, the item count or the standard error cannot be used.
        """
        self._add([read_score(self._context, skill, score, n_items=n_items, stderr=stderr)])
        return self

    def observe_many(
        self, observations: Mapping[str, float] | Mapping[Skill, float] | Sequence[Skill]
    ) -> Profile:
        """Take in several scores, all of them or, if one cannot be used, none.

        Parameters
        ----------
        observations : mapping from skill to score, or sequence of Skill with scores

        Returns
        -------
        Profile
            This one.

        Raises
        ------
        UnknownSkillError, ScoreError
            As `observe`.
        """
        self._add(read_scores(self._context, observations))
        return self

    def _add(self, measured: Sequence[tuple[str, Observation]]) -> None:
        for skill, one in measured:
            # sorted, so that the order in which measurements arrive leaves no trace
            pooled = (*self._observations.get(skill, ()), one)
            self._observations[skill] = tuple(sorted(pooled, key=lambda item: str(item)))
        self._evidence_cache = None
        self._tables = {}

    @property
    def _evidence(self) -> Evidence:
        if self._evidence_cache is None:
            scales = self._context.scales
            self._evidence_cache = evidence_of_one(
                self._agent,
                self._observations,
                scales,
                self._design,
                reweight=self._reweight,
            )
        return self._evidence_cache

    def _table(self, ci_prob: float, kind: Kind) -> pd.DataFrame:
        """One row per skill; computed when first asked for after a change."""
        check_ci_prob(ci_prob)
        check_kind(kind)
        key = (ci_prob, kind)
        if key not in self._tables:
            summary = self._context.engine.summarise(self._evidence, ci_prob=ci_prob, kind=kind)
            frame = summary_frame(self._context, self._evidence, summary)
            self._tables[key] = frame.droplevel("agent")
        return self._tables[key]

    @overload
    def predict(
        self, skill: str | Skill | int, *, ci_prob: float = ..., kind: Kind = ...
    ) -> dict[str, Any]: ...

    @overload
    def predict(
        self, skill: None = ..., *, ci_prob: float = ..., kind: Kind = ...
    ) -> pd.DataFrame: ...

    def predict(
        self,
        skill: str | Skill | int | None = None,
        *,
        ci_prob: float = 0.9,
        kind: Kind = "skill",
    ) -> dict[str, Any] | pd.DataFrame:
        """Predict one skill, or all.

        Parameters
        ----------
        skill : str, Skill or int, optional
            Default: all skills.
        ci_prob : float, default 0.9
            Mass of the equal-tailed interval.
        kind : {"skill", "score"}, default "skill"
            The latent skill, or a score that would be measured.

        Returns
        -------
        dict or DataFrame
            `mean`, `std`, `lower`, `upper` in score units and `source`, "observed" or "inferred";
            with `skill` as a key, or as the index of a row per skill.
        """
        table = self._table(ci_prob, kind)
        if skill is None:
            return table.copy()
        column = self._context.index(skill)
        return {"skill": self.skills[column], **table.iloc[column].to_dict()}

    def mean(self, skill: str | Skill | int | None = None) -> Any:
        """Posterior mean in score units: a float for one skill, else a Series over skills."""
        return self._column("mean", skill)

    def std(self, skill: str | Skill | int | None = None) -> Any:
        """Posterior standard deviation in score units: a float, or a Series over skills."""
        return self._column("std", skill)

    def _column(self, name: str, skill: str | Skill | int | None) -> Any:
        column = self.predict()[name]
        if skill is None:
            return column
        return float(column.iloc[self._context.index(skill)])

    def interval(
        self, skill: str | Skill | int, ci_prob: float = 0.9, *, kind: Kind = "skill"
    ) -> tuple[float, float]:
        """Equal-tailed interval of one skill, in score units."""
        row = self.predict(skill, ci_prob=ci_prob, kind=kind)
        return float(row["lower"]), float(row["upper"])

    def p_above(self, skill: str | Skill | int, threshold: float, *, kind: Kind = "skill") -> float:
        """Probability that a skill lies above a threshold given in score units.

        Raises
        ------
        ThresholdError
            If the threshold lies outside the skill's scale.
        """
        column = self._context.index(skill)
        at = self._context.thresholds(column, threshold)
        return float(self._context.engine.p_above(self._evidence, at, kind)[0, column])

    def most_uncertain(self, k: int = 10) -> pd.DataFrame:
        """Give the k skills with the largest posterior standard deviation, largest first."""
        given: object = k
        if not isinstance(given, int | np.integer) or isinstance(given, bool) or k < 1:
            raise InputError(f"`k` must be a whole number of at least 1, got {k!r}")
        return self.predict().sort_values("std", ascending=False, kind="stable").head(k)

    def match_score(
        self,
        task: Task | Mapping[str, float],
        threshold: float | None = None,
        *,
        ci_prob: float = 0.9,
    ) -> MatchResult:
        """Give the expected weighted mean of the task's skills, with its uncertainty.

        Parameters
        ----------
        task : Task or mapping from skill to weight
        threshold : float, optional
            In the units of the match score.
        ci_prob : float, default 0.9

        Returns
        -------
        MatchResult

        Raises
        ------
        UnknownSkillError, TaskError, ThresholdError
        """
        frame = match_frame(self._context, self._evidence, task, threshold, ci_prob)
        row = frame.iloc[0]
        above = None if threshold is None else float(row["p_above_threshold"])
        ends = (float(row["lower"]), float(row["upper"]))
        return MatchResult(float(row["score"]), float(row["std"]), *ends, above)

    def draws(self, *, kind: Kind = "skill") -> xr.DataArray:
        """Joint posterior predictive draws, dims (chain, draw, agent, skill), score units."""
        return draws_array(self._context, self._evidence, kind)

    def copy(self) -> Profile:
        """Give an independent profile with the same observations."""
        return Profile(
            self._context,
            self._agent,
            group=self._group,
            covariates=self._covariates,
            reweight=self._reweight,
            observations=self._observations,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give observations, predictions and `surprise` as plain data that JSON can hold."""
        predictions = self.predict().to_dict(orient="index")
        rows = {str(skill): row for skill, row in predictions.items()}
        measured = {
            skill: self._observations[skill] for skill in self.skills if skill in self._observations
        }
        known: dict[str, Any] = {"group": self._group, "covariates": self._covariates}
        known |= {"reweight": self._reweight or None, "surprise": self.surprise}
        return stored.profile_to_dict(self.population_id, self._agent, measured, rows, known)

    def to_json(self, path: str | Path | None = None) -> str:
        """Give the profile as JSON text, and write it to a file if a path is given."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        if path is not None:
            write_text(Path(path), text + "\n")
        return text

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], population: Any) -> Profile:
        """Read a profile back; its predictions are computed anew from the population.

        Parameters
        ----------
        given : mapping
            What `to_dict` gave.
        population : Population
            The one that the profile was made with.

        Raises
        ------
        PopulationMismatchError
            If the profile belongs to another population.
        InputError
            If the mapping is no profile, or `population` no Population.
        """
        profile: Profile = stored.start(given, population)
        for skill, measurements in stored.measurements_of(given, profile.population_id).items():
            for one in measurements:
                profile.observe(skill, **one)
        return profile

    @classmethod
    def from_json(cls, source: str | Path, population: Any) -> Profile:
        """Read a profile from JSON text (str) or a file (Path); see `from_dict`."""
        return cls.from_dict(stored.read_json(source), population)

    def __repr__(self) -> str:
        observed = ", ".join(f"{skill}={score:g}" for skill, score in self.observations.items())
        minded = f"; caution: {note}" if (note := caution(self.surprise)) else ""
        seen = f"{len(self.skills)} skills, observed: {observed or '-'}"
        return f"Profile({self._agent!r}, {seen}{minded})"
