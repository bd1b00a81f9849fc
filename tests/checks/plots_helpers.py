"""What the tests of figures share: drawing one, and whether it can be read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure

SMALLEST = 4.9
SLACK = 2.0


def figure_of(drawn: Any) -> Figure:
    """The matplotlib figure of whatever a plot function returned."""
    return drawn if isinstance(drawn, Figure) else drawn.viz["figure"].item()


def pixels(drawn: Any) -> np.ndarray:
    """Draw a figure to PNG and read it back, (height, width, 4)."""
    buffer = io.BytesIO()
    figure_of(drawn).savefig(buffer, format="png", dpi=60)
    buffer.seek(0)
    return np.asarray(plt.imread(buffer))


def labels_of(axis: Axis) -> list[Any]:
    """Labels of the ticks that lie within the axis."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    sides = [tick.label1 for tick in ticks if tick.label1.get_visible()]
    sides += [tick.label2 for tick in ticks if tick.label2.get_visible()]
    return [label for label in sides if label.get_text()]


def row_names(drawn: Any, panel: int = 0) -> list[str]:
    return [label.get_text() for label in labels_of(figure_of(drawn).axes[panel].yaxis)]


def texts_of(figure: Figure) -> Iterator[Any]:
    """Titles, names of axes and legends."""
    yield from figure.texts
    yield from figure.legends
    for ax in figure.axes:
        if ax.axison:
            yield from (ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label)
            yield from filter(None, [ax.get_legend()])


def check_readable(drawn: Any) -> None:
    """Every text is inside the figure, labels are large enough, and beside their neighbours."""
    figure = figure_of(drawn)
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    for text in texts_of(figure):
        box = text.get_window_extent()
        if text.get_visible() and box.width:
            assert box.x0 >= -SLACK, text
            assert box.y0 >= -SLACK, text
            assert box.x1 <= width + SLACK, text
            assert box.y1 <= height + SLACK, text
    for ax in figure.axes:
        if not ax.axison:
            continue
        for axis, low, high in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
            labels = labels_of(axis)
            boxes = [label.get_window_extent() for label in labels]
            for label, box in zip(labels, boxes, strict=True):
                assert label.get_fontsize() >= SMALLEST, label
                assert box.x0 >= -SLACK, label
                assert box.y0 >= -SLACK, label
                assert box.x1 <= width + SLACK, label
                assert box.y1 <= height + SLACK, label
            if all(label.get_rotation() in (0.0, 90.0) for label in labels):
                spans = sorted((getattr(box, low), getattr(box, high)) for box in boxes)
                for (_, end), (start, _) in pairwise(spans):
                    assert end <= start + SLACK, [label.get_text() for label in labels]
