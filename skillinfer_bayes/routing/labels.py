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
# Asks for a symbol's coloured form: harmless behind a symbol, and invisible anywhere else.
EMOJI_STYLE = "\N{VARIATION SELECTOR-16}"
# Cc control, Cf format (bidirectional overrides, invisible tags), Co private use, Cs lone
# surrogates, Zl and Zp line and paragraph separators.
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
# Invisible characters of other categories: fillers, variation selectors, the blank of Braille.
INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
# What the prompt's own lines begin with, without blanks, and the first heading of its table.
OWN_LABELS = (
    *("skillprofile", "otherskills", "taskfit", "p>", "caution"),
    *("cost:", "latency:", "ratelimit:"),
)
OWN_HEADINGS = frozenset({"", "agent"})
# What only the prompt says of a skill.
OWN_MARKS = ("±", "(observed)", "(inferred)")


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
        One line that encodes as UTF-8 and does not contain ``ASSIGNED:`` or anything invisible,
        but for what joins and styles emoji.
    """
    if not text.isprintable() or INVISIBLE.search(text):
        text = "".join(map(_visible, text, f" {text}"))
    return MARKER.sub(r"ASSIGNED\g<between>\:", text)


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
    line = one_line(text.replace("\\", r"\\").replace('"', r"\""))
    return f'"{line.replace(EMOJI_STYLE, _escaped(EMOJI_STYLE))}"'


def reads_like_own(text: str, others: Iterable[str] = ()) -> bool:
    """Tell whether a name could pass for what the prompt says itself.

    Parameters
    ----------
    text : str
    others : iterable of str
        More of what the prompt shows in the same place: skills, headings.

    Returns
    -------
    bool
        True if it begins like one of the prompt's own lines, holds what only a score has there, or
        is a heading of its table or one of `others`, whatever the case, the blanks and the
        invisible characters.
    """
    seen = _bare(text)
    if seen.startswith(OWN_LABELS) or holds_score(text):
        return True
    return seen in OWN_HEADINGS or seen in set(map(_bare, others))


def holds_score(text: str) -> bool:
    """Tell whether a text has what only a skill's line has in the prompt, such as (observed).

    Parameters
    ----------
    text : str

    Returns
    -------
    bool
    """
    seen = _bare(text)
    return any(mark in seen for mark in OWN_MARKS)


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
        and not reads_like_own(name)
        and name[0].isalnum()
        and not name.endswith((" ", ":"))
        and "  " not in name
        and not any(
            character in AMBIGUOUS
            or character in JOINERS
            or character == EMOJI_STYLE
            or (character.isspace() and character != " ")
            for character in name
        )
    )


def _visible(character: str, before: str) -> str:
    if character in SHORT_ESCAPES:
        return SHORT_ESCAPES[character]
    if character == EMOJI_STYLE and unicodedata.category(before) in {"So", "Sm"}:
        return character
    return _escaped(character) if _is_hidden(character) else character


def _is_hidden(character: str) -> bool:
    if character in JOINERS:
        return False
    hidden = unicodedata.category(character) in HIDDEN_CATEGORIES
    return hidden or INVISIBLE.match(character) is not None


def _escaped(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _bare(text: str) -> str:
    """Reduce a text to what a reader may take it for: no case, no blanks, nothing invisible."""
    letters = text if text.isascii() else unicodedata.normalize("NFKC", text)
    letters = letters.replace("_", "").casefold()
    if letters.isascii() and letters.isprintable():
        return letters.replace(" ", "")
    return "".join(
        letter
        for letter in letters
        if not (letter.isspace() or letter in JOINERS or _is_hidden(letter))
    )
