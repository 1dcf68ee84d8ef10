"""
The streams that events may be posted to, and the paths of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import attrs

from eventsvc.web.arrivals import Arrivals, bounded_by_queue
from eventsvc.web.turns import Turns

_PATH: Final = re.compile(rb"(?:/streams/(.+))?/(events?)", re.DOTALL)


@attrs.frozen(eq=False)
class Destination:
    """A stream, with a queue, a line and a bound on memory of its own, so that a full one holds up no other."""

    stream: str
    appender: Any
    turns: Turns
    arrivals: Arrivals


@attrs.frozen(eq=False)
class Route:
    """
    What the path of a POST says.

    @ivar path: the same for all streams: C{/event} or C{/events}.
    """

    destination: Destination
    path: bytes


@attrs.frozen(eq=False)
class Destinations:
    """
    All streams that events may be posted to.

    @ivar first: the one whose paths name no stream.
    """

    first: Destination
    by_name: Mapping[bytes, Destination]

    def find(self, path: bytes) -> Route | None:
        """Return the route of a path, or C{None} if it has none."""
        found = _PATH.fullmatch(unquote_to_bytes(path))
        if found is None:
            return None
        destination = self.first if found[1] is None else self.by_name.get(found[1])
        return None if destination is None else Route(destination, b"/" + found[2])


def make_destinations(appenders: Mapping[str, Any]) -> Destinations:
    """
    Return the destinations for appenders by stream, the first one first.
    """
    made: Sequence[Destination] = [
        Destination(stream, appender, Turns(appender), bounded_by_queue(appender))
        for stream, appender in appenders.items()
    ]
    return Destinations(made[0], {each.stream.encode(): each for each in made})
