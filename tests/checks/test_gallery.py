"""The gallery: it has every figure, and its files stay small."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from skillinfer_bayes.checks import plots
from skillinfer_bayes.checks.plots.style import new_figure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gallery

    return gallery


def test_every_figure_is_in_the_gallery(gallery) -> None:
    named = set(re.findall(r"`(plot_\w+)`", " ".join(gallery.CAPTIONS.values())))
    assert named == {name for name in plots.__all__ if name.startswith("plot_")}


def test_the_command_writes_the_figures_asked_for_and_an_index(
    gallery, tmp_path, monkeypatch, capsys
) -> None:
    out = tmp_path / "pictures"
    arguments = ["gallery", "--out", str(out), "--skills", "40", "--only", "spectrum", "skill_map"]
    monkeypatch.setattr(sys, "argv", arguments)
    backend = mpl.get_backend()
    try:
        gallery.main()
    finally:
        mpl.use(backend)
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "spectrum_40.png",
        "skill_map_40.png",
    }
    page = (out / "README.md").read_text("utf-8")
    assert "![spectrum, 40 skills](spectrum_40.png)" in page
    assert "correlation" not in page
    assert "skill_map_40.png" in capsys.readouterr().out


def test_a_large_picture_is_written_with_fewer_colours(gallery, tmp_path) -> None:
    figure = new_figure(8, 8)
    noise = np.random.default_rng(0).random((200, 200, 3))
    figure.add_subplot().imshow(noise, interpolation="nearest")
    figure.savefig(tmp_path / "plain.png", dpi=gallery.DOTS_PER_INCH)
    gallery.save_small(figure, tmp_path / "small.png")
    plain, small = ((tmp_path / name).stat().st_size for name in ("plain.png", "small.png"))
    assert plain > gallery.LARGE
    assert small < 0.6 * plain


def test_the_pictures_that_are_kept_are_small_and_complete(gallery) -> None:
    folder = ROOT / "docs" / "gallery"
    if not folder.is_dir():
        pytest.skip("the package was taken without its documents")
    found = {path.name: path.stat().st_size for path in folder.glob("*.png")}
    assert set(found) == {f"{name}_{n}.png" for name in gallery.CAPTIONS for n in gallery.SIZES}
    assert max(found.values()) < 150_000
