"""Putting names beside points so that few of them overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from skillinfer_bayes.checks.plots.style import MUTED, SMALL_SIZE, FloatArray

GLYPH_WIDTH, LINE_HEIGHT = 0.56, 1.25
# where a name may go, in text heights from its point: (right, up)
DIRECTIONS = tuple(
    (distance * np.cos(angle), distance * np.sin(angle))
    for distance in (0.9, 1.9, 3.2, 4.8)
    for angle in np.deg2rad([0, 180, 90, 270, 45, 135, 225, 315, 20, 160, 200, 340])
)
POINT_RADIUS = 0.45


def place_labels(figure: Figure, ax: Axes, points: FloatArray, names: Sequence[str]) -> None:
    """Write each name where it overlaps least, near its point, with a line where it had to move.

    Parameters
    ----------
    figure : Figure
    ax : Axes
        With its limits set.
    points : array of shape (n, 2)
        Data coordinates.
    names : sequence of str
    """
    figure.draw_without_rendering()  # settles the layout, and with it where the points are
    unit = 72.0 / figure.dpi  # in points, as text is
    places = ax.transData.transform(points) * unit
    left, low, right_end, top = np.asarray(ax.get_window_extent().extents) * unit
    inside = (left + 3.0, right_end, low, top)
    height = SMALL_SIZE * LINE_HEIGHT
    taken = [_box(x, y, 0.0, POINT_RADIUS * height) for x, y in places]
    crowding = [float((np.hypot(*(places - place).T) < 6.0 * height).sum()) for place in places]
    for position in np.argsort(crowding):  # loners are easy; the crowd shares what is left
        x, y = places[position]
        width = GLYPH_WIDTH * SMALL_SIZE * len(names[position])
        best, least = DIRECTIONS[0], np.inf
        for right, up in DIRECTIONS:
            box = _label_box(x, y, right * height, up * height, width, height)
            cost = sum(_overlap(box, other) for other in taken) + 0.4 * np.hypot(right, up)
            cost += width * height - _overlap(box, inside)  # what would stick out
            if cost < least:
                best, least = (right, up), cost
        right, up = best[0] * height, best[1] * height
        taken.append(_label_box(x, y, right, up, width, height))
        far = np.hypot(*best) > 1.0
        ax.annotate(
            names[position],
            points[position],
            xytext=(right, up),
            textcoords="offset points",
            ha=_side(right, height),
            va="center",
            fontsize=SMALL_SIZE,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5} if far else None,
        )


def _side(right: float, height: float) -> str:
    if abs(right) < 0.4 * height:
        return "center"
    return "left" if right > 0 else "right"


def _label_box(
    x: float, y: float, right: float, up: float, width: float, height: float
) -> tuple[float, float, float, float]:
    start = {"center": -0.5, "left": 0.0, "right": -1.0}[_side(right, height)] * width
    left = x + right + start
    return left, left + width, y + up - 0.5 * height, y + up + 0.5 * height


def _box(x: float, y: float, width: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, x + width + radius, y - radius, y + radius


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Area that two boxes share, square points."""
    wide = min(one[1], other[1]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[2], other[2])
    return max(wide, 0.0) * max(high, 0.0)
