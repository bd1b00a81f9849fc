"""One decision from start to end, but for the call: what is known, what is asked, who wins."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from skillinfer_bayes.exceptions import (
    PACKAGE_FOLDER,
    ConfigError,
    DecisionError,
    FallbackWarning,
    VoteWarning,
)
from skillinfer_bayes.history.cells import read_flag
from skillinfer_bayes.profiles.task import Skill, Task, as_task
from skillinfer_bayes.routing.candidates import (
    eligible_or_error,
    evaluate_candidates,
    find_eligible,
    population_of,
    recorded_utility,
    recorded_versions,
)
from skillinfer_bayes.routing.chat import Answer, Chat, Request, blank_out
from skillinfer_bayes.routing.chat_options import ChatOptions
from skillinfer_bayes.routing.constraints import Constraint
from skillinfer_bayes.routing.decision import Attempt, Case, Decision, Vote
from skillinfer_bayes.routing.deliberation import Manners, candidate_orders, deliberate
from skillinfer_bayes.routing.interfaces import ProfileLike
from skillinfer_bayes.routing.labels import agent_ids
from skillinfer_bayes.routing.prompt import PromptPlan, check_constraints, plan_prompt
from skillinfer_bayes.routing.prompt_facts import SkillChoice
from skillinfer_bayes.routing.replies import shown_reply
from skillinfer_bayes.routing.utility import Utility, UtilityFunction

#: How to ask for the answer; "auto" asks for JSON, and for text where the server knows no schema.
type AnswerForm = Literal["auto", "json", "text"]

ANSWER_FORMS = ("auto", "json", "text")
MOST_VOTES = 100


@dataclass(frozen=True, slots=True)
class AskingRules:
    """How the model is asked, and what happens when it does not answer; checked when made.

    Parameters
    ----------
    answer_form : {"auto", "json", "text"}
    votes : int
    random_seed : int or None
    fallback : bool

    Raises
    ------
    ConfigError
        If an option cannot be used.
    """

    answer_form: AnswerForm = "auto"
    votes: int = 1
    random_seed: int | None = None
    fallback: bool = True

    def __post_init__(self) -> None:
        if self.answer_form not in ANSWER_FORMS:
            raise ConfigError(
                f"`answer_form` must be 'auto', 'json' or 'text', got {self.answer_form!r}; "
                "'auto' suits every server"
            )
        if not _is_whole(self.votes) or not 1 <= self.votes <= MOST_VOTES:
            raise ConfigError(
                f"`votes` must be a whole number from 1 to {MOST_VOTES}, got {self.votes!r}; "
                "each vote is at least one request"
            )
        if self.random_seed is not None and (
            not _is_whole(self.random_seed) or self.random_seed < 0
        ):
            raise ConfigError(
                f"`random_seed` must be a whole number from 0, got {self.random_seed!r}; "
                "leave it out to list the agents as given"
            )
        read_flag("fallback", self.fallback)

    def manners(self) -> Manners:
        """How to talk to a server that nothing is known about yet."""
        form: Literal["text", "json"] = "text" if self.answer_form == "text" else "json"
        return Manners(form, may_change=self.answer_form == "auto")


@dataclass(frozen=True, slots=True)
class Job:
    """A decision that is about to be made.

    Parameters
    ----------
    case : Case
    plan : PromptPlan
    options : ChatOptions
    rules : AskingRules
    """

    case: Case
    plan: PromptPlan
    options: ChatOptions
    rules: AskingRules

    @property
    def bayes_choice(self) -> str:
        """The candidate that the profiles prefer."""
        return self.case.candidates[0].agent

    def ask(self) -> Generator[Request, Answer, tuple[Vote, ...]]:
        """Yield the requests, take the answers, return the votes."""
        agents = list(self.plan.agents.facts)
        orders = candidate_orders(agents, self.rules.votes, self.rules.random_seed)
        return deliberate(self.plan, agent_ids(agents), orders, self.rules.manners())

    def conclude(self, votes: tuple[Vote, ...], chat: Chat) -> Decision:
        """Count the votes, or fall back to the Bayes choice.

        Parameters
        ----------
        votes : tuple of Vote
        chat : Chat
            Knows the key that the decision must not hold.

        Returns
        -------
        Decision

        Raises
        ------
        DecisionError
            If no vote has a choice and there is to be no fallback.
        """
        counts = Counter(vote.agent for vote in votes if vote.agent is not None)
        outcome = self._elected(votes, counts) if counts else self._fallen_back(votes)
        decision: Decision = chat.without_key(outcome)
        if decision.fallback and not self.rules.fallback:
            message, reply = str(decision.problem), decision.reply or None
            if reply is not None and repr(reply) not in message:
                message = f"{message}; {shown_reply(reply)}"
            raise DecisionError(message, reply=reply, record=_undecided(decision))
        if decision.fallback:
            warnings.warn(
                f"{decision.agent!r} was chosen without the model: {decision.problem}",
                FallbackWarning,
                skip_file_prefixes=(PACKAGE_FOLDER,),
            )
        elif decision.problem is not None:
            warnings.warn(
                f"not all votes were cast ({decision.tally}): {decision.problem}",
                VoteWarning,
                skip_file_prefixes=(PACKAGE_FOLDER,),
            )
        return decision

    def _elected(self, votes: tuple[Vote, ...], counts: Counter[str]) -> Decision:
        most = max(counts.values())
        # of equally many votes, the agent that the profiles prefer
        agent = next(one.agent for one in self.case.candidates if counts[one.agent] == most)
        vote = next(vote for vote in votes if vote.agent == agent)
        failed = [vote.attempts[-1] for vote in votes if vote.attempts and not vote.cast]
        return self._decision(
            votes,
            agent,
            vote.reasoning,
            vote.attempts[-1].reply or "",
            vote.prompt,
            confidence=vote.confidence,
            risks=vote.risks,
            problem=failed[0].problem if failed else None,
        )

    def _fallen_back(self, votes: tuple[Vote, ...]) -> Decision:
        asked = [vote for vote in votes if vote.attempts]
        last: Attempt = asked[-1].attempts[-1]
        reasoning = (
            "The model gave no usable answer. This is the agent that the profiles alone prefer: "
            f"{self.case.candidates[0].summary}."
        )
        return self._decision(
            votes,
            self.bayes_choice,
            reasoning,
            last.reply or "",
            asked[-1].prompt,
            fallback=True,
            problem=last.problem,
        )

    def _decision(
        self,
        votes: tuple[Vote, ...],
        agent: str,
        reasoning: str,
        reply: str,
        prompt: str,
        **more: Any,
    ) -> Decision:
        return Decision(
            agent,
            reasoning,
            reply,
            prompt,
            self.options.model,
            bayes_choice=self.bayes_choice,
            random_seed=self.rules.random_seed,
            votes=votes,
            case=self.case,
            decided_at=_now(),
            **more,
        )


def prepare_job(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    metadata: Mapping[str, Mapping[str, object]] | None,
    constraints: Iterable[str],
    threshold: float | None,
    *,
    limits: str | Constraint | Iterable[str | Constraint],
    utility: Utility | UtilityFunction | None,
    quantile: float | None,
    descriptions: Mapping[str, str] | None,
    skills: SkillChoice,
    compact: bool | None,
    token_budget: int | None,
    options: ChatOptions,
    rules: AskingRules,
) -> Job:
    """Collect what is known before the model is asked; parameters and errors as `orchestrate`."""
    wanted = as_task(task)
    wishes = check_constraints(constraints)
    field = find_eligible(wanted, profiles, metadata, limits)
    case = Case(
        weights=wanted.weights,
        description=wanted.description,
        threshold=threshold,
        constraints=wishes,
        limits=field.limits,
        exclusions=field.exclusions,
        population_id=population_of(profiles),
        versions=recorded_versions(),
        utility=recorded_utility(utility),
        quantile=quantile,
    )
    try:
        eligible_or_error(field)
    except DecisionError as error:
        more: dict[str, Any] = {"random_seed": rules.random_seed, "decided_at": _now()}
        none = Decision("", "", "", "", options.model, problem=str(error), case=case, **more)
        none = blank_out(options.key, none)
        raise DecisionError(str(none.problem), record=_undecided(none)) from None
    plan = plan_prompt(
        wanted,
        field.profiles,
        field.metadata,
        wishes,
        threshold,
        descriptions=descriptions,
        skills=skills,
        compact=compact,
        token_budget=token_budget,
    )
    candidates = evaluate_candidates(wanted, field, plan.agents, utility, quantile)
    return Job(replace(case, candidates=candidates), plan, options, rules)


def _undecided(decision: Decision) -> dict[str, Any]:
    """Give the record of a decision that was not made."""
    unknown = dict.fromkeys(("agent", "agreement", "agrees_with_bayes"))
    return decision.to_dict() | unknown | {"fallback": False, "reasoning": ""}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
