"""Figures: each takes finished data and gives a figure back; none is shown, none fits anything.

`plot_correlation`, `plot_spectrum`, `plot_shared_variance`, `plot_skill_map` and
`plot_skill_distributions` take a population; `plot_profile`, `plot_agents`, `plot_match` and
`plot_uncertainty` profiles; `plot_methods`, `plot_predictions`, `plot_calibration`,
`plot_learning_curve` and `plot_sbc` what the validation gave; `plot_trace`, `plot_rank`,
`plot_energy`, `plot_pairs` and `plot_prior_posterior` the draws. The last five return ArviZ's plot
collections, all others matplotlib figures; both have `savefig`.

They need the extra `plots`; importing this package without it raises MissingDependencyError.
"""

from skillinfer_bayes.exceptions import MissingDependencyError

try:
    import matplotlib.figure  # noqa: F401  # before the modules that take it for granted
except ImportError as error:
    raise MissingDependencyError(
        "figures need matplotlib and arviz-plots; install them with "
        "`pip install 'skillinfer_bayes[plots]'`"
    ) from error

from skillinfer_bayes.checks.plots.calibration import plot_calibration, plot_sbc
from skillinfer_bayes.checks.plots.population import (
    plot_correlation,
    plot_shared_variance,
    plot_skill_distributions,
    plot_spectrum,
)
from skillinfer_bayes.checks.plots.profiles import (
    plot_agents,
    plot_profile,
    plot_uncertainty,
)
from skillinfer_bayes.checks.plots.sampling import (
    plot_energy,
    plot_pairs,
    plot_prior_posterior,
    plot_rank,
    plot_trace,
    worst_quantities,
)
from skillinfer_bayes.checks.plots.skill_map import plot_skill_map
from skillinfer_bayes.checks.plots.tasks import plot_match
from skillinfer_bayes.checks.plots.validation import (
    plot_learning_curve,
    plot_methods,
    plot_predictions,
)

__all__ = [
    "plot_agents",
    "plot_calibration",
    "plot_correlation",
    "plot_energy",
    "plot_learning_curve",
    "plot_match",
    "plot_methods",
    "plot_pairs",
    "plot_predictions",
    "plot_prior_posterior",
    "plot_profile",
    "plot_rank",
    "plot_sbc",
    "plot_shared_variance",
    "plot_skill_distributions",
    "plot_skill_map",
    "plot_spectrum",
    "plot_trace",
    "plot_uncertainty",
    "worst_quantities",
]
