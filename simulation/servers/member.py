"""
A process with a data set that replicates: what happens to it, and what it has.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from simulation.redis.keyspace import Keyspace
from simulation.servers.disk import Disk
from simulation.servers.history import History, Position, fork
from simulation.servers.node import Node
from simulation.servers.replication import DELAY, Link
from simulation.servers.settings import Settings
from simulation.servers.state import State


class Member(Node):
    """
    A primary, or the replica of one.

    @ivar make_keyspace: makes an empty data set.
    @ivar history: what it has written as a primary.
    @ivar link: to its primary; C{None} for a primary.
    @ivar replicas: the links to its replicas.
    @ivar late: timers that went off while it was paused.
    @ivar delay: seconds that a write takes to it, as a replica.
    @ivar loading_until: when it has loaded its data.
    @ivar kept: what its file had when it ended; C{None} if it has none.
    @ivar on_follow: called before it follows another server.
    @ivar on_add: called after it has added to a stream.
    """

    def __init__(self, host: str, port: int, clock: IReactorTime, make_keyspace: Callable[[], Keyspace]) -> None:
        super().__init__(host, port, clock)
        self.settings = Settings()
        self.link: Link | None = None
        self.replicas: list[Link] = []
        self.late: list[Callable[[], None]] = []
        self.loading_until = 0.0
        self.delay = DELAY
        self.on_follow: Callable[[Member], object] = lambda primary: None
        self.on_add: Callable[[], object] = lambda: None
        self._lives = 0
        self.kept: Position | None = None
        self.history = History(self._new_id())
        self.disk = Disk(b"everysec", clock.seconds())
        #: when it was promoted, and what it had on its disk then
        self._promoted = (-math.inf, Position(self.history, 0))
        self.state = State(make_keyspace, Position(self.history, 0))

    def _new_id(self) -> str:
        """Return a replication id: 40 hexadecimal digits."""
        self._lives += 1
        return hashlib.sha1(f"{self.host}:{self.port} {self._lives}".encode(), usedforsecurity=False).hexdigest()

    @property
    def is_loading(self) -> bool:
        """Whether it still loads its data."""
        return self.loading_until > 0 and self.clock.seconds() < self.loading_until

    @property
    def keeps_file(self) -> bool:
        """Whether it has an append-only file."""
        return self.settings.values[b"appendonly"] == b"yes"

    def position(self) -> Position:
        """Return what its data set has."""
        if self.link is None:
            return Position(self.history, self.history.end)
        return self.link.position(self.clock.seconds())

    def keyspace(self) -> Keyspace:
        """Return its data set as it is now."""
        return self.state.keyspace if self.link is None else self.state.bring_to(self.position())

    def settings_changed(self) -> None:
        """Compute what follows from the settings, the role and the state of the disk."""
        self.disk.policy = self.settings.values[b"appendfsync"]

    def links_changed(self) -> None:
        """Look again at what has arrived where."""

    def interrupt(self) -> None:
        """End the sessions that wait for something that only a primary has."""

    def pause(self) -> None:
        super().pause()
        self._look_at_links()

    def resume(self) -> None:
        super().resume()
        self._look_at_links()
        late, self.late = self.late, []
        for each in late:
            each()

    def _look_at_links(self) -> None:
        for link in [*self.replicas, *([self.link] if self.link else [])]:
            link.look(self.clock.seconds())

    def fill_disk(self) -> None:
        """Leave no room for the append-only file."""
        self.disk.has_room = not self.keeps_file

    def clear_disk(self) -> None:
        """Make room: what was held back is written."""
        self.disk.has_room, self.disk.full = True, None
        self.settings_changed()

    def kill(self) -> None:
        """End the process; what it has given to its file stays."""
        position = self.position()
        self._end(Position(position.history, self.disk.written(position.offset)))

    def lose_power(self) -> None:
        """End the machine; what was not synced is lost."""
        self._end(self._synced())

    def _synced(self) -> Position:
        """Return what is on the disk; that of a replica is what had arrived until the last sync."""
        position, moment = self.position(), self.disk.synced_until(self.clock.seconds())
        if self.link is not None:
            moment -= self.link.delay
        elif moment < self._promoted[0]:
            return self._promoted[1]
        return Position(position.history, min(position.offset, self.disk.synced(position.history, moment)))

    def _end(self, kept: Position) -> None:
        self.kept = kept if self.keeps_file else None
        super().kill()
        self._look_at_links()
        self.late.clear()

    def start(self, loading: float = 0.0) -> None:
        """
        Start it again: as what it was.

        @param loading: seconds that it takes to load its data.
        """
        now = self.clock.seconds()
        self.up = True
        self.loading_until = now + loading
        self.disk = Disk(self.disk.policy, now)
        kept = self.kept or Position(History(self._new_id()), 0)
        if self.link is None:
            self._promoted = (-math.inf, kept)
            self._become_primary(kept)
        else:
            self._follow(self.link.primary, kept, loading)

    def promote(self) -> None:
        """Become a primary with the data that it has (C{REPLICAOF NO ONE})."""
        if self.link is not None:
            position = self.position()
            self._promoted = (self.clock.seconds(), self._synced())
            self.unfollow()
            self._become_primary(position)

    def _become_primary(self, position: Position) -> None:
        self.state.bring_to(position)
        self.history = fork(position, self._new_id())
        self.state.wrote(self.history, self.history.end)
        self.settings_changed()
        for link in self.replicas:
            link.follow(self.history, self.clock.seconds())

    def unfollow(self) -> None:
        """Follow no server any more."""
        link, self.link = self.link, None
        if link is not None:
            link.primary.replicas.remove(link)
            link.primary.links_changed()

    def follow(self, primary: Member, after: float = 0.0) -> Link:
        """
        Become a replica (C{REPLICAOF}): what the primary does not know is lost.

        @param after: seconds until the two are connected.
        """
        self.on_follow(primary)
        if self.link is None:
            self.interrupt()
        return self._follow(primary, self.position(), after)

    def _follow(self, primary: Member, before: Position, after: float) -> Link:
        self.unfollow()
        self.link = link = Link(primary, self, primary.history, before, self.delay)
        primary.replicas.append(link)
        self.settings_changed()
        link.look(self.clock.seconds(), after)
        return link
