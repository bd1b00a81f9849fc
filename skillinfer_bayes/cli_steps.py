"""What the command line says on standard error: steps, their times, and warnings."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import TextIO

import click

from skillinfer_bayes.exceptions import SkillinferWarning

TITLE_WIDTH = 44


class Steps:
    """Reports steps and how long each took.

    Parameters
    ----------
    quiet : bool
        Say nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def step(self, title: str, *, draws_bar: bool = False) -> Iterator[None]:
        """Announce a step, then say how long it took.

        Parameters
        ----------
        title : str
        draws_bar : bool, default False
            The step draws a progress bar itself, so no spinner is shown beside it.
        """
        if self.quiet:
            yield
            return
        started = time.perf_counter()
        with contextlib.nullcontext() if draws_bar else _spinner(title):
            if draws_bar:
                click.echo(f"{title}: compiling first, then sampling ...", err=True)
            yield
        self._line(title, time.perf_counter() - started)

    def total(self) -> None:
        """Say how long everything took so far."""
        if not self.quiet:
            self._line("total", time.perf_counter() - self._started)

    def parts(self, seconds: Mapping[str, float]) -> None:
        """Say what a step's time was made of.

        Parameters
        ----------
        seconds : mapping of str to float
            Seconds by part.
        """
        for name, value in seconds.items():
            if not self.quiet:
                self._line(f"  of which {name}", value)

    def note(self, text: str) -> None:
        """Say something in passing."""
        if not self.quiet:
            click.echo(text, err=True)

    @staticmethod
    def _line(title: str, seconds: float) -> None:
        click.echo(f"{title:<{TITLE_WIDTH}} {seconds:7.2f} s", err=True)


def _spinner(title: str) -> contextlib.AbstractContextManager[object]:
    if not sys.stderr.isatty():
        return contextlib.nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(title)


@contextlib.contextmanager
def plain_warnings() -> Iterator[list[type[Warning]]]:
    """Show the package's warnings as one line each.

    Yields
    ------
    list of warning classes
        Those shown so far.
    """
    seen: list[type[Warning]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", SkillinferWarning)
        show_others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, SkillinferWarning):
                seen.append(category)
                click.echo(f"Warning: {message}", err=True)
            else:
                show_others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield seen
