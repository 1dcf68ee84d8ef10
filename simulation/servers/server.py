"""
A server of Redis: what it answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from simulation.redis.keyspace import Keyspace
from simulation.redis.values import Command, Conditions, ErrorReply, User, Version
from simulation.servers.blocking import BlockedRead, BlockedWait, explain, read_options, wakes
from simulation.servers.member import Member
from simulation.servers.node import LATER, ServerSession
from simulation.servers.server_commands import NOT_OURS, answer_own
from simulation.servers.words import DEMOTED

#: Who has every right and no password, as the first user of a server.
_NOBODY: Final = (User(), b"")


class Server(Member):
    """
    One server.

    Everything happens when a session sends a command, when somebody calls a method, or when a wait ends: there is no
    other timer.

    @ivar wall: tells the server's own time of day, in milliseconds.
    @ivar users: by name, what they may do, and their password; the empty name is that of all who have not logged in.
    @ivar needs_login: whether a session must log in first.
    @ivar reading: reads that found nothing, the oldest first.
    @ivar waiting: waits for replicas or the disk.
    """

    def __init__(
        self,
        host: str,
        port: int,
        clock: IReactorTime,
        wall: Callable[[], int],
        make_keyspace: Callable[[], Keyspace],
        version: Version = Version.VALKEY_9_1,
    ) -> None:
        super().__init__(host, port, clock, make_keyspace)
        self.wall = wall
        self.version = version
        self.users: dict[bytes, tuple[User, bytes]] = {}
        self.reading: list[BlockedRead] = []
        self.waiting: list[BlockedWait] = []
        self._conditions: dict[bytes, Conditions] = {}
        self.needs_login = self._needs_replicas = False
        self._serves = self._look_again = False

    def settings_changed(self) -> None:
        super().settings_changed()
        self._conditions = {}
        self.needs_login = bool(self.settings.values[b"requirepass"])
        self._needs_replicas = bool(self.settings.number(b"min-replicas-to-write"))

    def links_changed(self) -> None:
        for waiting in list(self.waiting):
            waiting.look()

    def interrupt(self) -> None:
        for session in [each.session for each in (*self.reading, *self.waiting)]:
            session.unblock(DEMOTED)
            session.close()

    def set_user(self, user: User, password: bytes = b"") -> None:
        """Change what a user may do, also in the sessions that it has."""
        self.users[_key(user.name)] = (user, password)
        self.settings_changed()

    def log_in(self, name: bytes, password: bytes) -> bool:
        """Return whether a user has a password."""
        if name == b"default":
            return self.settings.values[b"requirepass"] in (b"", password)
        return name in self.users and self.users[name][1] == password

    def number_of(self, session: ServerSession) -> int:
        """Return the number of a session, in the order of the connections."""
        return self.sessions.index(session) + 1

    def answer(self, session: ServerSession, command: Command) -> Any:
        name = command[0].upper()
        reply = answer_own(self, session, name, command)
        if reply is NOT_OURS:
            reply = self.run(session, command, name)
        if self.version is not Version.VALKEY_9_1:
            session.written = self.history.end
        return reply

    def run(self, session: ServerSession, command: Command, name: bytes) -> Any:
        """Run a command on the data set."""
        reply = self._execute(session, command)
        if reply is None and name in (b"XREADGROUP", b"XREAD") and (options := read_options(command)):
            seconds, read, keys = options
            session.blocked = BlockedRead(self, session, read, keys, seconds)
            return LATER
        return reply

    def _execute(self, session: ServerSession, command: Command) -> Any:
        keyspace, now = self.keyspace(), self.wall()
        reply = keyspace.execute(command, now, self.conditions(session.user))
        if effects := keyspace.effects:
            self._wrote(session, effects, now)
        return reply

    def _wrote(self, session: ServerSession, effects: Sequence[Command], now: int) -> None:
        session.written = self.history.append(self.clock.seconds(), (effects, now))
        self.state.wrote(self.history, session.written)
        if any(effect[0].upper() == b"XADD" for effect in effects):
            self.on_add()
        if not self.disk.has_room and self.disk.full is None:
            self._write_without_room(session.written)
        if self.reading and any(map(wakes, effects)):
            self._serve_reads()

    def _write_without_room(self, offset: int) -> None:
        """
        Do what servers do at the first write that the disk has no room for.

        Under C{appendfsync always} they end before they answer; else they answer it, and refuse all others.
        """
        self.disk.full = offset - 1
        self.settings_changed()
        if self.disk.policy == b"always":
            self.kill()

    def _serve_reads(self) -> None:
        """Answer the reads that find something now, or can find nothing any more: the oldest first."""
        self._look_again = True
        if self._serves:
            return
        self._serves = True
        try:
            while self._look_again:
                self._look_again = False
                for blocked in list(self.reading):
                    if blocked.session.blocked is blocked:
                        self._serve(blocked)
        finally:
            self._serves = False

    def _serve(self, blocked: BlockedRead) -> None:
        session = blocked.session
        reply = self._execute(session, blocked.command)
        if type(reply) is ErrorReply:
            reply = explain(self, blocked, reply)
        if reply is not None and session.blocked is blocked:
            session.unblock(reply)

    def conditions(self, user: bytes) -> Conditions:
        """Return what is to be refused."""
        found = self._conditions.get(user)
        if found is None or self._needs_replicas:
            found = self._conditions[user] = Conditions(
                user=self.users.get(_key(user), _NOBODY)[0],
                maxmemory=self.settings.number(b"maxmemory"),
                is_replica=self.link is not None,
                has_replicas=self._count_good() >= self.settings.number(b"min-replicas-to-write"),
                can_save=self.disk.full is None,
            )
        return found

    def _count_good(self) -> int:
        """Return how many replicas have confirmed something lately."""
        now, longest = self.clock.seconds(), self.settings.number(b"min-replicas-max-lag")
        silences = [link.silence(now) for link in self.replicas]
        return sum(1 for silence in silences if silence is not None and silence <= longest)

    def count_confirmed(self, offset: int, on_disk: bool) -> int:
        """Return how many replicas are known to have a write, in memory or on their disk."""
        now = self.clock.seconds()
        if on_disk:
            return sum(1 for moment in self._reports(offset) if moment <= now)
        return sum(1 for link in self.replicas if link.confirmed(now) >= offset and link.silence(now) is not None)

    def _reports(self, offset: int) -> Sequence[float]:
        """Return when replicas report that a write is on their disk: they do so once a second."""
        moments = [link.confirms_at(offset) for link in self.replicas if link.replica.keeps_file]
        return [math.floor(moment) + 1.0 for moment in moments if moment is not None]

    def count_synced(self, offset: int) -> int:
        """Return 1 if a write is on the disk, 0 if it is not known to be."""
        if not self.keeps_file:
            return 0
        return int(self.disk.synced(self.history, self.disk.synced_until(self.clock.seconds())) >= offset)

    def moments(self, offset: int, on_disk: bool) -> Sequence[float]:
        """Return when the counts should change, if nothing else does."""
        if on_disk:
            synced = self.disk.syncs_at(self.history.time(offset))
            return [*self._reports(offset), *([] if synced is None else [synced])]
        moments = [link.confirms_at(offset) for link in self.replicas]
        return [moment for moment in moments if moment is not None]


def _key(name: bytes) -> bytes:
    return b"" if name == b"default" else name
