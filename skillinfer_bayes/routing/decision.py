"""A decision and all that led to it, frozen, with an audit record in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skillinfer_bayes.routing.labels import agent_label, one_line
from skillinfer_bayes.routing.prompt import ReplyForm
from skillinfer_bayes.routing.records import plain, record_to_json

FORMAT = "skillinfer_bayes decision"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that could be chosen, as the profiles see it.

    Parameters
    ----------
    agent : str
    score : float
        Expected task fit, in score units.
    std : float
    p_above_threshold : float or None
        Probability that the task fit exceeds the threshold; None without one.
    p_best : float or None
        Probability that no other candidate is better; None where the profiles give no draws.
    expected_regret : float or None
        Expected loss against the best candidate, in the units of the score or the utility.
    utility : float or None
        Expected utility, where one was given.
    observations : mapping of str to float
        The scores that were measured.
    metadata : mapping
        As plain data that JSON can hold.
    """

    agent: str
    score: float
    std: float
    p_above_threshold: float | None = None
    p_best: float | None = None
    expected_regret: float | None = None
    utility: float | None = None
    observations: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What the profiles say of the agent, in a few words."""
        parts = [f"expected score {self.score:.4g}"]
        parts += [] if self.utility is None else [f"expected utility {self.utility:.4g}"]
        parts += [] if self.p_best is None else [f"best with probability {self.p_best:.0%}"]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An agent that could not be chosen, and why.

    Parameters
    ----------
    agent : str
    reasons : tuple of str
    """

    agent: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to the model and what came of it.

    Parameters
    ----------
    form : {"json", "text"}
        How the model was asked to answer.
    reply : str or None
        The raw reply, word for word but for the key; None where there was none.
    problem : str or None
        Why it could not be used; None for the reply that was.
    finish_reason, served_model : str or None
        As the server says.
    usage : mapping of str to int or None
        Tokens of the prompt and of the reply, where the server counts them.
    failed : bool
        Whether the request itself failed, so that there is nothing to judge.
    """

    form: ReplyForm
    reply: str | None = None
    problem: str | None = None
    finish_reason: str | None = None
    served_model: str | None = None
    usage: Mapping[str, int] | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Vote:
    """One run through the contract, over one order of the candidates.

    Parameters
    ----------
    order : tuple of str
        In which the prompt listed the agents.
    prompt : str
        The prompt of the last attempt.
    attempts : tuple of Attempt
    agent : str or None
        The choice; None where no attempt gave one.
    reasoning : str
    confidence : float or None
    risks : tuple of str
    """

    order: tuple[str, ...]
    prompt: str
    attempts: tuple[Attempt, ...]
    agent: str | None = None
    reasoning: str = ""
    confidence: float | None = None
    risks: tuple[str, ...] = ()

    @property
    def cast(self) -> bool:
        """Whether the model was heard, with or without a choice."""
        return bool(self.attempts) and not self.attempts[-1].failed


@dataclass(frozen=True, slots=True)
class Case:
    """What was known before the model was asked.

    Parameters
    ----------
    weights : mapping of str to float
        The task's.
    description : str
        The task in words.
    threshold : float or None
    constraints : tuple of str
        Wishes that the model was to weigh.
    limits : tuple of str
        Hard limits; agents that do not keep them are excluded.
    candidates : tuple of Candidate
        The one that the profiles prefer first.
    exclusions : tuple of Exclusion
    population_id : str or None
        Identity of the population that the profiles belong to, where they say.
    versions : mapping of str to str
        Of this package and the libraries that it used.
    utility : mapping or None
        The weights that the profiles' own choice counts with, or the name of a function; None
        where the score alone counts.
    quantile : float or None
        The quantile that this choice is made by; None for the expectation.
    """

    weights: Mapping[str, float]
    description: str = ""
    threshold: float | None = None
    constraints: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    population_id: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    utility: Mapping[str, object] | None = None
    quantile: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Which agent has the task, why, and all that led to it; `print` shows the outcome.

    Attributes
    ----------
    agent : str
        The chosen agent, spelled as in the profiles.
    reasoning : str
        The model's, or what the fallback did.
    reply : str
        The whole reply, word for word (a reply that repeats the key has it blanked out); empty
        where there was none.
    prompt : str
        The prompt that led to the reply.
    model : str
        The model that was asked.
    confidence : float or None
        From 0 to 1, as the model states it.
    risks : tuple of str
        As the model states them.
    fallback : bool
        True where the model gave no usable answer and `agent` is the Bayes choice instead.
    problem : str or None
        Why the fallback was needed, or why not all votes were cast.
    bayes_choice : str or None
        The candidate that the profiles prefer: the one with the highest expected utility (or
        score, without one), or where a quantile was given, with the highest such quantile.
    random_seed : int or None
        Of the candidates' orders.
    votes : tuple of Vote
        Every run through the contract, with the order, the prompt and the raw replies.
    case : Case or None
        What was known before the model was asked.
    decided_at : str
        Time of the decision, ISO 8601 in UTC.
    """

    agent: str
    reasoning: str
    reply: str
    prompt: str
    model: str
    confidence: float | None = None
    risks: tuple[str, ...] = ()
    fallback: bool = False
    problem: str | None = None
    bayes_choice: str | None = None
    random_seed: int | None = None
    votes: tuple[Vote, ...] = ()
    case: Case | None = None
    decided_at: str = field(default="", compare=False)

    @property
    def agreement(self) -> float | None:
        """Share of the votes cast that chose `agent`; votes without a choice agree with nobody.

        0 where no vote could be cast, None where nothing was asked.
        """
        return self._agreeing / max(self._cast, 1) if self.votes else None

    @property
    def tally(self) -> str:
        """How many of the votes agree, and how many were not cast, in a few words."""
        lacking = len(self.votes) - self._cast
        if not lacking and self.votes:
            return f"{self.agreement:.0%} of {len(self.votes)} votes"
        votes = "vote" if self._cast == 1 else "votes"
        return f"{self._agreeing} of {self._cast} {votes} cast; {lacking} not cast"

    @property
    def _agreeing(self) -> int:
        return sum(vote.agent == self.agent for vote in self.votes)

    @property
    def _cast(self) -> int:
        return sum(vote.cast for vote in self.votes)

    @property
    def agrees_with_bayes(self) -> bool | None:
        """Whether `agent` is the Bayes choice; None where that is not known."""
        return None if self.bayes_choice is None else self.agent == self.bayes_choice

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The agents that could be chosen, the one that the profiles prefer first."""
        return () if self.case is None else self.case.candidates

    @property
    def exclusions(self) -> tuple[Exclusion, ...]:
        """The agents that could not be chosen, and why."""
        return () if self.case is None else self.case.exclusions

    def __str__(self) -> str:
        if self.fallback:
            by = f"the profiles alone: {self.problem}"
        else:
            sure = [] if self.confidence is None else [f"confidence {self.confidence:g}"]
            sure += [self.tally] if len(self.votes) > 1 else []
            by = f"{self.model}{f' ({", ".join(sure)})' if sure else ''}"
        lines = [f"{agent_label(self.agent)}, chosen by {by}", *self.reasoning.splitlines()]
        lines += [f"risk: {risk}" for risk in self.risks]
        if self.problem is not None and not self.fallback:
            lines.append(f"not all votes were cast: {self.problem}")
        if self.bayes_choice is not None and not self.agrees_with_bayes:
            told = f" ({self.candidates[0].summary})" if self.candidates else ""
            name = agent_label(self.bayes_choice)
            lines.append(f"the profiles alone would choose {name}{told}")
        for one in self.exclusions:
            lines.append(f"left out: {agent_label(one.agent)}: {'; '.join(one.reasons)}")
        # what a model says stays on its line and does not steer a terminal
        return "\n".join(map(one_line, lines))

    def to_dict(self) -> dict[str, Any]:
        """Give the audit record as plain data that JSON can hold.

        Returns
        -------
        dict
            Everything that was known, asked and answered, and never a key.
        """
        return {
            **record_of(self.case),
            "decided_at": self.decided_at,
            "agent": self.agent,
            "reasoning": self.reasoning,
            "confidence": self.confidence,
            "risks": list(self.risks),
            "fallback": self.fallback,
            "problem": self.problem,
            "bayes_choice": self.bayes_choice,
            "agrees_with_bayes": self.agrees_with_bayes,
            "agreement": self.agreement,
            "model": self.model,
            "random_seed": self.random_seed,
            "prompt": self.prompt,
            "reply": self.reply,
            "votes": plain(self.votes),
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Give the audit record as JSON text, and write it to a file if a path is given.

        Parameters
        ----------
        path : str or Path, optional
            Written whole or not at all.

        Returns
        -------
        str
        """
        return record_to_json(self.to_dict(), path)


def record_of(case: Case | None) -> dict[str, Any]:
    """Give what was known before the model was asked as plain data."""
    known = {} if case is None else plain(case)
    task = {name: known.pop(name, None) for name in ("weights", "description")}
    return {"format": FORMAT, "format_version": FORMAT_VERSION, "task": task, **known}
