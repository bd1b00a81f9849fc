"""The decision in a reply that is plain text: its last ``ASSIGNED:`` line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from skillinfer_bayes.exceptions import DecisionError, InputError, closest_match_hint
from skillinfer_bayes.routing.labels import MARKER, agent_label

# Models like to decorate the final line: "**ASSIGNED: name**", "> ASSIGNED: name".
DECISION_LINE = re.compile(r"[\s>*_`#-]*" + MARKER.pattern + r"(?P<answer>.*)")
DECORATION = "*` \t"
SHOWN_REPLY_LENGTH = 600
SHOWN_ANSWER_LENGTH = 200


def parse_decision(reply: str, agents: Iterable[str]) -> str:
    """Read the decision from an orchestrating model's reply.

    Only the last line that starts with ``ASSIGNED:`` counts, and what it says must be one
    agent's label or name, whole: nothing is guessed from part of a name.

    Parameters
    ----------
    reply : str
        What the model answered.
    agents : iterable of str
        The agents that could be chosen.

    Returns
    -------
    str
        The agent, spelled as in `agents`.

    Raises
    ------
    DecisionError
        If there is no such line or it names no known agent; the error carries the reply.
    InputError
        If `reply` is no text, or `agents` are no names.
    """
    if not isinstance(reply, str):
        raise InputError(
            f"`reply` must be a text, got {type(reply).__name__}; pass what the model answered"
        )
    if isinstance(agents, str) or not isinstance(agents, Iterable):
        raise InputError(
            f"`agents` must be the names that could be chosen, got {agents!r}; write for example "
            "['agent-a', 'agent-b']"
        )
    return read_decision(reply, agents)[0]


def read_decision(reply: str, agents: Iterable[str]) -> tuple[str, str]:
    """Read the decision as `parse_decision` does, and the reasoning that led to it.

    Parameters
    ----------
    reply : str
    agents : iterable of str

    Returns
    -------
    agent : str
    reasoning : str
        The reply up to the decision, without blank space around it.

    Raises
    ------
    DecisionError
        As `parse_decision`.
    """
    problem = None
    try:
        return find_decision(reply, agents)
    except DecisionError as error:
        problem = f"{error}; {shown_reply(reply)}"
    raise DecisionError(problem, reply=reply)


def find_decision(reply: str, agents: Iterable[str]) -> tuple[str, str]:
    """Read the decision as `read_decision` does; an error does not repeat the reply.

    Parameters
    ----------
    reply : str
    agents : iterable of str

    Returns
    -------
    agent, reasoning : str

    Raises
    ------
    DecisionError
        As `parse_decision`.
    """
    names = list(agents)
    lines = reply.splitlines()
    for position in range(len(lines) - 1, -1, -1):
        match = DECISION_LINE.fullmatch(lines[position])
        if match:
            agent = match_agent(match["answer"], names, reply)
            return agent, "\n".join(lines[:position]).strip()
    raise DecisionError(
        "the reply must have a line that starts with 'ASSIGNED:', got none; "
        "ask again, or allow a longer reply",
        reply=reply,
    )


def match_agent(answer: str, names: Sequence[str], reply: str) -> str:
    """Find the agent that an answer names, whole.

    Parameters
    ----------
    answer : str
        A label or a name, perhaps decorated.
    names : sequence of str
        The agents that could be chosen.
    reply : str
        The reply that the answer comes from, for the error.

    Returns
    -------
    str
        The agent, spelled as in `names`.

    Raises
    ------
    DecisionError
        If the answer is no agent's label or name, or could be that of several.
    """
    by_label = {agent_label(name): name for name in names}
    texts = _readings(answer)
    for text in texts:
        if text in by_label:
            return by_label[text]
    found = {name for text in texts for name in names if name.strip() == text}
    if len(found) == 1:
        return found.pop()
    if found:
        raise DecisionError(
            f"the decision must name one agent, got {_cut(answer.strip())!r}, which could mean "
            f"{' or '.join(map(repr, sorted(found)))}; rename one of them",
            reply=reply,
        )
    raise DecisionError(
        f"the decision must name one of the agents, got {_cut(answer.strip())!r}; "
        f"{closest_match_hint(_cut(texts[-1]), names)}",
        reply=reply,
    )


def _readings(answer: str) -> list[str]:
    """List what an answer may mean, from the literal reading to the most stripped one."""
    literal = answer.strip()
    bare = literal.strip(DECORATION)
    full_stop = bare.removesuffix(".").strip(DECORATION)
    readings = [literal, bare, full_stop]
    for text in (bare, full_stop):
        if len(text) > 2 and (text[0], text[-1]) in {('"', '"'), ("'", "'"), ("<", ">")}:
            readings.append(text[1:-1].strip())
    return list(dict.fromkeys(readings))


def shown_reply(reply: str) -> str:
    """Show a reply at the end of an error message, its end where it is long."""
    cut = reply if len(reply) <= SHOWN_REPLY_LENGTH else f"...{reply[-SHOWN_REPLY_LENGTH:]}"
    return f"the reply was {cut!r}"


def _cut(answer: str) -> str:
    return answer if len(answer) <= SHOWN_ANSWER_LENGTH else f"{answer[:SHOWN_ANSWER_LENGTH]}..."
