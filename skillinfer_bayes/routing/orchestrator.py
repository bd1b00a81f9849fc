"""The call to the orchestrating model, and the decision that comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from skillinfer_bayes.profiles.task import Skill, Task
from skillinfer_bayes.routing.chat import Chat
from skillinfer_bayes.routing.chat_options import ChatOptions
from skillinfer_bayes.routing.constraints import Constraint
from skillinfer_bayes.routing.decision import Decision
from skillinfer_bayes.routing.interfaces import ProfileLike
from skillinfer_bayes.routing.job import AnswerForm, AskingRules, prepare_job
from skillinfer_bayes.routing.prompt_facts import SkillChoice
from skillinfer_bayes.routing.replies import parse_decision
from skillinfer_bayes.routing.utility import Utility, UtilityFunction

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

__all__ = ["Decision", "orchestrate", "orchestrate_async", "parse_decision"]


def orchestrate(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    metadata: Mapping[str, Mapping[str, object]] | None = None,
    constraints: Iterable[str] = (),
    threshold: float | None = None,
    *,
    limits: str | Constraint | Iterable[str | Constraint] = (),
    utility: Utility | UtilityFunction | None = None,
    quantile: float | None = None,
    descriptions: Mapping[str, str] | None = None,
    skills: SkillChoice = "task",
    compact: bool | None = None,
    token_budget: int | None = None,
    model: str = "gpt-4o-mini",
    client: OpenAI | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    max_tokens: int = 500,
    timeout: float | None = None,
    max_retries: int | None = None,
    answer_form: AnswerForm = "auto",
    votes: int = 1,
    random_seed: int | None = None,
    fallback: bool = True,
) -> Decision:
    """Ask a model which agent should have the task.

    Sends the prompt of `build_prompt` to any server that speaks the OpenAI chat protocol, with a
    strict JSON Schema of the answer, or asks for an ``ASSIGNED:`` line where the server does not
    know schemas. An answer that cannot be used is sent back once, with what was wrong. If there
    is still none, the agent that the profiles alone prefer has the task (the Bayes choice: the
    highest expected score or utility, or `quantile` of it), and the decision says that it is a
    fallback.

    Parameters
    ----------
    task, profiles, metadata, constraints, threshold, descriptions, skills, compact, token_budget
        As in `build_prompt`.
    limits : str, Constraint, or several of them, optional
        Hard limits, such as ``"avg_latency_ms < 1000"`` or ``"P(code > 0.7) >= 0.9"``, see
        `apply_constraints`. Agents that do not keep them are left out of the prompt; the
        decision says why. Wishes go into `constraints`.
    utility : Utility or callable, optional
        What a score is worth given cost and latency, for the choice that the profiles alone
        would make. Default: the expected score.
    quantile : float, optional
        Make that choice by this quantile of the score or utility, to be cautious; see `compare`.
    model : str, default "gpt-4o-mini"
        The model to ask.
    client : openai.OpenAI, optional
        A client of your own; it keeps its own key, address and retries. It is not closed.
    base_url : str, optional
        Address of the server; by default the environment variable OPENAI_BASE_URL, then OpenAI's.
    api_key : str, optional
        By default the environment variable OPENAI_API_KEY. For a server that needs no key, pass
        "none": a longer word counts as a secret and is blanked out of texts.
    max_tokens : int, default 500
        Longest reply, in tokens.
    timeout : float, optional
        Seconds in which a whole answer must arrive, redirects included, 60 by default; it counts
        anew when a request is sent again. A client of your own keeps its setting, and limits only
        the wait for the next piece of an answer.
    max_retries : int, optional
        How often a failed request is sent again, 2 times by default.
    answer_form : {"auto", "json", "text"}, default "auto"
        Ask for JSON, for an ``ASSIGNED:`` line, or for JSON where the server knows schemas.
    votes : int, default 1
        How often to ask, with the agents in as many orders as there are; the agent with the most
        votes wins, and among equals the one that the profiles prefer. Where a request fails, no
        more are sent: the votes cast until then decide, with a warning, and the decision's
        `problem` says why there are no more.
    random_seed : int, optional
        Shuffles the agents; by default they are first listed in the order of `profiles`.
    fallback : bool, default True
        Decide by the profiles alone where the model gives no usable answer; otherwise raise.

    Returns
    -------
    Decision
        Its `to_json` is the audit record.

    Raises
    ------
    DecisionError
        If no agent keeps the limits; or if `fallback` is off and the server cannot be reached,
        refuses, times out or answers with nothing usable, twice. The error carries the reply, if
        there was one, and the audit record, and never the key.
    ConfigError
        If there is no key, or an option cannot be used.
    MissingDependencyError
        If the package `openai` is not installed.
    ConstraintError
        If a limit cannot be read.
    InputError, PopulationMismatchError
        As `build_prompt`, `apply_constraints` and `compare`.

    Warns
    -----
    FallbackWarning
        If the decision is a fallback.
    VoteWarning
        If votes could not be cast.
    """
    job = prepare_job(
        task,
        profiles,
        metadata,
        constraints,
        threshold,
        limits=limits,
        utility=utility,
        quantile=quantile,
        descriptions=descriptions,
        skills=skills,
        compact=compact,
        token_budget=token_budget,
        options=ChatOptions(model, client, base_url, api_key, max_tokens, timeout, max_retries),
        rules=AskingRules(answer_form, votes, random_seed, fallback),
    )
    chat = Chat(job.options, asynchronous=False)
    steps = job.ask()
    try:
        request = next(steps)
        while True:
            request = steps.send(chat.ask(request))
    except StopIteration as done:
        votes_cast = done.value
    finally:
        chat.close()
    return job.conclude(votes_cast, chat)


async def orchestrate_async(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    metadata: Mapping[str, Mapping[str, object]] | None = None,
    constraints: Iterable[str] = (),
    threshold: float | None = None,
    *,
    limits: str | Constraint | Iterable[str | Constraint] = (),
    utility: Utility | UtilityFunction | None = None,
    quantile: float | None = None,
    descriptions: Mapping[str, str] | None = None,
    skills: SkillChoice = "task",
    compact: bool | None = None,
    token_budget: int | None = None,
    model: str = "gpt-4o-mini",
    client: AsyncOpenAI | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    max_tokens: int = 500,
    timeout: float | None = None,
    max_retries: int | None = None,
    answer_form: AnswerForm = "auto",
    votes: int = 1,
    random_seed: int | None = None,
    fallback: bool = True,
) -> Decision:
    """Ask a model which agent should have the task, without blocking; see `orchestrate`.

    Parameters, result, errors and warnings are those of `orchestrate`, but for `client`, which
    must be an `openai.AsyncOpenAI`.
    """
    job = prepare_job(
        task,
        profiles,
        metadata,
        constraints,
        threshold,
        limits=limits,
        utility=utility,
        quantile=quantile,
        descriptions=descriptions,
        skills=skills,
        compact=compact,
        token_budget=token_budget,
        options=ChatOptions(model, client, base_url, api_key, max_tokens, timeout, max_retries),
        rules=AskingRules(answer_form, votes, random_seed, fallback),
    )
    chat = Chat(job.options, asynchronous=True)
    steps = job.ask()
    try:
        request = next(steps)
        while True:
            request = steps.send(await chat.ask_async(request))
    except StopIteration as done:
        votes_cast = done.value
    finally:
        await chat.close_async()
    return job.conclude(votes_cast, chat)
