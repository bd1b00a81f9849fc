"""The command that checks a saved population: ``diagnose``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from skillinfer_bayes.cli_io import load_population
from skillinfer_bayes.cli_options import population_argument, quiet_option
from skillinfer_bayes.cli_steps import Steps


@click.command()
@population_argument
@click.option("--json", "as_json", is_flag=True, help="Print lines and tables as one JSON object.")
@click.option("--refit", is_flag=True, help="Fit again without each agent that the fit leans on.")
@quiet_option
def diagnose(population: Path, as_json: bool, refit: bool, quiet: bool) -> None:
    """Check whether a saved fit can be trusted, with what to do about each finding.

    Looks at convergence, at how well the model describes the history, at odd and duplicated
    agents, and at what the priors did. Ends with exit code 3 when the fit did not pass its
    convergence checks; other findings are for you to weigh.

    \b
    Example:
      skillinfer-bayes diagnose population.nc --json > diagnosis.json
    """
    from skillinfer_bayes.checks.diagnostics import warn_unless_converged  # pandas and xarray

    fitted = load_population(population)
    steps = Steps(quiet=quiet or as_json)
    with steps.step("check the fit"):
        report = fitted.diagnose(refit=refit)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(str(report))
    warn_unless_converged(fitted.convergence)
