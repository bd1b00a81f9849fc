"""Profiles, metadata and constraints as text for an orchestrating model.

Needs nothing outside the standard library. All names and values that callers pass in are shown
as data: see `skillinfer_bayes.routing.labels`.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from skillinfer_bayes.exceptions import InputError, MetadataError, closest_match_hint
from skillinfer_bayes.profiles.task import Skill, Task, as_task
from skillinfer_bayes.routing.interfaces import ProfileLike, is_normalized
from skillinfer_bayes.routing.labels import agent_label, is_text, line_start, one_line

# Shown together in one sentence, in this order: key -> (label, text around the number).
KNOWN_METADATA = {
    "cost_per_1k": ("Cost", "${}/1k tokens"),
    "avg_latency_ms": ("Latency", "{}ms"),
    "rate_limit_rpm": ("Rate limit", "{} req/min"),
}
LARGEST_EXACT_FLOAT = 2**53

OPENING = """\
You are an AI orchestrator. A task has arrived and you need to
assign it to the best available agent."""
AGENTS_INTRODUCTION = """\
Each agent has a skill profile built from partial evaluations. "Observed" skills
were directly measured; "inferred" skills are predicted from correlated observations
(with higher uncertainty). Task fit is the expected performance score ({scale})."""
INSTRUCTIONS = """\
Pick one agent. Explain your reasoning in 2-3 sentences, referencing the skill
profiles, confidence levels, and operational constraints. Then state your choice
on a final line as: ASSIGNED: <agent name>"""


def build_prompt(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    metadata: Mapping[str, Mapping[str, object]] | None = None,
    constraints: Iterable[str] = (),
    threshold: float | None = None,
    *,
    descriptions: Mapping[str, str] | None = None,
) -> str:
    r"""Write the prompt that asks a model to assign a task to one of the agents.

    Whatever the names and values contain, each stays on its own line: line breaks and other
    control characters are shown as escapes, and a name that could be misread is quoted.

    Parameters
    ----------
    task : Task or mapping of str or Skill to float
        How much each skill counts; the most important skills are listed first.
    profiles : mapping of str to Profile
        Profile by agent, in the order in which the prompt lists them.
    metadata : mapping of str to mapping, optional
        Facts by agent. `cost_per_1k` (dollars), `avg_latency_ms` and `rate_limit_rpm` share one
        line; every other key has its own. None and NaN are shown as "unknown".
    constraints : iterable of str, optional
        Rules that the model should weigh, one line each; without any there is no such section.
    threshold : float, optional
        Score that an agent should exceed, in score units; the prompt gives its probability.
    descriptions : mapping of str to str, optional
        What the task's skills measure; where absent, the population's descriptions are used.

    Returns
    -------
    str
        The prompt, without a final line break.

    Raises
    ------
    InputError
        If there are no profiles, or `constraints` is one text instead of a list of them.
    MetadataError
        If `metadata` is given and lacks an agent of `profiles`, names another one, or holds a
        negative cost, latency or rate limit.
    TaskError, UnknownSkillError, ThresholdError
        If the task or the threshold do not fit the profiles.
    """
    wanted = as_task(task)
    if not profiles:
        raise InputError(
            "`profiles` must hold at least one agent, got none; there is nothing to choose from"
        )
    rules = _checked_constraints(constraints)
    facts = _checked_metadata(metadata, profiles)
    digits = _digits(wanted, profiles)
    blocks = [
        "\n".join(_agent_block(name, profile, wanted, facts.get(name), threshold, digits))
        for name, profile in profiles.items()
    ]
    sections = [
        OPENING,
        "\n".join(["## Task", *_task_lines(wanted, profiles, descriptions or {})]),
        "## Available agents\n"
        + AGENTS_INTRODUCTION.format(scale=describe_scale(wanted, profiles)),
        "\n".join(blocks),
    ]
    if rules:
        sections.append("\n".join(["## Constraints", *(f"- {rule}" for rule in rules)]))
    sections.append(f"## Instructions\n{INSTRUCTIONS}")
    return "\n\n".join(sections)


def describe_scale(task: Task, profiles: Mapping[str, ProfileLike]) -> str:
    """Say in words on which scale the match scores are.

    Parameters
    ----------
    task : Task
    profiles : mapping of str to Profile

    Returns
    -------
    str
        For example ``0-1 scale`` or ``0-100 scale``.
    """
    if any(map(is_normalized, profiles.values())):
        return "0-1 scale, where 0 and 1 are the lowest and highest scores in the history"
    ranges = {profile.score_bounds[skill] for profile in profiles.values() for skill in task.skills}
    if len(ranges) > 1:
        return "weighted mean of scores on different scales"
    lower, upper = ranges.pop()
    if math.isinf(lower) or math.isinf(upper):
        return "in the skills' own units, without bounds"
    return f"{lower:g}{'-' if lower >= 0 else ' to '}{upper:g} scale"


def _task_lines(
    task: Task, profiles: Mapping[str, ProfileLike], descriptions: Mapping[str, str]
) -> list[str]:
    lines = [line_start(task.description)] if task.description.strip() else []
    lines.append(f"Required skills (importance weights): {one_line(str(task.weights))}")
    known = dict(next(iter(profiles.values())).descriptions)
    known |= {str(skill): text for skill, text in descriptions.items()}
    described = [skill for skill in task.skills if known.get(skill, "").strip()]
    if described:
        lines.append("What the skills measure:")
    lines += [f"  {one_line(skill)}: {one_line(known[skill].strip())}" for skill in described]
    return lines


def _agent_block(
    name: str,
    profile: ProfileLike,
    task: Task,
    facts: Mapping[str, object] | None,
    threshold: float | None,
    digits: Mapping[str, int],
) -> list[str]:
    lines = [f"{agent_label(name)}:", "  Skill profile:"]
    for skill in task.skills:
        predicted = profile.predict(skill)
        places = digits[skill]
        lines.append(
            f"    {one_line(skill)}: {predicted['mean']:z.{places}f} ± "
            f"{predicted['std']:.{places}f} ({predicted['source']})"
        )
    result = profile.match_score(task, threshold=threshold)
    places = 2 if is_normalized(profile) else max(digits.values())
    if result.p_above_threshold is None:
        lines.append(f"  Task fit: {result.score:z.{places}f} ± {result.std:.{places}f}")
    else:
        lines.append(
            f"  Task fit: {result.score:z.{places}f} "
            f"(P>{threshold:g} = {result.p_above_threshold:.0%})"
        )
    return lines + ([] if facts is None else _metadata_lines(name, facts))


def _digits(task: Task, profiles: Mapping[str, ProfileLike]) -> dict[str, int]:
    """Decimal places by skill: two on a 0-1 scale, one on 0-100, none for Elo ratings."""
    places = {}
    for skill in task.skills:
        largest = max(_size(skill, profile) for profile in profiles.values())
        places[skill] = 2 if largest < 10 else 1 if largest < 1000 else 0
    return places


def _size(skill: str, profile: ProfileLike) -> float:
    # Predicted first: it names a skill that the profile does not have.
    mean = float(profile.predict(skill)["mean"])
    lower, upper = profile.score_bounds[skill]
    return upper - lower if math.isfinite(upper - lower) else abs(mean)


def _metadata_lines(name: str, facts: Mapping[str, object]) -> list[str]:
    known = [
        f"{label}: {_known_value(name, key, facts[key], pattern)}"
        for key, (label, pattern) in KNOWN_METADATA.items()
        if key in facts
    ]
    lines = [f"  {', '.join(known)}"] if known else []
    return lines + [
        f"  {_readable_key(key)}: {_value_text(value)}"
        for key, value in facts.items()
        if key not in KNOWN_METADATA
    ]


def _known_value(name: str, key: str, value: object, pattern: str) -> str:
    if _is_missing(value) or isinstance(value, bool) or not isinstance(value, numbers.Real):
        return _value_text(value)
    if value < 0:
        raise MetadataError(
            f"`metadata` must not be negative, got {value!r} for {key!r} of agent {name!r}; "
            "correct the number, or use None if it is not known"
        )
    return pattern.format(_value_text(value)) if math.isfinite(value) else "unlimited"


def _readable_key(key: object) -> str:
    text = one_line(str(key).replace("_", " ").strip())
    return text[:1].upper() + text[1:]


def _value_text(value: object) -> str:
    if _is_missing(value):
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return _number_text(float(value))
    return one_line(str(value).strip())


def _number_text(number: float) -> str:
    if number.is_integer() and abs(number) < LARGEST_EXACT_FLOAT:
        return str(int(number))
    # Six digits, but never "3e-05": a model may misread an exponent.
    return format(Decimal(f"{number:.6g}"), "f")


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, numbers.Real) and math.isnan(value))


def _checked_constraints(constraints: Iterable[str]) -> Sequence[str]:
    if isinstance(constraints, str):
        raise InputError(
            f"`constraints` must be a list of texts, got the single text {constraints!r}; "
            "put it into a list"
        )
    rules = list(constraints)
    for rule in rules:
        if not is_text(rule):
            raise InputError(
                f"`constraints` must be texts that are not blank, got {rule!r}; "
                "write the rule as a sentence or leave it out"
            )
    return [one_line(rule.strip()) for rule in rules]


def _checked_metadata(
    metadata: Mapping[str, Mapping[str, object]] | None, profiles: Mapping[str, ProfileLike]
) -> Mapping[str, Mapping[str, object]]:
    if metadata is None:
        return {}
    for name in metadata:
        if name not in profiles:
            raise MetadataError(
                f"`metadata` must name only agents that have a profile, got {name!r}; "
                f"{closest_match_hint(name, profiles)}"
            )
    for name in profiles:
        if name not in metadata:
            raise MetadataError(
                f"`metadata` must cover every agent that has a profile, got nothing for "
                f"{name!r}; add it (an empty mapping will do), or pass no metadata at all"
            )
        if not isinstance(metadata[name], Mapping):
            raise MetadataError(
                f"`metadata` must map each agent to a mapping, got {metadata[name]!r} for "
                f"{name!r}; write for example {{'cost_per_1k': 0.005}}"
            )
    return metadata
