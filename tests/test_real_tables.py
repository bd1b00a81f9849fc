"""Public leaderboards with real item counts, costs and latencies."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from skillinfer_bayes import History, Population, Priors, SamplerSettings, Task, build_prompt
from skillinfer_bayes.checks.splits import agent_cases
from skillinfer_bayes.checks.validation import evaluate, pick_methods, summarise_held_out
from skillinfer_bayes.history.datasets import onet

OBSERVED = ["nonlive_multiple", "live_multiple", "multiturn_base", "web_search_base"]
TASK = Task(
    {"multiturn_long_context": 1.0, "memory_kv": 0.5, "live_irrelevance": 0.5},
    "Work through a customer's long ticket history and call only the tools that are needed",
)
N_HELD_OUT = 12


def read(folder: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores, item counts and metadata, all indexed by model."""
    parts = (
        pd.read_csv(folder / f"{name}{part}.csv", index_col="model")
        for part in ("", "_n_items", "_metadata")
    )
    scores, n_items, metadata = parts
    return scores.drop(columns="family"), n_items, metadata


@pytest.fixture(scope="module")
def bfcl(shared_data: Path) -> SimpleNamespace:
    """BFCL v4, twelve base models on one side with all their variants."""
    scores, n_items, metadata = read(shared_data, "bfcl_v4")
    bases = metadata["base_model"].drop_duplicates()
    chosen = np.random.default_rng(4).permutation(bases.to_numpy())[:N_HELD_OUT]
    held_out = metadata["base_model"].isin(chosen)
    return SimpleNamespace(
        scores=scores, n_items=n_items, metadata=metadata, held_out=held_out.to_numpy()
    )


def history_of(table: SimpleNamespace, *, with_items: bool = True) -> History:
    kept = ~table.held_out
    n_items = table.n_items[kept] if with_items else None
    return History.from_dataframe(table.scores[kept], n_items=n_items)


def newcomers(population: Population, table: SimpleNamespace):
    """Profiles of the models held out, of whom four skills are known."""
    rows = table.held_out
    return population.profiles(
        table.scores.loc[rows, OBSERVED], n_items=table.n_items.loc[rows, OBSERVED]
    )


def errors_of(profiles, table: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """Absolute errors of the skills not observed, and whether intervals hold the score."""
    dataset = profiles.to_dataset(kind="score", ci_prob=0.9)
    truth = table.scores.loc[list(profiles.agents), list(profiles.skills)].to_numpy()
    hidden = ~dataset["observed"].values
    inside = (dataset["lower"].values <= truth) & (truth <= dataset["upper"].values)
    return np.abs(dataset["mean"].values - truth)[hidden], inside[hidden]


def check_prompt(profiles, table: SimpleNamespace) -> None:
    """Every model held out has its block, with its real cost and latency."""
    columns = ["cost_usd_total_run", "latency_mean_s", "latency_p95_s"]
    metadata = table.metadata.loc[list(profiles.agents), columns].to_dict(orient="index")
    constraints = ["Answers should take less than ten seconds on average"]
    prompt = build_prompt(TASK, profiles, metadata, constraints, 0.5)
    lines = prompt.splitlines()
    for agent, known in metadata.items():
        start = next(i for i, line in enumerate(lines) if agent in line) + 1
        # what is said of an agent is indented, be it with a caution or without
        block = "\n".join(takewhile(lambda line: line.startswith("  "), lines[start:]))
        for value in known.values():
            assert f"{value:g}" in block
        assert block.count("(inferred)") == 3
        assert "Task fit: " in block
    assert constraints[0] in prompt


# the draws are few on purpose; what they are used for here needs no more
@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_held_out_models_from_history_to_prompt(bfcl) -> None:
    settings = SamplerSettings(draws=200, tune=300, chains=2, target_accept=0.9, random_seed=3)
    population = Population.from_history(
        history_of(bfcl, with_items=False),  # rows without errors of their own cost less
        priors=Priors(covariance="factor", rank=3),
        settings=settings,
        progressbar=False,
    )
    profiles = newcomers(population, bfcl)
    assert 12 <= len(profiles) <= 24
    assert set(bfcl.metadata.loc[list(profiles.agents), "base_model"]).isdisjoint(
        bfcl.metadata.loc[list(population.agents), "base_model"]
    )
    errors, inside = errors_of(profiles, bfcl)
    alone = population.profiles(bfcl.scores.loc[bfcl.held_out, []])
    nothing_known = np.abs(alone.to_dataset()["mean"].values - bfcl.scores[bfcl.held_out])
    hidden = ~profiles.to_dataset()["observed"].values
    assert errors.mean() < 0.8 * nothing_known.to_numpy()[hidden].mean()
    assert 0.75 < inside.mean() < 0.98
    check_prompt(profiles, bfcl)


@pytest.mark.slow
def test_held_out_models_with_default_settings(bfcl) -> None:
    population = Population.from_history(history_of(bfcl), random_seed=3, progressbar=False)
    assert population.convergence.converged, str(population.convergence)
    profiles = newcomers(population, bfcl)
    errors, inside = errors_of(profiles, bfcl)
    assert errors.mean() < 0.12
    assert 0.85 < inside.mean() < 0.97
    check_prompt(profiles, bfcl)


# what is asked here is that no transition diverges; the blanked table mixes slower than the full
# one (two explanations of the memory skills' covariance), and the verdict says so
@pytest.mark.filterwarnings("ignore:the fit did not converge")
@pytest.mark.slow
@pytest.mark.parametrize("with_items", [True, False], ids=["item counts", "scores alone"])
def test_a_third_of_the_cells_blanked(bfcl, with_items) -> None:
    n_items = bfcl.n_items if with_items else None
    history = History.from_dataframe(bfcl.scores, n_items=n_items)
    hidden = np.random.default_rng(8).random(bfcl.scores.shape) < 1 / 3
    blanked = history.hide(hidden)
    population = Population.from_history(blanked, random_seed=5, progressbar=False)
    assert population.convergence.divergences == 0, str(population.convergence)
    completed = population.completed().to_dataset(kind="score", method="exact")
    truth = bfcl.scores.to_numpy()
    off = np.abs(completed["mean"].values - truth)[hidden].mean()
    assert off < 0.8 * np.abs(np.nanmean(blanked.values, axis=0) - truth)[hidden].mean()
    inside = (completed["lower"].values <= truth) & (truth <= completed["upper"].values)
    assert 0.85 < inside[hidden].mean() < 0.98


# the Open LLM leaderboard averages subtasks, so its scores are no whole counts
@pytest.mark.filterwarnings("ignore:`n_items` do not fit")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["bfcl_v4", "open_llm_leaderboard_v2"])
@pytest.mark.parametrize("with_items", [True, False], ids=["item counts", "scores alone"])
def test_default_settings_fit_cleanly(shared_data, name, with_items) -> None:
    scores, n_items, _ = read(shared_data, name)
    population = Population.from_dataframe(
        scores, n_items=n_items if with_items else None, random_seed=1, progressbar=False
    )
    assert population.convergence.converged, str(population.convergence)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [0.0, 0.1], ids=["complete", "a tenth of the cells blanked"])
def test_a_wide_table_of_many_scores(hidden) -> None:
    """With default settings: a clean verdict, and less error than the peer."""
    scores = onet().scores
    history = History.from_dataframe(scores[~scores.duplicated()])
    cases = list(
        agent_cases(
            history,
            n_history=[100],
            repeats=[0],
            n_test=40,
            share_observed=1 / 3,
            hidden=[hidden],
            keep_together=None,
            random_seed=11,
        )
    )
    assert Priors().resolve_for(cases[0].history).covariance == "factor_iw"
    cells = evaluate(cases, pick_methods(["ours", "peer"]), progressbar=False)
    ours = cells[cells["method"] == "ours"]
    assert (ours["converged"] == 1).all()
    summary = summarise_held_out(cells, ["method"])
    assert summary.loc["ours", "crps"] < summary.loc["peer", "crps"]
    assert 0.87 < summary.loc["ours", "coverage_90"] < 0.93
