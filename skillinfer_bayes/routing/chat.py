"""The chat protocol: requests sent with the `openai` client, answers and failures as plain data.

Nothing that leaves this module to be shown holds the key: not an error, not a reply that repeats
it. Only what a decision is read from does, since a key may be a word of an agent's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from skillinfer_bayes.routing.chat_options import (
    KEY_VARIABLE,
    ChatOptions,
    LengthOption,
    import_openai,
    open_client,
)
from skillinfer_bayes.routing.labels import one_line
from skillinfer_bayes.routing.whole_answers import TOO_LARGE

# Servers that need no key are often given a word such as "none": too short to be a secret, and
# hiding it would only garble messages.
SHORTEST_SECRET = 8
# Parts of records that hold names which others are looked up by: they stay as they were given.
NAMES = frozenset({"agent", "bayes_choice", "order", "weights", "observations"})
KEY_SHAPE = re.compile(r"\b(?:sk|pk|key)-[\w*.-]+|(?i:bearer)\s+\S+")
SERVER_MESSAGE_LENGTH = 300
# What servers answer to a request that has something they do not know.
NOT_UNDERSTOOD = frozenset({400, 415, 422, 501})


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the model.

    Parameters
    ----------
    messages : tuple of mapping
        `role` and `content` of each.
    response_format : mapping or None
    length_option : {"max_tokens", "max_completion_tokens"}
        The name that the server knows the longest reply by.
    """

    messages: tuple[Mapping[str, str], ...]
    response_format: Mapping[str, Any] | None = None
    length_option: LengthOption = "max_tokens"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a reply, or a problem.

    Parameters
    ----------
    reply : str or None
        What the model said, refusals included, without the key.
    problem : str or None
        Why there is no usable reply; None where there is one.
    failed : bool
        The request itself failed, so asking again is of no use.
    not_understood : str or None
        The option that the server seems not to know.
    finish_reason : str or None
    served_model : str or None
        The model by the server's own name.
    usage : mapping of str to int
        Tokens of the prompt and of the reply, where the server counts them.
    raw : str or None
        What the model said word for word, to read the decision from and never to show.
    """

    reply: str | None = None
    problem: str | None = None
    failed: bool = False
    not_understood: str | None = None
    finish_reason: str | None = None
    served_model: str | None = None
    usage: Mapping[str, int] | None = None
    raw: str | None = field(default=None, repr=False)


class Chat:
    """A client that is ready to ask, and knows how to read what comes back.

    Parameters
    ----------
    options : ChatOptions
    asynchronous : bool
        Whether to use `openai.AsyncOpenAI`.

    Raises
    ------
    ConfigError
        If the client is of the other kind, or cannot be made from the options.
    MissingDependencyError
        If the package `openai` is not installed.
    """

    def __init__(self, options: ChatOptions, *, asynchronous: bool) -> None:
        self._openai = import_openai()
        self._options = options
        self._client = open_client(self._openai, options, asynchronous=asynchronous)

    def ask(self, request: Request) -> Answer:
        """Send a request and wait for its answer; nothing is raised."""
        try:
            completion = self._client.chat.completions.create(**self._arguments(request))
        # The client also lets errors of its HTTP and JSON layers through, untyped.
        except Exception as error:
            return self._failure(error, request)
        return self._read(completion)

    async def ask_async(self, request: Request) -> Answer:
        """Send a request and await its answer; nothing is raised."""
        try:
            completion = await self._client.chat.completions.create(**self._arguments(request))
        except Exception as error:
            return self._failure(error, request)
        return self._read(completion)

    def close(self) -> None:
        """Close a client that was opened here."""
        if self._options.client is None:
            self._client.close()

    async def close_async(self) -> None:
        """Close an asynchronous client that was opened here."""
        if self._options.client is None:
            await self._client.close()

    def without_key(self, value: Any) -> Any:
        """Blank out the key in a record's texts, as `blank_out` does."""
        return blank_out(getattr(self._client, "api_key", None), value)

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self._options.model,
            "messages": [dict(message) for message in request.messages],
            request.length_option: self._options.max_tokens,
        }
        if request.response_format is not None:
            arguments["response_format"] = request.response_format
        if self._options.timeout is not None:
            arguments["timeout"] = self._options.timeout
        return arguments

    def _read(self, completion: Any) -> Answer:
        choices = getattr(completion, "choices", None)
        told: dict[str, Any] = {
            "served_model": self._text(getattr(completion, "model", None)),
            "usage": _usage(getattr(completion, "usage", None)),
        }
        if not isinstance(choices, list) or not choices:
            problem = (
                "the server's answer must hold at least one choice, got none; check that "
                "`base_url` is the address of a chat API and that `model` is right"
            )
            return Answer(problem=problem, **told)
        told["finish_reason"] = self._text(getattr(choices[0], "finish_reason", None))
        message = getattr(choices[0], "message", None)
        content = getattr(message, "content", None)
        refusal = self._text(getattr(message, "refusal", None))
        if isinstance(content, str) and content.strip():
            return Answer(reply=self.without_key(content), raw=content, **told)
        if refusal:
            problem = (
                f"the model must decide, got a refusal: {self._hide(refusal)!r}; "
                "change the task's wording or ask another model"
            )
            return Answer(reply=refusal, problem=problem, **told)
        problem = (
            "the model's reply must be a text, got none; raise `max_tokens` or ask another model "
            f"(finish reason: {told['finish_reason']!r})"
        )
        return Answer(problem=problem, **told)

    def _text(self, value: object) -> str | None:
        return self.without_key(value) if isinstance(value, str) else None

    def _hide(self, text: str) -> str:
        return KEY_SHAPE.sub("[key]", self.without_key(text))

    def _failure(self, error: Exception, request: Request) -> Answer:
        described = self._describe(error)
        option: str | None = None
        status = getattr(error, "status_code", None)
        if isinstance(error, self._openai.APIStatusError) and status in NOT_UNDERSTOOD:
            if "max_completion_tokens" in str(getattr(error, "message", "")):
                option = "max_tokens"
            elif request.response_format is not None:
                option = "response_format"
        return Answer(problem=described, failed=True, not_understood=option)

    def _describe(self, error: Exception) -> str:
        openai, address = self._openai, self._address()
        if isinstance(error, openai.APITimeoutError):
            return f"{address} did not answer in time; try again or raise `timeout`"
        if str(error.__cause__) == TOO_LARGE:
            return f"{address} sent too large an answer; check `base_url`"
        if isinstance(error, openai.APIConnectionError):
            return f"{address} could not be reached; check `base_url` and the network"
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return (
                f"{address} refused the key (HTTP {error.status_code}); check `api_key` or the "
                f"environment variable {KEY_VARIABLE}"
            )
        if isinstance(error, openai.APIStatusError):
            said = f"{address} answered with HTTP {error.status_code}{self._message(error)}"
            if isinstance(error, openai.RateLimitError):
                return f"{said}; wait, raise `max_retries`, or check the account's quota"
            if error.status_code >= 500:
                return f"{said}; try again later"
            return f"{said}; check `model`, `base_url` and `max_tokens`"
        if isinstance(error, UnicodeEncodeError):
            return f"the request could not be encoded for {address}; check `api_key` and `model`"
        if isinstance(error, ValueError | RecursionError):
            return f"{address} answered with something other than JSON; check `base_url`"
        return (
            f"the request to {address} failed ({type(error).__name__}); check the client's settings"
        )

    def _message(self, error: Any) -> str:
        text = self._hide(str(getattr(error, "message", "")))
        text = one_line(text.removeprefix(f"Error code: {error.status_code}").removeprefix(" - "))
        return f" ({text[:SERVER_MESSAGE_LENGTH]})" if text else ""

    def _address(self) -> str:
        # Host and port only: an address can carry a user's password or a key in its query.
        place = ""
        with suppress(ValueError):
            place = urlsplit(str(getattr(self._client, "base_url", ""))).netloc.rpartition("@")[2]
        return f"the server at {place}" if place else "the server"


def blank_out(key: object, value: Any) -> Any:
    """Blank out a key in texts, plain data and this package's records, but for names of agents.

    Parameters
    ----------
    key : object
        Anything but a text of 8 letters or more is taken to be no secret.
    value : object

    Returns
    -------
    object
        Of the same class.
    """
    if not isinstance(key, str) or len(key) < SHORTEST_SECRET:
        return value
    if isinstance(value, str):
        return value.replace(key, "[key]")
    if isinstance(value, Mapping):
        return {blank_out(key, name): blank_out(key, one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(blank_out(key, one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        texts = [one.name for one in fields(value) if one.name not in NAMES]
        return replace(value, **{name: blank_out(key, getattr(value, name)) for name in texts})
    return value


def _usage(usage: object) -> dict[str, int] | None:
    counts = {name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")}
    found = {name: count for name, count in counts.items() if isinstance(count, int)}
    return found or None
