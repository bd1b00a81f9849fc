"""Arguments and options that the commands share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from skillinfer_bayes.inference.priors import COVARIANCES, LARGEST_SEED, SamplerSettings

type Command = Callable[..., None]
type Decorator = Callable[[Command], Command]

SAMPLER = SamplerSettings()

existing_file = click.Path(exists=True, dir_okay=False, path_type=Path)
output_file = click.Path(path_type=Path)

population_argument = click.argument("population", metavar="POP.nc", type=existing_file)
observations_argument = click.argument("observations", metavar="OBSERVATIONS", type=existing_file)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Show no progress and no times.")
seed_type = click.IntRange(0, LARGEST_SEED)
seed_option = click.option("--seed", type=seed_type, help="Makes the fit repeatable.")
n_items_option = click.option(
    "--n-items",
    type=existing_file,
    help="Table like the scores: how many test items are behind each of them.",
)
all_n_items_option = click.option(
    "--n-items",
    type=existing_file,
    multiple=True,
    help="Table like the scores: how many test items are behind each of them. Give it once for "
    "each HISTORY, or one table for all.",
)


class FiniteRange(click.FloatRange):
    """A range of numbers that nan and inf, which no comparison refuses, are no part of."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the option's text."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class SkillCount(click.ParamType[str | int]):
    """The words task and all, or a number of skills."""

    name = "task|all|N"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        """Read the option's text."""
        if value in ("task", "all") or isinstance(value, int):
            return value
        with contextlib.suppress(ValueError):  # more digits than Python reads
            if value.isascii() and value.isdigit() and int(value) >= 1:
                return int(value)
        self.fail(f"{value!r} is not task, all or a number from 1.", param, ctx)


def _all_of(*decorators: Decorator) -> Decorator:
    """Apply several decorators as if they were written one under the other."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _count(name: str, default: int, text: str, *, least: int = 1) -> Decorator:
    return click.option(
        name, type=click.IntRange(min=least), default=default, show_default=True, help=text
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
        type=click.Choice(COVARIANCES),
        default="auto",
        show_default=True,
        help="How skills may go together: freely (lkj), through a few shared abilities (factor), "
        "both (factor_lkj), or anyhow about a few shared abilities (factor_iw).",
    ),
    click.option(
        "--target-accept",
        type=FiniteRange(0, 1, min_open=True, max_open=True),
        default=SAMPLER.target_accept,
        show_default=True,
        help="Raise it when a fit reports divergences: smaller steps, more time.",
    ),
    _count("--draws", SAMPLER.draws, "Posterior draws per chain.", least=4),
    _count("--tune", SAMPLER.tune, "Steps per chain that adapt the sampler and are thrown away."),
    _count("--chains", SAMPLER.chains, "Independent chains."),
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
        "words. In CSV, true and false are truth values, and a column with a text such as 3.10 or "
        "007, which a number would not keep, has texts only.",
    ),
    click.option(
        "--constraint",
        "constraints",
        multiple=True,
        help="A wish in words that the model should weigh; give it as often as needed.",
    ),
    click.option(
        "--limit",
        "limits",
        multiple=True,
        help="A hard limit that agents must keep, such as 'avg_latency_ms < 1000', "
        "'P(code > 0.7) >= 0.9' or 'observed(math)'; give it as often as needed.",
    ),
    click.option(
        "--threshold",
        type=float,
        help="Also give the probability that the task fit exceeds this score.",
    ),
    click.option(
        "--skills",
        type=SkillCount(),
        default="task",
        show_default=True,
        help="How much of each profile to show: the task's skills, all skills, or a number.",
    ),
    click.option(
        "--compact/--blocks",
        "compact",
        default=None,
        help="One line per agent, or a block of lines; by default one line from 50 agents on.",
    ),
    click.option(
        "--token-budget",
        type=click.IntRange(min=1),
        help="Most tokens that the prompt may have; it is shortened until it fits.",
    ),
)

asking_options = _all_of(
    click.option("--model", default="gpt-4o-mini", show_default=True, help="The model to ask."),
    click.option("--base-url", help="Another server that speaks the OpenAI chat protocol."),
    click.option(
        "--answer-form",
        type=click.Choice(["auto", "json", "text"]),
        default="auto",
        show_default=True,
        help="Ask for JSON by a strict schema, for text, or for JSON where the server knows it.",
    ),
    click.option(
        "--votes",
        type=click.IntRange(1, 100),
        default=1,
        show_default=True,
        help="Ask so often, with the agents in as many orders as there are; most votes win. Where "
        "a request fails, the votes cast until then decide.",
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Shuffle the agents, repeatably."),
    _count("--max-tokens", 500, "Longest reply, in tokens."),
    click.option(
        "--timeout",
        type=FiniteRange(0, min_open=True),
        default=60.0,
        show_default=True,
        help="Seconds in which a whole answer must arrive.",
    ),
    click.option(
        "--max-retries",
        type=click.IntRange(min=0),
        default=2,
        show_default=True,
        help="How often a failed request is sent again.",
    ),
    click.option(
        "--fallback/--no-fallback",
        default=True,
        show_default=True,
        help="Let the profiles alone decide where the model gives no usable answer.",
    ),
    click.option(
        "--cost-weight",
        type=FiniteRange(min=0),
        default=0.0,
        help="Score given up per unit of cost_per_1k, in the choice of the profiles alone.",
    ),
    click.option(
        "--latency-weight",
        type=FiniteRange(min=0),
        default=0.0,
        help="Score given up per ms of avg_latency_ms, in the choice of the profiles alone.",
    ),
    click.option(
        "--quantile",
        type=FiniteRange(0, 1, min_open=True, max_open=True),
        help="Let the profiles alone choose by this quantile of the score, not its expectation: "
        "0.1 is cautious.",
    ),
)
