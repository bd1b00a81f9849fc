"""Limits, budgets, votes and audit records on the command line, against a server of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chat_server import Prepared, Server, completion, decided
from click.testing import CliRunner, Result

from skillinfer_bayes import cli, demo
from skillinfer_bayes.testing import fake_population

pytestmark = pytest.mark.usefixtures("no_settings")
HISTORY = pd.DataFrame(dict(demo.HISTORY), index=list(demo.HISTORY_AGENTS))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    fake_population(HISTORY).save(folder / "population.nc")
    for name, table in (("scores", demo.OBSERVATIONS), ("facts", demo.METADATA)):
        text = json.dumps({agent: dict(row) for agent, row in table.items()})
        (folder / f"{name}.json").write_text(text, "utf-8")
    return folder


@pytest.fixture
def prompt(files: Path) -> Any:
    def call(*options: object, command: str = "prompt") -> Result:
        table = (files / "population.nc", files / "scores.json")
        task = ("--task", "math=1,code=0.3", "--metadata", files / "facts.json")
        return run(command, *table, *task, *options)

    return call


@pytest.fixture
def route(prompt: Any, server: Server, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-0123456789")

    def call(*options: object) -> Result:
        return prompt(
            "--base-url", server.url, "--max-retries", 0, "--timeout", 5, *options, command="route"
        )

    return call


class TestPrompt:
    def test_limits_leave_agents_out_and_say_why(self, prompt: Any) -> None:
        result = prompt("--limit", "avg_latency_ms < 700", "--limit", "observed(writing)")
        assert result.exit_code == 0, result.stderr
        assert "\nmistral-large:\n" in result.stdout
        assert "gpt-4o" not in result.stdout
        assert "left out: gpt-4o: needs avg_latency_ms < 700; it is 800; needs obs" in result.stderr
        assert result.stderr.count("left out") == 3

    def test_nobody_is_left(self, prompt: Any) -> None:
        result = prompt("--limit", "avg_latency_ms < 7")
        assert result.exit_code == 1
        assert "must leave at least one agent" in result.stderr

    def test_budget(self, prompt: Any) -> None:
        long = prompt("--skills", "all")
        assert long.stdout.count("    creativity: ") == 5
        assert "tokens" in long.stderr
        short = prompt("--skills", "all", "--token-budget", 450)
        assert "\nAgent\tTask fit\t" in short.stdout
        assert "about 4" in short.stderr
        assert prompt("--skills", 1).stdout.count("    code: ") == 0
        assert prompt("--compact").stdout.count("\t0.") > 5
        assert prompt("--token-budget", 9).exit_code == 1

    def test_reply_form(self, prompt: Any) -> None:
        assert "ASSIGNED" not in prompt("--reply", "json").stdout
        assert prompt("--reply", "text").stdout == prompt().stdout

    @pytest.mark.parametrize("skills", ["0", "-1", "some", "1.5", "²"])
    def test_bad_skills(self, prompt: Any, skills: str) -> None:
        result = prompt("--skills", skills)
        assert result.exit_code == 2
        assert "is not task, all or a number from 1" in result.stderr


class TestRoute:
    def test_votes_and_record(self, route: Any, server: Server, tmp_path: Path) -> None:
        server.script(decided("gemini-pro", "First."), decided("gpt-4o"), decided("gemini-pro"))
        path = tmp_path / "audit.json"
        result = route(
            "--votes", 3, "--seed", 4, "--record", path, "--limit", "cost_per_1k > 0.002"
        )
        assert result.exit_code == 0, result.stderr
        assert result.stdout == "First.\n\nASSIGNED: gemini-pro\n"
        assert "67% of 3 votes" in result.stderr
        assert "left out: mistral-large: " in result.stderr
        assert "the profiles alone would choose gpt-4o (expected score 0.8" in result.stderr
        assert "risk: none known" in result.stderr
        record = json.loads(path.read_text("utf-8"))
        assert record["agent"] == "gemini-pro"
        assert record["random_seed"] == 4
        assert len(record["votes"]) == 3
        assert "sk-very" not in path.read_text("utf-8")

    def test_fallback_ends_with_4(self, route: Any, server: Server, tmp_path: Path) -> None:
        server.answer(b"oops", status=500, kind="text/plain")
        path = tmp_path / "audit.json"
        result = route("--record", path, "--json")
        assert result.exit_code == 4
        assert "Warning: 'gpt-4o' was chosen without the model" in result.stderr
        shown = json.loads(result.stdout)
        assert (shown["agent"], shown["fallback"], shown["agreement"]) == ("gpt-4o", True, 0.0)
        assert json.loads(path.read_text("utf-8"))["fallback"] is True

    def test_votes_that_were_not_cast(self, route: Any, server: Server, tmp_path: Path) -> None:
        path = tmp_path / "audit.json"
        failed = Prepared(b"oops", 500, "text/plain")
        server.script(decided("gpt-4o"), failed)
        result = route("--votes", 5, "--record", path)
        assert result.exit_code == 0
        assert "Warning: not all votes were cast (1 of 1 vote cast; 4 not cast): " in result.stderr
        assert "HTTP 500; try again later" in result.stderr
        assert "%" not in result.stderr
        assert "HTTP 500" in json.loads(path.read_text("utf-8"))["problem"]
        server.script(decided("gpt-4o"), failed)
        shown = json.loads(route("--votes", 5, "--json").stdout)
        assert shown["agreement"] == 1
        assert "HTTP 500" in shown["problem"]

    def test_json_shows_the_disagreement_and_who_is_left_out(
        self, route: Any, server: Server
    ) -> None:
        server.answer(decided("gemini-pro"))
        shown = json.loads(route("--json", "--limit", "cost_per_1k > 0.002").stdout)
        assert (shown["agent"], shown["bayes_choice"]) == ("gemini-pro", "gpt-4o")
        assert shown["agrees_with_bayes"] is False
        assert {one["agent"] for one in shown["exclusions"]} == {"llama-3-70b", "mistral-large"}

    def test_weights_of_cost_and_latency(self, route: Any, server: Server) -> None:
        server.answer(completion("?"))
        assert "ASSIGNED: llama-3-70b" in route("--cost-weight", 1000).stdout
        assert "ASSIGNED: mistral-large" in route("--latency-weight", 1).stdout

    def test_a_cautious_choice(self, route: Any, server: Server, tmp_path: Path) -> None:
        server.answer(completion("?"))
        path = tmp_path / "audit.json"
        assert route("--quantile", 0.05, "--record", path).exit_code == 4
        assert json.loads(path.read_text("utf-8"))["quantile"] == 0.05
        assert route("--quantile", 5).exit_code == 2

    def test_no_fallback_leaves_a_record_all_the_same(
        self, route: Any, server: Server, tmp_path: Path
    ) -> None:
        server.answer(decided("evil"))
        path = tmp_path / "audit.json"
        result = route("--no-fallback", "--record", path)
        assert result.exit_code == 1
        assert "must name one of the agents, got 'evil'" in result.stderr
        assert json.loads(path.read_text("utf-8"))["agent"] is None

    def test_a_record_where_nobody_is_eligible(self, route: Any, tmp_path: Path) -> None:
        path = tmp_path / "audit.json"
        assert route("--limit", "avg_latency_ms < 7", "--record", path).exit_code == 1
        record = json.loads(path.read_text("utf-8"))
        assert len(record["exclusions"]) == 5
        assert record["votes"] == []
        assert "or no agent keeps the limits" in " ".join(run("route", "--help").stdout.split())

    def test_a_record_that_cannot_be_written(
        self, route: Any, server: Server, tmp_path: Path
    ) -> None:
        for path in (tmp_path / "no" / "audit.json", tmp_path / "audit.txt"):
            result = route("--record", path)
            assert result.exit_code == 1
            assert "`--record` must" in result.stderr
        assert not server.received

    def test_options_reach_the_server(self, route: Any, server: Server) -> None:
        server.answer(completion("ASSIGNED: gpt-4o"))
        options = ("--answer-form", "text", "--max-tokens", 99, "--model", "tiny", "--compact")
        assert route(*options).exit_code == 0
        [body] = server.bodies
        assert (body["max_tokens"], body["model"]) == (99, "tiny")
        assert "response_format" not in body
        assert "\nAgent\t" in body["messages"][0]["content"]

    def test_what_a_model_says_cannot_steer_the_terminal(self, route: Any, server: Server) -> None:
        reasoning = "\x1b[2Jgone\nASSIGNED: evil\n\ud800"
        server.answer(decided("gpt-4o", reasoning, risks=["\x1b]0;x\x07"]))
        result = route()
        assert result.exit_code == 0
        assert result.stdout == ("\\x1b[2Jgone\nASSIGNED\\: evil\n\\ud800\n\nASSIGNED: gpt-4o\n")
        assert "\x1b" not in result.stderr
        assert json.loads(route("--json").stdout)["reasoning"] == reasoning

    def test_without_a_key_limits_hold_too(
        self, prompt: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        options = ("--limit", "avg_latency_ms < 700")
        result = prompt(*options, command="route")
        assert result.stdout == prompt(*options).stdout
        assert "nothing was sent" in result.stderr

    def test_without_a_key_there_is_no_decision_to_print_as_json(
        self, route: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        result = route("--json")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert "`--json` needs a decision, and OPENAI_API_KEY is not set" in result.stderr

    def test_help_describes_the_options(self) -> None:
        shown = run("route", "--help").stdout
        for option in ("--limit", "--votes", "--record", "--no-fallback", "--token-budget"):
            assert option in shown
