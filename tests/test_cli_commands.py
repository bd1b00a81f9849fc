"""The commands from end to end, on a population that was not fitted."""

import dataclasses
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from skillinfer_bayes import cli, demo
from skillinfer_bayes.exceptions import ConvergenceWarning, DecisionError
from skillinfer_bayes.history.table import History
from skillinfer_bayes.inference.priors import Priors, SamplerSettings
from skillinfer_bayes.population import Population
from skillinfer_bayes.routing import orchestrator
from skillinfer_bayes.routing.orchestrator import Decision
from skillinfer_bayes.testing import fake_population

HISTORY = pd.DataFrame(dict(demo.HISTORY), index=list(demo.HISTORY_AGENTS))
OBSERVATIONS = "agent,math,code,reasoning\nfast,,0.89,0.92\ncheap,0.7,,\n"
SECONDS = {"compile": 1.5, "sample": 0.5}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def population_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("population") / "population.nc"
    fake_population(HISTORY, chains=4, draws=500).save(path)
    return path


@pytest.fixture
def observations(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text(OBSERVATIONS, "utf-8")
    return path


@pytest.fixture
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the fit; gives what it was called with."""
    called: dict[str, Any] = {}

    def from_history(history: History, **options: Any) -> Population:
        called.update(options, history=history)
        fake = fake_population(history, chains=4, draws=500)
        return dataclasses.replace(fake, settings={"seconds": SECONDS})

    monkeypatch.setattr(Population, "from_history", staticmethod(from_history))
    monkeypatch.setattr(cli, "_load_sampler", lambda: None)
    return called


def test_profile_prints_a_table(population_file: Path, observations: Path) -> None:
    result = run("profile", population_file, observations)
    assert result.exit_code == 0, result.stderr
    header, *rows = [line.split() for line in result.stdout.splitlines()]
    assert header == ["agent", "skill", "mean", "std", "lower", "upper", "source"]
    sources = {(row[0], row[1]): row[-1] for row in rows}
    assert len(rows) == 10
    assert [key for key, source in sources.items() if source == "observed"] == [
        ("fast", "code"),
        ("fast", "reasoning"),
        ("cheap", "math"),
    ]


def test_profile_names_the_agents_that_are_unlike_the_history(
    population_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "new.csv"
    rows = [f"odd_{place},0.99,0.01,0.99" for place in range(12)]
    path.write_text("\n".join([OBSERVATIONS.rstrip(), *rows]) + "\n", "utf-8")
    result = run("profile", population_file, path, "-o", tmp_path / "out.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    *named, more = result.stderr.splitlines()
    assert len(named) == 10
    for line in named:
        assert line.startswith("Caution: odd_")
        assert "observed scores are unlike the history's" in line
    assert more == "Caution: and 2 more agents"


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    population, observations = tmp_path / "population.nc", tmp_path / "new.csv"
    fake_population(HISTORY.rename(columns={"math": "\x1b[2Jmath"})).save(population)
    observations.write_text("agent,code\n\x1b[2Jevil,0.5\n", "utf-8")
    result = run("profile", population, observations)
    for shown in (result, run("info", population)):
        assert shown.exit_code == 0, shown.stderr
        assert "\x1b" not in shown.output
        assert r"\x1b[2Jmath" in shown.stdout
    assert r"\x1b[2Jevil" in result.stdout
    assert run("profile", population, observations, "-o", tmp_path / "out.csv").exit_code == 0
    assert "\x1b[2Jevil" in set(pd.read_csv(tmp_path / "out.csv")["agent"])


def test_profile_writes_every_format_alike(
    population_file: Path, observations: Path, tmp_path: Path
) -> None:
    for suffix in ("csv", "parquet", "json"):
        result = run(
            "profile", population_file, observations, "-o", tmp_path / f"out.{suffix}",
            "--ci-prob", "0.5", "--kind", "score",
        )  # fmt: skip
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    from_csv = pd.read_csv(tmp_path / "out.csv")
    pd.testing.assert_frame_equal(from_csv, pd.read_parquet(tmp_path / "out.parquet"))
    from_json = json.loads((tmp_path / "out.json").read_text("utf-8"))
    row = from_csv.set_index(["agent", "skill"]).loc[("cheap", "writing")]
    assert from_json["cheap"]["writing"] == pytest.approx(row.to_dict())


def test_prompt_holds_task_metadata_and_constraints(
    population_file: Path, observations: Path, tmp_path: Path
) -> None:
    costs = tmp_path / "costs.csv"
    costs.write_text("agent,cost_per_1k,region\nfast,0.005,eu\ncheap,0.001,\n", "utf-8")
    result = run(
        "prompt", population_file, observations, "--task", "math=1,code=0.3",
        "--description", "Prove a lemma", "--metadata", costs, "--constraint", "be quick",
        "--constraint", "be cheap", "--threshold", "0.8",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    for line in (
        "Prove a lemma",
        "Required skills (importance weights): {'math': 1.0, 'code': 0.3}",
        "  Cost: $0.005/1k tokens",
        "  Region: eu",
        "- be quick",
        "- be cheap",
    ):
        assert line in result.stdout.splitlines()
    assert result.stdout.count("P>0.8") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "maths=1"), "did you mean 'math'"),
        (("--task", "math"), "skill=weight"),
        (("--task", "math=0"), "greater than zero"),
        (("--task", ""), "at least one skill"),
        (("--task", "math=1", "--threshold", "80"), "did you mean 0.8"),
    ],
)
def test_bad_tasks_are_one_line(
    population_file: Path, observations: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = run("prompt", population_file, observations, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


@pytest.mark.parametrize("digits", [0, 5_000])
def test_a_number_of_skills_that_cannot_be(
    population_file: Path, observations: Path, digits: int
) -> None:
    arguments = (population_file, observations, "--task", "math=1", "--skills", "9" * digits)
    result = run("prompt", *arguments)
    assert result.exit_code == 2
    assert "is not task, all or a number from 1" in result.stderr


def test_metadata_must_cover_the_agents(
    population_file: Path, observations: Path, tmp_path: Path
) -> None:
    costs = tmp_path / "costs.json"
    costs.write_text('{"fast": {"cost_per_1k": 0.005}}', "utf-8")
    arguments = ("prompt", population_file, observations, "--task", "math=1")
    result = run(*arguments, "--metadata", costs)
    assert result.exit_code == 1
    assert "got nothing for 'cheap'" in result.stderr


def test_a_file_that_is_no_population(observations: Path) -> None:
    for command in (("info",), ("profile",)):
        extra = (observations,) if command == ("profile",) else ()
        result = run(*command, observations, *extra)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")


def test_route_without_a_key_prints_the_prompt_and_says_so(
    population_file: Path, observations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    arguments = (population_file, observations, "--task", "math=1")
    result = run("route", *arguments)
    assert result.exit_code == 0
    assert result.stdout == run("prompt", *arguments).stdout
    assert "OPENAI_API_KEY is not set" in result.stderr
    assert "record" not in result.stderr


def test_route_without_a_key_says_that_there_is_no_record(
    population_file: Path, observations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    record = tmp_path / "audit.json"
    result = run("route", population_file, observations, "--task", "math=1", "--record", record)
    assert result.exit_code == 0
    assert result.stderr.endswith(f"Warning: no record was written to {str(record)!r}\n")
    assert not record.exists()


def test_route_with_a_key_prints_the_decision(
    population_file: Path, observations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def answer(*arguments: Any, **options: Any) -> Decision:
        asked.update(options)
        return Decision("cheap", "It costs less.", "It costs less.\nASSIGNED: cheap", "?", "m")

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(orchestrator, "orchestrate", answer)
    arguments = ("route", population_file, observations, "--task", "math=1", "--model", "m")
    result = run(*arguments, "--base-url", "http://localhost:1/v1")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "It costs less.\n\nASSIGNED: cheap\n"
    assert (asked["model"], asked["base_url"]) == ("m", "http://localhost:1/v1")
    as_json = json.loads(run(*arguments, "--json").stdout)
    assert as_json["agent"] == "cheap"
    assert as_json["reply"].endswith("ASSIGNED: cheap")


def test_route_shows_the_reply_that_could_not_be_used(
    population_file: Path, observations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Decision:
        raise DecisionError("the reply names no agent", reply="I would rather not.")

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(orchestrator, "orchestrate", refuse)
    result = run("route", population_file, observations, "--task", "math=1")
    assert result.exit_code == 1
    assert "the reply names no agent" in result.stderr
    assert result.stderr.endswith("The reply was:\nI would rather not.\n")


def test_a_reply_is_shown_once_and_cannot_steer_the_terminal(
    population_file: Path, observations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = "\x1b[2Jerased\x1b]0;title\x07\nASSIGNED: nobody"
    messages = iter(["no such agent", f"no such agent; the reply was {reply!r}"])

    def refuse(*arguments: Any, **options: Any) -> Decision:
        raise DecisionError(next(messages), reply=reply)

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setattr(orchestrator, "orchestrate", refuse)
    arguments = ("route", population_file, observations, "--task", "math=1", "--no-fallback")
    for shown in (run(*arguments).stderr, run(*arguments).stderr):
        assert "\x1b" not in shown
        assert shown.count("erased") == 1
        assert shown.count("nobody") == 1


def test_info_describes_the_population(population_file: Path) -> None:
    result = run("info", population_file)
    assert result.exit_code == 0, result.stderr
    assert "history      8 agents x 5 skills, 100% filled" in result.stdout
    assert "math, code, reasoning, writing, creativity" in result.stdout
    assert "converged: R-hat" in result.stdout


@pytest.mark.parametrize("command", ["info", "profile", "prompt", "route"])
def test_a_population_that_did_not_converge_is_warned_of(
    observations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "population.nc"
    fake_population(HISTORY, chains=1, draws=20).save(path)
    arguments = [path] if command == "info" else [path, observations]
    task = ["--task", "math=1"] if command in ("prompt", "route") else []
    result = run(command, *arguments, *task)
    assert result.exit_code == 0
    warned, *_ = result.stderr.splitlines()
    assert warned.startswith("Warning: the fit should not be trusted yet: R-hat nan")
    assert result.stderr.count("trusted") == 1


def test_fit_takes_new_agents_scores_too(tmp_path: Path, no_sampling: dict[str, Any]) -> None:
    new = HISTORY.iloc[:2, 1:3].rename(index=lambda name: f"{name}+")
    scores = {"history": HISTORY, "new": new}
    for name, table in scores.items():
        table.to_csv(tmp_path / f"{name}.csv", index_label="agent")
        counts = pd.DataFrame(500, index=table.index, columns=table.columns)
        counts.to_csv(tmp_path / f"{name}_counts.csv", index_label="agent")
    files = [tmp_path / f"{name}.csv" for name in scores]
    counts = [("--n-items", tmp_path / f"{name}_counts.csv") for name in scores]
    output = tmp_path / "population.nc"
    result = run("fit", *files, *itertools.chain(*counts), "-o", output)
    assert result.exit_code == 0, result.stderr
    history = no_sampling["history"]
    assert history.agents == (*HISTORY.index, *new.index)
    assert history.skills == tuple(HISTORY.columns)
    assert history.observed[-1].tolist() == [False, True, True, False, False]
    assert (history.n_items[history.observed] == 500).all()
    result = run("fit", files[0], files[0], "-o", output)
    assert result.exit_code == 1
    assert "must name each agent once" in result.stderr
    assert run("fit", "-o", output).exit_code == 2


def test_fit_passes_the_options_on_and_saves(tmp_path: Path, no_sampling: dict[str, Any]) -> None:
    HISTORY.to_csv(tmp_path / "history.csv", index_label="agent")
    counts = pd.DataFrame(500, index=HISTORY.index, columns=HISTORY.columns)
    counts.to_csv(tmp_path / "counts.csv", index_label="agent")
    output = tmp_path / "population.nc"
    result = run(
        "fit", tmp_path / "history.csv", "-o", output, "--n-items", tmp_path / "counts.csv",
        "--covariance", "lkj", "--draws", "50", "--tune", "60", "--chains", "2", "--seed", "7",
        "--target-accept", "0.99", "--normalize",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert f"saved {output}" in result.stderr
    history = no_sampling.pop("history")
    assert history.normalize
    assert history.n_items.min() == 500
    assert no_sampling == {
        "covariance": "lkj",
        "settings": {
            "draws": 50, "tune": 60, "chains": 2, "target_accept": 0.99, "random_seed": 7,
        },
        "progressbar": True,
    }  # fmt: skip
    assert Population.load(output).agents == tuple(HISTORY.index)


def test_fit_samples_like_the_library_unless_told_otherwise(
    tmp_path: Path, no_sampling: dict[str, Any]
) -> None:
    HISTORY.to_csv(tmp_path / "history.csv", index_label="agent")
    result = run("fit", tmp_path / "history.csv", "-o", tmp_path / "population.nc")
    assert result.exit_code == 0, result.stderr
    assert SamplerSettings.from_dict(no_sampling["settings"]) == SamplerSettings()
    assert no_sampling["covariance"] == Priors().covariance


def test_a_history_that_cannot_be_used_leaves_no_file(
    tmp_path: Path, no_sampling: dict[str, Any]
) -> None:
    HISTORY.iloc[:2].to_csv(tmp_path / "history.csv")
    result = run("fit", tmp_path / "history.csv", "-o", tmp_path / "population.nc", "--quiet")
    assert result.exit_code == 1
    assert "at least 3 agents" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_fit_that_did_not_converge_is_saved_and_ends_with_3(
    tmp_path: Path, no_sampling: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_history(history: History, **options: Any) -> Population:
        warnings.warn("the fit did not converge", ConvergenceWarning, stacklevel=2)
        return dataclasses.replace(fake_population(history), settings={"seconds": {}})

    monkeypatch.setattr(Population, "from_history", staticmethod(from_history))
    HISTORY.to_csv(tmp_path / "history.csv")
    result = run("fit", tmp_path / "history.csv", "-o", tmp_path / "population.nc", "--quiet")
    assert result.exit_code == 3
    assert result.stderr == "Warning: the fit did not converge\n"
    assert (tmp_path / "population.nc").is_file()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setattr("skillinfer_bayes.cli_demo.user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "skillinfer_bayes"


def test_demo_prints_the_prompt_and_times_every_step(
    no_sampling: dict[str, Any], cache: Path
) -> None:
    result = run("demo", "--seed", "3")
    assert result.exit_code == 0, result.stderr
    assert no_sampling["settings"].random_seed == 3
    for agent in demo.OBSERVATIONS:
        assert f"\n{agent}:\n" in result.stdout
    assert result.stdout.rstrip().endswith("ASSIGNED: <agent name>")
    for step in ("load the libraries", "fit the population", "of which compile", "total"):
        assert step in result.stderr


def test_quiet_demo_prints_the_prompt_only(no_sampling: dict[str, Any], cache: Path) -> None:
    result = run("demo", "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert no_sampling["progressbar"] is False


def test_demo_takes_the_kept_fit_until_asked_to_refit(
    no_sampling: dict[str, Any], cache: Path
) -> None:
    first = run("demo")
    assert [path.suffix for path in cache.iterdir()] == [".nc"]
    no_sampling.clear()
    second = run("demo")
    assert not no_sampling, "fitted although the fit was kept"
    assert second.stdout == first.stdout
    assert "--refit" in second.stderr
    run("demo", "--refit")
    assert no_sampling


def test_demo_fits_another_seed_and_survives_a_damaged_cache(
    no_sampling: dict[str, Any], cache: Path
) -> None:
    run("demo")
    for path in cache.iterdir():
        path.write_text("not a population")
    no_sampling.clear()
    assert run("demo").exit_code == 0
    assert no_sampling
    no_sampling.clear()
    run("demo", "--seed", "2")
    assert no_sampling["settings"].random_seed == 2


@pytest.mark.slow
def test_demo_for_real(cache: Path) -> None:
    result = run("demo", "--seed", "1", "--quiet")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("Task fit: ") == len(demo.OBSERVATIONS)
