r"""Text that comes from outside, made safe to show in a prompt and to read back from a reply.

A name, a description or a metadata value is data. Two things could make it more than that: a
line break, which would let it add lines of its own to the prompt, and the decision marker
``ASSIGNED:``, which would let one of its lines pass for a decision. Both are shown in a visible,
harmless form: a line break as ``\n``, the marker as ``ASSIGNED\:``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from skillinfer_bayes.exceptions import DecisionError, InputError, closest_match_hint

MARKER = re.compile(r"ASSIGNED(?P<between>[\s*_`]*):")
# Models like to decorate the final line: "**ASSIGNED: name**", "> ASSIGNED: name".
DECISION_LINE = re.compile(r"[\s>*_`#-]*" + MARKER.pattern + r"(?P<answer>.*)")
DECORATION = "*` \t"
# Names with these characters could be confused with a label's quotes or a reply's decoration.
AMBIGUOUS = frozenset("\"'`*<>\\")
# A text that starts a line of the prompt with one of these could pass for a heading or a fence.
MARKUP = frozenset("#`~>-=*+_|<")
# These two join letters and emoji; unlike the other format characters they neither break lines
# nor reorder text.
JOINERS = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
SHOWN_REPLY_LENGTH = 600


def is_text(value: object) -> bool:
    """Tell whether a value is a text with something in it.

    Parameters
    ----------
    value : object

    Returns
    -------
    bool
    """
    return isinstance(value, str) and bool(value.strip())


def one_line(text: str) -> str:
    """Show a text on one line, with nothing in it that could pass for a decision.

    Parameters
    ----------
    text : str
        Any text: control characters, lone surrogates and all.

    Returns
    -------
    str
        One line that encodes as UTF-8 and does not contain ``ASSIGNED:``.
    """
    return MARKER.sub(r"ASSIGNED\g<between>\:", "".join(map(_visible, text)))


def line_start(text: str) -> str:
    """Show a text at the start of a line, where it must not pass for a heading or a fence.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        As `one_line`, in quotes if it begins with a character that Markdown gives a meaning.
    """
    line = one_line(text.strip())
    return quoted(text.strip()) if line[:1] in MARKUP else line


def quoted(text: str) -> str:
    r"""Show a text in double quotes; different texts never look the same.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
        One line in double quotes; a quote inside becomes ``\"`` and a backslash two.
    """
    return f'"{one_line(text.replace("\\", r"\\").replace('"', r"\""))}"'


def agent_label(name: str) -> str:
    """Return the name that the prompt shows for an agent, and that a reply should repeat.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
        The name itself where it is plain; otherwise the name in double quotes, escaped. No two
        names have the same label.

    Raises
    ------
    InputError
        If `name` is not a text, or blank.
    """
    if not is_text(name):
        raise InputError(
            f"`profiles` must use texts that are not blank as agent names, got {name!r}; "
            "give the agent a name"
        )
    return name if _is_plain(name) else quoted(name)


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
    """
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
    names = list(agents)
    lines = reply.splitlines()
    for position in range(len(lines) - 1, -1, -1):
        match = DECISION_LINE.fullmatch(lines[position])
        if match:
            agent = _match_agent(match["answer"], names, reply)
            return agent, "\n".join(lines[:position]).strip()
    raise DecisionError(
        "the reply must have a line that starts with 'ASSIGNED:', got none; "
        f"ask again, or allow a longer reply; {_shown(reply)}",
        reply=reply,
    )


def _match_agent(answer: str, names: list[str], reply: str) -> str:
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
            f"the decision must name one agent, got {answer.strip()!r}, which could mean "
            f"{' or '.join(map(repr, sorted(found)))}; rename one of them; {_shown(reply)}",
            reply=reply,
        )
    raise DecisionError(
        f"the decision must name one of the agents, got {answer.strip()!r}; "
        f"{closest_match_hint(texts[-1], names)}; {_shown(reply)}",
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


def _is_plain(name: str) -> bool:
    return (
        name == one_line(name)
        and name[0].isalnum()
        and not name.endswith((" ", ":"))
        and "  " not in name
        and not any(
            character in AMBIGUOUS
            or character in JOINERS
            or (character.isspace() and character != " ")
            for character in name
        )
    )


def _visible(character: str) -> str:
    if character in SHORT_ESCAPES:
        return SHORT_ESCAPES[character]
    # Cc control, Cf format (bidirectional overrides, invisible tags), Cs lone surrogates,
    # Zl and Zp line and paragraph separators.
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    if not hidden or character in JOINERS:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _shown(reply: str) -> str:
    cut = reply if len(reply) <= SHOWN_REPLY_LENGTH else f"...{reply[-SHOWN_REPLY_LENGTH:]}"
    return f"the reply was {cut!r}"
