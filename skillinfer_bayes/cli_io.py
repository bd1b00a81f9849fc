"""Files and option values of the command line: read, checked, and written in one piece."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillinfer_bayes.exceptions import (
    ConfigError,
    InputError,
    MissingDependencyError,
    TaskError,
    closest_match_hint,
)
from skillinfer_bayes.files import replacing
from skillinfer_bayes.profiles.extrapolation import caution
from skillinfer_bayes.routing.labels import one_line

if TYPE_CHECKING:
    import pandas as pd

    from skillinfer_bayes.population import Population
    from skillinfer_bayes.profiles.profiles import Profiles

TABLE_SUFFIXES = (".csv", ".parquet", ".json")
MOST_CAUTIONS = 10


def parse_task(text: str) -> dict[str, float]:
    """Read a task's weights from an option.

    Parameters
    ----------
    text : str
        ``math=1,code=0.3``, or a JSON object for skills whose names hold commas.

    Returns
    -------
    dict of str to float
        In the order given.

    Raises
    ------
    TaskError
        If a part is not of the form ``skill=weight``, or a skill comes twice.
    """
    if text.lstrip().startswith("{"):
        pairs = _json_pairs(text)
    else:
        pairs = [_weight(part) for part in text.split(",") if part.strip()]
    weights = dict(pairs)
    if len(weights) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"`--task` must name each skill once, got {twice!r} more than once")
    return weights


def _json_pairs(text: str) -> list[tuple[str, float]]:
    try:
        # Pairs instead of an object, so that a repeated skill is seen.
        pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
        return [(name, _json_weight(weight)) for name, weight in pairs]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TaskError(
            f"`--task` must be a JSON object of skills and numbers, got {text!r}; "
            'write for example \'{"math": 1, "code": 0.3}\''
        ) from error


def _json_weight(weight: object) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise TypeError(weight)
    return float(weight)


def _weight(part: str) -> tuple[str, float]:
    name, separator, number = part.rpartition("=")
    with contextlib.suppress(ValueError):
        if separator and name.strip():
            return name.strip(), float(number)
    raise TaskError(
        f"`--task` must be made of skill=weight, got {part.strip()!r}; "
        "write for example 'math=1,code=0.3'"
    )


def read_scores(path: Path) -> pd.DataFrame:
    """Read observed scores: a table of agents by skills with empty cells.

    Parameters
    ----------
    path : Path
        CSV, TSV or Parquet with the agents in the first column, or JSON of the form
        ``{"agent": {"skill": score}}``.

    Returns
    -------
    DataFrame
        Indexed by agent, one column per skill, NaN where there is no score.

    Raises
    ------
    InputError
        If the file cannot be read as such a table.
    """
    if path.suffix.lower() != ".json":
        from skillinfer_bayes.history.files import read_table

        return read_table(path)
    import pandas as pd

    rows = read_json_rows(path, InputError)
    skills = list(dict.fromkeys(skill for row in rows.values() for skill in row))
    cells = [[row.get(skill) for skill in skills] for row in rows.values()]
    return pd.DataFrame(cells, index=pd.Index(list(rows), dtype=object), columns=skills)


def stack_scores(paths: Sequence[Path]) -> pd.DataFrame:
    """Read several tables of agents by skills as one, line after line.

    Parameters
    ----------
    paths : sequence of Path
        As `read_scores`. The first has all the skills; the others may leave some out.

    Raises
    ------
    InputError
        If a file cannot be read as such a table, or has a skill that the first one lacks.
    """
    tables = [read_scores(path) for path in paths]
    if len(tables) == 1:
        return tables[0]
    skills = list(map(str, tables[0].columns))
    for path, table in zip(paths, tables, strict=True):
        for name in map(str, table.columns):
            if name not in skills:
                raise InputError(
                    f"{str(path)!r} must have no skill that {str(paths[0])!r} lacks, got {name!r}; "
                    f"{closest_match_hint(name, skills)}"
                )
    import pandas as pd

    return pd.concat([table.rename(columns=str) for table in tables])


def read_json_rows(path: Path, error_type: type[InputError]) -> dict[str, dict[str, Any]]:
    """Read a JSON object of objects by agent, or fail with an error of the given type."""
    try:
        rows = json.loads(read_text(path, error_type), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise error_type(f"{str(path)!r} cannot be read as JSON: {error}") from error
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise error_type(
            f"{str(path)!r} must hold one JSON object per agent, "
            'for example {"agent-a": {"math": 0.9}}'
        )
    return rows


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} comes more than once")
    return found


def read_text(path: Path, error_type: type[InputError]) -> str:
    """Read UTF-8 text, or fail with an error of the given type."""
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets put a mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise error_type(f"{str(path)!r} cannot be read: {error}") from error


def load_population(path: Path) -> Population:
    """Read a population file."""
    from skillinfer_bayes.population import Population

    return Population.load(path)


def load_with_warning(path: Path) -> Population:
    """Read a population file, and say in a line if its fit should not be trusted yet."""
    population = load_population(path)
    problems = population.convergence.problems
    if problems:
        text = f"Warning: the fit should not be trusted yet: {'; '.join(problems)}"
        click.echo(one_line(text), err=True)
    return population


def make_profiles(population: Population, observations: Path, n_items: Path | None) -> Profiles:
    """Profile the agents of a table of scores, with a table of item counts where there is one."""
    counts = None if n_items is None else read_scores(n_items)
    return population.profiles(read_scores(observations), n_items=counts)


def cautions(profiles: Profiles) -> list[str]:
    """Name the agents whose scores the history finds surprising, a line each, the oddest first."""
    found = [
        f"Caution: {one_line(str(agent))}: {note} (p = {p:.2g})"
        for agent, p in profiles.surprise.sort_values(kind="stable").items()
        if (note := caution(p))
    ]
    more = len(found) - MOST_CAUTIONS
    return found[:MOST_CAUTIONS] + ([f"Caution: and {more} more agents"] if more > 0 else [])


def check_output(
    path: Path,
    suffixes: tuple[str, ...],
    option: str = "--output",
    inputs: Iterable[Path | None] = (),
) -> Path:
    """Refuse an output file that could not be written, before any long work.

    Parameters
    ----------
    path : Path
    suffixes : tuple of str
        Endings that are understood.
    option : str, default "--output"
        Which option the file comes from.
    inputs : iterable of Path or None
        Files that are read, which must not be replaced by what is made of them.

    Returns
    -------
    Path
        `path` itself.

    Raises
    ------
    ConfigError
        If the ending is not one of `suffixes`, `path` is a folder or one of the inputs, or its
        folder does not exist or cannot be written to.
    """
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"`{option}` must end in {' or '.join(suffixes)}, got {str(path)!r}")
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            f"`{option}` must be a file in an existing folder that you may write to, "
            f"got {str(path)!r}"
        )
    if path.exists() and any(one is not None and path.samefile(one) for one in inputs):
        raise ConfigError(
            f"`{option}` must not be a file that is read, got {str(path)!r}; give another name"
        )
    return path


def write_profiles(table: pd.DataFrame, path: Path) -> None:
    """Write profiles in the format that the file's ending names.

    Parameters
    ----------
    table : DataFrame
        One row per agent and skill, with columns ``agent`` and ``skill``.
    path : Path
        Ends in .csv, .parquet or .json; JSON is nested by agent, then skill.

    Raises
    ------
    MissingDependencyError
        If Parquet support is not installed.
    """
    with replacing(path.resolve()) as temporary:  # a link stays a link
        suffix = path.suffix.lower()
        if suffix == ".csv":
            table.to_csv(temporary, index=False)
        elif suffix == ".parquet":
            try:
                table.to_parquet(temporary, index=False)
            except ImportError as error:
                raise MissingDependencyError(
                    "writing Parquet needs pyarrow; install it with: "
                    "pip install 'skillinfer-bayes[parquet]'"
                ) from error
        else:
            temporary.write_text(json.dumps(nested(table), indent=2) + "\n", encoding="utf-8")


def nested(table: pd.DataFrame) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Arrange a table of profiles as ``{agent: {skill: {column: value}}}``."""
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for row in table.to_dict(orient="records"):
        agent, skill = str(row.pop("agent")), str(row.pop("skill"))
        result.setdefault(agent, {})[skill] = {str(key): value for key, value in row.items()}
    return result


def described(population: Population) -> list[tuple[str, str]]:
    """Describe a population in lines of a name and a text."""
    history = population.history
    filled = float(history.observed.mean())
    lines = [
        ("population", population.population_id),
        ("history", f"{history.n_agents} agents x {history.n_skills} skills, {filled:.0%} filled"),
        *(("left out", note) for note in history.dropped),
    ]
    by_scale: dict[str, list[str]] = {}
    for skill, scale in zip(history.skills, history.scales.scales, strict=True):
        by_scale.setdefault(scale.label, []).append(skill)
    lines += [(f"scale {label}", ", ".join(skills)) for label, skills in by_scale.items()]
    settings = population.settings
    priors, sampler = settings.get("priors", {}), settings.get("sampler", {})
    if priors:
        lines.append(("model", ", ".join(f"{key} {value}" for key, value in priors.items())))
    if sampler:
        lines.append(("sampler", ", ".join(f"{key} {value}" for key, value in sampler.items())))
    verdict = population.convergence
    return [*lines, ("fit", str(verdict)), *(("problem", text) for text in verdict.problems)]
