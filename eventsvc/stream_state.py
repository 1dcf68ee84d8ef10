"""
What there is to see of a stream: its groups, their consumers, and the server.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from eventsvc.measures import Measures


@attrs.frozen
class ConsumerState:
    """
    A consumer, as its group knows it.

    @ivar pending: entries it was given and has not acknowledged.
    @ivar idle: seconds since it last asked for entries.
    """

    name: str
    pending: int
    idle: float


@attrs.frozen
class GroupState:
    """
    A consumer group.

    @ivar measures: how far it is behind.
    @ivar last: the id of the last entry that it was given.
    @ivar consumers: the first few; C{None} if they are not known.
    @ivar consumer_count: how many there are.
    """

    name: str
    measures: Measures
    last: str
    consumer_count: int
    consumers: Sequence[ConsumerState] | None = None


@attrs.frozen
class ReplicaState:
    """
    A replica, as its primary sees it.

    @ivar lag: seconds since it last confirmed anything.
    @ivar behind: bytes that it has not confirmed.
    """

    address: str
    state: str
    lag: int
    behind: int


@attrs.frozen(kw_only=True)
class ServerState:
    """
    The server of a stream, as far as it says; what is not known is empty, or C{None}.

    @ivar product: C{redis} or C{valkey}.
    @ivar memory: bytes in use that count against C{max_memory}.
    @ivar max_memory: 0 if there is no limit.
    @ivar policy: what it does when its memory is full; only C{noeviction} keeps events.
    @ivar append_only: whether it keeps an append-only file.
    @ivar uptime: seconds.
    """

    product: str = ""
    version: str = ""
    role: str = ""
    replicas: Sequence[ReplicaState] = ()
    memory: int | None = None
    max_memory: int | None = None
    policy: str = ""
    append_only: bool | None = None
    uptime: int | None = None
    clients: int | None = None


@attrs.frozen(kw_only=True)
class StreamState:
    """
    A stream and its server; C{None} stands for what is not known.

    @ivar now: seconds since 1970, by the clock of the server.
    @ivar dead: number of dead letters.
    @ivar groups: the first few.
    @ivar group_count: how many there are.
    @ivar problems: why something is not known, for people; empty if all is.
    """

    stream: str
    now: float
    length: int | None = None
    dead: int | None = None
    groups: Sequence[GroupState] = ()
    group_count: int | None = None
    server: ServerState = attrs.field(factory=ServerState)
    problems: Sequence[str] = ()

    def find_group(self, name: str) -> GroupState | None:
        """Return the group with a name; C{None} if there is none, or it is not known."""
        return next((group for group in self.groups if group.name == name), None)
