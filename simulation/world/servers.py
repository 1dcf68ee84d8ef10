"""
The servers of Redis and the Sentinels of a simulated world.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from chaos import DEAD, GROUP, STREAM
from simulation.redis.keyspace import Keyspace
from simulation.redis.values import Conditions, User, Version
from simulation.schedules.choices import Setup
from simulation.servers.history import Position
from simulation.servers.server import Server

#: The port of servers.
REDIS_PORT: Final = 6379
_STREAM: Final = STREAM.encode()
_DEAD: Final = DEAD.encode()
_GROUP: Final = GROUP.encode()


@attrs.frozen
class Stored:
    """
    An entry of the stream when it was seen first.

    @ivar position: of the write that added it, or a later one.
    """

    position: Position
    id: bytes
    fields: Mapping[bytes, bytes]


class Servers:
    """
    All servers of a world.

    @ivar by_name: the first is the primary at the beginning.
    @ivar stored: all entries that were ever in the stream, in the order in which they were seen.
    """

    def __init__(self, world: Any, setup: Setup) -> None:
        self.world, self.setup = world, setup
        self.by_name: dict[str, Server] = {}
        self.stored: list[Stored] = []
        self._seen: dict[str, bytes] = {}
        version = Version(setup.version)
        for number in range(1, setup.replicas + 2):
            name = f"redis-{number}"
            process = world.add_process(name)
            wall = process.wall

            def milliseconds(wall: Any = wall) -> int:
                return int(wall.time() * 1000)

            server = Server(name, REDIS_PORT, process.reactor, milliseconds, lambda: Keyspace(version), version)
            server.settings.values[b"appendonly"] = b"no" if setup.fsync == "no" else b"yes"
            server.settings.values[b"appendfsync"] = b"everysec" if setup.fsync == "no" else setup.fsync.encode()
            server.settings_changed()
            self.by_name[name] = server

    def start(self) -> None:
        """Let all servers listen, and the replicas follow."""
        first, *others = self.by_name.values()
        for server in self.by_name.values():
            self._listen(server)
        for server in others:
            server.follow(first)

    def _listen(self, server: Server) -> None:
        process = self.world.processes[server.host]
        self.world.network.listen(process, REDIS_PORT, server)

    def is_server(self, host: str) -> bool:
        return host in self.by_name

    def settings(self) -> Mapping[str, str]:
        """Return the settings of services that lead here."""
        return {"REDIS_HOST": "redis-1", "REDIS_PORT": f"{REDIS_PORT}"}

    @property
    def primary(self) -> Server:
        """The server that is the primary."""
        for server in self.by_name.values():
            if server.up and server.link is None:
                return server
        return next(iter(self.by_name.values()))

    # What it has

    def ask(self, server: Server, *command: bytes) -> Any:
        """Run a command that only reads."""
        return server.keyspace().execute(command, server.wall(), PLAIN)

    def applied(self, name: str, command: str) -> None:
        """Look for new entries after a command that may add some."""
        if command in ("append", "open", "create_group", "replay"):
            self._look(self.by_name[name])

    def _look(self, server: Server) -> None:
        last = self._seen.get(server.host)
        found = self.ask(server, b"XRANGE", _STREAM, b"-" if last is None else b"(" + last, b"+")
        if not isinstance(found, list):
            return
        for id, fields in found:
            self.stored.append(Stored(server.position(), id, dict(zip(fields[::2], fields[1::2]))))
            self._seen[server.host] = id

    def entries(self) -> Mapping[bytes, Mapping[bytes, bytes]]:
        """Return all entries that the primary has or has trimmed, by id."""
        primary = self.primary
        self._look(primary)
        history = primary.position().history
        return {each.id: each.fields for each in self.stored if history.contains(each.position)}

    def dead(self) -> list[bytes]:
        """Return the ids of the entries that were set aside."""
        found = self.ask(self.primary, b"XRANGE", _DEAD, b"-", b"+")
        return [dict(zip(fields[::2], fields[1::2]))[b"id"] for _, fields in found] if isinstance(found, list) else []

    def pending(self) -> list[bytes]:
        """Return the ids of the entries that are delivered and not acknowledged."""
        found = self.ask(self.primary, b"XPENDING", _STREAM, _GROUP, b"-", b"+", b"100000")
        return [row[0] for row in found] if isinstance(found, list) else []

    def last_read(self) -> bytes:
        """Return the id of the last entry that the group has read."""
        found = self.ask(self.primary, b"XINFO", b"GROUPS", _STREAM)
        for group in found if isinstance(found, list) else []:
            facts = dict(zip(group[::2], group[1::2]))
            if facts[b"name"] == _GROUP:
                return facts[b"last-delivered-id"]  # type: ignore[no-any-return]
        return b"0-0"

    def last_entry(self) -> bytes:
        """Return the id of the last entry."""
        found = self.ask(self.primary, b"XREVRANGE", _STREAM, b"+", b"-", b"COUNT", b"1")
        return found[0][0] if isinstance(found, list) and found else b"0-0"

    # What happens to them

    def kill(self, name: str, power: bool = False) -> None:
        """End a server; with its power, what was not synced is lost."""
        server, world = self.by_name[name], self.world
        if not server.up:
            return
        process = world.processes[name]
        before, was_primary = server.position(), server.link is None
        now = world.timeline.now
        if power:
            world.network.drop(process, with_word=False)
            world.dark.add(name)
            server.lose_power()
        else:
            server.kill()
            world.network.stop_listening(process, REDIS_PORT)
        kept = server._kept.offset if server._kept is not None else 0
        if was_primary and kept < before.offset:
            world.account.rolled_back(before.history.time(kept + 1) if kept else 0.0, everything=not kept)
            self._seen.pop(name, None)
        world.account.disturbed(now, now)

    def restart(self, name: str) -> None:
        """Start a server again."""
        server = self.by_name[name]
        if not server.up:
            self.world.dark.discard(name)
            server.start()
            self._listen(server)

    def restrict(self, name: str, denied: frozenset[bytes]) -> None:
        """Take rights away, or give them back."""
        server = self.by_name[name]
        server.users[b""] = (User(denied=denied), b"")
        server.settings_changed()

    def fill(self, name: str, full: bool) -> None:
        """Let the memory of a server be full, or not."""
        server = self.by_name[name]
        server.settings.values[b"maxmemory"] = b"1" if full else b"0"
        server.settings_changed()


PLAIN: Final = Conditions()
