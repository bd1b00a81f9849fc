"""What all figures share: colours, sizes that grow with the number of labels, and input checks.

Figures are made without pyplot, so nothing is shown, no window is opened and no global setting is
read again or changed; a notebook shows the figure that a cell ends with.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import (
    ConfigError,
    InputError,
    SkillinferError,
    closest_match_hint,
)

type FloatArray = NDArray[np.float64]

# Okabe and Ito's palette, told apart with any colour vision; its yellow is too pale for lines.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INFERRED, OBSERVED, TRUTH = "#0072B2", "#D55E00", "#000000"
MUTED, FAINT, GRID = "#777777", "#C9C9C9", "#E6E6E6"
DIVERGING, SEQUENTIAL = "RdBu_r", "Greys"
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 11.0, 9.0, 7.5
METHODS = ("ours", "peer", "mean", "imputer", "knn", "peer_raw", "imputer_residual")
LONGEST_LABEL = 34
LONGEST_LEGEND = 48
LEAST_KEPT = 4
WIDEST = 20.0


class NotebookFigure(Figure):
    """A figure that notebooks show although pyplot does not know it."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=96)
        return buffer.getvalue()


def new_figure(width: float, height: float) -> NotebookFigure:
    """Make an empty figure, inches, whose parts make room for each other's labels."""
    size = (min(width, WIDEST), max(height, 1.5))
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
    return NotebookFigure(figsize=size, layout=layout, facecolor="white")


def rows_height(rows: int, per_row: float = 0.27, around: float = 1.3) -> float:
    """Height in inches of a panel with one line of text per row."""
    return around + per_row * max(rows, 2)


def label_size(labels: int, inches: float) -> float:
    """Font size at which so many labels fit side by side, between 5 and 9 points."""
    return float(np.clip(0.8 * 72.0 * inches / max(labels, 1), 5.0, TEXT_SIZE))


def shorten(name: object, longest: int = LONGEST_LABEL, *, head: int | None = None) -> str:
    """Cut the middle out of a name that is too long for a label, or what follows a head."""
    text = " ".join(str(name).split())
    if len(text) > longest:
        kept = (longest - 1) // 2
        start = kept if head is None else head
        text = f"{text[:start]}…{text[start - 2 * kept :]}"
    return text.replace("$", r"\$")  # no maths in names


def short_labels(names: Iterable[object], longest: int = LONGEST_LABEL) -> list[str]:
    """Shorten the names of one figure so that different ones look different.

    Those that would look alike are cut elsewhere, as near the middle as tells them apart; where no
    cut does they get numbers.
    """
    given = [str(name) for name in names]
    labels = {name: shorten(name, longest) for name in given}
    heads = range(LEAST_KEPT, longest - LEAST_KEPT)
    for head in sorted(heads, key=lambda head: abs(head - longest // 2)):
        labels |= {name: shorten(name, longest, head=head) for name in _alike(labels)}
    for number, name in enumerate(_alike(labels), start=1):
        labels[name] = f"{shorten(name, longest - 4)} #{number}"
    return [labels[name] for name in given]


def _alike(labels: Mapping[str, str]) -> list[str]:
    """Names whose label another name has, too."""
    counts = Counter(labels.values())
    return [name for name, label in labels.items() if counts[label] > 1]


def write_title(ax: Axes, text: str, **how: Any) -> None:
    """Set a panel's title, which goes on in a new line where the figure ends."""
    ax.set_title(text, fontsize=TITLE_SIZE, loc="left", wrap=True, **how)


def tidy(ax: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "", grid: str = "x") -> None:
    """Remove what carries no information and set the texts."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=TEXT_SIZE, length=2.5)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    if title:
        write_title(ax, title)
    if xlabel:
        ax.set_xlabel(xlabel, fontsize=TEXT_SIZE)
    if ylabel:
        ax.set_ylabel(ylabel, fontsize=TEXT_SIZE)


def name_rows(ax: Axes, labels: Collection[str]) -> None:
    """Write labels, shortened before, at rows 0, 1, ... from the top down."""
    ax.set_yticks(range(len(labels)), labels, fontsize=TEXT_SIZE)
    ax.set_ylim(len(labels) - 0.4, -0.6)


def colours_of(names: Iterable[object], what: str) -> dict[str, tuple[str, str]]:
    """Give every name a colour and a marker.

    Raises
    ------
    InputError
        If there are more names than colours that can be told apart.
    """
    unique = list(dict.fromkeys(str(name) for name in names))
    if len(unique) > len(PALETTE):
        raise InputError(
            f"at most {len(PALETTE)} {what} can be told apart in one figure, got {len(unique)}; "
            "choose some of them"
        )
    return dict(zip(unique, zip(PALETTE, MARKERS, strict=True), strict=False))


def method_colours(names: Iterable[object]) -> dict[str, tuple[str, str]]:
    """Give every method a colour and a marker, the known methods the same in all figures.

    Raises
    ------
    InputError
        If there are more than eight.
    """
    unique = sorted({str(name) for name in names})
    looks = list(colours_of([*METHODS, "any other"], "methods").values())
    known = {name: looks[place] for place, name in enumerate(METHODS) if name in unique}
    free = [look for look in looks if look not in known.values()]
    others = [name for name in unique if name not in known]
    colours_of(unique, "methods")  # no more than there are looks
    return known | dict(zip(others, reversed(free), strict=False))


def legend_of(
    figure: Figure, handles: Mapping[str, Any] | None = None, columns: int | None = None
) -> None:
    """Put the legend below all panels, where it hides nothing.

    Parameters
    ----------
    figure : Figure
    handles : mapping from name to artist, optional
        Default: what has a label in any panel. Names that are data must be given, since a label
        that starts with "_" is none to matplotlib.
    columns : int, optional
        Default: as many as the figure is wide enough for.
    """
    found = _labelled(figure) if handles is None else handles
    across = max(1, int(figure.get_figwidth() // 1.7)) if columns is None else columns
    figure.legend(
        found.values(),
        short_labels(found, LONGEST_LEGEND),
        loc="outside lower center",
        ncols=min(across, max(len(found), 1)),
        fontsize=TEXT_SIZE,
        frameon=False,
    )


def _labelled(figure: Figure) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ax in figure.axes:
        handles, labels = ax.get_legend_handles_labels()
        found |= zip(labels, handles, strict=True)
    return found


def check_share(name: str, value: object) -> float:
    """Give a probability strictly between 0 and 1 back.

    Raises
    ------
    ConfigError
        If it is none.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
    if not 0.0 < number < 1.0:
        hint = "; did you mean 0.9?" if number == 90 else ""
        raise ConfigError(f"`{name}` must be between 0 and 1, got {value!r}{hint}")
    return float(number)


def check_count(name: str, value: object, low: int = 1) -> int:
    """Give a whole number of at least `low` back.

    Raises
    ------
    ConfigError
        If it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"`{name}` must be a whole number of at least {low}, got {value!r}")
    return value


def check_type(name: str, value: object, wanted: type, how: str) -> Any:
    """Give an object of the wanted type back, or say how to get one.

    Raises
    ------
    InputError
        If it is of another type.
    """
    if not isinstance(value, wanted):
        raise InputError(f"`{name}` must be a {wanted.__name__}, got {type(value).__name__}; {how}")
    return value


def pick(
    names: object,
    known: Collection[str],
    argument: str,
    error: type[SkillinferError] = InputError,
) -> list[str]:
    """Give the names back in the order asked for.

    Raises
    ------
    InputError
        Or another `error`, if there is none, one is not known or comes more than once.
    """
    found: list[str] = []
    if (
        isinstance(names, Iterable)
        and not isinstance(names, str)
        and getattr(names, "ndim", 1) == 1
    ):
        found = [str(name) for name in names]
    if not found:
        raise error(f"`{argument}` must be a list of names, got {names!r}")
    for name in found:
        if name not in known:
            raise error(
                f"`{argument}` must hold known names, got {name!r}; "
                f"{closest_match_hint(name, known)}"
            )
        if found.count(name) > 1:
            raise error(f"`{argument}` must hold each name once, got {name!r} more than once")
    return found


def panels_of(bounds: Mapping[str, tuple[float, float]]) -> list[list[str]]:
    """Group skills that can share an axis of scores: those with the same finite bounds.

    Unbounded skills are in units of their own, so each is alone unless all are unbounded.
    """
    if len(set(bounds.values())) == 1:
        return [list(bounds)]
    groups: dict[object, list[str]] = {}
    for skill, ends in bounds.items():
        groups.setdefault(ends if np.isfinite(ends).all() else skill, []).append(skill)
    return list(groups.values())
