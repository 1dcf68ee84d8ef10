"""
How far a group is behind in its stream.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Measures:
    """
    The state of a stream and its group; C{None} stands for what is not known.

    An age is that of an entry's id, by the clock of the server.  It is at least
    a millisecond: 0 means that there is no such entry.

    @ivar length: number of entries in the stream.
    @ivar dead: number of dead letters.
    @ivar unread: number of entries not yet delivered; known if it is 0, or if
        nothing in the stream was delivered.
    @ivar pending: number of entries delivered to the group and not acknowledged.
    @ivar unread_age: age of the oldest entry not yet delivered, in seconds.
    @ivar pending_age: age of the oldest entry not yet acknowledged, in seconds.
    @ivar problem: why something is not known, for clients too; empty if all is.
    """

    length: int | None = None
    dead: int | None = None
    unread: int | None = None
    pending: int | None = None
    unread_age: float | None = None
    pending_age: float | None = None
    problem: str = ""

    @property
    def age(self) -> float | None:
        """The larger of both ages: how long an event has waited to be handled."""
        if self.unread_age is None or self.pending_age is None:
            return None
        return max(self.unread_age, self.pending_age)
