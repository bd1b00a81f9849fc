"""The command line tool ``skillinfer-bayes``.

Results go to standard output; steps, times, warnings and errors go to standard error.

Exit codes: 0 done; 1 the input, a file or the model's reply could not be used (one line says
why); 2 wrong usage; 3 done, but the fit that was made or diagnosed did not pass its convergence
checks; 4 done, but the model gave no usable answer and the profiles alone decided; 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillinfer_bayes.cli_diagnose import diagnose
from skillinfer_bayes.cli_io import (
    TABLE_SUFFIXES,
    cautions,
    check_output,
    described,
    load_with_warning,
    make_profiles,
    stack_scores,
    write_profiles,
)
from skillinfer_bayes.cli_options import (
    FiniteRange,
    all_n_items_option,
    existing_file,
    fit_options,
    n_items_option,
    observations_argument,
    population_argument,
    quiet_option,
    seed_option,
    seed_type,
)
from skillinfer_bayes.cli_routing import mcp, prompt, route
from skillinfer_bayes.cli_steps import Steps, plain_warnings
from skillinfer_bayes.exceptions import (
    ConvergenceWarning,
    DecisionError,
    FallbackWarning,
    SkillinferError,
)
from skillinfer_bayes.routing.labels import one_line

if TYPE_CHECKING:
    from skillinfer_bayes.inference.priors import Covariance
    from skillinfer_bayes.profiles.engine import Kind

EXIT_NOT_CONVERGED = 3
EXIT_FALLBACK = 4
EXIT_INTERRUPTED = 130


class _Commands(click.Group):
    """Turns the package's errors into one line and its warnings into plain text."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # a name that the terminal cannot show is no reason to show nothing
            if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            with plain_warnings() as seen:
                result = super().invoke(ctx)
        except SkillinferError as error:
            raise click.ClickException("\n".join([str(error), *_reply_lines(error)])) from error
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            raise  # the reader of a pipe has gone away; click ends quietly
        except OSError as error:
            raise click.ClickException(str(error)) from error
        if any(issubclass(category, ConvergenceWarning) for category in seen):
            ctx.exit(EXIT_NOT_CONVERGED)
        if any(issubclass(category, FallbackWarning) for category in seen):
            ctx.exit(EXIT_FALLBACK)
        return result


def _reply_lines(error: SkillinferError) -> list[str]:
    """Show the reply that could not be used, unless the message does."""
    reply = error.reply if isinstance(error, DecisionError) else None
    if not reply or repr(reply) in str(error):
        return []
    # what a model says must not steer the terminal
    return ["The reply was:", *map(one_line, reply.splitlines())]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skillinfer-bayes", prog_name="skillinfer-bayes")
def main() -> None:
    """Full skill profiles, with honest uncertainty, from a few scores.

    Fit a history of agents by skills once; then profile new agents from whatever scores they
    have, and put the profiles into a prompt that a language model can route a task by.

    \b
    A first tour:
      skillinfer-bayes demo
      skillinfer-bayes fit history.csv -o population.nc
      skillinfer-bayes profile population.nc new_agents.csv
      skillinfer-bayes prompt population.nc new_agents.csv --task 'math=1,code=0.3'

    \b
    Exit codes: 0 done, 1 input or file not usable, 2 wrong usage,
    3 done but the fit did not pass its convergence checks (of fit,
    diagnose and demo; other commands only warn of such a fit),
    4 done but decided without the model, 130 interrupted.
    """


@main.command()
@click.option("--seed", type=seed_type, default=1, show_default=True)
@click.option("--refit", is_flag=True, help="Fit again even if this very fit was kept.")
@quiet_option
def demo(seed: int, refit: bool, quiet: bool) -> None:
    """Fit a small example and print its routing prompt.

    The example is a history of eight models and five new agents with a few scores each. The
    prompt goes to standard output, progress and times to standard error. The fit is kept in
    your cache folder and used again by the next run on the same versions; --refit fits anew.

    \b
    Example:
      skillinfer-bayes demo > prompt.txt
    """
    from skillinfer_bayes import demo as data
    from skillinfer_bayes.cli_demo import demo_population

    steps = Steps(quiet=quiet)
    population = demo_population(seed, refit, steps)
    with steps.step(f"profile {len(data.OBSERVATIONS)} new agents"):
        profiles = {
            agent: population.profile().observe_many(scores)
            for agent, scores in data.OBSERVATIONS.items()
        }
    with steps.step("write the prompt"):
        from skillinfer_bayes.profiles.task import Task
        from skillinfer_bayes.routing.prompt import build_prompt

        task = Task(data.TASK_WEIGHTS, data.TASK_DESCRIPTION)
        text = build_prompt(task, profiles, data.METADATA, data.CONSTRAINTS, data.THRESHOLD)
    steps.total()
    steps.note("")
    click.echo(text)


@main.command()
@click.argument("history", metavar="HISTORY...", nargs=-1, required=True, type=existing_file)
@fit_options
@all_n_items_option
@seed_option
@quiet_option
def fit(
    history: tuple[Path, ...],
    output: Path,
    scale: str,
    n_items: tuple[Path, ...],
    normalize: bool,
    covariance: Covariance,
    target_accept: float,
    draws: int,
    tune: int,
    chains: int,
    seed: int | None,
    quiet: bool,
) -> None:
    """Fit a population to HISTORY and save it.

    HISTORY is a CSV, TSV or Parquet table: one line per agent with its name in the first column,
    one column per skill, empty cells where an agent was not measured. Several tables are taken as
    one, line after line: add the table of many new agents with a few scores each where the history
    is small, and more is learned. Ends with exit code 3 when the fit was saved but did not pass its
    convergence checks.

    \b
    Examples:
      skillinfer-bayes fit history.csv -o population.nc --seed 1
      skillinfer-bayes fit history.csv new_agents.csv -o population.nc
    """
    steps = Steps(quiet=quiet)
    check_output(output, (".nc",), inputs=[*history, *n_items])
    with steps.step("read the history"):
        from skillinfer_bayes.history.table import History

        counts = stack_scores(n_items) if n_items else None
        table = History.from_dataframe(
            stack_scores(history), scale=scale, n_items=counts, normalize=normalize
        )
    with steps.step("load the libraries"):
        _load_sampler()
        from skillinfer_bayes.population import Population
    shape = f"{table.n_agents} agents x {table.n_skills} skills"
    with steps.step(f"fit the population ({shape})", draws_bar=True):
        population = Population.from_history(
            table,
            covariance=covariance,
            settings={
                "draws": draws,
                "tune": tune,
                "chains": chains,
                "target_accept": target_accept,
                "random_seed": seed,
            },
            progressbar=not quiet,
        )
    steps.parts(population.settings["seconds"])
    with steps.step("save it"):
        population.save(output.resolve())
    steps.total()
    steps.note(str(population.convergence))
    steps.note(f"saved {output}")


@main.command()
@population_argument
@observations_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write to this .csv, .parquet or .json file instead of printing a table.",
)
@n_items_option
@click.option(
    "--ci-prob",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="How much probability the interval from lower to upper holds.",
)
@click.option(
    "--kind",
    type=click.Choice(["skill", "score"]),
    default="skill",
    show_default=True,
    help="The skill itself, or a score that would be measured.",
)
def profile(
    population: Path,
    observations: Path,
    output: Path | None,
    n_items: Path | None,
    ci_prob: float,
    kind: Kind,
) -> None:
    """Fill in the skills that OBSERVATIONS leaves open.

    OBSERVATIONS is a CSV, TSV or Parquet table like the history, with empty cells where an agent
    was not measured, or JSON: {"agent": {"skill": score}}. Every agent and skill gets a mean, a
    standard deviation, an interval, and whether it was observed or inferred. Agents whose scores
    are unlike anything in the history are named on standard error. A file of profiles that is
    there already is replaced.

    \b
    Example:
      skillinfer-bayes profile population.nc new_agents.csv -o profiles.csv
    """
    if output is not None:
        check_output(output, TABLE_SUFFIXES, inputs=[population, observations, n_items])
    profiles = make_profiles(load_with_warning(population), observations, n_items)
    table = profiles.to_dataframe(ci_prob=ci_prob, kind=kind).reset_index()
    if output is None:
        shown = table.assign(**table[["agent", "skill"]].map(one_line))
        click.echo(shown.to_string(index=False, float_format="{:.3f}".format))
    else:
        write_profiles(table, output)
    for line in cautions(profiles):
        click.echo(line, err=True)


@main.command()
@population_argument
def info(population: Path) -> None:
    """Describe a saved population and how far its fit can be trusted.

    \b
    Example:
      skillinfer-bayes info population.nc
    """
    for name, value in described(load_with_warning(population)):
        click.echo(f"{name:<12} {one_line(value)}")


def _load_sampler() -> None:
    """Import what a fit would import anyway, so that its time is shown apart from the fit's."""
    importlib.import_module("skillinfer_bayes.inference.sampling")


for command in (diagnose, prompt, route, mcp):
    main.add_command(command)


if __name__ == "__main__":
    main()
