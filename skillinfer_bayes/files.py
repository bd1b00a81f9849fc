"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skillinfer_bayes.exceptions import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it takes `path`'s place in one step.

    A file that it replaces hands its permissions on; a link stays, and what it leads to changes.

    Raises
    ------
    InputError
        If `path` is a folder, or its folder does not exist.
    """
    path = path.resolve()
    if path.is_dir():
        raise InputError(f"`path` must be a file, got the folder {str(path)!r}; name a file in it")
    if not path.parent.is_dir():
        raise InputError(
            f"`path` must be in an existing folder, got {str(path)!r}; make the folder first"
        )
    # no longer than `path` itself, whose name may be as long as names can be
    handle, name = tempfile.mkstemp(prefix=".new-", suffix=path.suffix[:20], dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
