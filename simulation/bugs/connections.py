"""
Bugs of connections to Redis.
"""

from __future__ import annotations

from collections.abc import Callable


def back_off_without_limit() -> None:
    """The pause between two attempts to connect grows fourfold each time, without a limit."""
    from eventsvc.redis import connection

    def backoff(attempt: int, longest: float, jitter: Callable[[], float]) -> float:
        return 0.05 * 4.0 ** min(attempt - 1, 30)

    connection.backoff = backoff  # type: ignore[attr-defined]
