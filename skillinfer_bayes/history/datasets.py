"""Public tables of agents by skills, with their licences: downloaded once, then kept.

None of the data is part of this package. A file is fetched at its first use through pooch, kept in
the user's cache folder and held to its SHA-256 from then on; no later use needs a network.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from skillinfer_bayes.exceptions import InputError, closest_match_hint
from skillinfer_bayes.history.downloads import Options, Source, load_files, sha256_of
from skillinfer_bayes.history.prices import prices
from skillinfer_bayes.history.public_tables import (
    BFCL_FILES,
    ONET_KINDS,
    ONET_TITLES,
    Tables,
    read_benchpress,
    read_bfcl,
    read_onet,
    read_onet_scaled,
    read_open_llm,
)
from skillinfer_bayes.history.table import History

__all__ = ["Dataset", "benchpress", "bfcl", "onet", "open_llm_leaderboard", "prices"]

# The originals could not be reached when this was written, so none of their checksums is verified
# and each is recorded at first download. Only what was computed from the file itself goes here.
_NOT_VERIFIED: Mapping[str, str] = {}

_OPEN_LLM = Source(
    "open_llm_leaderboard",
    "https://raw.githubusercontent.com/felipemaiapolo/sloth/"
    "49d510cb2ed8ba831229f9d3344df9c0075af714/data",
    ("open-llm-leaderboard_new.csv",),
    _NOT_VERIFIED,
)
_BFCL = Source(
    "bfcl",
    "https://raw.githubusercontent.com/ShishirPatil/gorilla/"
    "faa96c377d80f37b04f0e89a42c6efa65e7fdee0",
    tuple(f"data_{part}.csv" for part in BFCL_FILES),
    _NOT_VERIFIED,
)
_BENCHPRESS = Source(
    "benchpress",
    "https://huggingface.co/datasets/microsoft/benchpress-score-matrix/resolve/main/data",
    ("score_matrix_paper_wide.csv", "models.csv", "benchmarks.csv"),
    _NOT_VERIFIED,
)
_ONET = Source(
    "onet",
    "https://www.onetcenter.org/dl_files/database/db_30_2_text",
    (*ONET_KINDS, ONET_TITLES),
    _NOT_VERIFIED,
)
# computed from the file in the wheel of skillinfer 0.1.1
_ONET_IN_SKILLINFER = "32247fd3565031021e5ff12567c73c68dcced358e9d2016611da57fb9f28f0b6"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A public table with everything that is needed to use and to cite it.

    Parameters
    ----------
    name : str
    scores : DataFrame of shape (N, K)
        Indexed by agent, one column per skill, NaN where there is no score.
    licence : str
        SPDX identifier, or the licence's name.
    citation : str
        What to cite.
    source : str
        Web address that the files were taken from, or the package that ships them.
    n_items : DataFrame of shape (N, K), optional
        Items behind each score.
    metadata : DataFrame of N rows, optional
        What else is known of the agents.
    skills : DataFrame of K rows, optional
        What is known of the skills.
    scale : mapping from skill to scale
        As `History.from_dataframe` takes it.
    sha256 : mapping from file to str
        Checksums of the files that were read.
    """

    name: str
    scores: pd.DataFrame
    licence: str
    citation: str
    source: str
    n_items: pd.DataFrame | None = None
    metadata: pd.DataFrame | None = None
    skills: pd.DataFrame | None = None
    scale: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)

    def to_history(self, *, n_items: bool = True, groups: str | None = None) -> History:
        """Make a history of the table.

        Parameters
        ----------
        n_items : bool, default True
            Give every score the sampling error of its number of items, where that is known. Fits
            then take longer.
        groups : str, optional
            Column of `metadata` with a family or provider per agent.

        Returns
        -------
        History

        Raises
        ------
        InputError
            If `groups` is not a column of `metadata`.
        """
        known = [] if self.metadata is None else list(map(str, self.metadata.columns))
        if groups is not None and groups not in known:
            raise InputError(
                f"`groups` must be a column of {self.name}'s metadata, got {groups!r}; "
                f"{closest_match_hint(groups, known)}"
            )
        families = None if self.metadata is None or groups is None else self.metadata[groups]
        return History.from_dataframe(
            self.scores,
            scale=dict(self.scale) or "auto",
            n_items=self.n_items if n_items else None,
            groups=families,
        )

    def __repr__(self) -> str:
        rows, columns = self.scores.shape
        filled = float(self.scores.notna().mean(axis=None))
        return f"Dataset({self.name}, {rows} agents x {columns} skills, {filled:.0%} filled)"


def _load(
    source: Source,
    options: Options,
    read: Callable[[Mapping[str, Path]], Tables],
    licence: str,
    citation: str,
) -> Dataset:
    tables, checksums = load_files(source, options, read)
    taken_from = source.at(options.mirror).base
    return _dataset(source.dataset, tables, licence, citation, taken_from, checksums)


def _dataset(
    name: str,
    tables: Tables,
    licence: str,
    citation: str,
    source: str,
    checksums: Mapping[str, str],
) -> Dataset:
    return Dataset(
        name=name,
        scores=tables.scores,
        licence=licence,
        citation=citation,
        source=source,
        n_items=tables.n_items,
        metadata=tables.metadata,
        skills=tables.skills,
        scale=tables.scale or dict.fromkeys(tables.scores, "0-1"),
        sha256=checksums,
    )


def open_llm_leaderboard(
    *, cache: str | Path | None = None, mirror: str | None = None, refresh: bool = False
) -> Dataset:
    """Load the Open LLM Leaderboard v2 as it was in August 2024: about 700 models by 6 skills.

    Accuracies on 0-1, made of the leaderboard's scores by adding back what guessing gives. A few
    rows repeat another one's scores exactly; leave them out of held-out tests.

    Parameters
    ----------
    cache : str or Path, optional
        Folder to keep files in. Default: the user's cache folder.
    mirror : str, optional
        Web address of a folder with files of the same names, to take them from instead.
    refresh : bool, default False
        Download again even if the files are at hand, and take them as they are now.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError
        If a file cannot be downloaded, has changed, or does not hold what it should.
    ConfigError
        If `mirror` is not an http or https address without a password.
    MissingDependencyError
        If a file has to be downloaded and pooch is not installed.

    References
    ----------
    .. [1] Maia Polo, Somerstep, Choshen, Sun and Yurochkin (2024). Sloth: scaling laws for LLM
       skills to predict multi-benchmark performance across families. arXiv:2412.06540.
    """
    return _load(
        _OPEN_LLM,
        Options(cache, mirror, refresh),
        read_open_llm,
        "MIT",
        "Fourrier, Habib, Lozovskaya, Szafer and Wolf (2024). Open LLM Leaderboard v2. Hugging "
        "Face. Table collected by Maia Polo, Somerstep, Choshen, Sun and Yurochkin (2024). Sloth: "
        "scaling laws for LLM skills to predict multi-benchmark performance across families. "
        "arXiv:2412.06540.",
    )


def bfcl(
    *, cache: str | Path | None = None, mirror: str | None = None, refresh: bool = False
) -> Dataset:
    """Load the Berkeley Function Calling Leaderboard v4: about 110 models by 22 skills.

    Accuracies on 0-1 with item counts; `metadata` has the cost of the whole run in US dollars,
    latencies in seconds, organisation, mode (FC, Prompt or other) and base model. The variants of
    a base model are separate agents: keep them on one side of any split. The files are those of
    autumn 2025; `mirror="https://gorilla.cs.berkeley.edu"` takes the site's present ones.

    Parameters
    ----------
    cache, mirror, refresh
        As `open_llm_leaderboard`.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError, ConfigError, MissingDependencyError
        As `open_llm_leaderboard`.

    References
    ----------
    .. [1] Patil, Mao, Yan, Ji, Suresh, Stoica and Gonzalez (2025). The Berkeley Function Calling
       Leaderboard (BFCL). PMLR 267, 48371-48392.
    """
    return _load(
        _BFCL,
        Options(cache, mirror, refresh),
        read_bfcl,
        "Apache-2.0",
        "Patil, Mao, Yan, Ji, Suresh, Stoica and Gonzalez (2025). The Berkeley Function Calling "
        "Leaderboard (BFCL): From Tool Use to Agentic Evaluation of Large Language Models. "
        "Proceedings of the 42nd International Conference on Machine Learning, PMLR 267, "
        "48371-48392.",
    )


def benchpress(
    *, cache: str | Path | None = None, mirror: str | None = None, refresh: bool = False
) -> Dataset:
    """Load the BenchPress matrix: 84 models by 133 benchmarks when published, 77 % empty.

    Percentages but for five ratings and amounts of money, which `scale` names; `metadata` has
    provider, release date and whether a model reasons, `skills` the benchmarks' names and kinds.
    The authors extend the matrix; the copy that was downloaded first stays until `refresh=True`.

    Parameters
    ----------
    cache, mirror, refresh
        As `open_llm_leaderboard`.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError, ConfigError, MissingDependencyError
        As `open_llm_leaderboard`.

    References
    ----------
    .. [1] Zeng and Papailiopoulos (2026). You Don't Need to Run Every Eval. arXiv:2606.24020.
    """
    return _load(
        _BENCHPRESS,
        Options(cache, mirror, refresh),
        read_benchpress,
        "CDLA-Permissive-2.0",
        "Zeng and Papailiopoulos (2026). You Don't Need to Run Every Eval. arXiv:2606.24020.",
    )


def onet(
    *, cache: str | Path | None = None, mirror: str | None = None, refresh: bool = False
) -> Dataset:
    """Load O*NET 30.2: 894 occupations by 120 skills, fields of knowledge and abilities.

    Importance ratings, each min-max scaled to 0-1 over the occupations. Taken from the installed
    package `skillinfer` where that ships them, which needs no network; otherwise, or if a `mirror`
    is named or `refresh` asked for, from the O*NET Resource Center.

    Parameters
    ----------
    cache, mirror, refresh
        As `open_llm_leaderboard`.

    Returns
    -------
    Dataset

    Raises
    ------
    DatasetError, ConfigError, MissingDependencyError
        As `open_llm_leaderboard`.
    """
    licence = "CC-BY-4.0"
    citation = (
        "O*NET 30.2 Database by the U.S. Department of Labor, Employment and Training "
        "Administration (USDOL/ETA), used under the CC BY 4.0 licence. "
        "https://www.onetcenter.org/database.html"
    )
    shipped = _onet_in_skillinfer()
    if shipped is None or mirror is not None or refresh:
        return _load(_ONET, Options(cache, mirror, refresh), read_onet, licence, citation)
    tables = read_onet_scaled(shipped)
    checksums = {shipped.name: _ONET_IN_SKILLINFER}
    return _dataset("onet", tables, licence, citation, "the package skillinfer", checksums)


def _onet_in_skillinfer() -> Path | None:
    """Path of the peer's copy, if it is the very file that is known."""
    spec = importlib.util.find_spec("skillinfer")  # found, not imported: that takes seconds
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    for folder in folders:
        path = Path(folder) / "datasets" / "onet.csv.gz"
        if path.is_file() and sha256_of(path) == _ONET_IN_SKILLINFER:
            return path
    return None
