"""The one folder that tools may read from and write to."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from skillinfer_bayes.exceptions import InputError

LONGEST_PATH = 1_000
MOST_LISTED = 500


class Folder:
    """A folder that paths from outside cannot leave.

    A path must be relative and plain: without ``..``, without hidden parts, and without links on
    the way, even those that stay inside. Nothing is read to find that out, so a refusal does not
    tell what lies outside.

    Parameters
    ----------
    root : str or Path

    Raises
    ------
    InputError
        If `root` is not a folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise InputError(
                f"`folder` must be an existing folder, got {str(root)!r}; make it first"
            )

    def existing(self, path: str, suffix: str) -> Path:
        """Find a file to read.

        Parameters
        ----------
        path : str
            Relative to the folder, parts separated by ``/``.
        suffix : str
            The ending that the file must have.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            If the path is not allowed or there is no such file.
        """
        found = self._inside(path, suffix)
        if not found.is_file():
            raise InputError(
                f"`path` must be a file in the folder, got {path!r}; "
                f"there are: {', '.join(self.listing(suffix)) or 'none'}"
            )
        return found

    def writable(self, path: str, suffix: str, *, overwrite: bool) -> Path:
        """Find a place to write a file to.

        Parameters
        ----------
        path, suffix : str
            As in `existing`.
        overwrite : bool
            Whether the file may exist already.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            If the path is not allowed, its folder does not exist, or the file does.
        """
        found = self._inside(path, suffix)
        if not found.parent.is_dir():
            raise InputError(f"`path` must be in an existing folder, got {path!r}; leave it out")
        if found.exists() and (not overwrite or not found.is_file()):
            raise InputError(
                f"`path` must be a new file, got {path!r}, which exists; choose another name, or "
                "pass overwrite=true to replace a file"
            )
        return found

    def listing(self, suffix: str) -> list[str]:
        """List the files with an ending, at most 500, links and hidden files left out."""
        found: list[str] = []
        waiting = [self.root]
        while waiting and len(found) < MOST_LISTED:
            inside = sorted(waiting.pop(0).iterdir(), key=lambda entry: entry.name)
            for entry in inside:
                if entry.name.startswith(".") or entry.is_symlink():
                    continue
                if entry.is_dir():
                    waiting.append(entry)
                elif entry.suffix == suffix:
                    found.append(entry.relative_to(self.root).as_posix())
        return found[:MOST_LISTED]

    def hide(self, text: str) -> str:
        """Leave out of a text where on this machine the folder is."""
        return text.replace(f"{self.root}/", "").replace(str(self.root), ".")

    def _inside(self, path: str, suffix: str) -> Path:
        plain = PurePosixPath(path)
        parts = path.split("/")
        odd = any(not part or part.startswith(".") or set(part) & set("\\:\0") for part in parts)
        if odd or len(path) > LONGEST_PATH or not path.isprintable():
            raise InputError(
                f"`path` must stay inside the folder, got {path[:LONGEST_PATH]!r}; give a relative "
                f"path such as 'profiles/a{suffix}', without '..' and hidden parts"
            )
        if plain.suffix != suffix:
            raise InputError(f"`path` must end in {suffix}, got {path!r}; add the ending")
        place = self.root
        for part in parts:
            place = place / part
            if place.is_symlink():
                raise InputError(
                    f"`path` must not go through links, got {path!r}; name the file itself"
                )
        return place
