"""Fetching public files once, and noticing when they are not what they were.

A file whose SHA-256 is known is verified against it. Of any other, the SHA-256 of the first good
copy is recorded beside it, and every later copy, kept or downloaded again, is held to that.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from platformdirs import user_cache_path

from skillinfer_bayes.exceptions import ConfigError, DatasetError, MissingDependencyError
from skillinfer_bayes.files import write_text

TIMEOUT_SECONDS = 30
RECORD = ".sha256"


@dataclass(frozen=True)
class Source:
    """Files that make up one dataset.

    Parameters
    ----------
    dataset : str
        Names the folder that the files are kept in.
    base : str
        Web address of the folder that the files are in.
    files : tuple of str
        Their names.
    verified : mapping from file to SHA-256
        Checksums that were verified against the original; others are recorded at first download.
    """

    dataset: str
    base: str
    files: tuple[str, ...]
    verified: Mapping[str, str]

    def url(self, name: str) -> str:
        """Web address of one file."""
        return f"{self.base.rstrip('/')}/{quote(name)}"

    def at(self, mirror: str | None) -> Source:
        """Give the same files at another address.

        Raises
        ------
        ConfigError
            If the address is not an http or https one, or holds a password.
        """
        if mirror is None:
            return self
        given: object = mirror
        parts = urlsplit(given if isinstance(given, str) else "")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("`mirror` must be an http or https address of a folder")
        if parts.username or parts.password or parts.query:
            # it would end up in log lines and in error messages
            raise ConfigError(
                "`mirror` must not hold a user name, a password or a query; put them in ~/.netrc"
            )
        return Source(self.dataset, mirror, self.files, self.verified)


@dataclass(frozen=True)
class Options:
    """Where files are kept and taken from.

    Parameters
    ----------
    cache : str or Path, optional
        Folder to keep files in. Default: the user's cache folder.
    mirror : str, optional
        Web address of a folder with the same files.
    refresh : bool, default False
        Download again, and forget the recorded checksums.
    """

    cache: str | Path | None = None
    mirror: str | None = None
    refresh: bool = False


def load_files[T](
    source: Source, options: Options, parse: Callable[[Mapping[str, Path]], T]
) -> tuple[T, dict[str, str]]:
    """Fetch files, read them, and remember their checksums once they could be read.

    Parameters
    ----------
    source : Source
    options : Options
    parse : callable
        Turns paths by file name into what is wanted; KeyError or ValueError if they do not hold
        what they should.

    Returns
    -------
    parsed
        What `parse` gave.
    dict of str to str
        SHA-256 of each file.

    Raises
    ------
    DatasetError
        If a file cannot be downloaded or written, has changed, or cannot be read.
    ConfigError
        If an option cannot be used.
    MissingDependencyError
        If pooch is not installed.
    """
    source = source.at(options.mirror)
    folder = _folder(source, options.cache)
    paths = {name: folder / name for name in source.files}
    try:
        fresh = [path for name, path in paths.items() if _fetch(source, name, path, options)]
        parsed = parse(paths)
    except DatasetError:
        _restore(paths.values())
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        for path in fresh:
            # kept for good only what could be read, or was put there by hand
            if not _record_of(path).is_file():
                path.unlink(missing_ok=True)
        _restore(paths.values())
        raise DatasetError(
            f"the files of {source.dataset!r} from {source.base} do not hold what is expected "
            f"({type(error).__name__}: {error}); they may have changed there, so try another "
            "`mirror`, or `refresh=True`"
        ) from error
    checksums = {name: sha256_of(path) for name, path in paths.items()}
    for name, path in paths.items():
        write_text(_record_of(path), checksums[name] + "\n")
        _former(path).unlink(missing_ok=True)
    return parsed, checksums


def _former(path: Path) -> Path:
    """Where the copy at hand waits until the one that is to take its place has been read."""
    return path.with_name(f"{path.name}.{os.getpid()}.former")


def _restore(paths: Iterable[Path]) -> None:
    for path in paths:
        if _former(path).is_file():
            os.replace(_former(path), path)


def _folder(source: Source, cache: str | Path | None) -> Path:
    root = user_cache_path("skillinfer_bayes") / "datasets" if cache is None else Path(cache)
    # copies from different addresses are kept apart
    return root / f"{source.dataset}-{hashlib.sha256(source.base.encode()).hexdigest()[:8]}"


def _fetch(source: Source, name: str, path: Path, options: Options) -> bool:
    """Have a file as it should be at `path`; tell whether it was downloaded for that."""
    folder, refresh = path.parent, options.refresh
    known = source.verified.get(name)
    if known is None and not refresh:
        known = _recorded(path)
    if path.is_file() and not refresh and known in (None, sha256_of(path)):
        return False
    url = source.url(name)
    pooch = import_pooch()
    fresh = f"{name}.{os.getpid()}.fresh"  # the copy at hand stays until the new one is complete
    try:
        (folder / fresh).unlink(missing_ok=True)
        with _quiet(pooch.get_logger()):
            pooch.retrieve(
                url,
                known_hash=None if known is None else f"sha256:{known}",
                fname=fresh,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS),
            )
        if refresh and path.is_file():
            os.replace(path, _former(path))
        os.replace(folder / fresh, path)
    except ValueError as error:
        held = "wait for a new version of this package, or use another `mirror`"
        free = "pass `refresh=True` to take it as it is now"
        raise DatasetError(
            f"{url} is not the file that it was (SHA-256 {known} expected); "
            f"{held if name in source.verified else free}"
        ) from error
    except OSError as error:  # a failed request is one, too
        raise DatasetError(
            f"{url} could not be downloaded ({_reason(error)}); connect to the network once, pass "
            f"`mirror`, or put the file at {str(path)!r}"
        ) from error
    finally:
        with suppress(OSError):
            (folder / fresh).unlink(missing_ok=True)
    return True


def _reason(error: OSError) -> str:
    response = getattr(error, "response", None)
    if response is not None:
        return f"HTTP status {response.status_code}"
    return type(error).__name__


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + RECORD)


def _recorded(path: Path) -> str | None:
    record = _record_of(path)
    return record.read_text(encoding="utf-8").strip() if record.is_file() else None


def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep pooch from advising to copy a checksum that is recorded anyway."""
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def import_pooch() -> Any:
    """Import pooch, or say how to install it.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        return importlib.import_module("pooch")
    except ImportError as error:
        raise MissingDependencyError(
            "downloading public data needs pooch; install it with "
            "`pip install 'skillinfer_bayes[datasets]'`"
        ) from error
