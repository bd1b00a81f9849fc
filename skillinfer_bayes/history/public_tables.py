"""Reading public leaderboards' own files into tables of agents by skills.

Every reader takes paths by file name and raises KeyError or ValueError where a file does not hold
what it should.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

# Items behind each score of the Open LLM Leaderboard v2.
OPEN_LLM_ITEMS = {
    "IFEval": 541,
    "BBH": 5761,
    "MATH_Lvl_5": 1324,
    "GPQA": 1192,
    "MUSR": 756,
    "MMLU_PRO": 12032,
}
OPEN_LLM_METADATA = {
    "#Params (B)": "params_b",
    "Type": "type",
    "Architecture": "architecture",
    "Precision": "precision",
    "Submission Date": "submission_date",
    "Upload To Hub Date": "upload_date",
    "Chat Template": "chat_template",
    "Hub License": "hub_licence",
    "Hub ❤️": "hub_likes",
}

# Skill -> (file, column, items) of the Berkeley Function Calling Leaderboard v4.
BFCL_FILES = ("non_live", "live", "multi_turn", "agentic", "overall")
BFCL_SKILLS = {
    "nonlive_simple_python": ("non_live", "Python Simple AST", 400),
    "nonlive_simple_java": ("non_live", "Java Simple AST", 100),
    "nonlive_simple_javascript": ("non_live", "JavaScript Simple AST", 50),
    "nonlive_multiple": ("non_live", "Multiple AST", 200),
    "nonlive_parallel": ("non_live", "Parallel AST", 200),
    "nonlive_parallel_multiple": ("non_live", "Parallel Multiple AST", 200),
    "nonlive_irrelevance": ("non_live", "Irrelevance Detection", 240),
    "live_simple": ("live", "Python Simple AST", 258),
    "live_multiple": ("live", "Python Multiple AST", 1053),
    "live_parallel": ("live", "Python Parallel AST", 16),
    "live_parallel_multiple": ("live", "Python Parallel Multiple AST", 24),
    "live_irrelevance": ("live", "Irrelevance Detection", 884),
    "live_relevance": ("live", "Relevance Detection", 16),
    "multiturn_base": ("multi_turn", "Base", 200),
    "multiturn_miss_func": ("multi_turn", "Miss Func", 200),
    "multiturn_miss_param": ("multi_turn", "Miss Param", 200),
    "multiturn_long_context": ("multi_turn", "Long Context", 200),
    "web_search_base": ("agentic", "Web Search Base", 100),
    "web_search_no_snippet": ("agentic", "Web Search No Snippet", 100),
    "memory_kv": ("agentic", "Memory KV", 155),
    "memory_vector": ("agentic", "Memory Vector", 155),
    "memory_recursive_summarization": ("agentic", "Memory Recursive Summarization", 155),
}
BFCL_METADATA = {
    "Total Cost ($)": "cost_usd_total_run",
    "Latency Mean (s)": "latency_mean_s",
    "Latency Standard Deviation (s)": "latency_sd_s",
    "Latency 95th Percentile (s)": "latency_p95_s",
    "Organization": "organisation",
    "License": "licence",
}
ROUNDED_TO = 1e-4

# Benchmarks of BenchPress that are ratings or amounts of money; all others are percentages.
BENCHPRESS_UNBOUNDED = (
    "chatbot_arena_elo",
    "codeforces_rating",
    "gdpval_aa_elo",
    "swelancer_freelance_dollars",
    "vending_bench_2",
)

ONET_KINDS = {"Skills.txt": "Skill", "Knowledge.txt": "Knowledge", "Abilities.txt": "Ability"}
ONET_TITLES = "Occupation Data.txt"
ONET_IMPORTANCE = "IM"


@dataclass(frozen=True, eq=False)
class Tables:
    """What a reader found.

    Parameters
    ----------
    scores : DataFrame of shape (N, K)
    n_items : DataFrame of shape (N, K), optional
    metadata : DataFrame of N rows, optional
    skills : DataFrame of K rows, optional
    scale : mapping from skill to scale
        For skills whose scale cannot be read off the scores.
    """

    scores: pd.DataFrame
    n_items: pd.DataFrame | None = None
    metadata: pd.DataFrame | None = None
    skills: pd.DataFrame | None = None
    scale: Mapping[str, str] | None = None


def read_open_llm(paths: Mapping[str, Path]) -> Tables:
    """Read the Open LLM Leaderboard v2 as accuracies on 0-1.

    The leaderboard subtracts the score of guessing: a shown score of 0 is an accuracy of 0.25 on
    GPQA and of 0.1 on MMLU-PRO. BBH and MUSR are made of parts with different chances, so their
    accuracies are taken as published, with two decimals. Of a model that was evaluated more than
    once, say at two precisions, the first row is kept.
    """
    raw = pd.read_csv(next(iter(paths.values())), dtype={"Model": str, "Type": str})
    raw = raw.drop_duplicates("Model").set_index("Model").rename_axis("model")
    scores = pd.DataFrame(
        {
            "IFEval": raw["IFEval"] / 100,
            "BBH": raw["BBH Raw"],
            "MATH_Lvl_5": raw["MATH Lvl 5"] / 100,
            "GPQA": 0.25 + 0.75 * raw["GPQA"] / 100,
            "MUSR": raw["MUSR Raw"],
            "MMLU_PRO": 0.1 + 0.9 * raw["MMLU-PRO"] / 100,
        }
    ).round(6)
    _check_range(scores, 0.0, 1.0)
    metadata = raw[list(OPEN_LLM_METADATA)].rename(columns=OPEN_LLM_METADATA)
    metadata["type"] = metadata["type"].str.replace("^[^ ]* ?", "", regex=True)  # a symbol first
    organisation = [str(name).partition("/")[0] for name in metadata.index]
    metadata.insert(0, "organisation", organisation)
    return Tables(scores, _item_table(scores, OPEN_LLM_ITEMS), metadata)


def read_bfcl(paths: Mapping[str, Path]) -> Tables:
    """Read the Berkeley Function Calling Leaderboard v4 as accuracies on 0-1.

    Item counts are given where every score of the skill is a whole number of that many items.
    """
    parts = {
        name: pd.read_csv(paths[f"data_{name}.csv"], na_values=["N/A"]).set_index("Model")
        for name in BFCL_FILES
    }
    overall = parts["overall"].rename_axis("model")
    columns = {
        skill: _fraction(parts[part][column]) for skill, (part, column, _) in BFCL_SKILLS.items()
    }
    scores = pd.DataFrame(columns).reindex(overall.index).round(4)
    if scores.isna().all(axis=None):
        raise ValueError("no model of the overall table is in the others")
    _check_range(scores, 0.0, 1.0)
    metadata = overall[list(BFCL_METADATA)].rename(columns=BFCL_METADATA)
    names = metadata.index.to_series()
    bracket = names.str.extract(r"\((FC|Prompt)\b[^)]*\)\s*$")[0]
    metadata["mode"] = bracket.fillna("other")
    metadata["base_model"] = names.str.replace(r"\s*\((FC|Prompt)\b[^)]*\)\s*$", "", regex=True)
    counts = {skill: items for skill, (_, _, items) in BFCL_SKILLS.items()}
    n_items = _item_table(scores, counts)
    hits = scores * n_items
    whole = ((hits - hits.round()).abs() <= ROUNDED_TO * n_items) | scores.isna()
    return Tables(scores, n_items.loc[:, whole.all()].reindex(columns=scores.columns), metadata)


def _fraction(percentages: pd.Series) -> pd.Series:
    return pd.to_numeric(percentages.astype(str).str.rstrip("%")) / 100


def read_benchpress(paths: Mapping[str, Path]) -> Tables:
    """Read the BenchPress matrix in its own units: percentages, ratings and dollars."""
    wide = pd.read_csv(paths["score_matrix_paper_wide.csv"], index_col=0)
    scores = wide.rename_axis("model").astype(float)
    models = pd.read_csv(paths["models.csv"], index_col="model_id").reindex(scores.index)
    metadata = models.rename(columns={"model_name": "name", "is_reasoning": "reasoning"})
    metadata = metadata.drop(columns="canonical_setting_json", errors="ignore")
    skills = pd.read_csv(paths["benchmarks.csv"], index_col="benchmark_id").reindex(scores.columns)
    skills = skills.rename(columns={"benchmark_name": "name"}).rename_axis("skill")
    skills = skills.drop(columns="canonical_setting_json", errors="ignore")
    percent = [name for name in scores if name not in BENCHPRESS_UNBOUNDED]
    _check_range(scores[percent], 0.0, 100.0)
    scale = {name: "percent" if name in percent else "unbounded" for name in scores}
    return Tables(scores, metadata=metadata, skills=skills, scale=scale)


def read_onet(paths: Mapping[str, Path]) -> Tables:
    """Read O*NET's text files as importance ratings, each min-max scaled over the occupations.

    Occupations that lack a rating are left out.
    """
    parts = []
    for name, kind in ONET_KINDS.items():
        raw = pd.read_csv(paths[name], sep="\t")
        raw = raw[raw["Scale ID"] == ONET_IMPORTANCE]
        table = raw.pivot(index="O*NET-SOC Code", columns="Element Name", values="Data Value")
        parts.append(table.add_prefix(f"{kind}:"))
    ratings = pd.concat(parts, axis="columns").dropna().astype(float)
    if len(ratings) < 2:
        raise ValueError("fewer than two occupations have all ratings")
    lowest, highest = ratings.min(), ratings.max()
    scores = (ratings - lowest) / (highest - lowest)
    titles = pd.read_csv(paths[ONET_TITLES], sep="\t").set_index("O*NET-SOC Code")["Title"]
    metadata = pd.DataFrame({"soc_code": scores.index}, index=titles.loc[scores.index].to_numpy())
    scores = scores.set_axis(metadata.index).rename_axis(index="model", columns=None)
    return Tables(scores, metadata=metadata.rename_axis("model"))


def read_onet_scaled(path: Path) -> Tables:
    """Read a table of occupations by ratings that is scaled already."""
    scores = pd.read_csv(path, index_col=0).rename_axis("model").astype(float)
    _check_range(scores, 0.0, 1.0)
    return Tables(scores)


def _item_table(scores: pd.DataFrame, items: Mapping[str, int]) -> pd.DataFrame:
    counts = np.broadcast_to([float(items[skill]) for skill in scores], scores.shape)
    return pd.DataFrame(counts, scores.index, scores.columns).where(scores.notna())


def _check_range(scores: pd.DataFrame, lowest: float, highest: float) -> None:
    outside = (scores < lowest) | (scores > highest)
    if outside.any(axis=None):
        row, column = np.argwhere(outside.to_numpy())[0]
        raise ValueError(
            f"{scores.iat[row, column]:g} of {scores.index[row]!r} on {scores.columns[column]!r} "
            f"is not between {lowest:g} and {highest:g}"
        )
