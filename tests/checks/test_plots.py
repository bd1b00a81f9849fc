"""Figures: each is drawn at 6 and at 40 skills, can be read, and shows what its data say."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from latent_class_examples import of_classes, with_classes
from plots_helpers import check_readable, figure_of, pixels, row_names

from skillinfer_bayes import History, Population, Task
from skillinfer_bayes.checks import plots
from skillinfer_bayes.checks.calibration import calibration
from skillinfer_bayes.checks.plots import style
from skillinfer_bayes.checks.sbc_result import SBCResult
from skillinfer_bayes.checks.uncertainty import uncertainty_path
from skillinfer_bayes.exceptions import (
    ConfigError,
    InputError,
    MissingDependencyError,
    TaskError,
    ThresholdError,
    UnknownSkillError,
)
from skillinfer_bayes.testing import fake_population, population_of_draws, simulate_history

AGENTS = ["gpt-4o", "claude-3.5", "gemini-pro", "llama-3-70b", "mistral-large"]
LONG = "memory_recursive_summarization_of_very_long_conversations"


def skill_names(count: int) -> list[str]:
    return [f"{LONG}_{place}" if place % 5 == 2 else f"bench_{place}" for place in range(count)]


class Made:
    """A population without a fit, agents with some scores, and held-out predictions of them."""

    def __init__(self, count: int, *, classes: bool = False) -> None:
        self.skills = skill_names(count)
        simulated = simulate_history(45, count, missing=0.2, random_seed=3)
        history = simulated.scores.set_axis(self.skills, axis="columns").iloc[5:]
        self.known = simulated.complete.set_axis(self.skills, axis="columns").iloc[:5]
        self.known.index = AGENTS
        self.population = fake_population(history, chains=2, draws=60, random_seed=1)
        if classes:
            self.population = with_classes(self.population)
        seen = np.random.default_rng(0).random(self.known.shape) < 0.4
        self.profiles = self.population.profiles(self.known.where(seen))
        self.task = dict(zip(self.skills, (1.0, 0.5, 0.3), strict=False))

    @property
    def prior(self) -> xr.Dataset:
        wide = fake_population(self.population.history, draws=50, concentration=45, random_seed=7)
        return wide.data["posterior"].to_dataset()


def held_out_cells(
    skills: list[str], sizes: tuple[int, ...] = (30,), repeats: int = 3, agents: int = 8
) -> pd.DataFrame:
    """Predictions with the columns of `held_out`, "mean" wider and further off than the others."""
    rng = np.random.default_rng(5)
    methods = ("ours", "peer", "mean")
    keys = list(itertools.product(range(repeats), sizes, methods, range(agents), skills))
    table = pd.DataFrame(keys, columns=["repeat", "n_history", "method", "agent", "skill"])
    spread = np.where(table["method"] == "mean", 0.2, 0.1)
    table["hidden"] = 0.0
    table["agent"] = "agent_" + table["agent"].astype(str)
    table["score"] = rng.uniform(0.2, 0.8, len(table))
    table["mean"] = table["score"] + spread * rng.standard_normal(len(table))
    table["std"] = spread
    table["crps"], table["log_score"] = 0.5 * spread, -1.0
    for level, reach in ((50, 0.67), (80, 1.28), (90, 1.64), (95, 1.96)):
        table[f"lower_{level}"] = table["mean"] - reach * spread
        table[f"upper_{level}"] = table["mean"] + reach * spread
    table["p_below"] = table["p_not_above"] = rng.uniform(size=len(table))
    return table.assign(seconds=0.1, divergences=0.0, converged=1.0, rhat=1.0, ess=500.0)


def curve_of(methods: tuple[str, ...] = ("ours", "peer")) -> pd.DataFrame:
    rows = []
    for method, number in itertools.product(methods, (0, 1, 3, 8)):
        row = {"method": method, "n_observed": number}
        for name in ("mae", "width_90", "coverage_90"):
            row |= {name: 0.9 if name == "coverage_90" else 1 / (2 + number), f"{name}_se": 0.01}
        rows.append(row)
    return pd.DataFrame(rows)


def ranks_of(skills: list[str], spoilt: int = 1) -> SBCResult:
    rng = np.random.default_rng(0)
    kinds = np.repeat(["mean", "correlation", "log sd"], len(skills))
    ranks = rng.integers(0, 50, (80, len(kinds)))
    ranks[:, :spoilt] //= 3
    names = [f"{kind} {place}" for place, kind in enumerate(kinds)]
    coords = {"quantity": names, "kind": ("quantity", kinds)}
    table = xr.DataArray(ranks, dims=("simulation", "quantity"), coords=coords)
    return SBCResult(table, 49, np.zeros(80, dtype=np.int64), 1.0, 0)


FIGURES: dict[str, Callable[[Made], Any]] = {
    "correlation": lambda made: plots.plot_correlation(made.population),
    "spectrum": lambda made: plots.plot_spectrum(made.population),
    "shared_variance": lambda made: plots.plot_shared_variance(made.population),
    "skill_map": lambda made: plots.plot_skill_map(made.population),
    "skill_distributions": lambda made: plots.plot_skill_distributions(made.population),
    "profile": lambda made: plots.plot_profile(
        made.profiles["gpt-4o"], reference={made.skills[0]: 0.5}
    ),
    "agents": lambda made: plots.plot_agents(made.profiles),
    "agents_all_skills": lambda made: plots.plot_agents(made.profiles, skills=made.skills),
    "match": lambda made: plots.plot_match(made.profiles, made.task, 0.5),
    "uncertainty": lambda made: plots.plot_uncertainty(
        uncertainty_path(made.population.profile(), dict(made.known.iloc[0, :5]))
    ),
    "methods": lambda made: plots.plot_methods(held_out_cells(made.skills)),
    "methods_by_size": lambda made: plots.plot_methods(held_out_cells(made.skills, (15, 30, 60))),
    "predictions": lambda made: plots.plot_predictions(held_out_cells(made.skills)),
    "calibration": lambda made: plots.plot_calibration(calibration(held_out_cells(made.skills))),
    "calibration_by_skill": lambda made: plots.plot_calibration(
        calibration(held_out_cells(made.skills), ("method", "skill"))
    ),
    "learning_curve": lambda made: plots.plot_learning_curve(curve_of()),
    "sbc": lambda made: plots.plot_sbc(ranks_of(made.skills)),
    "trace": lambda made: plots.plot_trace(made.population),
    "rank": lambda made: plots.plot_rank(made.population),
    "energy": lambda made: plots.plot_energy(made.population),
    "pairs": lambda made: plots.plot_pairs(made.population, n=3),
    "prior_posterior": lambda made: plots.plot_prior_posterior(made.population, made.prior),
}
OF_POPULATIONS = [
    name for name in FIGURES if not name.startswith(("methods", "pred", "cal", "learn", "sbc"))
]
BY_ARVIZ = {"trace", "rank", "energy", "pairs", "prior_posterior"}


@pytest.fixture(scope="module")
def few() -> Made:
    return Made(6)


@pytest.fixture(scope="module")
def few_classes() -> Made:
    return Made(6, classes=True)


@pytest.fixture(scope="module")
def many() -> Made:
    return Made(40)


@pytest.fixture(autouse=True)
def _off_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No window, no show, and pyplot left as it was found."""

    def show(*arguments: object, **options: object) -> None:
        raise AssertionError("a figure was shown")

    backend = mpl.get_backend()
    mpl.use("Agg")
    monkeypatch.setattr(plt, "show", show)
    yield
    plt.close("all")
    mpl.use(backend)


@pytest.mark.parametrize("skills", [6, 40])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_drawn_and_read(name, skills, few, many) -> None:
    settings = dict(mpl.rcParams)
    drawn = FIGURES[name](few if skills == 6 else many)
    image = pixels(drawn)
    assert image[..., :3].std() > 0.02  # more than an empty page
    check_readable(drawn)
    assert dict(mpl.rcParams) == settings
    if name not in BY_ARVIZ:
        assert plt.get_fignums() == []


@pytest.mark.parametrize("name", OF_POPULATIONS)
def test_figures_of_latent_classes_can_be_drawn_and_read(name, few_classes) -> None:
    drawn = FIGURES[name](few_classes)
    assert pixels(drawn)[..., :3].std() > 0.02
    check_readable(drawn)


def test_every_public_function_is_drawn_here() -> None:
    names = {name.removeprefix("plot_") for name in plots.__all__ if name.startswith("plot_")}
    assert names <= set(FIGURES)


def test_notebooks_show_a_figure_by_itself(few) -> None:
    assert plots.plot_spectrum(few.population)._repr_png_().startswith(b"\x89PNG")


# Machado, Oliveira and Fernandes (2009), doi:10.1109/TVCG.2009.113, full severity
BLINDNESS = {
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deutan": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(linear: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, (n, 3)."""
    xyz = np.clip(linear, 0, 1) @ np.transpose(TO_XYZ) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lightness, one, other = 116 * f[:, 1] - 16, f[:, 0] - f[:, 1], f[:, 1] - f[:, 2]
    return np.column_stack([lightness, 500 * one, 200 * other])


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_colours_differ_for_every_colour_vision(kind) -> None:
    rgb = np.array([mpl.colors.to_rgb(colour) for colour in style.PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = lab(linear @ np.transpose(BLINDNESS[kind]))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
    assert apart[np.triu_indices(len(seen), 1)].min() > 10
    assert len(set(style.MARKERS)) == len(style.PALETTE)


def test_methods_keep_their_colours_from_figure_to_figure() -> None:
    everyone = style.method_colours(["knn", "mean", "peer", "ours", "imputer"])
    some = style.method_colours(["zeta", "peer", "mean"])
    assert everyone["peer"] == some["peer"] == (style.PALETTE[1], style.MARKERS[1])
    assert list(some) == ["peer", "mean", "zeta"]
    eight = style.method_colours([*style.METHODS[:3], *"abcde"])
    assert len(set(eight.values())) == 8
    with pytest.raises(InputError, match="at most 8 methods"):
        style.method_colours([*style.METHODS, "a", "b"])


# --- populations


def population_with(correlation: np.ndarray, names: list[str]) -> Population:
    """A population whose draws all have the same correlations."""
    count = len(names)
    history = History.from_dataframe(
        simulate_history(12, count).scores.set_axis(names, axis="columns")
    )
    shape = (2, 30)
    return population_of_draws(
        history, np.zeros((*shape, count)), np.broadcast_to(correlation, (*shape, count, count))
    )


def blocks() -> tuple[np.ndarray, list[str]]:
    """Two blocks of three skills each, their members in turns."""
    names = ["a1", "b1", "a2", "b2", "a3", "b3"]
    same = np.array([[one[0] == other[0] for other in names] for one in names])
    return np.where(same, 0.75, 0.05) + 0.25 * np.eye(6), names


def test_correlated_skills_are_put_side_by_side() -> None:
    population = population_with(*blocks())
    families = [name[0] for name in row_names(plots.plot_correlation(population))]
    assert families in (["a"] * 3 + ["b"] * 3, ["b"] * 3 + ["a"] * 3)
    unordered = plots.plot_correlation(population, cluster=False)
    assert row_names(unordered) == list(population.posterior.skills)


def test_the_heatmap_writes_means_below_and_sds_above(few) -> None:
    found = few.population.correlation()
    drawn = plots.plot_correlation(found, cluster=False)
    texts = {text.get_position(): text.get_text() for text in drawn.axes[0].texts}
    assert texts[3, 1] == f"±{float(found['std'][1, 3]):.2f}"
    column_row = next(place for place in texts if place[0] == 1 and 2.5 < place[1] <= 3)
    assert texts[column_row] == f"{float(found['mean'][3, 1]):.2f}"
    open_signs = (np.abs(found["mean"]) < 2 * found["std"]).values
    assert len(drawn.axes[0].collections[0].get_offsets()) == np.tril(open_signs, -1).sum()


def test_the_spectrum_of_known_blocks() -> None:
    correlation, names = blocks()
    drawn = plots.plot_spectrum(population_with(correlation, names))
    expected = np.linalg.eigvalsh(correlation)[::-1] / 6
    each, running = drawn.axes[0].lines[:2]
    np.testing.assert_allclose(each.get_ydata(), expected, atol=1e-12)
    np.testing.assert_allclose(running.get_ydata(), expected.cumsum(), atol=1e-12)
    needed = 1 + int(np.argmax(expected.cumsum() >= 0.9))
    assert (
        drawn.axes[0].get_title(loc="left") == f"90 % of the variance in {needed} of 6 directions"
    )
    assert (
        len(
            plots.plot_spectrum(population_with(correlation, names), n_components=2)
            .axes[0]
            .lines[0]
            .get_ydata()
        )
        == 2
    )


def test_covariances_made_of_loadings_give_the_same_spectrum() -> None:
    by_cell = fake_population(tails="cell", random_seed=4)
    posterior = by_cell.posterior
    draws = posterior.covariance.reshape(2, -1, 6, 6)
    means = posterior.mean.reshape(2, -1, 6)
    dense = population_of_draws(by_cell.history, means, draws)
    lines = [plots.plot_spectrum(one).axes[0].lines[0].get_ydata() for one in (by_cell, dense)]
    np.testing.assert_allclose(*lines)


def test_the_spectrum_of_classes_has_what_is_between_them() -> None:
    shape = (2, 20)
    apart = np.broadcast_to(np.array([[-2.0], [2.0]]), (*shape, 2, 6)).copy()
    classes = of_classes(
        fake_population(chains=2, draws=20),
        weights=np.full((*shape, 2), 0.5),
        means=apart,
        scales=np.ones((*shape, 2)),
        covariance=np.broadcast_to(np.eye(6), (*shape, 6, 6)).copy(),
    )
    shares = plots.plot_spectrum(classes).axes[0].lines[0].get_ydata()
    # variances of 1 + 4 and covariances of 4 between all skills
    np.testing.assert_allclose(shares, np.array([25.0, 1.0, 1.0, 1.0, 1.0, 1.0]) / 30.0)


def test_two_skills_share_the_square_of_their_correlation() -> None:
    population = population_with(np.array([[1.0, 0.6], [0.6, 1.0]]), ["x", "y"])
    drawn = plots.plot_shared_variance(population)
    widths = [bar.get_width() for bar in drawn.axes[0].patches]
    np.testing.assert_allclose(widths, [0.36, 0.36, 0.64, 0.64])


def test_neighbours_on_the_map_rise_together() -> None:
    drawn = plots.plot_skill_map(population_with(*blocks()))
    places = np.asarray(drawn.axes[0].collections[0].get_offsets())
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert apart[0, 2] < 0.2 * apart[0, 1]  # a1 and a2, a1 and b1
    assert {text.get_text() for text in drawn.axes[0].texts} == set(blocks()[1])


def named_skills(names: list[str]) -> Population:
    return population_with(*blocks()[:1], names)


def test_categories_of_skills_have_colours_markers_and_a_legend() -> None:
    names = ["Skill:a", "Ability: b", "Skill:c", "d", "Skill:e", "Ability:f"]
    drawn = plots.plot_skill_map(named_skills(names))
    groups = {part.get_label(): part for part in drawn.axes[0].collections}
    assert {name: len(part.get_offsets()) for name, part in groups.items()} == {
        "Skill": 3,
        "Ability": 2,
        "other": 1,
    }
    assert len({tuple(part.get_facecolor()[0]) for part in groups.values()}) == 3
    assert {text.get_text() for text in drawn.axes[0].texts} == set("abcdef")
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == list(groups)
    check_readable(drawn)
    chosen = plots.plot_skill_map(named_skills(names), categories={"d": "odd", "Skill:a": "odd"})
    found = {part.get_label(): len(part.get_offsets()) for part in chosen.axes[0].collections}
    assert found == {"odd": 2, "other": 4}
    assert {text.get_text() for text in chosen.axes[0].texts} == set(names)


def test_dollars_in_names_are_written_as_they_are() -> None:
    names = ["US$: cost in $", "US$: b", "US$: c", "EU: d", "EU: e", "EU: f"]
    spread = plots.plot_skill_distributions(named_skills(names))
    assert set(row_names(spread)) == {name.replace("$", r"\$") for name in names}
    drawn = plots.plot_skill_map(named_skills(names))
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == [r"US\$", "EU"]


def test_one_category_or_too_many_to_tell_apart_are_none() -> None:
    for names in ([f"Skill:{name}" for name in "abcdef"], list("abcdef")):
        drawn = plots.plot_skill_map(named_skills(names))
        assert not drawn.legends
        assert {text.get_text() for text in drawn.axes[0].texts} == set(names)
    many = [f"{place}:x" for place in range(10)]
    population = population_with(np.eye(10) * 0.5 + 0.5, many)
    assert not plots.plot_skill_map(population).legends
    with pytest.raises(InputError, match="at most 8 categories"):
        plots.plot_skill_map(population, categories={name: name for name in many})


def test_scores_on_different_scales_are_spread_over_their_own_range() -> None:
    scores = simulate_history(20, 3).scores
    scores["rating"] = np.linspace(900, 1500, 20)
    drawn = plots.plot_skill_distributions(History.from_dataframe(scores))
    assert "least to the most" in drawn.axes[0].get_xlabel()
    together = np.concatenate([part.get_offsets() for part in drawn.axes[0].collections])
    assert together[:, 0].min() == 0.0
    assert together[:, 0].max() == 1.0
    same = plots.plot_skill_distributions(History.from_dataframe(scores.iloc[:, :3]), n_skills=2)
    assert same.axes[0].get_xlabel() == "score"
    assert "1 skills with fewer scores left out" in same.axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda made: plots.plot_correlation("pop"), InputError, "`population` must be a Dataset"),
        (lambda made: plots.plot_correlation(xr.Dataset()), InputError, "at least two skills"),
        (
            lambda made: plots.plot_spectrum(made.known),
            InputError,
            "must be a Population, got Data",
        ),
        (lambda made: plots.plot_spectrum(made.population, ci_prob=90), ConfigError, "mean 0.9"),
        (
            lambda made: plots.plot_spectrum(made.population, n_components=0),
            ConfigError,
            "at least",
        ),
        (lambda made: plots.plot_shared_variance(None), InputError, "got NoneType"),
        (
            lambda made: plots.plot_skill_map(made.population, categories=["a"]),
            InputError,
            "`categories` must map skills to categories, got list",
        ),
        (
            lambda made: plots.plot_skill_map(made.population, categories={"bench_00": "a"}),
            UnknownSkillError,
            "unknown skill 'bench_00'; did you mean 'bench_0'",
        ),
        (
            lambda made: plots.plot_skill_map(population_with(np.eye(2), ["x", "y"])),
            InputError,
            "3",
        ),
        (lambda made: plots.plot_skill_distributions(made.known), InputError, "or a Population"),
        (
            lambda made: plots.plot_skill_distributions(made.population, n_skills=True),
            ConfigError,
            "whole number",
        ),
    ],
)
def test_populations_that_cannot_be_drawn(call, error, message, few) -> None:
    with pytest.raises(error, match=message):
        call(few)


# --- profiles


@pytest.mark.parametrize("as_given", [dict, pd.Series])
def test_a_profile_marks_what_was_measured(few, as_given) -> None:
    profile = few.profiles["gpt-4o"]
    later = {skill: 0.25 for skill in few.skills if skill not in profile.observed}
    ax = plots.plot_profile(profile, reference=as_given(later)).axes[0]
    names = sorted(few.skills, key=lambda skill: -profile.mean(skill))
    marks = {
        (line.get_marker(), round(line.get_xdata()[0], 9), line.get_ydata()[0])
        for line in ax.lines
        if line.get_marker() in "|D"
    }
    measured = {
        ("|", round(score, 9), names.index(skill)) for skill, score in profile.observations.items()
    }
    assert marks == measured | {("D", 0.25, names.index(skill)) for skill in later}
    assert len(profile.observed) > 0


def test_a_profiles_intervals_are_those_that_it_predicts(few) -> None:
    profile = few.profiles["gpt-4o"]
    skill = few.skills[0]
    ax = plots.plot_profile(profile, skills=[skill], ci_prob=0.8, kind="score").axes[0]
    wide, narrow = (part.get_segments()[0][:, 0] for part in ax.collections)
    np.testing.assert_allclose(wide, profile.interval(skill, 0.8, kind="score"))
    np.testing.assert_allclose(narrow, profile.interval(skill, 0.5, kind="score"))
    assert ax.get_xlabel() == "score that would be measured"


def test_skills_on_other_scales_get_panels_of_their_own() -> None:
    scores = simulate_history(20, 3).scores
    scores["rating"], scores["dollars"] = np.linspace(900, 1500, 20), np.linspace(-5, 5e5, 20)
    profile = fake_population(scores).profile("new").observe("rating", 1200.0)
    figure = plots.plot_profile(profile)
    assert [len(row_names(figure, panel)) for panel in range(3)] == [3, 1, 1]
    assert "measured score" in [text.get_text() for text in figure.legends[0].get_texts()]
    check_readable(figure)
    assert len(plots.plot_agents(profile, n_skills=5).axes) == 3


def test_the_legend_explains_the_marks_of_all_panels() -> None:
    scores = simulate_history(20, 2).scores.assign(rating=np.linspace(900, 1500, 20))
    profile = fake_population(scores).profile("new").observe_many({"skill_0": 0.5, "skill_1": 0.5})
    figure = plots.plot_profile(profile, reference={"rating": 1100.0})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "observed: mean, 50 % and 90 % interval",
        "measured score",
        "inferred: mean, 50 % and 90 % interval",
        "reference score",
    ]


LIKE = [
    f"org/Llama-3-8B-Instruct_breadcrumbs{part}-density-0.1-gamma-0.01" for part in ("", "_ties")
]


def test_names_that_are_cut_still_differ() -> None:
    names = ["bench_0", *LIKE, "a" * 40 + "1" + "b" * 40, "a" * 40 + "2" + "b" * 40]
    population = population_with(np.eye(5), names)
    profiles = {name: population.profile(name) for name in LIKE}
    for drawn in (
        plots.plot_match(profiles, {"bench_0": 1.0}),
        plots.plot_profile(population.profile()),
        plots.plot_agents(profiles),
        plots.plot_correlation(population),
        plots.plot_shared_variance(population),
        plots.plot_skill_distributions(population),
    ):
        labels = row_names(drawn)
        assert len(set(labels)) == len(labels)
    texts = [text.get_text() for text in plots.plot_agents(profiles).legends[0].get_texts()]
    assert len(set(texts)) == 2
    placed = [text.get_text() for text in plots.plot_skill_map(population).axes[0].texts]
    assert len(set(placed)) == 5
    drawn = plots.plot_trace(population, quantities=[f"mean of {name!r}" for name in names])
    titles = [ax.get_title() for ax in figure_of(drawn).axes if ax.axison]
    assert len(set(titles)) == 5


LONG_SKILLS = ["a very long name of a skill about reading", "another long name of a skill", LONG]
LONG_AGENT = "an agent whose name is long and goes on and on for quite some time, in fact"


@pytest.mark.parametrize(
    "draw",
    [
        lambda population, _: plots.plot_correlation(population),
        lambda _, profiles: plots.plot_profile(profiles[LONG_AGENT]),
        lambda _, profiles: plots.plot_agents(profiles, n_skills=2),
        lambda _, profiles: plots.plot_match(profiles, dict.fromkeys(LONG_SKILLS, 1.0)),
        lambda _, profiles: plots.plot_match(profiles, Task({LONG: 1.0}, "Weigh MORE. " * 12)),
    ],
    ids=["correlation", "profile", "agents", "match", "described match"],
)
def test_long_names_of_few_skills_and_agents_are_inside_the_figure(draw) -> None:
    population = population_with(np.eye(3), LONG_SKILLS)
    scores = pd.DataFrame([[0.7, np.nan, np.nan], [np.nan, 0.6, np.nan]], columns=LONG_SKILLS)
    profiles = population.profiles(scores.set_axis([LONG_AGENT, "b"]))
    check_readable(draw(population, profiles))


def test_names_in_different_panels_differ_too() -> None:
    scores = simulate_history(20, 2).scores.set_axis(LIKE, axis="columns")
    scores[LIKE[1]] = np.linspace(900, 1500, 20)
    profile = fake_population(scores).profile()
    for drawn in (plots.plot_profile(profile), plots.plot_agents(profile)):
        assert row_names(drawn, 0) != row_names(drawn, 1)


def test_the_skills_on_which_agents_differ_come_first() -> None:
    population = fake_population()
    profiles = {
        "low": population.profile("low").observe("skill_3", 0.05),
        "high": population.profile("high").observe("skill_3", 0.95),
    }
    drawn = plots.plot_agents(profiles, n_skills=2)
    assert row_names(drawn)[0] == "skill_3"
    assert drawn.axes[0].get_title(loc="left") == "The 2 of 6 skills where the agents differ most"
    assert row_names(plots.plot_agents(profiles, skills=["skill_1", "skill_0"])) == [
        "skill_1",
        "skill_0",
    ]


def test_agents_are_ordered_by_their_fit_and_say_how_likely_they_clear_the_bar(few) -> None:
    drawn = plots.plot_match(few.profiles, few.task, 0.5)
    results = {name: few.profiles[name].match_score(few.task, 0.5) for name in AGENTS}
    order = sorted(AGENTS, key=lambda name: -results[name].score)
    assert row_names(drawn) == order
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts[:-1] == [f"P = {results[name].p_above_threshold:.0%}" for name in order]
    assert texts[-1] == "threshold 0.5"
    assert not plots.plot_match(few.profiles["gpt-4o"], few.task).axes[0].texts


def test_the_title_says_what_the_task_is(few) -> None:
    profile = few.profiles["gpt-4o"]
    told = Task({"bench_0": 1.0}, "Prove a lemma")
    assert plots.plot_match(profile, told).axes[0].get_title(loc="left") == "Prove a lemma"
    untold = plots.plot_match(profile, dict.fromkeys(few.skills, 0.5)).axes[0].get_title(loc="left")
    assert untold.startswith("Task fit: bench_0 (0.5), bench_1 (0.5)")
    assert untold.endswith("…")


def test_the_densities_of_a_normalised_task_are_in_its_units() -> None:
    scores = simulate_history(20, 2).scores.assign(rating=np.linspace(900, 1500, 20))
    history = History.from_dataframe(scores, normalize=True)
    profile = fake_population(history).profile("new")
    drawn = plots.plot_match(profile, {"rating": 1.0, "skill_0": 1.0})
    grid = drawn.axes[0].lines[0].get_xdata()
    assert grid.max() < 3
    assert grid.min() > -3


def test_a_certain_score_has_a_density(few) -> None:
    grid, density = importlib.import_module("skillinfer_bayes.checks.plots.tasks")._density(
        np.full(10, 0.5)
    )
    assert (grid == 0.5).all()
    assert (density > 0).all()


def test_the_path_of_uncertainty_is_that_of_the_growing_profile(few) -> None:
    scores = dict(few.known.iloc[1, :3])
    start = few.population.profile("new")
    path = uncertainty_path(start, scores)
    assert not start.observed
    by_hand = few.population.profile("new")
    for step, (skill, score) in enumerate({"": None, **scores}.items()):
        if skill:
            by_hand.observe(skill, score)
        part = path[path["step"] == step].set_index("skill")
        assert (part["added"] == skill).all()
        np.testing.assert_allclose(part["std"], by_hand.std())
        np.testing.assert_allclose(part["mean"], by_hand.mean())
        assert set(part.index[part["observed"]]) == set(by_hand.observed)
    ax = plots.plot_uncertainty(path).axes[0]
    stds = path.pivot(index="step", columns="skill", values="std")
    line = next(line for line in ax.lines if line.get_label() == "mean of all skills")
    np.testing.assert_allclose(line.get_ydata(), (stds / stds.iloc[0]).mean(axis=1))


@pytest.mark.parametrize("as_given", [np.array, pd.Index, pd.Series, tuple])
def test_names_may_come_in_any_one_dimensional_form(few, as_given) -> None:
    names = ["bench_1", "bench_0"]
    assert row_names(plots.plot_agents(few.profiles, skills=as_given(names))) == names
    assert set(
        row_names(plots.plot_profile(few.profiles["gpt-4o"], skills=as_given(names)))
    ) == set(names)
    drawn = plots.plot_methods(held_out_cells(["a", "b"]), metrics=as_given(["crps", "bias"]))
    assert [ax.get_xlabel() for ax in drawn.axes] == ["CRPS", "bias"]


@pytest.mark.parametrize("names", [3, [], np.array([]), np.array("bench_0"), np.eye(2)])
def test_what_is_no_list_of_names(few, names) -> None:
    with pytest.raises(InputError, match="`skills` must be a list of names"):
        plots.plot_agents(few.profiles, skills=names)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda made: plots.plot_profile(made.profiles), InputError, "`profile` must be a Profile"),
        (
            lambda made: plots.plot_profile(made.profiles["gpt-4o"], reference={"bench_00": 1}),
            UnknownSkillError,
            "did you mean 'bench_0'",
        ),
        (
            lambda made: plots.plot_profile(made.profiles["gpt-4o"], reference={"bench_0": "x"}),
            InputError,
            "`reference` of 'bench_0' must be a number, got 'x'",
        ),
        (
            lambda made: plots.plot_profile(made.profiles["gpt-4o"], reference=[0.5]),
            InputError,
            "`reference` must be a mapping from skill to score, got list",
        ),
        (
            lambda made: plots.plot_profile(made.profiles["gpt-4o"], skills=["bench"]),
            InputError,
            "`skills` must hold known names",
        ),
        (
            lambda made: plots.plot_profile(made.profiles["gpt-4o"], skills="bench_0"),
            InputError,
            "list of names",
        ),
        (
            lambda made: plots.plot_agents(made.profiles, skills=["bench_0", "bench_0"]),
            InputError,
            "each name once, got 'bench_0' more than once",
        ),
        (lambda made: plots.plot_agents({}), InputError, "at least one entry"),
        (lambda made: plots.plot_agents([1]), InputError, "got list"),
        (
            lambda made: plots.plot_agents(made.population.completed()),
            InputError,
            "at most 8 agents can be told apart",
        ),
        (
            lambda made: plots.plot_agents(
                {"a": made.population.profile(), "b": fake_population().profile()}
            ),
            InputError,
            "one population",
        ),
        (lambda made: plots.plot_match(made.profiles, {}), TaskError, "at least one skill"),
        (lambda made: plots.plot_match(made.profiles, made.task, 7), ThresholdError, "between"),
        (
            lambda made: plots.plot_match(
                dict.fromkeys(map(str, range(41)), made.profiles["gpt-4o"]), made.task
            ),
            InputError,
            "at most 40 agents",
        ),
        (lambda made: plots.plot_uncertainty(made.known), InputError, "column 'step'"),
        (
            lambda made: uncertainty_path(made.population.profile(), {}),
            InputError,
            "at least one skill",
        ),
    ],
)
def test_profiles_that_cannot_be_drawn(call, error, message, few) -> None:
    with pytest.raises(error, match=message):
        call(few)


# --- names that start with "_", which matplotlib leaves out of a legend by itself

HIDDEN = ["_alpha", "_beta", "plain"]


def hidden_methods(table: pd.DataFrame) -> pd.DataFrame:
    methods = table["method"].unique()
    return table.assign(method=table["method"].map(dict(zip(methods, HIDDEN, strict=True))))


@pytest.mark.parametrize(
    "call",
    [
        lambda cells: plots.plot_agents({name: fake_population().profile(name) for name in HIDDEN}),
        lambda cells: plots.plot_skill_map(
            named_skills([f"{name}:{name}{n}" for name in HIDDEN for n in "xy"])
        ),
        lambda cells: plots.plot_methods(cells),
        lambda cells: plots.plot_calibration(calibration(cells)),
        lambda cells: plots.plot_calibration(calibration(cells, ("method", "skill"))),
        lambda cells: plots.plot_learning_curve(hidden_methods(curve_of(("a", "b", "c")))),
    ],
)
def test_the_legend_has_names_that_start_with_an_underscore(call) -> None:
    drawn = call(hidden_methods(held_out_cells(["a", "b"], sizes=(15, 30))))
    legend = drawn.legends[0]
    assert sorted(text.get_text() for text in legend.get_texts()) == HIDDEN
    assert len(legend.legend_handles) == 3
    check_readable(drawn)


# --- validation


def test_methods_are_ordered_by_error() -> None:
    drawn = plots.plot_methods(held_out_cells(["a", "b"], agents=30))
    assert row_names(drawn)[-1] == "mean"
    assert [ax.get_xlabel() for ax in drawn.axes] == [
        "mean absolute error",
        "CRPS",
        "coverage of 90 % intervals",
        "width of 90 % intervals",
    ]
    widths = [float(line.get_xdata()[0]) for line in drawn.axes[3].lines if len(line.get_xdata())]
    assert max(widths) == pytest.approx(2 * 1.64 * 0.2)


def ends_of(drawn: Any, panel: int) -> np.ndarray:
    """Ends of all error bars of a panel, along the axis of the figure's values."""
    segments = [part.get_segments() for part in figure_of(drawn).axes[panel].collections]
    return np.concatenate([np.asarray(one).reshape(-1, 2) for one in segments if len(one)])


def test_intervals_end_where_shares_do() -> None:
    cells = held_out_cells(["a", "b"], sizes=(15, 30), repeats=2, agents=4)
    wide = cells.assign(upper_90=np.where(cells["repeat"] == 0, 9.0, cells["lower_90"]))
    by_size = plots.plot_methods(wide, metrics=["coverage_90"])
    one_size = plots.plot_methods(wide[wide["n_history"] == 15], metrics=["coverage_90"])
    # nearly all scores are within in one repeat and none in the other
    for values in (ends_of(by_size, 0)[:, 1], ends_of(one_size, 0)[:, 0]):
        assert (values.min(), values.max()) == (0.0, 1.0)
    by_skill = plots.plot_calibration(calibration(cells, ("method", "skill")))
    values = ends_of(by_skill, 0)[:, 0]
    assert values.min() >= 0.0
    assert values.max() <= 1.0


def test_a_share_of_all_is_not_drawn_as_certain() -> None:
    cells = held_out_cells(["a", "b"], repeats=1, agents=9)
    sure = calibration(cells.assign(p_below=0.5, p_not_above=0.5), ("method", "skill"))
    ends = ends_of(plots.plot_calibration(sure), 0)[:, 0].reshape(-1, 2)
    np.testing.assert_allclose(ends[:, 1], 1.0)
    assert (ends[:, 0] < 0.75).all()


def test_real_held_out_tables_have_the_columns_that_are_drawn() -> None:
    pytest.importorskip("skillinfer")
    from skillinfer_bayes.checks.learning_curve import learning_curve
    from skillinfer_bayes.checks.validation import held_out

    scores = simulate_history(24, 5).scores
    options = {"methods": ["peer", "mean"], "repeats": 2, "n_test": 4, "progressbar": False}
    cells = held_out(scores, **options)
    for drawn in (
        plots.plot_methods(cells),
        plots.plot_predictions(cells),
        plots.plot_calibration(calibration(cells)),
        plots.plot_learning_curve(learning_curve(scores, **options)),
    ):
        check_readable(drawn)


def test_few_predictions_show_their_intervals() -> None:
    few_scores = held_out_cells(["a"], repeats=1)
    drawn = plots.plot_predictions(few_scores[few_scores["method"] == "ours"])
    bars = drawn.axes[0].collections[0].get_segments()
    assert len(bars) == 8
    many_scores = plots.plot_predictions(held_out_cells(["a", "b", "c"], repeats=10))
    assert all(len(ax.collections) == 1 for ax in many_scores.axes)


def test_calibration_draws_its_own_curves() -> None:
    found = calibration(held_out_cells(["a", "b"]))
    drawn = plots.plot_calibration(found)
    line = next(line for line in drawn.axes[0].lines if line.get_label() == "peer")
    part = found.coverage[found.coverage["method"] == "peer"]
    np.testing.assert_allclose(line.get_ydata(), part["coverage"])
    single = calibration(held_out_cells(["a", "b"]), ("skill",))
    assert len(plots.plot_calibration(single).legends[0].get_texts()) == 2


def test_the_worst_covered_skill_comes_first() -> None:
    cells = held_out_cells(["good", "bad"], agents=40)
    cells.loc[cells["skill"] == "bad", ["p_below", "p_not_above"]] = 0.999
    drawn = plots.plot_calibration(calibration(cells, ("method", "skill")), ci_prob=0.8)
    assert row_names(drawn) == ["bad", "good"]


def test_spoilt_ranks_leave_the_band() -> None:
    result = ranks_of(["a", "b", "c"])
    drawn = plots.plot_sbc(result, columns=2)
    outside = int((~result.tests["inside"].iloc[:3]).sum())
    assert outside >= 1
    assert drawn.axes[0].get_title(loc="left") == f"mean\n{outside} of 3 outside"
    colours = [line.get_color() for line in drawn.axes[0].lines]
    assert colours == [style.INFERRED] * (3 - outside) + [style.OBSERVED] * outside
    assert not drawn.axes[3].axison


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda cells: plots.plot_methods([1]), InputError, "must be a DataFrame, got list"),
        (lambda cells: plots.plot_methods(cells.iloc[:0]), InputError, "at least one row"),
        (
            lambda cells: plots.plot_methods(cells.drop(columns="repeat")),
            InputError,
            "must have a column 'repeat'",
        ),
        (
            lambda cells: plots.plot_methods(pd.concat([cells, cells.assign(hidden=0.3)])),
            InputError,
            r"one share of hidden cells, got \[0.0, 0.3\]",
        ),
        (lambda cells: plots.plot_methods(cells, metrics=["mea"]), ConfigError, "mean 'mae'"),
        (lambda cells: plots.plot_methods(cells, metrics="mae"), ConfigError, "list of names"),
        (
            lambda cells: plots.plot_methods(cells, metrics=["mae", "mae"]),
            ConfigError,
            "`metrics` must hold each name once, got 'mae' more than once",
        ),
        (
            lambda cells: plots.plot_predictions(cells.assign(method=range(len(cells)))),
            InputError,
            "at most 8 methods",
        ),
        (lambda cells: plots.plot_calibration(cells), InputError, "must be a Calibration"),
        (
            lambda cells: plots.plot_calibration(calibration(cells, ("method", "skill", "agent"))),
            InputError,
            "one or two columns",
        ),
        (
            lambda cells: plots.plot_calibration(
                calibration(cells, ("method", "skill")), ci_prob=0.93
            ),
            ConfigError,
            "multiple of 0.05",
        ),
        (
            lambda cells: plots.plot_learning_curve(curve_of().drop(columns="mae_se")),
            InputError,
            "must have a column 'mae_se'",
        ),
        (
            lambda cells: plots.plot_learning_curve(pd.concat([curve_of(), curve_of()])),
            InputError,
            "one row per method and number",
        ),
        (lambda cells: plots.plot_sbc(cells), InputError, "must be a SBCResult"),
        (lambda cells: plots.plot_sbc(ranks_of(["a"]), ci_prob=1.0), ConfigError, "`ci_prob`"),
        (lambda cells: plots.plot_sbc(ranks_of(["a"]), columns=0), ConfigError, "`columns`"),
    ],
)
def test_validations_that_cannot_be_drawn(call, error, message) -> None:
    with pytest.raises(error, match=message):
        call(held_out_cells(["a", "b"]))


# --- sampling


def spoilt_population() -> Population:
    """Chains that disagree on the mean of `skill_2` alone."""
    rng = np.random.default_rng(2)
    history = History.from_dataframe(simulate_history(12, 4).scores)
    means = rng.standard_normal((2, 100, 4))
    means[0, :, 2] += 3.0
    rows = rng.standard_normal((2, 100, 30, 4))
    return population_of_draws(history, means, np.swapaxes(rows, -1, -2) @ rows / 30)


def test_the_worst_quantity_is_found_and_drawn_first() -> None:
    population = spoilt_population()
    assert plots.worst_quantities(population, 3)[0] == "mean of 'skill_2'"
    drawn = plots.plot_trace(population, n=2)
    assert drawn.viz["figure"].item().axes[0].get_title() == "mean of 'skill_2'"


def test_what_never_moved_is_worst() -> None:
    rng = np.random.default_rng(2)
    history = History.from_dataframe(simulate_history(12, 4).scores)
    means = rng.standard_normal((2, 100, 4))
    means[:, :, 1] = 0.3
    rows = rng.standard_normal((2, 100, 30, 4))
    population = population_of_draws(history, means, np.swapaxes(rows, -1, -2) @ rows / 30)
    assert plots.worst_quantities(population, 1) == ["mean of 'skill_1'"]


def test_names_with_apostrophes_are_shortened_and_shown() -> None:
    names = ["Humanity's Last Exam, text only, all subjects", "Bob's $x_1$ test", "plain", "more"]
    scores = simulate_history(12, 4).scores.set_axis(names, axis=1)
    population = fake_population(scores, draws=40)
    shown = [f"mean of {names[1]!r}", f"correlation of {names[1]!r} and {names[0]!r}"]
    drawn = plots.plot_trace(population, quantities=shown)
    titles = [axes.get_title().replace("\n", " ") for axes in drawn.viz["figure"].item().axes]
    assert r"mean of 'Bob's \$x_1\$ test'" in titles
    [pair] = [title for title in titles if title.startswith("correlation")]
    assert pair.startswith(r"correlation of 'Bob's \$x_1\$ test' and 'Humanity's")


def test_one_chain_is_judged_by_its_effective_sample_size() -> None:
    population = fake_population(chains=1)
    assert len(plots.worst_quantities(population, 5)) == 5
    with pytest.raises(InputError, match="at least two chains"):
        plots.plot_rank(population)


def test_chosen_quantities_are_drawn_in_order(few) -> None:
    chosen = ["log sd of 'bench_1'", "mean of 'bench_0'"]
    drawn = plots.plot_trace(few.population, quantities=chosen)
    assert [ax.get_title() for ax in figure_of(drawn).axes] == chosen


def test_the_prior_may_come_as_pymc_gives_it(few) -> None:
    names = [f"mean of {skill!r}" for skill in few.skills[:2]]
    loose = few.prior.drop_vars(["skill", "skill_bis"])  # the model numbers its skills
    tree = xr.DataTree.from_dict({"prior": loose})
    assert pixels(plots.plot_prior_posterior(few.population, tree, quantities=names)).size


@pytest.mark.parametrize("left_out", [[], ["skill_bis"]])
def test_the_priors_skills_may_come_in_any_order(few, left_out) -> None:
    prior = few.prior.assign(mu=few.prior["mu"] + np.arange(6.0))
    turned = {"skill": slice(None, None, -1), "skill_bis": slice(None, None, -1)}
    found = [
        plots.plot_prior_posterior(few.population, draws, n=12).data
        for draws in (prior, prior.isel(turned).drop_vars(left_out))
    ]
    xr.testing.assert_identical(*found)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda made: plots.plot_trace(made.profiles), InputError, "must be a Population"),
        (lambda made: plots.plot_trace(made.population, n=0), ConfigError, "`n` must be"),
        (
            lambda made: plots.plot_rank(made.population, quantities=["mean of 'bench_9'"]),
            InputError,
            "did you mean",
        ),
        (lambda made: plots.plot_pairs(made.population, n=1), ConfigError, "at least 2"),
        (
            lambda made: plots.plot_pairs(made.population, quantities=["mean of 'bench_0'"]),
            InputError,
            "at least two",
        ),
        (lambda made: plots.plot_energy(3), InputError, "must be a Population"),
        (
            lambda made: plots.plot_prior_posterior(made.population, xr.DataTree()),
            InputError,
            "group 'prior'",
        ),
        (
            lambda made: plots.plot_prior_posterior(made.population, xr.Dataset()),
            InputError,
            "draws of 'mu' for 6 skills",
        ),
        (
            lambda made: plots.plot_prior_posterior(made.population, [1]),
            InputError,
            "must be a Dataset",
        ),
        (
            lambda made: plots.plot_prior_posterior(
                made.population, made.prior.assign_coords(skill=list("uvwxyz"))
            ),
            InputError,
            "`prior` must hold known names, got 'u'",
        ),
        (
            lambda made: plots.plot_prior_posterior(
                made.population, made.prior.assign_coords(skill_bis=["bench_0"] * 6)
            ),
            InputError,
            "`prior` must hold each name once, got 'bench_0'",
        ),
        (
            lambda made: plots.plot_pairs(made.population, quantities=["mean of 'bench_0'"] * 2),
            InputError,
            "`quantities` must hold each name once",
        ),
        (lambda made: plots.worst_quantities(made.population, 0), ConfigError, "`n` must be"),
    ],
)
def test_draws_that_cannot_be_drawn(call, error, message, few) -> None:
    with pytest.raises(error, match=message):
        call(few)


def test_a_sampler_without_energy(few) -> None:
    tree = few.population.data
    stats = tree["sample_stats"].to_dataset().drop_vars("energy")
    tree["sample_stats"] = xr.DataTree(stats)
    population = Population(few.population.history, type(few.population.posterior)(tree))
    with pytest.raises(InputError, match="records its energy"):
        plots.plot_energy(population)


def test_without_arviz_plots_only_its_figures_are_missing(few, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz_plots", None)
    with pytest.raises(MissingDependencyError, match=r"skillinfer_bayes\[plots\]"):
        plots.plot_trace(few.population)
    assert pixels(plots.plot_spectrum(few.population)).size


def test_without_matplotlib_the_import_says_what_to_install(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith("skillinfer_bayes.checks.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"skillinfer_bayes\[plots\]"):
        importlib.import_module("skillinfer_bayes.checks.plots")


@pytest.mark.parametrize(
    ("given", "shown"),
    [("short", "short"), ("x" * 60, "x" * 16 + "…" + "x" * 16), ("a\n b", "a b"), ("$5", r"\$5")],
)
def test_labels_are_one_short_line_without_maths(given, shown) -> None:
    assert style.shorten(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["short", "short"], ["short", "short"]),
        (["x" * 60, "y"], ["x" * 16 + "…" + "x" * 16, "y"]),
        (
            ["a" * 20 + "1" + "b" * 30, "a" * 20 + "2" + "b" * 30],
            ["a" * 20 + "1…" + "b" * 11, "a" * 20 + "2…" + "b" * 11],
        ),
        (
            ["a" * 40 + "1" + "b" * 40, "a" * 40 + "2" + "b" * 40],
            ["a" * 14 + "…" + "b" * 14 + " #1", "a" * 14 + "…" + "b" * 14 + " #2"],
        ),
        (["$" * 40], [r"\$" * 16 + "…" + r"\$" * 16]),
    ],
)
def test_labels_of_a_figure_differ_where_its_names_do(given, shown) -> None:
    assert style.short_labels(given) == shown
