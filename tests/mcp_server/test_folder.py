from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillinfer_bayes.exceptions import InputError
from skillinfer_bayes.mcp_server.folder import Folder

OUTSIDE = [
    "../secret.json",
    "a/../../secret.json",
    "a/../pop.json",
    "..",
    "/etc/passwd.json",
    "//x.json",
    "a//b.json",
    "./a.json",
    ".hidden.json",
    ".git/a.json",
    "a\\..\\b.json",
    "C:/x.json",
    "C:x.json",
    "a\0.json",
    "a\n.json",
    "",
    "a/",
    "~/../x/../a.json",
    "x" * 2000 + ".json",
]


@pytest.fixture
def within(folder):
    return Folder(folder)


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_outside_are_refused_for_reading_and_writing(within, path):
    for call in (
        lambda: within.existing(path, ".json"),
        lambda: within.writable(path, ".json", overwrite=True),
    ):
        with pytest.raises(InputError, match=r"`path` must (stay inside|end in|be in)"):
            call()


def test_the_refusal_does_not_tell_what_exists(within):
    said = []
    for name in ("secret", "nothing"):
        with pytest.raises(InputError, match="must stay inside") as caught:
            within.existing(f"../{name}.json", ".json")
        said.append(str(caught.value).replace(name, ""))
    assert said[0] == said[1]


@pytest.mark.parametrize("target", ["../secret.json", "real.json"])
def test_links_are_refused_wherever_they_lead(within, target):
    (within.root / "real.json").write_text("{}", "utf-8")
    (within.root / "link.json").symlink_to(target)
    (within.root / "up").symlink_to("..")
    for path in ("link.json", "up/secret.json", "up/inside/real.json"):
        with pytest.raises(InputError, match="must not go through links"):
            within.existing(path, ".json")
        with pytest.raises(InputError, match="must not go through links"):
            within.writable(path, ".json", overwrite=True)
    assert within.listing(".json") == ["real.json"]


def test_dangling_links_are_refused_for_writing(within):
    (within.root / "link.json").symlink_to("../made.json")
    with pytest.raises(InputError, match="must not go through links"):
        within.writable("link.json", ".json", overwrite=False)


def test_what_is_allowed(within):
    (within.root / "a b").mkdir()
    place = within.writable("a b/ü..x.json", ".json", overwrite=False)
    assert place == within.root / "a b" / "ü..x.json"
    place.write_text("{}", "utf-8")
    assert within.existing("a b/ü..x.json", ".json") == place
    assert within.listing(".json") == ["a b/ü..x.json"]


def test_the_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert Folder(tmp_path / "link").existing("pop.nc", ".nc") == folder / "pop.nc"


def test_writing(within):
    (within.root / "a.json").write_text("{}", "utf-8")
    (within.root / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"must be a new file, got 'a\.json'"):
        within.writable("a.json", ".json", overwrite=False)
    assert within.writable("a.json", ".json", overwrite=True).name == "a.json"
    with pytest.raises(InputError, match="must be a new file"):
        within.writable("folder.json", ".json", overwrite=True)
    with pytest.raises(InputError, match="must be in an existing folder"):
        within.writable("no/a.json", ".json", overwrite=False)
    with pytest.raises(InputError, match=r"must end in \.json, got 'a\.nc'"):
        within.writable("a.nc", ".json", overwrite=False)


def test_a_missing_file_is_named_with_those_there_are(within):
    with pytest.raises(InputError, match=r"got 'no\.nc'; there are: pop\.nc"):
        within.existing("no.nc", ".nc")
    with pytest.raises(InputError, match="there are: none"):
        within.existing("no.json", ".json")


def test_pipes_and_folders_are_no_files(within):
    os.mkfifo(within.root / "pipe.json")
    (within.root / "folder.json").mkdir()
    for path in ("pipe.json", "folder.json"):
        with pytest.raises(InputError, match="must be a file in the folder"):
            within.existing(path, ".json")


@given(st.text(st.sampled_from("a./\\.:~ \0\n"), max_size=12))
def test_no_path_leaves_the_folder(tmp_path_factory, text):
    root = tmp_path_factory.getbasetemp()
    try:
        place = Folder(root).writable(text + ".json", ".json", overwrite=True)
    except InputError:
        return
    assert place.resolve().is_relative_to(root.resolve())


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="`folder` must be an existing folder"):
        Folder(tmp_path / "no")


def test_hide(within):
    text = within.hide(f"cannot read {within.root}/a.nc in {within.root}")
    assert text == "cannot read a.nc in ."
