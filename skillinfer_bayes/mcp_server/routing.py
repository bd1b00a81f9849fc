"""What can be asked about agents and a task; plain data in and out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from skillinfer_bayes.mcp_server.results import (
    Compared,
    ComparisonInfo,
    EvaluationPlan,
    ExcludedAgent,
    Match,
    MatchInfo,
    Measurement,
    PromptText,
    Ranking,
)
from skillinfer_bayes.mcp_server.session import cautions
from skillinfer_bayes.profiles.profile import Profile
from skillinfer_bayes.profiles.task import MatchResult, Task
from skillinfer_bayes.routing.candidates import Field, eligible_or_error, find_eligible
from skillinfer_bayes.routing.compare import compare
from skillinfer_bayes.routing.labels import agent_label
from skillinfer_bayes.routing.next_evaluation import next_evaluations
from skillinfer_bayes.routing.prompt import build_prompt
from skillinfer_bayes.routing.ranking import rank_agents
from skillinfer_bayes.routing.tokens import estimate_tokens
from skillinfer_bayes.routing.utility import Utility

type Agents = Mapping[str, Profile]
type Metadata = Mapping[str, Mapping[str, object]] | None


def match(
    name: str,
    profile: Profile,
    task: Mapping[str, float],
    threshold: float | None,
    ci_prob: float,
) -> MatchInfo:
    """Score one profile against a task."""
    result = profile.match_score(Task(task), threshold, ci_prob=ci_prob)
    return {**_match(name, result), "notes": cautions(profile)}


def rank(
    agents: Agents,
    task: Mapping[str, float],
    threshold: float | None,
    ci_prob: float,
) -> Ranking:
    """Rank profiles by expected score."""
    table = rank_agents(Task(task), agents, threshold, ci_prob)
    return {
        "agents": [
            _match(
                row["agent"],
                MatchResult(
                    row["expected_score"],
                    row["std"],
                    row["lower"],
                    row["upper"],
                    None if threshold is None else row["p_above_threshold"],
                ),
            )
            for row in table.to_dict(orient="records")
        ],
        "notes": _named_cautions(agents),
    }


def compared(
    agents: Agents,
    task: Mapping[str, float],
    metadata: Metadata,
    limits: list[str],
    weights: tuple[float, float],
    quantile: float | None,
) -> ComparisonInfo:
    """Compare the profiles that keep the limits; weights are those of cost and latency."""
    wanted = Task(task)
    field = _eligible(agents, wanted, metadata, limits)
    utility = Utility(cost=weights[0], latency=weights[1]) if any(weights) else None
    found = compare(
        wanted, field.profiles, utility=utility, metadata=field.metadata, quantile=quantile
    )
    columns = (found.expected, found.p_best, found.expected_rank, found.expected_regret)
    spread = found.values.std(("chain", "draw")).values
    rows: dict[str, Compared] = {}
    for at, name in enumerate(found.agents):
        expected, p_best, rank, regret = (float(part.values[at]) for part in columns)
        rows[name] = {
            "agent": name,
            "expected": expected,
            "std": float(spread[at]),
            "p_best": p_best,
            "expected_rank": rank,
            "expected_regret": regret,
        }
    worth = dict(zip(found.agents, found.criterion.values.tolist(), strict=True))
    return {
        "choice": found.choice,
        "p_wrong": found.p_wrong,
        "expected_regret": found.regret,
        "indistinguishable": found.indistinguishable(),
        "agents": sorted(rows.values(), key=lambda row: (-worth[row["agent"]], row["agent"])),
        "excluded": _excluded(field),
        "notes": _named_cautions(agents),
    }


def evaluation_plan(
    agents: Agents,
    task: Mapping[str, float] | None,
    budget: float | None,
    costs: float | dict[str, float],
    skills: list[str] | None,
    most: int,
) -> EvaluationPlan:
    """Find what to measure next, at most so many rows."""
    plan = next_evaluations(
        agents,
        None if task is None else Task(task),
        budget=budget,
        costs=costs,
        skills=skills,
    )
    rows = plan.table.to_dict(orient="records")
    notes = _named_cautions(agents)
    if len(rows) > most:
        notes.append(
            f"these are the first {most} of {len(rows)} measurements; `most` sets how many"
        )
    return {
        "method": plan.method,
        "verdict": plan.verdict,
        "worth_measuring": plan.worth_measuring,
        "expected_regret": plan.expected_regret,
        "measurements": [_measurement(row) for row in rows[:most]],
        "notes": notes,
    }


def routing_prompt(
    agents: Agents,
    task: Mapping[str, float],
    description: str,
    metadata: Metadata,
    constraints: list[str],
    limits: list[str],
    threshold: float | None,
    skills: Literal["task", "all"] | int,
    compact: bool | None,
    token_budget: int | None,
    reply: Literal["text", "json"],
) -> PromptText:
    """Write the prompt that asks a model to assign a task."""
    wanted = Task(task, description)
    field = _eligible(agents, wanted, metadata, limits)
    text = build_prompt(
        wanted,
        field.profiles,
        field.metadata,
        constraints,
        threshold,
        skills=skills,
        compact=compact,
        token_budget=token_budget,
        reply=reply,
    )
    return {
        "prompt": text,
        "estimated_tokens": estimate_tokens(text),
        "agents": list(field.profiles),
        "excluded": _excluded(field),
        "notes": [],
    }


def _eligible(agents: Agents, task: Task, metadata: Metadata, limits: list[str]) -> Field:
    return eligible_or_error(find_eligible(task, agents, metadata, limits))


def _named_cautions(agents: Agents) -> list[str]:
    return [
        f"{agent_label(name)}: {note}"
        for name, profile in agents.items()
        for note in cautions(profile)
    ]


def _match(agent: str, result: MatchResult) -> Match:
    above = result.p_above_threshold
    return {
        "agent": agent,
        "score": float(result.score),
        "std": float(result.std),
        "lower": float(result.lower),
        "upper": float(result.upper),
        "p_above_threshold": None if above is None else float(above),
    }


def _measurement(row: Mapping[Any, Any]) -> Measurement:
    return {
        "agent": str(row["agent"]),
        "skill": str(row["skill"]),
        "cost": float(row["cost"]),
        "gain": float(row["gain"]),
        "gain_per_cost": float(row["gain_per_cost"]),
        "variance": float(row["variance"]),
        "information": float(row["information"]),
    }


def _excluded(field: Field) -> list[ExcludedAgent]:
    return [{"agent": one.agent, "reasons": list(one.reasons)} for one in field.exclusions]
