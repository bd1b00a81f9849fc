"""Arguments that several tools share, as a model reads them, and hints for clients."""

from __future__ import annotations

from typing import Annotated, Any

from mcp_types import ToolAnnotations
from pydantic import Field

Weights = Annotated[
    dict[str, float],
    Field(description="How much each skill counts, above 0, e.g. {'math': 1, 'code': 0.3}."),
]
Names = Annotated[
    list[str] | None, Field(description="Names of the profiles; all of them by default.")
]
Threshold = Annotated[
    float | None, Field(description="Score that an agent should exceed, in score units.")
]
Probability = Annotated[
    float, Field(description="How much probability the interval holds, between 0 and 1.")
]
Metadata = Annotated[
    dict[str, dict[str, Any]] | None,
    Field(description="Facts by profile, all of them, e.g. {'a': {'avg_latency_ms': 800}}."),
]
Limits = Annotated[
    list[str],
    Field(
        description="Hard limits that agents must keep, e.g. 'avg_latency_ms < 1000', "
        "'P(code > 0.7) >= 0.9', 'observed(math)'."
    ),
]

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
