"""
The servers of Redis and the Sentinels of a simulated world.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import attrs

from chaos import DEAD, GROUP, STREAM
from simulation.redis.keyspace import Keyspace
from simulation.redis.values import Conditions, User, Version
from simulation.schedules.choices import Setup
from simulation.servers.deployment import Deployment
from simulation.servers.history import Position
from simulation.servers.sentinel import Sentinel
from simulation.servers.server import Server

#: The ports of servers and of Sentinels, and the number of Sentinels.
REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
_SENTINELS: Final = 3
#: The name that leads to the primary, sooner or later.
NAME: Final = "redis"
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
    All servers of a world, and their Sentinels.

    @ivar by_name: the first server is the primary at the beginning.
    @ivar sentinels: by name; none without replicas.
    @ivar deployment: what happens between them.
    @ivar stored: all entries that were ever in the stream, in the order in which they were seen.
    """

    def __init__(self, world: Any, setup: Setup) -> None:
        self.world, self.setup = world, setup
        self.by_name = {name: self._make(name) for name in _number("redis", 1 + setup.replicas)}
        servers = list(self.by_name.values())
        self.sentinels: dict[str, Sentinel] = {}
        for name in _number("sentinel", _SENTINELS if setup.replicas else 0):
            process = world.add_process(name)
            self.sentinels[name] = Sentinel(name, SENTINEL_PORT, process.reactor, servers, _SENTINELS - 1)
        self.deployment = Deployment(world.clock, servers, list(self.sentinels.values()))
        self._led = self._next = "redis-1"
        self._since = 0.0
        world.network.names[NAME] = self._lead
        self.stored: list[Stored] = []
        self._seen: dict[str, bytes] = {}
        for server in servers:
            server.on_follow = partial(self._follows, server)
            server.on_add = partial(self._look, server)
        for node in (*servers, *self.sentinels.values()):
            self._listen(node)

    def _make(self, name: str) -> Server:
        process, setup, version = self.world.add_process(name), self.setup, Version(self.setup.version)
        wall = process.wall
        server = Server(
            name,
            REDIS_PORT,
            process.reactor,
            lambda: int(wall.time() * 1000),
            lambda: Keyspace(version),
            version,
        )
        server.settings.values[b"appendonly"] = b"no" if setup.fsync == "no" else b"yes"
        server.settings.values[b"appendfsync"] = b"everysec" if setup.fsync == "no" else setup.fsync.encode()
        server.settings_changed()
        server.delay = max(server.delay, setup.lag)
        return server

    def _listen(self, node: Any) -> None:
        self.world.network.listen(self.world.processes[node.host], node.port, node)

    def is_server(self, host: str) -> bool:
        return host in self.by_name

    def settings(self) -> Mapping[str, str]:
        """Return the settings of services that lead here."""
        if self.setup.moves is not None:
            return {"REDIS_HOST": NAME, "REDIS_PORT": f"{REDIS_PORT}"}
        if self.sentinels:
            return {"REDIS_SENTINELS": ",".join(f"{name}:{SENTINEL_PORT}" for name in self.sentinels)}
        return {"REDIS_HOST": "redis-1", "REDIS_PORT": f"{REDIS_PORT}"}

    def _lead(self) -> str:
        """
        Return the host to which the name of the servers leads.

        It looks for the primary whenever somebody asks, and leads there once it has found the same one for long enough.
        """
        now, primary = self.world.timeline.now, self.primary.host
        if primary != self._next:
            self._next, self._since = primary, now
        if now >= self._since + (self.setup.moves or 0.0):
            self._led = self._next
        return self._led

    @property
    def primary(self) -> Server:
        """The server that is the primary: the one that the latest failover has chosen."""
        return self.deployment.primary

    def divided(self) -> bool:
        """Return whether a server runs as a primary that no failover has chosen: it will follow the other one."""
        return any(each.up and each.link is None and each is not self.primary for each in self.by_name.values())

    # What it has

    def ask(self, server: Server, *command: bytes) -> Any:
        """Run a command that only reads."""
        return server.keyspace().execute(command, server.wall(), PLAIN)

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

    def pending(self) -> set[bytes]:
        """Return the ids of the entries that are delivered and not acknowledged."""
        found = self.ask(self.primary, b"XPENDING", _STREAM, _GROUP, b"-", b"+", b"100000")
        return {row[0] for row in found} if isinstance(found, list) else set()

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
        process, before = world.processes[name], server.position()
        self._keep_held(self.primary if server is self.primary else None)
        if power:
            world.network.drop(process, with_word=False)
            world.dark.add(name)
            server.lose_power()
        else:
            server.kill()
            world.network.stop_listening(process, server.port)
        kept = server.kept
        if server.link is None:
            self._go_back(before, Position(before.history, 0) if kept is None else kept, promotes=False)

    def _go_back(self, before: Position, after: Position, promotes: bool) -> None:
        """Record what is lost when a state takes the place of another one."""
        first = _first_lost(before, after)
        if first is not None:
            self.world.account.rolled_back(first, before, after, promotes)

    def _follows(self, server: Server, primary: Any) -> None:
        """Record what is lost when a server follows another one."""
        self._keep_held(self.primary)
        if server.link is None:
            self._go_back(server.position(), primary.position(), promotes=True)

    def _keep_held(self, primary: Server | None) -> None:
        """Keep what replicas have, before one of them loses it."""
        replicas = [each for each in self.by_name.values() if each.up and each is not primary]
        self.world.account.held.extend(each.position() for each in replicas)

    def restart(self, name: str, loading: float = 0.0) -> None:
        """Start a server again; it loads its data for so many seconds."""
        server = self.by_name[name]
        if not server.up:
            self.world.dark.discard(name)
            self._seen.pop(name, None)
            self.deployment.start(server, loading)
            self._listen(server)

    def kill_sentinel(self, name: str) -> None:
        """End a Sentinel."""
        sentinel = self.sentinels[name]
        if sentinel.up:
            sentinel.kill()
            self.world.network.stop_listening(self.world.processes[name], sentinel.port)

    def restart_sentinel(self, name: str) -> None:
        """Start a Sentinel again."""
        sentinel = self.sentinels[name]
        if not sentinel.up:
            self.deployment.start(sentinel)
            self._listen(sentinel)

    def fail_over(self) -> bool:
        """Let the Sentinels promote the best replica; return whether that begins."""
        new, old = self.deployment.best_replica(), self.primary
        if new is None:
            return False
        before, after = old.position(), new.position()
        if not self.deployment.fail_over(new):
            return False
        self._keep_held(old)
        self._seen.pop(new.host, None)
        # Also what the old primary does until it is demoted is lost.
        first = _first_lost(before, after)
        self.world.account.rolled_back(self.world.timeline.now if first is None else first, before, after, True)
        return True

    def restrict(self, name: str, denied: frozenset[bytes]) -> None:
        """Take rights away, or give them back."""
        server = self.by_name[name]
        server.set_user(User(denied=denied))

    def fill(self, name: str, full: bool) -> None:
        """Let the memory of a server be full, or not."""
        server = self.by_name[name]
        server.settings.values[b"maxmemory"] = b"1" if full else b"0"
        server.settings_changed()

    def need_replicas(self, name: str, wants: bool) -> None:
        """Let a server refuse writes for want of replicas, or not."""
        server = self.by_name[name]
        server.settings.values[b"min-replicas-to-write"] = b"%d" % (len(self.by_name) if wants else 0)
        server.settings_changed()

    def fill_disk(self, name: str, full: bool) -> None:
        """Let the disk of a server be full, or not; one that has ended because of it is started again."""
        server = self.by_name[name]
        if full:
            server.fill_disk()
            return
        server.clear_disk()
        if not server.up:
            self.world.network.stop_listening(self.world.processes[name], server.port)
            self.restart(name)


PLAIN: Final = Conditions()


def _number(name: str, count: int) -> list[str]:
    return [f"{name}-{number}" for number in range(1, count + 1)]


def _first_lost(before: Position, after: Position) -> float | None:
    """Return when the first write was done that the later state lacks; C{None} if it lacks none."""
    after_limits = dict(after.limits())
    common = (min(limit, after_limits[each]) for each, limit in before.limits() if each in after_limits)
    kept = next(common, 0)
    return before.history.time(kept + 1) if kept < before.offset else None
