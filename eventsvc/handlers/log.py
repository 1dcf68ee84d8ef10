"""
The default handler: writes each event to the log.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import attrs
import msgspec
from twisted.internet.defer import Deferred

from eventsvc.event import Notification, format_timestamp

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


@attrs.frozen(eq=False)
class LogHandler:
    """
    The default handler: logs each event as one line.

    L{flush} writes the lines of a run of events together.  If the output cannot
    be written, events wait; they do not fail.

    @ivar write: writes lines, then calls its second argument in any thread.
    @ivar wall_clock: nanoseconds since the epoch.
    @ivar call_from_thread: calls something in the reactor's thread.
    """

    write: Callable[[bytes, Callable[[], object]], object]
    wall_clock: Callable[[], int]
    call_from_thread: Callable[..., object]
    _lines: list[_EventLine] = attrs.field(factory=list, init=False)

    def __call__(self, notification: Notification, /) -> None:
        self._lines.append(
            _EventLine(
                format_timestamp(self.wall_clock()),
                notification.id,
                notification.stream_id,
                notification.description,
                notification.timestamp,
            )
        )

    def flush(self) -> Deferred[None]:
        """Write the lines, and fire once that is done."""
        lines = _encoder.encode_lines(self._lines)
        self._lines.clear()
        written: Deferred[None] = Deferred()
        self.write(lines, partial(self.call_from_thread, written.callback, None))
        return written
