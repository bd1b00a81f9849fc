"""The command line tool: help, errors and exit codes."""

import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from skillinfer_bayes import demo as demo_data
from skillinfer_bayes.cli import main
from skillinfer_bayes.cli_steps import Steps, plain_warnings
from skillinfer_bayes.exceptions import ConvergenceWarning, HistoryWarning, SkillinferError

COMMANDS = ("demo", "diagnose", "fit", "info", "mcp", "profile", "prompt", "route")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def failing_command(request: pytest.FixtureRequest):
    """A command that raises or warns as the test says."""

    @main.command("fail")
    def fail() -> None:
        problem = request.param
        if isinstance(problem, Warning):
            warnings.warn(problem, stacklevel=1)
            click.echo("finished")
        else:
            raise problem

    yield request.param
    del main.commands["fail"]


def test_help_lists_every_command_and_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert tuple(sorted(main.commands)) == COMMANDS
    for command in COMMANDS:
        assert f"  {command} " in result.stdout
    assert "3 done but the fit did not pass" in result.stdout
    assert "other commands only warn" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"  skillinfer-bayes {command}" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 90


@pytest.mark.parametrize(
    "arguments",
    [
        ("unknown",),
        ("fit",),
        ("fit", "no such file.csv", "-o", "population.nc"),
        ("demo", "--seed", "-1"),
        ("demo", "--seed", "one"),
        ("demo", "--loud"),
        ("demo", "--seed", 2**64),
        ("fit", __file__, "-o", "population.nc", "--seed", 2**64),
        ("fit", __file__, "-o", "population.nc", "--draws", 3),
        ("fit", __file__, "-o", "population.nc", "--target-accept", "nan"),
        ("profile", __file__, __file__, "--ci-prob", "nan"),
        *(
            ("route", __file__, __file__, "--task", "math=1", option, value)
            for option in ("--quantile", "--cost-weight", "--latency-weight", "--timeout")
            for value in ("nan", "inf")
        ),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "failing_command",
    [SkillinferError("`scores` must be numbers"), OSError(28, "No space left on device")],
    indirect=True,
)
def test_errors_are_one_line_and_end_with_1(failing_command: Exception) -> None:
    result = run("fail")
    assert result.exit_code == 1
    assert result.stderr == f"Error: {failing_command}\n"
    assert result.stdout == ""


@pytest.mark.parametrize("failing_command", [KeyboardInterrupt()], indirect=True)
def test_an_interrupt_ends_with_130(failing_command: KeyboardInterrupt) -> None:
    result = run("fail")
    assert result.exit_code == 130
    assert result.stderr == "\nInterrupted.\n"


@pytest.mark.parametrize(
    ("failing_command", "exit_code"),
    [(ConvergenceWarning("R-hat is 1.2"), 3), (HistoryWarning("dropped a row"), 0)],
    indirect=["failing_command"],
)
def test_warnings_are_one_line_and_only_bad_convergence_changes_the_exit_code(
    failing_command: Warning, exit_code: int
) -> None:
    result = run("fail")
    assert result.exit_code == exit_code
    assert result.stderr == f"Warning: {failing_command}\n"
    assert result.stdout == "finished\n"


@pytest.mark.parametrize("failing_command", [ZeroDivisionError("a bug")], indirect=True)
def test_a_bug_is_not_disguised_as_bad_input(failing_command: Exception) -> None:
    assert isinstance(run("fail").exception, ZeroDivisionError)


def test_warnings_of_other_libraries_go_their_own_way() -> None:
    with plain_warnings() as seen, pytest.warns(UserWarning, match="not ours"):
        warnings.warn("not ours", stacklevel=1)
    assert seen == []


def test_an_output_that_cannot_be_written_is_refused_before_the_fit(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    history.write_text("agent,math\na,0.5\n", "utf-8")
    result = run("fit", history, "-o", tmp_path / "absent" / "population.nc")
    assert result.exit_code == 1
    assert "existing folder" in result.stderr
    result = run("fit", history, "-o", tmp_path / "population.csv")
    assert result.exit_code == 1
    assert "must end in .nc" in result.stderr


def test_steps_say_how_long_they_took(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(quiet=False)
    with steps.step("read the history"):
        pass
    with steps.step("fit", draws_bar=True):
        pass
    steps.total()
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "read the history",
        "fit: compiling first, then sampling ...",
        "fit",
        "total",
    ]
    assert all(line.endswith(" s") for line in lines if not line.endswith("..."))


def test_quiet_steps_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(quiet=True)
    with steps.step("read the history"):
        steps.note("half way")
    steps.total()
    assert capsys.readouterr() == ("", "")


def test_the_demonstration_data_fit_together() -> None:
    lengths = {len(scores) for scores in demo_data.HISTORY.values()}
    assert lengths == {len(demo_data.HISTORY_AGENTS)}
    assert set(demo_data.OBSERVATIONS) == set(demo_data.METADATA)
    assert set(demo_data.TASK_WEIGHTS) <= set(demo_data.HISTORY)
    for scores in demo_data.OBSERVATIONS.values():
        assert set(scores) <= set(demo_data.HISTORY)
