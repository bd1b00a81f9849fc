"""Every figure of the package at 6 and at 40 skills, written as PNG files with an index.

Simulated data throughout, so the figures show what they look like and nothing about any model.
One small fit gives the figures of the sampler at 6 skills; all other draws are made up around the
data's moments, and the method called "moments" predicts with such draws.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from skillinfer_bayes import History, Population, Priors, SamplerSettings
from skillinfer_bayes.checks import plots
from skillinfer_bayes.checks.calibration import calibration
from skillinfer_bayes.checks.fitted import forecast_of
from skillinfer_bayes.checks.learning_curve import learning_curve
from skillinfer_bayes.checks.rivals import RIVALS, Method
from skillinfer_bayes.checks.sbc_result import SBCResult
from skillinfer_bayes.checks.scores import DrawnForecast
from skillinfer_bayes.checks.splits import Case
from skillinfer_bayes.checks.uncertainty import uncertainty_path
from skillinfer_bayes.exceptions import ConvergenceWarning
from skillinfer_bayes.files import write_text
from skillinfer_bayes.history.public_tables import BFCL_SKILLS
from skillinfer_bayes.testing import fake_population, simulate_history

DOTS_PER_INCH = 80
COLOURS = 256
LARGE = 100_000
AGENTS = ("gpt-4o", "claude-3.5", "gemini-pro", "llama-3-70b", "mistral-large")
FEW = ("math", "code", "reasoning", "writing", "creativity", "tool use")
# long and short names, as they occur in public leaderboards
MANY = (
    *BFCL_SKILLS,
    *("aime_2025", "arc_agi_2", "bigbench_hard", "drop", "frontiermath", "gpqa_diamond", "gsm8k"),
    *("hle", "humaneval", "ifeval", "livebench", "livecodebench", "math_500", "mmlu_pro", "mmmu"),
    *("simpleqa", "swe_bench_verified", "graphwalks_parents_0k_128k"),
)
# by the first word of a skill's name
CATEGORIES = {
    **dict.fromkeys(("live", "nonlive", "multiturn", "tool use"), "tools"),
    **dict.fromkeys(("memory", "web"), "agents"),
    **dict.fromkeys(("math", "gsm8k", "aime", "frontiermath"), "mathematics"),
    **dict.fromkeys(("code", "humaneval", "livecodebench", "swe"), "code"),
}
OF_POPULATIONS = {
    "correlation": "How skills hang together, and how surely: `plot_correlation`.",
    "spectrum": "How many common directions there are: `plot_spectrum`.",
    "shared_variance": "Which skills can be inferred and which must be measured: "
    "`plot_shared_variance`.",
    "skill_map": "Skills that rise together lie together: `plot_skill_map`.",
    "skill_distributions": "What the history holds: `plot_skill_distributions`.",
    "profile": "One agent, with what was measured and what became known later: `plot_profile`.",
    "agents": "Several agents side by side: `plot_agents`.",
    "match": "How well agents fit a task, and what of it clears the bar: `plot_match`.",
    "uncertainty": "What each score is worth: `plot_uncertainty` of an `uncertainty_path`.",
    "prior_posterior": "What the data said on top of the prior: `plot_prior_posterior`.",
    "trace": "Paths of the worst quantities: `plot_trace`.",
    "rank": "Ranks of the worst quantities: `plot_rank`.",
    "energy": "The sampler's energy: `plot_energy`.",
    "pairs": "Pairs of the worst quantities: `plot_pairs`.",
}
OF_HELD_OUT = {
    "methods": "Held-out methods compared: `plot_methods`.",
    "methods_by_size": "The same against the size of the history.",
    "predictions": "Predicted against measured scores: `plot_predictions`.",
    "calibration": "Whether intervals keep their word: `plot_calibration`.",
    "calibration_by_skill": "The same skill by skill.",
    "learning_curve": "What more scores of an agent buy: `plot_learning_curve`.",
    "sbc": "Simulation-based calibration, with one quantity spoilt on purpose: `plot_sbc`.",
}
CAPTIONS = OF_POPULATIONS | OF_HELD_OUT


@dataclass(frozen=True)
class Size:
    """How large the simulated tables are, so that the whole takes minutes."""

    skills: tuple[str, ...]
    histories: tuple[int, ...]
    repeats: int
    tested: int
    shown: tuple[int, ...]
    real_fit: bool


SIZES = {
    6: Size(FEW, (15, 30, 60), 4, 20, (0, 1, 2, 3), True),
    40: Size(MANY, (30, 60), 2, 8, (0, 1, 3, 8, 20), False),
}


def moments(case: Case) -> DrawnForecast:
    """Predict with draws about the history's own moments."""
    stand_in = fake_population(case.history, chains=2, draws=50, random_seed=case.seed % 1000)
    return forecast_of(stand_in, case)


def fitted(history: History) -> tuple[Population, xr.DataTree]:
    """A small fit and draws of its prior."""
    import pymc as pm

    from skillinfer_bayes.inference.model import build_model

    settings = SamplerSettings(draws=300, tune=500, chains=4, random_seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the figures are there to show it
        population = Population.from_history(history, settings=settings, progressbar=False)
        # the likelihood is the model's only potential, and a prior is without it
        warnings.filterwarnings("ignore", message="The effect of Potentials")
        prior = pm.sample_prior_predictive(400, build_model(history, Priors()), random_seed=1)
    return population, prior


def made_up(history: History) -> tuple[Population, xr.DataTree]:
    """Draws about the history's moments, and wider ones as their prior."""
    population = fake_population(history, chains=4, draws=250, random_seed=1)
    wide = fake_population(history, chains=1, draws=300, concentration=44.0, random_seed=2)
    prior = wide.data["posterior"].to_dataset()
    return population, xr.DataTree.from_dict({"prior": prior})


def uniform_ranks(skills: tuple[str, ...]) -> SBCResult:
    """Ranks of a perfect calibration but for one quantity whose draws are too high."""
    kinds = np.repeat(["mean", "correlation", "log sd", "prediction"], len(skills))
    names = [f"{kind} {position}" for position, kind in enumerate(kinds)]
    ranks = np.random.default_rng(0).integers(0, 100, (200, len(kinds)))
    ranks[:, 1] = ranks[:, 1] * 7 // 10
    table = xr.DataArray(
        ranks,
        dims=("simulation", "quantity"),
        coords={"quantity": names, "kind": ("quantity", kinds)},
    )
    return SBCResult(table, 99, np.zeros(200, dtype=np.int64), 0.0, 0)


def population_figures(size: Size) -> dict[str, Callable[[], object]]:
    """Figures of a population and of profiles, ready to draw."""
    simulated = simulate_history(60, len(size.skills), missing=0.25, random_seed=3, rank=3)
    scores = simulated.scores.set_axis(list(size.skills), axis="columns")
    known = simulated.complete.set_axis(list(size.skills), axis="columns").iloc[: len(AGENTS)]
    known.index = list(AGENTS)
    history = History.from_dataframe(scores.iloc[len(AGENTS) :])
    population, prior = (fitted if size.real_fit else made_up)(history)
    seen = np.random.default_rng(0).random(known.shape) < 0.35
    profiles = population.profiles(known.where(seen))
    one = profiles[AGENTS[0]]
    later = {
        skill: score for skill, score in known.loc[one.agent].items() if skill not in one.observed
    }
    arriving = dict(list(known.loc[one.agent].items())[: min(8, len(size.skills) - 1)])
    task = dict(zip(size.skills, (1.0, 0.8, 0.3), strict=False))
    categories = {skill: CATEGORIES.get(skill.partition("_")[0], "text") for skill in size.skills}
    return {
        "correlation": lambda: plots.plot_correlation(population),
        "spectrum": lambda: plots.plot_spectrum(population),
        "shared_variance": lambda: plots.plot_shared_variance(population),
        "skill_map": lambda: plots.plot_skill_map(population, categories=categories),
        "skill_distributions": lambda: plots.plot_skill_distributions(population),
        "profile": lambda: plots.plot_profile(one, reference=later),
        "agents": lambda: plots.plot_agents(profiles),
        "match": lambda: plots.plot_match(profiles, task, 0.6),
        "uncertainty": lambda: plots.plot_uncertainty(
            uncertainty_path(population.profile(), arriving)
        ),
        "prior_posterior": lambda: plots.plot_prior_posterior(population, prior),
        "trace": lambda: plots.plot_trace(population),
        "rank": lambda: plots.plot_rank(population),
        "energy": lambda: plots.plot_energy(population),
        "pairs": lambda: plots.plot_pairs(population),
    }


def validation_figures(size: Size) -> dict[str, Callable[[], object]]:
    """Figures of held-out evaluation, ready to draw."""
    from skillinfer_bayes.checks.validation import held_out

    simulated = simulate_history(110, len(size.skills), random_seed=4, rank=3)
    scores = simulated.scores.set_axis(list(size.skills), axis="columns")
    methods: dict[str, Method] = {
        "moments": moments,
        "peer": RIVALS["peer"],
        "mean": RIVALS["mean"],
    }
    common: dict[str, Any] = {"methods": methods, "n_test": size.tested, "progressbar": False}
    cells: pd.DataFrame = held_out(scores, repeats=size.repeats, n_history=size.histories, **common)
    curve = learning_curve(scores, repeats=size.repeats, n_observed=size.shown, **common)
    largest = cells[cells["n_history"] == size.histories[-1]]
    return {
        "methods": lambda: plots.plot_methods(largest),
        "methods_by_size": lambda: plots.plot_methods(cells),
        "predictions": lambda: plots.plot_predictions(largest),
        "calibration": lambda: plots.plot_calibration(calibration(largest)),
        "calibration_by_skill": lambda: plots.plot_calibration(
            calibration(largest, ("method", "skill"))
        ),
        "learning_curve": lambda: plots.plot_learning_curve(curve),
        "sbc": lambda: plots.plot_sbc(uniform_ranks(size.skills)),
    }


def save_small(figure: object, path: Path) -> None:
    """Write a figure; a large file with fewer colours, which takes a third of the bytes."""
    figure.savefig(path, dpi=DOTS_PER_INCH)  # type: ignore[attr-defined]
    if path.stat().st_size > LARGE:
        with Image.open(path) as written:
            image = written.convert("RGB")
        few = image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


def index(out: Path) -> str:
    """A page that shows every figure there is."""
    lines = ["# Gallery", "", (__doc__ or "").partition("\n\n")[2].strip(), ""]
    lines += ["`python -m benchmarks.gallery` draws it again.", ""]
    for name, caption in CAPTIONS.items():
        found = [path.name for n in SIZES if (path := out / f"{name}_{n}.png").is_file()]
        if found:
            pictures = [
                f"![{name}, {file[:-4].rpartition('_')[2]} skills]({file})" for file in found
            ]
            lines += [f"## {name.replace('_', ' ').capitalize()}", "", caption, "", *pictures, ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/gallery"))
    parser.add_argument("--skills", type=int, choices=tuple(SIZES), action="append")
    parser.add_argument("--only", nargs="+", choices=tuple(CAPTIONS), default=tuple(CAPTIONS))
    chosen = parser.parse_args()
    mpl.use("Agg")
    chosen.out.mkdir(parents=True, exist_ok=True)
    groups = ((population_figures, OF_POPULATIONS), (validation_figures, OF_HELD_OUT))
    for count in chosen.skills or SIZES:
        for prepare, captions in groups:
            wanted = [name for name in captions if name in chosen.only]
            drawers = prepare(SIZES[count]) if wanted else {}
            for name in wanted:
                started = time.perf_counter()
                path = chosen.out / f"{name}_{count}.png"
                save_small(drawers[name](), path)
                size = path.stat().st_size / 1000
                print(f"{path}  {size:.0f} kB  {time.perf_counter() - started:.1f} s", flush=True)
            plt.close("all")
    write_text(chosen.out / "README.md", index(chosen.out))


if __name__ == "__main__":
    main()
