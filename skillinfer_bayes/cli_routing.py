"""The commands that put agents before a model: ``prompt``, ``route`` and ``mcp``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillinfer_bayes.cli_io import (
    check_output,
    load_with_warning,
    make_profiles,
    parse_task,
)
from skillinfer_bayes.cli_metadata import read_metadata
from skillinfer_bayes.cli_options import (
    asking_options,
    n_items_option,
    observations_argument,
    population_argument,
    routing_options,
)
from skillinfer_bayes.exceptions import ConfigError, DecisionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from skillinfer_bayes.profiles.task import Task
    from skillinfer_bayes.routing.candidates import Field
    from skillinfer_bayes.routing.decision import Decision, Exclusion
    from skillinfer_bayes.routing.job import AnswerForm
    from skillinfer_bayes.routing.prompt import ReplyForm
    from skillinfer_bayes.routing.prompt_facts import SkillChoice

KEY_VARIABLE = "OPENAI_API_KEY"
SHOWN_FIELDS = (
    "agent",
    "reasoning",
    "reply",
    "model",
    "confidence",
    "risks",
    "fallback",
    "problem",
    "bayes_choice",
    "agrees_with_bayes",
    "agreement",
    "exclusions",
)


@click.command()
@population_argument
@observations_argument
@n_items_option
@routing_options
@click.option(
    "--reply",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the prompt asks for the decision: an ASSIGNED: line, or a JSON object.",
)
def prompt(
    population: Path,
    observations: Path,
    n_items: Path | None,
    weights: str,
    description: str,
    metadata: Path | None,
    constraints: tuple[str, ...],
    limits: tuple[str, ...],
    threshold: float | None,
    skills: SkillChoice,
    compact: bool | None,
    token_budget: int | None,
    reply: ReplyForm,
) -> None:
    """Print the prompt that asks a language model to assign a task.

    Agents that a --limit excludes are left out; standard error says why, and about how many
    tokens the prompt has.

    \b
    Example:
      skillinfer-bayes prompt population.nc new_agents.csv \\
        --task 'math=1,code=0.3' --description 'Prove a lemma, check it in Python' \\
        --metadata costs.csv --constraint 'prefer cheap agents' \\
        --limit 'avg_latency_ms < 1000' --threshold 0.8
    """
    from skillinfer_bayes.routing.prompt import build_prompt
    from skillinfer_bayes.routing.tokens import estimate_tokens

    task = _task(weights, description)
    facts = None if metadata is None else read_metadata(metadata)
    profiles = make_profiles(load_with_warning(population), observations, n_items)
    field = _eligible(task, profiles, facts, limits)
    text = build_prompt(
        task,
        field.profiles,
        field.metadata,
        constraints,
        threshold,
        skills=skills,
        compact=compact,
        token_budget=token_budget,
        reply=reply,
    )
    _say_who_is_left_out(field.exclusions)
    click.echo(f"about {estimate_tokens(text)} tokens", err=True)
    click.echo(text)


@click.command()
@population_argument
@observations_argument
@n_items_option
@routing_options
@asking_options
@click.option(
    "--record",
    metavar="FILE.json",
    type=click.Path(path_type=Path),
    help="Write the audit record to this file, also where the model gave no usable answer or "
    "no agent keeps the limits; nothing is written where there is no key.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the decision as one JSON object.")
def route(
    population: Path,
    observations: Path,
    n_items: Path | None,
    weights: str,
    description: str,
    metadata: Path | None,
    constraints: tuple[str, ...],
    limits: tuple[str, ...],
    threshold: float | None,
    skills: SkillChoice,
    compact: bool | None,
    token_budget: int | None,
    model: str,
    base_url: str | None,
    answer_form: AnswerForm,
    votes: int,
    seed: int | None,
    max_tokens: int,
    timeout: float,
    max_retries: int,
    fallback: bool,
    cost_weight: float,
    latency_weight: float,
    quantile: float | None,
    record: Path | None,
    as_json: bool,
) -> None:
    """Let a language model assign a task.

    Sends the prompt and prints the model's reasoning and the agent that it chose. The key is read
    from the environment variable OPENAI_API_KEY; set it to "none" for a server that needs none.
    Without it, a prompt to paste is printed and nothing is sent. Ends with exit code 4 where the
    model gave no usable answer and the profiles alone decided.

    \b
    Example:
      skillinfer-bayes route population.nc new_agents.csv --task 'math=1,code=0.3' \\
        --metadata costs.csv --limit 'avg_latency_ms < 1000' --votes 3 --record audit.json
    """
    from skillinfer_bayes.routing import orchestrator
    from skillinfer_bayes.routing.prompt import build_prompt
    from skillinfer_bayes.routing.utility import Utility

    if record is not None:
        inputs = [population, observations, n_items, metadata]
        check_output(record, (".json",), "--record", inputs)
    task = _task(weights, description)
    facts = None if metadata is None else read_metadata(metadata)
    profiles = make_profiles(load_with_warning(population), observations, n_items)
    shown: dict[str, Any] = {"skills": skills, "compact": compact, "token_budget": token_budget}
    if not os.environ.get(KEY_VARIABLE):
        if as_json:
            raise ConfigError(f"`--json` needs a decision, and {KEY_VARIABLE} is not set; set it")
        field = _eligible(task, profiles, facts, limits)
        text = build_prompt(task, field.profiles, field.metadata, constraints, threshold, **shown)
        _say_who_is_left_out(field.exclusions)
        click.echo(text)
        click.echo(
            f"{KEY_VARIABLE} is not set: here is a prompt to paste; nothing was sent.", err=True
        )
        if record is not None:
            click.echo(f"Warning: no record was written to {str(record)!r}", err=True)
        return
    weighted = bool(cost_weight or latency_weight)
    try:
        decision = orchestrator.orchestrate(
            task,
            profiles,
            facts,
            constraints,
            threshold,
            limits=limits,
            utility=Utility(cost=cost_weight, latency=latency_weight) if weighted else None,
            quantile=quantile,
            model=model,
            base_url=base_url,
            answer_form=answer_form,
            votes=votes,
            random_seed=seed,
            max_tokens=max_tokens,
            timeout=timeout,
            max_retries=max_retries,
            fallback=fallback,
            **shown,
        )
    except DecisionError as error:
        if record is not None and error.record is not None:
            from skillinfer_bayes.routing.records import record_to_json

            record_to_json(error.record, record.resolve())
        raise
    if record is not None:
        decision.to_json(record.resolve())
    _say_who_is_left_out(decision.exclusions)
    _print_decision(decision, as_json)


@click.command()
@click.option(
    "--folder",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The only folder that the server reads populations from and saves profiles to.",
)
def mcp(folder: Path) -> None:
    """Serve profiles, rankings and prompts to a language model by the Model Context Protocol.

    Speaks on standard input and output until the client hangs up. Needs the extra 'mcp'. The
    populations must be fitted beforehand, with `skillinfer-bayes fit`, into the folder.

    \b
    Example:
      skillinfer-bayes fit history.csv -o profiles/population.nc
      skillinfer-bayes mcp --folder profiles

    \b
    In your client's settings:
      {"mcpServers": {"skillinfer-bayes": {
        "command": "skillinfer-bayes", "args": ["mcp", "--folder", "/path/to/profiles"]}}}
    """
    from skillinfer_bayes.mcp_server import serve

    serve(folder)


def _print_decision(decision: Decision, as_json: bool) -> None:
    from skillinfer_bayes.routing.labels import agent_label, one_line
    from skillinfer_bayes.routing.records import plain

    if as_json:
        fields = {name: plain(getattr(decision, name)) for name in SHOWN_FIELDS}
        click.echo(json.dumps(fields))
        return
    # what a model says must not steer the terminal
    for line in decision.reasoning.splitlines():
        click.echo(one_line(line))
    click.echo(f"\nASSIGNED: {agent_label(decision.agent)}")
    for risk in decision.risks:
        click.echo(f"risk: {one_line(risk)}", err=True)
    if len(decision.votes) > 1:
        click.echo(decision.tally, err=True)
    if decision.agrees_with_bayes is False and decision.bayes_choice is not None:
        best = decision.candidates[0].summary if decision.candidates else "best score"
        name = agent_label(decision.bayes_choice)
        click.echo(f"the profiles alone would choose {name} ({best})", err=True)


def _eligible(
    task: Task,
    profiles: Mapping[str, Any],
    facts: Mapping[str, Mapping[str, object]] | None,
    limits: tuple[str, ...],
) -> Field:
    from skillinfer_bayes.routing.candidates import eligible_or_error, find_eligible

    return eligible_or_error(find_eligible(task, profiles, facts, limits))


def _say_who_is_left_out(exclusions: tuple[Exclusion, ...]) -> None:
    from skillinfer_bayes.routing.labels import agent_label

    for one in exclusions:
        click.echo(f"left out: {agent_label(one.agent)}: {'; '.join(one.reasons)}", err=True)


def _task(weights: str, description: str) -> Task:
    from skillinfer_bayes.profiles.task import Task

    return Task(parse_task(weights), description)
