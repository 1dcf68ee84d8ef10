"""
The default handler: writes each event to the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import attrs
import msgspec
from twisted.internet.defer import Deferred

from eventsvc.event import Notification, format_timestamp
from eventsvc.json_text import NOTHING, escape_breaks, in_one_line
from eventsvc.text_lines import TextLines

_encoder: Final = msgspec.json.Encoder()


class _EventLine(msgspec.Struct, gc=False):
    time: str
    id: int
    stream_id: str
    description: str
    timestamp: str
    level: str = "info"
    source: str = msgspec.field(default="eventsvc.consumer", name="from")
    message: str = "event"
    type: str | msgspec.UnsetType = msgspec.UNSET
    key: str | msgspec.UnsetType = msgspec.UNSET
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    cloudevent: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _line_of(event: Notification, time: str) -> _EventLine:
    """Return the line of an event, with what it carries besides."""
    line = _EventLine(time, event.id, event.stream_id, event.description, event.timestamp)
    if event.type is not None:
        line.type = event.type
    if event.key is not None:
        line.key = event.key
    if event.traceparent is not None:
        line.traceparent = event.traceparent
    if event.data_json is not NOTHING:
        line.data = in_one_line(event.data_json)
    if event.cloudevent_json is not NOTHING:
        line.cloudevent = in_one_line(event.cloudevent_json)
    return line


@attrs.frozen(eq=False)
class LogHandler:
    """
    The default handler: logs each event as one line.

    The lines of a batch are written together.  If the output cannot be written,
    events wait; they do not fail.

    @ivar write: writes lines, then calls its second argument in any thread.
    @ivar wall_clock: nanoseconds since the epoch.
    @ivar call_from_thread: calls something in the reactor's thread.
    @ivar text: formats events as text; C{None} for JSON.
    """

    write: Callable[[bytes, Callable[[], object]], object]
    wall_clock: Callable[[], int]
    call_from_thread: Callable[..., object]
    text: TextLines | None = None

    def handle_batch(self, notifications: Sequence[Notification]) -> Deferred[None]:
        """Write a line for each event, and fire once they are written."""
        written: Deferred[None] = Deferred()
        self.write(self._format(notifications), partial(self.call_from_thread, written.callback, None))
        return written

    def _format(self, notifications: Sequence[Notification]) -> bytes:
        if self.text is not None:
            return "".join([f"{self.text.format_event(each)}\n" for each in notifications]).encode()
        time = format_timestamp(self.wall_clock())
        return escape_breaks(_encoder.encode_lines([_line_of(each, time) for each in notifications]))
