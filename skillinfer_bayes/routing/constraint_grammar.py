r"""The three kinds of hard limits, and the texts that they are written as.

::

    KEY < 1000                also <=, >, >=: a number of the metadata
    KEY == "text"             also !=: a text, a number, true or false
    P(SKILL > 0.7) >= 0.9     also <, <=, >= and <, <=, >: how probable a level of a skill is
    P(task > 0.8) >= 0.9      the same of the task's score
    observed(SKILL, SKILL)    these skills must have been measured

A name with blanks, quotes or any of ``< > = ! ( ) ,`` in it goes in double quotes, in which
``\"`` and ``\\`` stand for a quote and a backslash; so does a skill that is called "task".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from skillinfer_bayes.exceptions import ConstraintError
from skillinfer_bayes.routing.metadata_values import is_finite, is_number, plain_value

GRAMMAR = (
    'write KEY < 1000 (or <=, >, >=, ==, !=), KEY == "text", P(SKILL > 0.7) >= 0.9, '
    "P(task > 0.8) >= 0.9, or observed(SKILL, SKILL); names with blanks go in double quotes"
)
COMPARISONS = ("<", "<=", ">", ">=")
EQUALITIES = ("==", "!=")
TASK_WORD = "task"
TRUTH = {"true": True, "false": False}
TOKEN = re.compile(
    r'\s*(?:"(?P<text>(?:[^"\\]|\\["\\])*)"|(?P<sign><=|>=|==|!=|[<>(),])|(?P<word>[^\s"<>=!(),]+))'
)
LONGEST = 1000
SHOWN_LENGTH = 200


@dataclass(frozen=True)
class MetadataLimit:
    """A limit on one entry of an agent's metadata.

    key : str
    comparison : one of < <= > >= == !=
    value : float, or for == and != also a str or a bool
    """

    key: str
    comparison: str
    value: float | str | bool

    def __post_init__(self) -> None:
        _check_name(self.key, "key")
        value = plain_value(self.value)
        if is_number(value):
            _check_choice(self.comparison, (*COMPARISONS, *EQUALITIES))
            object.__setattr__(self, "value", _finite(value))
        elif isinstance(value, str | bool):
            _check_choice(self.comparison, EQUALITIES)
            object.__setattr__(self, "value", value)
        else:
            raise ConstraintError(
                f"`value` of a limit must be a number, a text or a bool, got {self.value!r}"
            )

    def __str__(self) -> str:
        value = self.value
        if isinstance(value, str):
            shown = _quoted(value)
        else:
            shown = str(value).lower() if isinstance(value, bool) else _number_text(value)
        return f"{_name_text(self.key)} {self.comparison} {shown}"


@dataclass(frozen=True)
class ProbabilityLimit:
    """A limit on the probability that a skill, or the task's score, has a level.

    skill : str, or None for the task's score
    comparison : one of < <= > >=, of the level with the threshold
    threshold : float, score units
    bound : one of < <= > >=, of the probability with `probability`
    probability : float
    """

    skill: str | None
    comparison: str
    threshold: float
    bound: str
    probability: float

    def __post_init__(self) -> None:
        if self.skill is not None:
            _check_name(self.skill, "skill")
        _check_choice(self.comparison, COMPARISONS)
        _check_choice(self.bound, COMPARISONS)
        object.__setattr__(self, "threshold", _finite(self.threshold))
        chance = _finite(self.probability)
        if not 0.0 <= chance <= 1.0:
            hint = f"; did you mean {chance / 100:g}?" if 1.0 < chance <= 100.0 else ""
            raise ConstraintError(
                f"`probability` of a limit must be between 0 and 1, got {chance:g}{hint}"
            )
        object.__setattr__(self, "probability", chance)

    def __str__(self) -> str:
        if self.skill is None:
            name = TASK_WORD
        elif self.skill.lower() == TASK_WORD:
            name = _quoted(self.skill)
        else:
            name = _name_text(self.skill)
        inner = f"{name} {self.comparison} {_number_text(self.threshold)}"
        return f"P({inner}) {self.bound} {_number_text(self.probability)}"


@dataclass(frozen=True)
class ObservedSkills:
    """Skills that must have been measured, not inferred.

    skills : tuple of str
    """

    skills: tuple[str, ...]

    def __post_init__(self) -> None:
        given: object = self.skills
        if not isinstance(given, tuple | list) or not given:
            raise ConstraintError(
                f"`skills` of a limit must be a tuple with at least one name, got {given!r}"
            )
        for name in given:
            _check_name(name, "skill")
        object.__setattr__(self, "skills", tuple(given))

    def __str__(self) -> str:
        return f"observed({', '.join(map(_name_text, self.skills))})"


type Constraint = MetadataLimit | ProbabilityLimit | ObservedSkills


def parse_constraint(text: str) -> Constraint:
    """Read a hard limit.

    Parameters
    ----------
    text : str
        ``latency_ms < 1000``, ``P(code > 0.7) >= 0.9``, ``observed(code, math)`` and so on; the
        module's description has the grammar. ``str`` of the result reads back as the same.

    Returns
    -------
    MetadataLimit, ProbabilityLimit or ObservedSkills

    Raises
    ------
    ConstraintError
        If the text is none of these; the message shows the grammar.
    """
    given: object = text
    if not isinstance(given, str):
        raise ConstraintError(f"a constraint must be a text, got {given!r}; {GRAMMAR}")
    reader = _Reader(text, _tokens(text))
    try:
        return reader.constraint()
    except ConstraintError as error:
        if GRAMMAR in str(error):
            raise
        raise ConstraintError(f"cannot use the constraint {_shown(text)}: {error}") from None


class _Token(NamedTuple):
    """kind : "text" (in quotes), "sign" or "word"."""

    kind: str
    value: str


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, end = 0, len(text.rstrip())
    if end > LONGEST:
        _refuse(text, f"is longer than {LONGEST} characters")
    while at < end:
        match = TOKEN.match(text, at, end)
        if match is None:
            _refuse(text, f"has something unreadable at {_shown(text[at:].strip())}")
        kind = str(match.lastgroup)
        value = match[kind]
        tokens.append(_Token(kind, re.sub(r"\\(.)", r"\1", value) if kind == "text" else value))
        at = match.end()
    return tokens


class _Reader:
    """Takes the tokens of one constraint from left to right."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.at = 0

    def constraint(self) -> Constraint:
        """Read the whole text."""
        opens = self.tokens[1:2] == [_Token("sign", "(")]
        word = self.tokens[0].value.lower() if opens and self.tokens[0].kind == "word" else ""
        found: Constraint
        if word == "p":
            found = self._probability()
        elif word == "observed":
            found = self._observed()
        else:
            found = MetadataLimit(self._name(), self._comparison(), self._value())
        if self.at < len(self.tokens):
            _refuse(self.text, f"goes on after its end, at {_shown(self.tokens[self.at].value)}")
        return found

    def _probability(self) -> ProbabilityLimit:
        self.at = 2
        bare = self._peek() is not None and self.tokens[self.at].kind == "word"
        name = self._name()
        skill = None if bare and name.lower() == TASK_WORD else name
        comparison, threshold = self._comparison(), self._number()
        self._sign(")")
        return ProbabilityLimit(skill, comparison, threshold, self._comparison(), self._number())

    def _observed(self) -> ObservedSkills:
        self.at = 2
        names = [self._name()]
        while self._peek() == _Token("sign", ","):
            self.at += 1
            names.append(self._name())
        self._sign(")")
        return ObservedSkills(tuple(names))

    def _peek(self) -> _Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _take(self, wanted: str) -> _Token:
        token = self._peek()
        if token is None:
            _refuse(self.text, f"ends where {wanted} should be")
        self.at += 1
        return token

    def _name(self) -> str:
        token = self._take("a name")
        if token.kind == "sign" or not token.value.strip():
            _refuse(self.text, f"has {_shown(token.value)} where a name should be")
        return token.value

    def _sign(self, sign: str) -> None:
        token = self._take(f"'{sign}'")
        if token != _Token("sign", sign):
            _refuse(self.text, f"has {_shown(token.value)} where '{sign}' should be")

    def _comparison(self) -> str:
        token = self._take("a comparison")
        if token.kind != "sign" or token.value not in (*COMPARISONS, *EQUALITIES):
            _refuse(self.text, f"has {_shown(token.value)} where a comparison should be")
        return token.value

    def _number(self) -> float:
        token = self._take("a number")
        number = _read_number(token.value) if token.kind == "word" else None
        if number is None:
            _refuse(self.text, f"has {_shown(token.value)} where a number should be")
        return number

    def _value(self) -> float | str | bool:
        token = self._take("a value")
        if token.kind == "text":
            return token.value
        if token.kind == "word" and token.value.lower() in TRUTH:
            return TRUTH[token.value.lower()]
        self.at -= 1
        return self._number()


def _refuse(text: str, problem: str) -> NoReturn:
    raise ConstraintError(f"cannot read the constraint {_shown(text)}: it {problem}; {GRAMMAR}")


def _read_number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _number_text(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


def _name_text(name: str) -> str:
    match = TOKEN.fullmatch(name)
    bare = match is not None and match.lastgroup == "word" and match["word"] == name
    return name if bare else _quoted(name)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}...")


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not name.strip():
        raise ConstraintError(f"`{what}` of a limit must be a text, got {name!r}; give its name")


def _check_choice(sign: object, allowed: tuple[str, ...]) -> None:
    if sign not in allowed:
        raise ConstraintError(
            f"a comparison must be one of {' '.join(allowed)} here, got {sign!r}; change it"
        )


def _finite(value: object) -> float:
    if not is_finite(value):
        raise ConstraintError(f"a limit must be a finite number, got {value!r}; give a number")
    return float(value)  # type: ignore[arg-type]
