"""The conversation with the model: asked, checked, repaired once, over one or more orders.

Written as generators that yield requests and are sent answers, so that the synchronous and the
asynchronous call share all of it.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from skillinfer_bayes.exceptions import DecisionError
from skillinfer_bayes.routing.chat import Answer, Request
from skillinfer_bayes.routing.chat_options import LengthOption
from skillinfer_bayes.routing.contract import Choice, read_reply, repair_request, response_format
from skillinfer_bayes.routing.decision import Attempt, Vote
from skillinfer_bayes.routing.prompt import PromptPlan, ReplyForm

#: One reply and one repair.
MOST_REPLIES = 2
# A long reply is not sent back whole: the model needs to see what was wrong, not all of it.
SHOWN_REPLY_LENGTH = 2_000
NO_REPLY = "(no answer)"
# Finish reasons of replies that may lack their end.
CUT_OFF = {
    "length": "the reply was cut off, keep it shorter",
    "content_filter": "the reply was cut off by the server's filter",
}


@dataclass(slots=True)
class Manners:
    """How this server must be talked to; learnt once, kept for the votes that follow.

    Parameters
    ----------
    form : {"json", "text"}
    may_change : bool
        Whether plain text may be asked for where the server does not know JSON Schema.
    length_option : {"max_tokens", "max_completion_tokens"}
    """

    form: ReplyForm
    may_change: bool
    length_option: LengthOption = "max_tokens"

    def adapt(self, answer: Answer) -> bool:
        """Change what the server did not understand; False where nothing can be changed."""
        if answer.not_understood == "max_tokens" and self.length_option == "max_tokens":
            self.length_option = "max_completion_tokens"
            return True
        if answer.not_understood is not None and self.form == "json" and self.may_change:
            self.form = "text"
            return True
        return False


@dataclass(slots=True)
class _Run:
    """One vote as it comes about."""

    plan: PromptPlan
    ids: Mapping[str, str]
    order: tuple[str, ...]
    manners: Manners
    attempts: list[Attempt] = field(default_factory=list)
    prompt: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)

    def start(self) -> None:
        self.prompt = self.plan.write(self.order, self.manners.form)
        self.messages = [{"role": "user", "content": self.prompt}]

    def request(self) -> Request:
        schema = response_format(list(self.ids)) if self.manners.form == "json" else None
        return Request(tuple(self.messages), schema, self.manners.length_option)

    def note(self, answer: Answer, problem: str | None) -> None:
        self.attempts.append(
            Attempt(
                self.manners.form,
                answer.reply,
                problem,
                answer.finish_reason,
                answer.served_model,
                answer.usage,
                answer.failed,
            )
        )

    def ask_for_repair(self, answer: Answer, problem: str) -> None:
        shown = (answer.reply or NO_REPLY)[:SHOWN_REPLY_LENGTH]
        shown = shown.encode(errors="backslashreplace").decode()  # requests hold no lone surrogate
        again = repair_request(problem, list(self.ids), self.manners.form)
        self.messages += [
            {"role": "assistant", "content": shown},
            {"role": "user", "content": again},
        ]

    def finish(self, choice: Choice | None = None) -> Vote:
        attempts = tuple(self.attempts)
        if choice is None:
            return Vote(self.order, self.prompt, attempts)
        said = (choice.agent, choice.reasoning, choice.confidence, choice.risks)
        return Vote(self.order, self.prompt, attempts, *said)


def deliberate(
    plan: PromptPlan,
    ids: Mapping[str, str],
    orders: Sequence[tuple[str, ...]],
    manners: Manners,
) -> Generator[Request, Answer, tuple[Vote, ...]]:
    """Ask for one vote per order; yields requests and is sent answers.

    A request that fails ends the asking: the client has retried it already. The votes that would
    follow are not cast.

    Parameters
    ----------
    plan : PromptPlan
    ids : mapping of str to str
        From the agents' ids to their names.
    orders : sequence of tuple of str
    manners : Manners
        Changed where the server turns out not to know an option.

    Yields
    ------
    Request

    Returns
    -------
    tuple of Vote
        One per order.
    """
    votes: list[Vote] = []
    failed = False
    for order in orders:
        if failed:
            votes.append(Vote(order, plan.write(order, manners.form), ()))
            continue
        vote, failed = yield from _vote(_Run(plan, ids, order, manners))
        votes.append(vote)
    return tuple(votes)


def _vote(run: _Run) -> Generator[Request, Answer, tuple[Vote, bool]]:
    run.start()
    replies = 0
    while replies < MOST_REPLIES:
        answer = yield run.request()
        if answer.failed:
            run.note(answer, answer.problem)
            if not run.manners.adapt(answer):
                return run.finish(), True
            run.start()
            continue
        replies += 1
        outcome = _read(answer, run)
        if isinstance(outcome, Choice):
            run.note(answer, None)
            return run.finish(outcome), False
        run.note(answer, outcome)
        run.ask_for_repair(answer, outcome)
    return run.finish(), False


def _read(answer: Answer, run: _Run) -> Choice | str:
    """Give the choice, or say in words why there is none."""
    if answer.problem is not None:
        return answer.problem
    cut_off = CUT_OFF.get(answer.finish_reason or "", "")
    with suppress(DecisionError):
        choice = read_reply(answer.raw or "", run.ids, run.manners.form)
        # an object is whole or none, but the last line of a text may go on: gpt-4, or gpt-4o
        if choice.confidence is not None or not cut_off:
            return choice
        return cut_off
    return "; ".join(filter(None, (cut_off, _problem(answer.reply or "", run))))


def _problem(reply: str, run: _Run) -> str:
    """Say what is wrong with a reply, from its text without the key: messages show parts of it."""
    try:
        read_reply(reply, run.ids, run.manners.form)
    except DecisionError as error:
        return str(error)
    return "the reply must keep to the form asked for, and does only without the key in it"


def candidate_orders(
    agents: Sequence[str], votes: int, random_seed: int | None
) -> list[tuple[str, ...]]:
    """List the orders in which the votes show the candidates.

    The first is the order given, or a shuffled one where a seed is given. The others turn it
    round, so that with as many votes as agents each stands once in every place; after that comes
    another shuffled order. Models prefer what stands in certain places, see [1]_.

    Parameters
    ----------
    agents : sequence of str
    votes : int
    random_seed : int or None

    Returns
    -------
    list of tuple of str

    References
    ----------
    .. [1] Zheng et al. (2024). Large Language Models Are Not Robust Multiple Choice Selectors.
       ICLR. https://doi.org/10.48550/arXiv.2309.03882
    """
    generator = random.Random(0 if random_seed is None else random_seed)  # noqa: S311
    base = list(agents)
    if random_seed is not None:
        generator.shuffle(base)
    orders: list[tuple[str, ...]] = []
    while len(orders) < votes:
        turns = min(votes - len(orders), len(base))
        steps = [turn * len(base) // turns for turn in range(turns)]
        orders += [tuple(base[step:] + base[:step]) for step in steps]
        generator.shuffle(base)
    return orders
