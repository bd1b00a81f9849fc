"""What all figures share: colours, sizes that grow with the number of labels, and input checks.

Figures are made without pyplot, so nothing is shown, no window is opened and no global setting is
read again or changed; a notebook shows the figure that a cell ends with.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from skillinfer_bayes.exceptions import ConfigError, InputError, closest_match_hint

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


def shorten(name: object, longest: int = LONGEST_LABEL) -> str:
    """Cut the middle out of a name that is too long for a label."""
    text = " ".join(str(name).split()).replace("$", r"\$")  # no maths in names
    if len(text) <= longest:
        return text
    kept = (longest - 1) // 2
    return f"{text[:kept]}…{text[-kept:]}"


def tidy(ax: Axes, *, title: str = "", xlabel: str = "", ylabel: str = "", grid: str = "x") -> None:
    """Remove what carries no information and set the texts."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(labelsize=TEXT_SIZE, length=2.5)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    if title:
        ax.set_title(title, fontsize=TITLE_SIZE, loc="left")
    if xlabel:
        ax.set_xlabel(xlabel, fontsize=TEXT_SIZE)
    if ylabel:
        ax.set_ylabel(ylabel, fontsize=TEXT_SIZE)


def name_rows(ax: Axes, names: Sequence[object], *, size: float = TEXT_SIZE) -> None:
    """Label rows 0, 1, ... from the top down."""
    ax.set_yticks(range(len(names)), [shorten(name) for name in names], fontsize=size)
    ax.set_ylim(len(names) - 0.4, -0.6)


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


def legend_of(figure: Figure, ax: Axes, columns: int | None = None) -> None:
    """Put the legend below all panels, where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    across = max(1, int(figure.get_figwidth() // 1.7)) if columns is None else columns
    figure.legend(
        found.values(),
        [shorten(label, LONGEST_LEGEND) for label in found],
        loc="outside lower center",
        ncols=min(across, max(len(found), 1)),
        fontsize=TEXT_SIZE,
        frameon=False,
    )


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


def pick(names: Sequence[str], known: Sequence[str], argument: str) -> list[str]:
    """Give the names back in the order asked for.

    Raises
    ------
    InputError
        If there is none, or one is not known.
    """
    if isinstance(names, str) or not names:
        raise InputError(f"`{argument}` must be a list of names, got {names!r}")
    for name in names:
        if str(name) not in known:
            raise InputError(
                f"`{argument}` must hold known names, got {str(name)!r}; "
                f"{closest_match_hint(name, known)}"
            )
    return [str(name) for name in names]


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
