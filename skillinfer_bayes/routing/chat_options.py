"""How to reach the orchestrating model: options, checked, and the client that they make."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

from skillinfer_bayes.exceptions import ConfigError, MissingDependencyError
from skillinfer_bayes.routing.labels import is_text
from skillinfer_bayes.routing.whole_answers import limited_http_client

type LengthOption = Literal["max_tokens", "max_completion_tokens"]

KEY_VARIABLE = "OPENAI_API_KEY"
DEFAULT_TIMEOUT = 60.0
LONGEST_TIMEOUT = 1e9
DEFAULT_RETRIES = 2


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How to reach the model; checked when made.

    Parameters
    ----------
    model : str
    client : openai.OpenAI, openai.AsyncOpenAI or None
        A client of the caller's own; it keeps its own key, address and retries.
    base_url, api_key : str or None
    max_tokens : int
        Longest reply, in tokens.
    timeout : float or None
        Seconds.
    max_retries : int or None

    Raises
    ------
    ConfigError
        If an option cannot be used, or there is no key.
    """

    model: str
    client: Any
    base_url: str | None
    api_key: str | None = field(repr=False)
    max_tokens: int
    timeout: float | None
    max_retries: int | None

    def __post_init__(self) -> None:
        if not is_text(self.model):
            raise ConfigError(
                f"`model` must be the name of a model, got {self.model!r}; write for example "
                "'gpt-4o-mini'"
            )
        own = {
            "base_url": self.base_url,
            "api_key": self.api_key,
            "max_retries": self.max_retries,
        }
        given = [name for name, value in own.items() if value is not None]
        if self.client is not None and given:
            raise ConfigError(
                f"`{given[0]}` must be left out when `client` is given, got both; "
                "set it on the client"
            )
        length: object = self.max_tokens
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise ConfigError(
                f"`max_tokens` must be a whole number from 1, got {self.max_tokens!r}; "
                "500 leaves room for a few sentences"
            )
        wait: object = self.timeout
        if wait is not None and not (_is_number(wait) and 0 < wait <= LONGEST_TIMEOUT):
            raise ConfigError(
                f"`timeout` must be a number of seconds above 0, got {self.timeout!r}; at most "
                f"{LONGEST_TIMEOUT:.0f} can be waited for, "
                f"leave it out for {DEFAULT_TIMEOUT:g} seconds"
            )
        tries: object = self.max_retries
        if tries is not None and (
            isinstance(tries, bool) or not isinstance(tries, int) or tries < 0
        ):
            raise ConfigError(
                f"`max_retries` must be a whole number from 0, got {self.max_retries!r}; "
                "use 0 for a single try"
            )
        if self.client is None and not self.key:
            raise ConfigError(
                f"`api_key` must be given or the environment variable {KEY_VARIABLE} be set, got "
                "neither; set it, pass 'none' for a server that needs no key, or use "
                "`build_prompt` to see the prompt without sending it"
            )
        if self.client is None and not _can_be_sent(self.key):
            raise ConfigError(
                f"`api_key`, or the environment variable {KEY_VARIABLE}, must be made of printable "
                "ASCII characters, got others in it; copy the key again"
            )

    @property
    def key(self) -> object:
        """The key that requests carry, as far as it is known before the first one.

        Without the blanks and line breaks around it that files and copying leave.
        """
        if self.client is not None:
            return getattr(self.client, "api_key", None)
        given: object = os.environ.get(KEY_VARIABLE) if self.api_key is None else self.api_key
        return given.strip() if isinstance(given, str) else given


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _can_be_sent(key: object) -> bool:
    return not isinstance(key, str) or (key.isascii() and key.isprintable())


def import_openai() -> Any:
    """Import the package `openai`.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        return importlib.import_module("openai")
    except ImportError as error:
        raise MissingDependencyError(
            "`orchestrate` must have the package 'openai', got an import error; "
            "install it with: pip install 'skillinfer-bayes[llm]'"
        ) from error


def open_client(openai: Any, options: ChatOptions, *, asynchronous: bool) -> Any:
    """Open a client, or take the caller's own.

    Parameters
    ----------
    openai : module
    options : ChatOptions
    asynchronous : bool

    Returns
    -------
    openai.OpenAI or openai.AsyncOpenAI

    Raises
    ------
    ConfigError
        If the caller's client is of the other kind, or none can be made from the options.
    """
    if options.client is not None:
        if asynchronous and isinstance(options.client, openai.OpenAI):
            raise ConfigError(
                "`client` must be an asynchronous client, got OpenAI; pass an openai.AsyncOpenAI"
            )
        if not asynchronous and isinstance(options.client, openai.AsyncOpenAI):
            raise ConfigError(
                "`client` must be a synchronous client, got AsyncOpenAI; pass an openai.OpenAI"
            )
        return options.client
    make = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    # The client's own errors are untyped, and may repeat an address with a password in it.
    seconds = DEFAULT_TIMEOUT if options.timeout is None else options.timeout
    with suppress(Exception):
        return make(
            api_key=options.key,
            base_url=options.base_url,
            http_client=limited_http_client(openai, seconds, asynchronous=asynchronous),
            timeout=seconds,
            max_retries=DEFAULT_RETRIES if options.max_retries is None else options.max_retries,
        )
    raise ConfigError(
        "`base_url` must be an address such as 'https://api.openai.com/v1', got one that the "
        "client cannot use; check it, and the OPENAI_ and proxy variables of the environment"
    )
