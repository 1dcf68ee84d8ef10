"""
Entries that were set aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

#: Why a letter was not moved: the code that the script returns, and a text for the user.
NOT_MOVED: Final = {
    "gone": "there is no such dead letter",
    "empty": "its entry was lost with all its fields: there is nothing to replay",
    "packed": "it has too many fields to be replayed",
}


@attrs.frozen
class DeadLetter:
    """
    An entry that was set aside.

    @ivar id: its id in the stream of dead letters.
    @ivar deliveries: how often it was delivered to a handler.
    @ivar original: its id in the original stream.
    @ivar fields: its fields, in order; none if it was trimmed before it was set aside.
    """

    id: str
    reason: str
    error: str
    deliveries: int
    group: str
    consumer: str
    original: str
    fields: Sequence[tuple[bytes, bytes]]
