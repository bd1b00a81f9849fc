"""Limits on whole answers: how long one may take to arrive, and how large it may be.

The HTTP library's own time-out only limits the wait for the next piece. A server that sends a
blank every second, as some do to keep a connection open, would hold the caller for ever, and so
would one that redirects or never comes to the end of its headers.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, wait
from contextvars import copy_context
from functools import partial
from typing import Any

MOST_BYTES = 50_000_000
TOO_LARGE = "the answer is too large"
STARTED = "skillinfer_bayes.started"


def limited_http_client(openai: Any, seconds: float, *, asynchronous: bool) -> Any:
    """Make a client whose answers have to arrive whole within a time.

    Parameters
    ----------
    openai : module
    seconds : float
        From the start of a request to the end of its answer, redirects included.
    asynchronous : bool

    Returns
    -------
    openai.DefaultHttpxClient or openai.DefaultAsyncHttpxClient
        Raises its library's time-out error where an answer takes longer, and its error of reading
        where one is larger than 50 MB.
    """
    make: Any = openai.DefaultAsyncHttpxClient if asynchronous else openai.DefaultHttpxClient
    # the library that this version of openai is built on
    http: Any = sys.modules[make.__mro__[1].__module__]

    class Arrival:
        """Keeps count of one answer."""

        def __init__(self, response: Any) -> None:
            self.inner, self.request = response.stream, response.request
            self.size = 0

        def note(self, piece: bytes) -> bytes:
            self.size += len(piece)
            if time.monotonic() > self.request.extensions[STARTED] + seconds:
                raise http.ReadTimeout("the answer takes too long", request=self.request)
            if self.size > MOST_BYTES:
                raise http.ReadError(TOO_LARGE, request=self.request)
            return piece

    class Pieces(Arrival, http.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            yield from map(self.note, self.inner)

        def close(self) -> None:
            self.inner.close()

    class AsyncPieces(Arrival, http.AsyncByteStream):  # type: ignore[misc]
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self.inner:
                yield self.note(piece)

        async def aclose(self) -> None:
            await self.inner.aclose()

    def start(request: Any) -> None:
        # what a redirect leads to has the clock of the request that was redirected
        request.extensions = {STARTED: time.monotonic(), **request.extensions}

    def watch(response: Any) -> None:
        response.stream = (AsyncPieces if asynchronous else Pieces)(response)

    async def start_async(request: Any) -> None:
        start(request)

    async def watch_async(response: Any) -> None:
        watch(response)

    class Client(make):  # type: ignore[misc]
        def send(self, request: Any, **options: Any) -> Any:
            late = http.ReadTimeout("the answer takes too long", request=request)
            return _in_time(partial(super().send, request, **options), seconds, late)

    class AsyncClient(make):  # type: ignore[misc]
        async def send(self, request: Any, **options: Any) -> Any:
            with anyio.move_on_after(seconds):
                return await super().send(request, **options)
            raise http.ReadTimeout("the answer takes too long", request=request)

    if asynchronous:
        anyio = importlib.import_module("anyio")  # which openai is built on, too
        return AsyncClient(event_hooks={"request": [start_async], "response": [watch_async]})
    return Client(event_hooks={"request": [start], "response": [watch]})


def _in_time[R](call: Callable[[], R], seconds: float, late: Exception) -> R:
    """Call in a thread of its own, and stop waiting for it when the time is over.

    A thread that nobody waits for any more ends with its connection, when the client is closed.
    """
    done: Future[R] = Future()

    def work() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), daemon=True).start()
    wait([done], min(seconds, threading.TIMEOUT_MAX))
    if not done.done():
        raise late
    return done.result()
