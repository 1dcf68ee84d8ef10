"""
The streams that events may be posted to, and the paths of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs

from eventsvc.web.arrivals import Arrivals, bounded_by_queue
from eventsvc.web.turns import Turns


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
    _routes: Mapping[bytes, Route] = attrs.field(init=False)

    @_routes.default
    def _make_routes(self) -> Mapping[bytes, Route]:
        bases = {b"": self.first, **{b"/streams/" + name: each for name, each in self.by_name.items()}}
        return {base + path: Route(each, path) for base, each in bases.items() for path in (b"/event", b"/events")}

    def find(self, path: bytes) -> Route | None:
        """Return the route of a path, which may be percent-encoded, or C{None} if it has none."""
        return self._routes.get(path) or self._routes.get(unquote_to_bytes(path))


def make_destinations(appenders: Mapping[str, Any]) -> Destinations:
    """Return the destinations for appenders by stream, the first one first."""
    made: Sequence[Destination] = [
        Destination(stream, appender, Turns(appender), bounded_by_queue(appender))
        for stream, appender in appenders.items()
    ]
    return Destinations(made[0], {each.stream.encode(): each for each in made})
