"""The call to the orchestrating model, and the decision that is read from its reply."""

from __future__ import annotations

import importlib
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from skillinfer_bayes.exceptions import ConfigError, DecisionError, MissingDependencyError
from skillinfer_bayes.profiles.task import Skill, Task
from skillinfer_bayes.routing.interfaces import ProfileLike
from skillinfer_bayes.routing.labels import one_line, parse_decision, read_decision
from skillinfer_bayes.routing.prompt import build_prompt

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Decision", "orchestrate", "parse_decision"]

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_TIMEOUT = 60.0
DEFAULT_RETRIES = 2
# Servers that need no key are often given a word such as "none": too short to be a secret, and
# hiding it would only garble messages.
SHORTEST_SECRET = 8
KEY_SHAPE = re.compile(r"\b(?:sk|pk|key)-[\w*.-]+|(?i:bearer)\s+\S+")
SERVER_MESSAGE_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Decision:
    """What the orchestrating model decided, and all that it was told.

    Attributes
    ----------
    agent : str
        The chosen agent, spelled as in the profiles.
    reasoning : str
        The reply up to the decision.
    reply : str
        The whole reply, word for word (a reply that repeats the key has it blanked out).
    prompt : str
        The prompt that was sent.
    model : str
        The model that was asked.
    """

    agent: str
    reasoning: str
    reply: str
    prompt: str
    model: str


def orchestrate(
    task: Task | Mapping[str, float] | Mapping[str | Skill, float],
    profiles: Mapping[str, ProfileLike],
    metadata: Mapping[str, Mapping[str, object]] | None = None,
    constraints: Iterable[str] = (),
    threshold: float | None = None,
    *,
    descriptions: Mapping[str, str] | None = None,
    model: str = "gpt-4o-mini",
    client: OpenAI | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    max_tokens: int = 300,
    timeout: float | None = None,
    max_retries: int | None = None,
) -> Decision:
    """Ask a model which agent should have the task.

    Sends the prompt of `build_prompt` to any server that speaks the OpenAI chat protocol, and
    reads the last ``ASSIGNED:`` line of the reply.

    Parameters
    ----------
    task, profiles, metadata, constraints, threshold, descriptions
        As in `build_prompt`.
    model : str, default "gpt-4o-mini"
        The model to ask.
    client : openai.OpenAI, optional
        A client of your own; it keeps its own key, address and retries. It is not closed.
    base_url : str, optional
        Address of the server; by default the environment variable OPENAI_BASE_URL, then OpenAI's.
    api_key : str, optional
        By default the environment variable OPENAI_API_KEY. For a server that needs no key, pass
        any word.
    max_tokens : int, default 300
        Longest reply, in tokens.
    timeout : float, optional
        Seconds to wait for the server, 60 by default; a client of your own keeps its setting.
    max_retries : int, optional
        How often a failed request is sent again, 2 times by default.

    Returns
    -------
    Decision

    Raises
    ------
    DecisionError
        If the server cannot be reached, refuses, times out or answers with nothing usable, or
        the reply names no agent of `profiles`; the error carries the reply if there was one, and
        never the key.
    ConfigError
        If there is no key, or an option cannot be used.
    MissingDependencyError
        If the package `openai` is not installed.
    InputError
        As `build_prompt`.
    """
    prompt = build_prompt(
        task, profiles, metadata, constraints, threshold, descriptions=descriptions
    )
    _check_options(client, base_url, api_key, max_tokens, timeout, max_retries)
    openai = _import_openai()
    with _open_client(openai, client, base_url, api_key, timeout, max_retries) as ready:
        reply = _ask(openai, ready, prompt, model, max_tokens, timeout)
    agent, reasoning = read_decision(reply, profiles)
    return Decision(agent=agent, reasoning=reasoning, reply=reply, prompt=prompt, model=model)


def _check_options(
    client: object,
    base_url: str | None,
    api_key: str | None,
    max_tokens: object,
    timeout: float | None,
    max_retries: int | None,
) -> None:
    own = {"base_url": base_url, "api_key": api_key, "max_retries": max_retries}
    given = [name for name, value in own.items() if value is not None]
    if client is not None and given:
        raise ConfigError(
            f"`{given[0]}` must be left out when `client` is given, got both; set it on the client"
        )
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise ConfigError(
            f"`max_tokens` must be a whole number from 1, got {max_tokens!r}; "
            "300 leaves room for a few sentences"
        )
    if timeout is not None and not (math.isfinite(timeout) and timeout > 0):
        raise ConfigError(
            f"`timeout` must be a number of seconds above 0, got {timeout!r}; "
            f"leave it out for {DEFAULT_TIMEOUT:g} seconds"
        )
    if max_retries is not None and max_retries < 0:
        raise ConfigError(
            f"`max_retries` must not be negative, got {max_retries!r}; use 0 for a single try"
        )
    if client is None and not (os.environ.get(KEY_VARIABLE) if api_key is None else api_key):
        raise ConfigError(
            f"`api_key` must be given or the environment variable {KEY_VARIABLE} be set, got "
            "neither; set it, pass any word for a server that needs no key, or use "
            "`build_prompt` to see the prompt without sending it"
        )


def _import_openai() -> Any:
    try:
        return importlib.import_module("openai")
    except ImportError as error:
        raise MissingDependencyError(
            "`orchestrate` must have the package 'openai', got an import error; "
            "install it with: pip install 'skillinfer-bayes[llm]'"
        ) from error


def _open_client(
    openai: Any,
    client: OpenAI | None,
    base_url: str | None,
    api_key: str | None,
    timeout: float | None,
    max_retries: int | None,
) -> AbstractContextManager[Any]:
    if client is not None:
        if isinstance(client, openai.AsyncOpenAI):
            raise ConfigError(
                "`client` must be a synchronous client, got AsyncOpenAI; pass an openai.OpenAI"
            )
        return nullcontext(client)
    opened: AbstractContextManager[Any] | None = None
    # The client's own errors are untyped, and may repeat an address that has a password in it.
    with suppress(Exception):
        opened = openai.OpenAI(
            api_key=api_key,
            base_url=base_url,
            timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
            max_retries=DEFAULT_RETRIES if max_retries is None else max_retries,
        )
    if opened is None:
        raise ConfigError(
            "`base_url` must be an address such as 'https://api.openai.com/v1', got one that the "
            "client cannot use; check it and the OPENAI_ variables of the environment"
        )
    return opened


def _ask(
    openai: Any, client: Any, prompt: str, model: str, max_tokens: int, timeout: float | None
) -> str:
    options = {} if timeout is None else {"timeout": timeout}
    key = getattr(client, "api_key", None)
    completion = None
    failure: str | None = None
    try:
        completion = client.chat.completions.create(
            model=model,
            max_tokens=max_tokens,
            messages=[{"role": "user", "content": prompt}],
            **options,
        )
    # The client also lets errors of its HTTP and JSON layers through, untyped.
    except Exception as error:
        failure = _describe_failure(openai, error, key, _address(client))
    # Raised here and not in the handler, so that no chained error can show the key: a request's
    # headers hold it, and some servers repeat it in their message.
    if failure is not None:
        raise DecisionError(failure)
    return _content(completion, key)


def _describe_failure(openai: Any, error: Exception, key: object, address: str) -> str:
    if isinstance(error, openai.APITimeoutError):
        return f"{address} did not answer in time; try again or raise `timeout`"
    if isinstance(error, openai.APIConnectionError):
        return f"{address} could not be reached; check `base_url` and the network"
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return (
            f"{address} refused the key (HTTP {error.status_code}); check `api_key` or the "
            f"environment variable {KEY_VARIABLE}"
        )
    if isinstance(error, openai.APIStatusError):
        said = f"{address} answered with HTTP {error.status_code}{_server_message(error, key)}"
        if isinstance(error, openai.RateLimitError):
            return f"{said}; wait, raise `max_retries`, or check the account's quota"
        if error.status_code >= 500:
            return f"{said}; try again later"
        return f"{said}; check `model`, `base_url` and `max_tokens`"
    if isinstance(error, UnicodeError):
        return f"the request could not be encoded for {address}; check `api_key` and `model`"
    if isinstance(error, ValueError):
        return f"{address} answered with something other than JSON; check `base_url`"
    return f"the request to {address} failed ({type(error).__name__}); check the client's settings"


def _server_message(error: Any, key: object) -> str:
    text = _without_key(str(getattr(error, "message", "")), key)
    text = one_line(text.removeprefix(f"Error code: {error.status_code}").removeprefix(" - "))
    return f" ({text[:SERVER_MESSAGE_LENGTH]})" if text else ""


def _without_key(text: str, key: object) -> str:
    return KEY_SHAPE.sub("[key]", _without_literal_key(text, key))


def _without_literal_key(text: str, key: object) -> str:
    is_secret = isinstance(key, str) and len(key) >= SHORTEST_SECRET
    return text.replace(str(key), "[key]") if is_secret else text


def _address(client: Any) -> str:
    # Host and port only: an address can carry a user's password or a key in its query.
    parts = urlsplit(str(getattr(client, "base_url", "")))
    return f"the server at {parts.netloc.rpartition('@')[2]}" if parts.netloc else "the server"


def _content(completion: Any, key: object) -> str:
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise DecisionError(
            "the server's answer must hold at least one choice, got none; check that `base_url` "
            "is the address of a chat API and that `model` is right"
        )
    message = getattr(choices[0], "message", None)
    content = getattr(message, "content", None)
    if isinstance(content, str) and content.strip():
        return _without_literal_key(content, key)
    refusal = getattr(message, "refusal", None)
    if isinstance(refusal, str) and refusal:
        raise DecisionError(
            f"the model must decide, got a refusal: {_without_key(refusal, key)!r}; "
            "change the task's wording or ask another model",
            reply=_without_key(refusal, key),
        )
    raise DecisionError(
        "the model's reply must be a text, got none; raise `max_tokens` or ask another model "
        f"(finish reason: {getattr(choices[0], 'finish_reason', None)!r})"
    )
