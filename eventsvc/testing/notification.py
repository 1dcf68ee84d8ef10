"""
Makes events as a handler gets them.
"""

from __future__ import annotations

import msgspec

from eventsvc.event import Notification
from eventsvc.json_text import NOTHING


def make_notification(
    description: str,
    *,
    type: str | None = None,
    key: str | None = None,
    data: object = None,
    id: int = 1,
    timestamp: str = "1970-01-01T00:00:00.000000000Z",
) -> Notification:
    """
    Return an event as a handler gets it.

    @param data: anything that JSON can express; C{None}: there is none.
    """
    raw = NOTHING if data is None else msgspec.Raw(msgspec.json.encode(data))
    return Notification(id, description, timestamp, type=type, key=key, data_json=raw)
