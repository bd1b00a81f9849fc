"""Arguments and options that the commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

type Command = Callable[..., None]
type Decorator = Callable[[Command], Command]

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
output_file = click.Path(path_type=Path)

population_argument = click.argument("population", metavar="POP.nc", type=existing_file)
observations_argument = click.argument("observations", metavar="OBSERVATIONS", type=existing_file)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress and no times.")
seed_option = click.option("--seed", type=click.IntRange(min=0), help="Makes the fit repeatable.")
n_items_option = click.option(
    "--n-items",
    type=existing_file,
    help="Table like the scores: how many test items are behind each of them.",
)


def _all_of(*decorators: Decorator) -> Decorator:
    """Apply several decorators as if they were written one under the other."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _count(name: str, default: int, text: str) -> Decorator:
    return click.option(
        name, type=click.IntRange(min=1), default=default, show_default=True, help=text
    )


fit_options = _all_of(
    click.option(
        "-o",
        "--output",
        required=True,
        metavar="POP.nc",
        type=output_file,
        help="Where to save the fitted population; an existing file is replaced.",
    ),
    click.option(
        "--scale",
        type=click.Choice(["auto", "0-1", "percent", "unbounded"]),
        default="auto",
        show_default=True,
        help="The range of the scores; auto reads it off each column.",
    ),
    click.option("--normalize", is_flag=True, help="Min-max scale skills in match scores."),
    click.option(
        "--covariance",
        type=click.Choice(["auto", "lkj", "factor_lkj", "factor"]),
        default="auto",
        show_default=True,
        help="How skills may go together: freely (lkj), through a few shared abilities (factor), "
        "or both (factor_lkj).",
    ),
    click.option(
        "--target-accept",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=0.95,
        show_default=True,
        help="Raise it when a fit reports divergences: smaller steps, more time.",
    ),
    _count("--draws", 1000, "Posterior draws per chain."),
    _count("--tune", 1000, "Steps per chain that adapt the sampler and are thrown away."),
    _count("--chains", 4, "Independent chains."),
)

routing_options = _all_of(
    click.option(
        "--task",
        "weights",
        required=True,
        metavar="SKILL=WEIGHT,...",
        help="The skills that the task needs and how much each counts: 'math=1,code=0.3'. "
        "Also as JSON: '{\"math\": 1}'.",
    ),
    click.option("--description", default="", help="The task in words."),
    click.option(
        "--metadata",
        type=existing_file,
        help="Cost, latency and anything else per agent: CSV with the agents in the first column, "
        "or JSON by agent. The keys cost_per_1k, avg_latency_ms and rate_limit_rpm are put into "
        "words.",
    ),
    click.option(
        "--constraint",
        "constraints",
        multiple=True,
        help="A rule for the decision; give it as often as needed.",
    ),
    click.option(
        "--threshold",
        type=float,
        help="Also give the probability that the task fit exceeds this score.",
    ),
)
