"""What language models cost, from the price lists that `genai-prices` ships."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from skillinfer_bayes.exceptions import ConfigError, DatasetError, MissingDependencyError

# Large enough for fractions of a cent, small enough to stay in the cheapest tier of every model.
TOKENS = 1000
COLUMNS = ["cost_per_1k", "input_usd_per_million", "output_usd_per_million", "provider", "model"]


def prices(
    models: Sequence[str] | Mapping[str, str],
    *,
    provider: str | None = None,
    output_share: float = 0.25,
) -> pd.DataFrame:
    """Look up what models cost per token.

    Prices are list prices for short requests, without caching or batch discounts, as of the
    installed version of genai-prices; nothing is downloaded.

    Parameters
    ----------
    models : sequence of str, or mapping from agent to str
        Models as their provider's API calls them, such as "gpt-4o-2024-11-20".
    provider : str, optional
        Whose prices, such as "aws". Default: whoever made the model.
    output_share : float, default 0.25
        Share of output tokens in `cost_per_1k`.

    Returns
    -------
    DataFrame indexed by agent
        `cost_per_1k` in US dollars per 1,000 tokens, as `build_prompt` shows it;
        `input_usd_per_million` and `output_usd_per_million`; `provider` and `model`, what the name
        was understood as. Empty where a model is not known.

    Raises
    ------
    DatasetError
        If none of the models is known.
    ConfigError
        If an argument cannot be used.
    MissingDependencyError
        If genai-prices is not installed.

    Examples
    --------
    >>> metadata = prices(["gpt-4o", "gemini-2.5-pro"])[["cost_per_1k"]].to_dict("index")
    """
    names = _names(models)
    share: object = output_share
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0.0 <= share <= 1.0:
        raise ConfigError(f"`output_share` must be between 0 and 1, got {output_share!r}")
    library = _import_library()
    rows = {agent: _look_up(library, name, provider) for agent, name in names.items()}
    known = {agent: row for agent, row in rows.items() if row is not None}
    if not known:
        shown = ", ".join(repr(name) for name in list(names.values())[:4])
        asked = "" if provider is None else f" of provider {provider!r}"
        raise DatasetError(
            f"no price is known for {shown}{asked}; write models as their provider's API does, for "
            "example 'gpt-4o-2024-11-20'"
        )
    table = pd.DataFrame.from_dict(known, orient="index").reindex(list(names))
    mixed = (
        output_share * table["output_usd_per_million"]
        + (1 - output_share) * table["input_usd_per_million"]
    )
    table["cost_per_1k"] = mixed / 1000
    return table[COLUMNS].rename_axis("agent")


def _names(models: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    given: object = models
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence) or not given:
        raise ConfigError(
            f"`models` must be a list of model names, or map agents to them, got {models!r}"
        )
    pairs = given.items() if isinstance(given, Mapping) else zip(given, given, strict=True)
    names = {}
    for agent, name in pairs:
        if not isinstance(agent, str) or not isinstance(name, str):
            raise ConfigError(f"`models` must hold names as texts, got {name!r} for {agent!r}")
        names[agent] = name
    return names


def _look_up(library: Any, name: str, provider: str | None) -> dict[str, Any] | None:
    read, written = library.Usage(input_tokens=TOKENS), library.Usage(output_tokens=TOKENS)
    try:
        reading = library.calc_price(read, name, provider_id=provider)
        writing = library.calc_price(written, name, provider_id=provider)
    except LookupError:
        return None
    return {
        "input_usd_per_million": float(reading.total_price) * 1e6 / TOKENS,
        "output_usd_per_million": float(writing.total_price) * 1e6 / TOKENS,
        "provider": reading.provider.id,
        "model": reading.model.id,
    }


def _import_library() -> Any:
    try:
        return importlib.import_module("genai_prices")
    except ImportError as error:
        raise MissingDependencyError(
            "looking up prices needs genai-prices; install it with "
            "`pip install 'skillinfer_bayes[prices]'`"
        ) from error
