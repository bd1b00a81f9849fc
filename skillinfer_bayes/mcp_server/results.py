"""What the tools return: plain data with names and types, from which clients get a schema."""

from __future__ import annotations

from typing import TypedDict


class PopulationInfo(TypedDict):
    """A loaded population."""

    name: str
    population_id: str
    n_agents: int
    n_skills: int
    filled: float
    converged: bool
    fit: str
    problems: list[str]
    notes: list[str]


class PopulationList(TypedDict):
    """What is loaded, and what could be."""

    loaded: list[PopulationInfo]
    files: list[str]
    notes: list[str]


class SkillInfo(TypedDict):
    """A skill of a population; bounds are null where a score has none."""

    skill: str
    description: str
    lowest: float | None
    highest: float | None


class SkillList(TypedDict):
    """Skills of a population."""

    total: int
    skills: list[SkillInfo]
    notes: list[str]


class ProfileInfo(TypedDict):
    """A profile and what was observed."""

    name: str
    population: str
    n_skills: int
    observations: dict[str, float]
    notes: list[str]


class ProfileList(TypedDict):
    """All profiles, and profiles that could be loaded."""

    profiles: list[ProfileInfo]
    files: list[str]
    notes: list[str]


class Prediction(TypedDict):
    """One skill, in score units; `source` is "observed" or "inferred"."""

    skill: str
    mean: float
    std: float
    lower: float
    upper: float
    source: str


class Predictions(TypedDict):
    """Skills of one profile."""

    profile: str
    ci_prob: float
    predictions: list[Prediction]
    notes: list[str]


class Match(TypedDict):
    """How well one agent fits a task, in score units."""

    agent: str
    score: float
    std: float
    lower: float
    upper: float
    p_above_threshold: float | None


class MatchInfo(Match):
    """One agent's fit."""

    notes: list[str]


class Ranking(TypedDict):
    """Agents, the best expected score first."""

    agents: list[Match]
    notes: list[str]


class Compared(TypedDict):
    """One agent of a comparison; `expected` is its score, or its utility where weights are set."""

    agent: str
    expected: float
    std: float
    p_best: float
    expected_rank: float
    expected_regret: float


class ExcludedAgent(TypedDict):
    """An agent that does not keep the limits."""

    agent: str
    reasons: list[str]


class ComparisonInfo(TypedDict):
    """Agents compared jointly, the preferred one first."""

    choice: str
    p_wrong: float
    expected_regret: float
    indistinguishable: list[str]
    agents: list[Compared]
    excluded: list[ExcludedAgent]
    notes: list[str]


class Measurement(TypedDict):
    """A score that could be measured; `gain` is what it is expected to bring.

    `variance` and `information` (nats), to compare with, are what it has on its own.
    """

    agent: str
    skill: str
    cost: float
    gain: float
    gain_per_cost: float
    variance: float
    information: float


class EvaluationPlan(TypedDict):
    """What to measure next; the first row first."""

    method: str
    verdict: str
    worth_measuring: bool
    expected_regret: float | None
    measurements: list[Measurement]
    notes: list[str]


class PromptText(TypedDict):
    """A prompt that asks a model to assign a task."""

    prompt: str
    estimated_tokens: int
    agents: list[str]
    excluded: list[ExcludedAgent]
    notes: list[str]


class SavedFile(TypedDict):
    """A file that was written."""

    path: str
    notes: list[str]


class Done(TypedDict):
    """A change that was made."""

    done: str
    notes: list[str]
