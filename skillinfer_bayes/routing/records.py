"""Records as plain data and as JSON, whatever the values and texts in them are."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from skillinfer_bayes.files import write_text

# Values nested deeper than this, such as a list that holds itself, become their text.
DEEPEST = 50


def record_to_json(record: Mapping[str, Any], path: str | Path | None = None) -> str:
    """Write a record as JSON that any reader can read, whatever the texts hold.

    Parameters
    ----------
    record : mapping
    path : str or Path, optional

    Returns
    -------
    str
    """
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    # a lone surrogate has no UTF-8 form; inside a JSON text its escape means the same
    text = re.sub(r"[\ud800-\udfff]", lambda found: f"\\u{ord(found.group()):04x}", text)
    if path is not None:
        write_text(Path(path), text + "\n")
    return text


def plain(value: Any, depth: int = 0) -> Any:
    """Reduce a value to what JSON can hold; whatever else there is becomes its text.

    Numbers that JSON does not know become texts: ``"nan"``, ``"inf"``. Nothing of the result is
    shared with the value.
    """
    if value is None or isinstance(value, str | bool):
        return value
    if depth < DEEPEST:
        if is_dataclass(value) and not isinstance(value, type):
            parts = {one.name: getattr(value, one.name, None) for one in fields(value)}
            return {name: plain(one, depth + 1) for name, one in parts.items()}
        if isinstance(value, Mapping):
            return {str(key): plain(one, depth + 1) for key, one in value.items()}
        if _is_series(value):
            return [plain(one, depth + 1) for one in value]
    if isinstance(value, int):
        return int(value)
    if hasattr(value, "item") and callable(value.item) and getattr(value, "size", 1) == 1:
        return plain(value.item(), depth + 1)  # NumPy's numbers
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def _is_series(value: object) -> bool:
    listed = isinstance(value, Sequence | set | frozenset)
    return listed and not isinstance(value, bytes | bytearray)
