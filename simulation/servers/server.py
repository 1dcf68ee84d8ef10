"""
A server of Redis: a data set with sessions, a history, replicas and a disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from simulation.redis.values import Command, Conditions, ErrorReply, User, Version
from simulation.servers.blocking import BlockedRead, BlockedWait, read_options
from simulation.servers.disk import Disk
from simulation.servers.history import History, Position, fork
from simulation.servers.node import LATER, Node, ServerSession
from simulation.servers.replication import Link
from simulation.servers.server_commands import COMMANDS, refusal
from simulation.servers.settings import Settings
from simulation.servers.state import State

#: What a session that waits is told when its server becomes a replica.
_DEMOTED: Final = ErrorReply(
    b"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)
#: The user until somebody logs in.
_DEFAULT: Final = User()


class Server(Node):
    """
    One server: a primary, or the replica of one.

    Everything happens when a session sends a command, when somebody calls a method, or when a wait ends: there is no
    other timer.

    @ivar wall: tells the server's own time of day, in milliseconds.
    @ivar make_keyspace: makes an empty data set.
    @ivar users: by name, what they may do, and their password.
    @ivar history: what it has written as a primary.
    @ivar link: to its primary; C{None} for a primary.
    @ivar replicas: the links to its replicas.
    @ivar reading: reads that found nothing, the oldest first.
    @ivar waiting: waits for replicas or the disk.
    @ivar late: timers that went off while it was paused.
    @ivar loading_until: when it has loaded its data.
    """

    def __init__(
        self,
        host: str,
        port: int,
        clock: IReactorTime,
        wall: Callable[[], int],
        make_keyspace: Callable[[], Any],
        version: Version = Version.VALKEY_9_1,
    ) -> None:
        super().__init__(host, port, clock)
        self.wall = wall
        self.version = version
        self.settings = Settings()
        self.users: dict[bytes, tuple[User, bytes]] = {}
        self.link: Link | None = None
        self.replicas: list[Link] = []
        self.reading: list[BlockedRead] = []
        self.waiting: list[BlockedWait] = []
        self.late: list[Callable[[], None]] = []
        self.loading_until = 0.0
        self._lives = 0
        self._kept: Position | None = None
        self.history = History(self._new_id())
        self.disk = Disk(b"everysec", clock.seconds())
        self.state = State(make_keyspace, Position(self.history, 0))
        self.settings_changed()

    def _new_id(self) -> str:
        """Return a replication id: 40 hexadecimal digits."""
        self._lives += 1
        return hashlib.sha1(f"{self.host}:{self.port} {self._lives}".encode(), usedforsecurity=False).hexdigest()

    def settings_changed(self) -> None:
        """Compute what follows from the settings."""
        self.disk.policy = self.settings.values[b"appendfsync"]
        self._conditions: dict[bytes, Conditions] = {}

    @property
    def needs_login(self) -> bool:
        """Whether a session must log in first."""
        return bool(self.settings.values[b"requirepass"])

    @property
    def is_loading(self) -> bool:
        """Whether it still loads its data."""
        return self.clock.seconds() < self.loading_until

    def log_in(self, name: bytes, password: bytes) -> bool:
        """Return whether a user has a password."""
        if name == b"default":
            return self.settings.values[b"requirepass"] in (b"", password)
        return name in self.users and self.users[name][1] == password

    def number_of(self, session: ServerSession) -> int:
        """Return the number of a session, in the order of the connections."""
        return self.sessions.index(session) + 1

    # What it answers.

    def answer(self, session: ServerSession, command: Command) -> Any:
        name = command[0].upper()
        if error := refusal(self, session, name, command):
            return error
        own = COMMANDS.get(name)
        return self.run(session, command, name) if own is None else own(self, session, command)

    def run(self, session: ServerSession, command: Command, name: bytes) -> Any:
        """Run a command on the data set."""
        reply = self._execute(session, command)
        if reply is None and name in (b"XREADGROUP", b"XREAD") and (options := read_options(command)):
            seconds, read, keys = options
            session.blocked = BlockedRead(self, session, read, keys, seconds)
            return LATER
        return reply

    def _execute(self, session: ServerSession, command: Command) -> Any:
        keyspace = self.keyspace()
        before = keyspace.changes
        now, conditions = self.wall(), self.conditions(session.user)
        reply = keyspace.execute(command, now, conditions)
        if keyspace.changes != before:
            self._wrote(session, (command, now, conditions))
        return reply

    def _wrote(self, session: ServerSession, effect: Any) -> None:
        session.written = self.history.append(self.clock.seconds(), effect)
        self.state.wrote(self.history, session.written)
        if self.reading:
            self._serve_reads()

    def _serve_reads(self) -> None:
        """Answer the reads that find something now."""
        for blocked in list(self.reading):
            session = blocked.session
            if session.blocked is blocked:
                reply = self._execute(session, blocked.command)
                if reply is not None and session.blocked is blocked:
                    session.unblock(reply)

    def conditions(self, user: bytes) -> Conditions:
        """Return what is to be refused."""
        found = self._conditions.get(user)
        if found is None or self.settings.number(b"min-replicas-to-write"):
            found = self._conditions[user] = Conditions(
                user=self.users[user][0] if user in self.users else _DEFAULT,
                maxmemory=self.settings.number(b"maxmemory"),
                is_replica=self.link is not None,
                has_replicas=self.count_confirmed(0) >= self.settings.number(b"min-replicas-to-write"),
                can_save=self.disk.full is None,
            )
        return found

    # Where its data is.

    def position(self) -> Position:
        """Return what its data set has."""
        if self.link is None:
            return Position(self.history, self.history.end)
        return self.link.position(self.clock.seconds())

    def keyspace(self) -> Any:
        """Return its data set as it is now."""
        return self.state.keyspace if self.link is None else self.state.bring_to(self.position())

    # What has arrived where.

    def offset_to_wait_for(self, session: ServerSession) -> int:
        """
        Return what C{WAIT} waits for.

        Since Redis 7.2 that is the last write of the session; before, all that was written until its last command.
        """
        return session.written if self.version is Version.VALKEY_9_1 else self.history.end

    def count_confirmed(self, offset: int, on_disk: bool = False) -> int:
        """Return how many replicas are known to have a write, in memory or on their disk."""
        moments = (link.confirms_at(offset) for link in self.replicas) if on_disk else ()
        if on_disk:
            return sum(1 for moment in moments if moment is not None and _report(moment) <= self.clock.seconds())
        now = self.clock.seconds()
        return sum(1 for link in self.replicas if link.confirmed(now) >= offset)

    def count_synced(self, offset: int) -> int:
        """Return 1 if a write is on the disk, 0 if it is not known to be."""
        if self.settings.values[b"appendonly"] != b"yes":
            return 0
        return int(self.disk.synced(self.history, self.clock.seconds()) >= offset)

    def moments(self, offset: int, on_disk: bool) -> Sequence[float]:
        """Return when the counts should change, if nothing else does."""
        found = [link.confirms_at(offset) for link in self.replicas]
        if on_disk:
            found = [None if moment is None else _report(moment) for moment in found]
            found.append(self.disk.syncs_at(self.history.time(offset)))
        return [moment for moment in found if moment is not None]

    def links_changed(self) -> None:
        """Look at the waits again."""
        for waiting in list(self.waiting):
            waiting.look()

    # What happens to it.

    def resume(self) -> None:
        self.paused = False
        for session in list(self.sessions):
            session.run()
        late, self.late = self.late, []
        for each in late:
            each()

    def kill(self) -> None:
        """End the process; what it has given to its file stays."""
        self._end(self.disk.written(self.position().offset))

    def lose_power(self) -> None:
        """End the machine; what was not synced is lost."""
        now = self.clock.seconds()
        position = self.position()
        self._end(min(position.offset, self.disk.synced(position.history, now)))

    def _end(self, kept: int) -> None:
        now, history = self.clock.seconds(), self.position().history
        for link in [*self.replicas, *([self.link] if self.link else [])]:
            link.cut(now)
        self._kept = Position(history, kept) if self.settings.values[b"appendonly"] == b"yes" else None
        super().kill()
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
        kept = self._kept or Position(History(self._new_id()), 0)
        if self.link is None:
            self._become_primary(kept)
        else:
            self._follow(self.link.primary, kept, loading)

    def promote(self) -> None:
        """Become a primary with the data that it has (C{REPLICAOF NO ONE})."""
        if self.link is not None:
            position = self.position()
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

    def follow(self, primary: Server, after: float = 0.0) -> Link:
        """
        Become a replica (C{REPLICAOF}): what the primary does not know is lost.

        @param after: seconds until the two are connected.
        """
        if self.link is None:
            for session in [each.session for each in (*self.reading, *self.waiting)]:
                session.unblock(_DEMOTED)
                session.close()
        return self._follow(primary, self.position(), after)

    def _follow(self, primary: Server, before: Position, after: float) -> Link:
        self.unfollow()
        self.link = link = Link(primary, self, primary.history, before)
        primary.replicas.append(link)
        self.settings_changed()
        if primary.up:
            link.heal(self.clock.seconds(), after)
        return link


def _report(moment: float) -> float:
    """Return when a replica reports that it has synced a write: once a second."""
    return float(int(moment) + 1)
