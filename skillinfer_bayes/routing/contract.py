"""What the orchestrating model must answer: a strict JSON Schema, and the check of a reply.

A reply is data. It decides nothing but which of the listed agents is chosen, and only when it says
so in full; everything else in it is kept as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from skillinfer_bayes.exceptions import DecisionError
from skillinfer_bayes.routing.labels import one_line
from skillinfer_bayes.routing.prompt import ReplyForm
from skillinfer_bayes.routing.replies import find_decision, match_agent

SCHEMA_NAME = "routing_decision"
KEYS = ("reasoning", "risks", "agent", "confidence")
# Servers refuse longer lists in a strict schema; the check of the reply does not depend on it.
MOST_LISTED_AGENTS = 500
MOST_LISTED_LETTERS = 7_500
# Local models put their thoughts before the answer, and some chat templates open them for them;
# models without strict schemas like fences.
THOUGHTS = re.compile(r"\A\s*(?:<think>|(?![{`<])).*?</think>", re.DOTALL)
UNFINISHED_THOUGHT = "<think>"
FENCE = "```"
FENCE_LABELS = frozenset({"", "json"})
SHOWN_PROBLEM_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reply that keeps the contract says.

    Parameters
    ----------
    agent : str
        Spelled as in the profiles.
    reasoning : str
    confidence : float or None
        From 0 to 1, as the model states it; None in a reply that is plain text.
    risks : tuple of str
    """

    agent: str
    reasoning: str
    confidence: float | None = None
    risks: tuple[str, ...] = ()


def reply_schema(ids: Sequence[str]) -> dict[str, Any]:
    """Give the JSON Schema of a reply.

    Uses only what strict modes support: every key required, no others, no numeric limits. The
    reasoning comes first, so that a model thinks before it chooses.

    Parameters
    ----------
    ids : sequence of str
        The agents' ids, as `skillinfer_bayes.routing.labels.agent_ids` gives them.

    Returns
    -------
    dict
    """
    agent: dict[str, Any] = {"type": "string", "description": "The chosen agent."}
    if len(ids) <= MOST_LISTED_AGENTS and sum(map(len, ids)) <= MOST_LISTED_LETTERS:
        agent["enum"] = list(ids)
    properties = {
        "reasoning": {"type": "string", "description": "2-3 sentences."},
        "risks": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What could go wrong with this choice; may be empty.",
        },
        "agent": agent,
        "confidence": {
            "type": "number",
            "description": "From 0 to 1: how sure that no other agent would be better.",
        },
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(KEYS),
        "additionalProperties": False,
    }


def response_format(ids: Sequence[str]) -> dict[str, Any]:
    """Wrap the schema of a reply as the chat protocol's `response_format`."""
    schema = {"name": SCHEMA_NAME, "strict": True, "schema": reply_schema(ids)}
    return {"type": "json_schema", "json_schema": schema}


def read_reply(reply: str, ids: Mapping[str, str], form: ReplyForm) -> Choice:
    """Check a reply against the contract.

    A reply that was to be JSON and is plain text is read for its ``ASSIGNED:`` line: some servers
    ignore the schema.

    Parameters
    ----------
    reply : str
    ids : mapping of str to str
        From the agents' ids to their names.
    form : {"text", "json"}
        How the model was asked to answer.

    Returns
    -------
    Choice

    Raises
    ------
    DecisionError
        If the reply breaks the contract; the message says how, in one line.
    """
    text = THOUGHTS.sub("", reply, count=1)
    if text.lstrip().startswith(UNFINISHED_THOUGHT):
        _refuse("the reply must go on after its thoughts, and does not end them", reply)
    if form == "json":
        body = _without_fence(text.strip())
        if body.startswith("{") or "ASSIGNED" not in body:
            return _read_object(body, ids, reply)
    # where JSON was asked for, the prompt names agents by their ids
    known = dict.fromkeys((*ids.values(), *(ids if form == "json" else ())))
    agent, reasoning = find_decision(text, known)
    return Choice(agent if agent in ids.values() else ids[agent], reasoning)


def repair_request(problem: str, ids: Sequence[str], form: ReplyForm) -> str:
    """Write the message that asks the model to correct its reply.

    Parameters
    ----------
    problem : str
        What was wrong.
    ids : sequence of str
    form : {"text", "json"}

    Returns
    -------
    str
    """
    if form == "json":
        again = (
            f"Answer again with one JSON object that has exactly the keys {', '.join(KEYS)}, "
            "and nothing else."
        )
        named = "The agent must be one of: " + json.dumps(list(ids), ensure_ascii=False)
    else:
        again = "Answer again and end with a line of the form ASSIGNED: <agent name>"
        named = "The agent name must be one of those listed, spelled exactly as there."
    shown = one_line(problem)[:SHOWN_PROBLEM_LENGTH]
    return f"Your reply could not be used: {shown}.\n{again}\n{named}"


def _without_fence(body: str) -> str:
    # a regular expression would look for the end again from every line break
    if body.startswith(FENCE) and body.endswith(FENCE):
        label, line_break, inside = body[len(FENCE) : -len(FENCE)].partition("\n")
        if line_break and label.rstrip() in FENCE_LABELS:
            return inside.strip()
    return body


def _read_object(body: str, ids: Mapping[str, str], reply: str) -> Choice:
    found = _parse(body, reply)
    missing = [key for key in KEYS if key not in found]
    unknown = [key for key in found if key not in KEYS]
    if missing or unknown:
        what = f"misses {missing[0]!r}" if missing else f"has the unknown key {unknown[0][:80]!r}"
        _refuse(f"the JSON object must have exactly the keys {', '.join(KEYS)}; it {what}", reply)
    reasoning, risks, agent = found["reasoning"], found["risks"], found["agent"]
    if not isinstance(reasoning, str) or not reasoning.strip():
        _refuse("'reasoning' must be a text that is not blank", reply)
    if not isinstance(risks, list) or not all(isinstance(risk, str) for risk in risks):
        _refuse("'risks' must be a list of texts", reply)
    if not isinstance(agent, str):
        _refuse("'agent' must be the name of one agent", reply)
    name = ids[agent] if agent in ids else match_agent(agent, list(ids.values()), reply)
    return Choice(name, reasoning.strip(), _confidence(found["confidence"], reply), tuple(risks))


def _confidence(value: object, reply: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:  # type: ignore[operator]
        _refuse(f"'confidence' must be a number from 0 to 1, got {str(value)[:40]!r}", reply)
    return float(value)  # type: ignore[arg-type]


def _parse(body: str, reply: str) -> dict[str, Any]:
    problem = None
    try:
        found = json.loads(body, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = str(error)[:200]
    if problem is not None:
        _refuse(f"the reply must be one JSON object, but {problem}", reply)
    if not isinstance(found, dict):
        _refuse(f"the reply must be one JSON object, got {type(found).__name__}", reply)
    return found


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes more than once")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse(problem: str, reply: str) -> NoReturn:
    raise DecisionError(problem, reply=reply)
