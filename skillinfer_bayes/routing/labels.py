r"""Text that comes from outside, made safe to show in a prompt.

A name, a description or a metadata value is data. Two things could make it more than that: a
line break, which would let it add lines of its own to the prompt, and the decision marker
``ASSIGNED:``, which would let one of its lines pass for a decision. Both are shown in a visible,
harmless form: a line break as ``\n``, the marker as ``ASSIGNED\:``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from skillinfer_bayes.exceptions import InputError

MARKER = re.compile(r"ASSIGNED(?P<between>[\s*_`]*):")
# Names with these characters could be confused with a label's quotes or a reply's decoration.
AMBIGUOUS = frozenset("\"'`*<>\\")
# A text that starts a line of the prompt with one of these could pass for a heading or a fence.
MARKUP = frozenset("#`~>-=*+_|<")
# These two join letters and emoji; unlike the other format characters they neither break lines
# nor reorder text.
JOINERS = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


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


def agent_ids(names: Iterable[str]) -> dict[str, str]:
    """Give every agent a name that a strict JSON Schema can list.

    Servers refuse schemas whose values hold quotes or line breaks, so an agent whose label is
    not its plain name goes by its number.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    dict of str to str
        From ids to names, in the order given: a plain name is its own id, any other agent is
        ``agent-2`` if it is the second. No two agents have the same id.

    Raises
    ------
    InputError
        If a name is not a text, or blank.
    """
    labels = {name: agent_label(name) for name in names}
    ids: dict[str, str] = {}
    for number, (name, label) in enumerate(labels.items(), start=1):
        candidate = label if label == name else f"agent-{number}"
        while candidate in ids or (candidate != name and candidate in labels):
            candidate += "x"
        ids[candidate] = name
    return ids


def _is_plain(name: str) -> bool:
    return (
        f"{name}:" == one_line(f"{name}:")
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
