"""Files and option values of the command line."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from skillinfer_bayes.cli_io import (
    check_output,
    parse_task,
    read_scores,
    stack_scores,
    write_profiles,
)
from skillinfer_bayes.cli_metadata import read_metadata
from skillinfer_bayes.exceptions import ConfigError, InputError, MetadataError, TaskError

TABLE = pd.DataFrame(
    {
        "agent": ["a", "a", "b"],
        "skill": ["math", "code", "math"],
        "mean": [0.5, 0.25, 0.75],
        "source": ["observed", "inferred", "inferred"],
    }
)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("math=1,code=0.3", {"math": 1.0, "code": 0.3}),
        (" math = 1 , ", {"math": 1.0}),
        ("a=b=2", {"a=b": 2.0}),
        ('{"math, hard": 1, "code": 2}', {"math, hard": 1.0, "code": 2.0}),
        ("", {}),
    ],
)
def test_task_weights_are_read(text: str, weights: dict[str, float]) -> None:
    assert parse_task(text) == weights


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("math", "skill=weight, got 'math'"),
        ("math=high", "got 'math=high'"),
        ("=1", "got '=1'"),
        ("math=1,math=2", "'math' more than once"),
        ('{"math": 1, "math": 2}', "'math' more than once"),
        ('{"math": "high"}', "JSON object"),
        ('{"math": "1"}', "JSON object of skills and numbers"),
        ('{"math": true}', "JSON object of skills and numbers"),
        ('{"math": null}', "JSON object of skills and numbers"),
        (f'{{"math": 1{"0" * 400}}}', "JSON object of skills and numbers"),
        ("{math: 1}", "JSON object"),
    ],
)
def test_task_weights_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        parse_task(text)


def test_scores_come_from_json_with_the_gaps_left_open(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text('{"a": {"math": 0.5}, "b": {"code": 0.25, "math": null}}', "utf-8")
    expected = pd.DataFrame(
        [[0.5, float("nan")], [float("nan"), 0.25]], index=["a", "b"], columns=["math", "code"]
    )
    pd.testing.assert_frame_equal(read_scores(path), expected, check_index_type=False)


def test_scores_come_from_csv_and_parquet_alike(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("agent,math,code\na,0.5,\nb,,0.25\n", "utf-8")
    from_csv = read_scores(tmp_path / "scores.csv")
    from_csv.to_parquet(tmp_path / "scores.parquet")
    assert from_csv.loc["b"].isna().tolist() == [True, False]
    pd.testing.assert_frame_equal(
        read_scores(tmp_path / "scores.parquet"), from_csv, check_names=False
    )


def test_several_tables_are_taken_as_one_line_after_line(tmp_path: Path) -> None:
    history, new, other = (tmp_path / name for name in ("history.csv", "new.json", "other.csv"))
    history.write_text("agent,math,code,art\na,0.5,0.25,1.5\nb,,0.75,0\n", "utf-8")
    new.write_text('{"c": {"code": 0.5}}', "utf-8")
    other.write_text("name,code,math\nd,0.1,\ne,,\n", "utf-8")
    stacked = stack_scores([history, new, other])
    assert list(stacked.index) == ["a", "b", "c", "d", "e"]
    assert list(stacked.columns) == ["math", "code", "art"]
    assert stacked.loc["c"].isna().tolist() == [True, False, True]
    assert stacked.loc["d", "code"] == 0.1
    assert stacked.loc["e"].isna().all()
    pd.testing.assert_frame_equal(stacked.iloc[:2], read_scores(history), check_names=False)
    new.write_text('{"c": {"codes": 0.5}}', "utf-8")
    with pytest.raises(InputError, match=r"new.json' must have no skill .* did you mean 'code'"):
        stack_scores([history, new])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "one JSON object per agent"),
        ('{"a": 1}', "one JSON object per agent"),
        ('{"a": {}, "a": {}}', "'a' comes more than once"),
        ('{"a": {"math": 1, "math": 0}}', "'math' comes more than once"),
        pytest.param("[" * 200_000, "cannot be read as JSON", id="deep"),
    ],
)
def test_json_that_is_no_table(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        read_scores(path)


def test_metadata_from_csv_keeps_numbers_and_leaves_gaps_out(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text(
        '\ufeffagent,cost_per_1k,avg_latency_ms,note\na,0.005,800,"two\nlines"\nb,,,plain\n',
        "utf-8",
    )
    assert read_metadata(path) == {
        "a": {"cost_per_1k": 0.005, "avg_latency_ms": 800, "note": "two\nlines"},
        "b": {"note": "plain"},
    }


@pytest.mark.parametrize(
    ("column", "cells", "values"),
    [
        ("version", ["3.10", "3.9"], ["3.10", "3.9"]),
        ("build", ["2024_06", "202405"], ["2024_06", "202405"]),
        ("commit", ["7e512345", "1234567"], ["7e512345", "1234567"]),
        ("commit", ["7e5", "ab12"], ["7e5", "ab12"]),
        ("serial", ["00123", "5"], ["00123", "5"]),
        ("size", ["128000", "unknown"], [128_000, "unknown"]),
        ("share", ["-0.25", "1e-05"], [-0.25, 1e-5]),
        ("share", ["0.5", "inf"], [0.5, "inf"]),
        ("digits", ["9" * 400, "1"], ["9" * 400, 1]),
        ("open", ["true", "FALSE"], [True, False]),
        ("open", ["True ", "00"], [True, "00"]),
        ("cost_per_1k", ["0.50", "5e-3"], [0.5, 0.005]),
        ("cost_per_1k", ["1_000", " 007"], ["1_000", 7]),
        ("rate_limit_rpm", ["inf", "500"], [float("inf"), 500]),
    ],
)
def test_metadata_from_csv_become_numbers_that_are_written_so(
    tmp_path: Path, column: str, cells: list[str], values: list[object]
) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(f"agent,{column}\na,{cells[0]}\nb,{cells[1]}\n", "utf-8")
    found = [facts[column] for facts in read_metadata(path).values()]
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_metadata_from_csv_skip_lines_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_text(",\nagent,region\na,eu\n , \n,,,\nb,us\n,\n", "utf-8")
    assert read_metadata(path) == {"a": {"region": "eu"}, "b": {"region": "us"}}


def test_metadata_from_json(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text('{"a": {"region": "eu"}, "b": {}}', "utf-8")
    assert read_metadata(path) == {"a": {"region": "eu"}, "b": {}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("costs.txt", "", "must end in .csv or .json"),
        ("costs.csv", "agent,cost\n", "must have a header line"),
        ("costs.csv", "agent,cost\na,1\na,2\n", "one line per agent"),
        ("costs.csv", "agent,cost\na,1,2\n", "2 different columns"),
        ("costs.csv", "agent,cost,cost\na,1,2\n", "3 different columns"),
        ("costs.csv", "agent,cost\na,\x00\n".encode("utf-16"), "cannot be read"),
        pytest.param(
            "costs.csv",
            'agent,note\na,"' + "b\n" * 70_000,
            "a quote that is not closed",
            id="quote",
        ),
        pytest.param("costs.json", "[" * 200_000, "cannot be read as JSON", id="deep"),
    ],
)
def test_metadata_that_cannot_be_read(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MetadataError, match=message):
        read_metadata(path)


def test_an_output_file_is_checked_before_the_work(tmp_path: Path) -> None:
    good = tmp_path / "profiles.csv"
    assert check_output(good, (".csv", ".json")) == good
    with pytest.raises(ConfigError, match=r"must end in \.csv or \.json, got"):
        check_output(tmp_path / "profiles.txt", (".csv", ".json"))
    with pytest.raises(ConfigError, match="existing folder"):
        check_output(tmp_path / "absent" / "profiles.csv", (".csv",))
    good.touch()
    assert check_output(good, (".csv",), inputs=[None, tmp_path]) == good
    with pytest.raises(ConfigError, match=r"must not be a file that is read, got"):
        check_output(tmp_path / "." / "profiles.csv", (".csv",), inputs=[None, good])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match="must be a file"):
        check_output(tmp_path / "folder.csv", (".csv",))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old", "utf-8")
    not_json = TABLE.assign(mean=[1j, 2j, 3j])
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_profiles(not_json, path)
    assert path.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old", "utf-8")
    link.symlink_to(target)
    write_profiles(TABLE, link)
    assert link.is_symlink()
    assert target.read_text("utf-8").startswith("agent,skill,mean")


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    for mode in (0o600, 0o640, 0o664):
        path.touch()
        path.chmod(mode)
        write_profiles(TABLE, path)
        assert path.stat().st_mode & 0o777 == mode
    mask = os.umask(0o027)
    try:
        write_profiles(TABLE, tmp_path / "new.json")
    finally:
        os.umask(mask)
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o640


def test_profiles_are_written_in_every_format(tmp_path: Path) -> None:
    for suffix in ("csv", "parquet", "json"):
        write_profiles(TABLE, tmp_path / f"out.{suffix}")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out.csv"), TABLE)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), TABLE)
    written = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert written["a"]["code"] == {"mean": 0.25, "source": "inferred"}
    assert list(written) == ["a", "b"]
