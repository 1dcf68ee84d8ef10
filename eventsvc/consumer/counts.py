"""
What a consumer counts.
"""

from __future__ import annotations

import attrs


@attrs.define(kw_only=True)
class ConsumerCounts:
    """What a consumer has done, in entries; it only grows."""

    handled: int = 0
    failed: int = 0
    redelivered: int = 0
    passed_over: int = 0
    dead: int = 0
