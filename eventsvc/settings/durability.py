"""
The settings of what a 200 promises.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import COUNT, DURABILITY, OPTIONAL_SECONDS, SIZE
from eventsvc.settings.reading import setting


@attrs.frozen(kw_only=True)
class DurabilitySettings:
    """Where an event is before it is answered 200, and what the producer keeps to give it back to Redis."""

    durability: str = setting(
        "REDIS_DURABILITY",
        DURABILITY,
        "MEMORY",
        "Where an event is before it is answered 200. memory: the primary has it; disk: the primary has it on its "
        "disk, for which Redis 7.2 and its settings appendonly yes and appendfsync always are needed; replicas: "
        "REDIS_MIN_REPLICAS replicas have it too.",
    )
    min_replicas: int = setting("REDIS_MIN_REPLICAS", COUNT, 1, "Replicas that REDIS_DURABILITY=replicas waits for.")
    retain_seconds: float = setting(
        "REDIS_RETAIN_SECONDS",
        OPTIONAL_SECONDS,
        30.0,
        "Seconds for which the producer keeps what was answered 200, to give it back to a Redis that forgets it; 0 "
        "keeps nothing.",
    )
    retain_bytes: int = setting(
        "REDIS_RETAIN_BYTES", SIZE, 67_108_864, "Most bytes of events that it keeps for this; 0 keeps nothing."
    )
