"""
Runs random commands on a real server and on the model, and finds the first difference.

    python -m tests.support.redis_differences 10000
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from random import Random
from time import sleep
from typing import Any, Final

import attrs
import hiredis

from simulation.redis.keyspace import Keyspace
from simulation.redis.values import ErrorReply, Version
from tests.support.processes import running_server
from tests.support.redis_chances import HASHES, OWNER
from tests.support.redis_commands import Maker
from tests.support.redis_modes import AS_IT_IS, Mode, make_modes
from tests.support.server_binaries import find_binary

#: The versions of the model, and the names of real servers.
MAKES: Final = {Version.REDIS_6_2: "redis-6.2", Version.REDIS_7_0: "redis-7.0", Version.VALKEY_9_1: "valkey-9"}
#: How many commands a sequence has.
LENGTH: Final = 25
#: Makes a server as new, whatever a sequence has left.
RESET: Final = [
    b"AUTH default x",
    b"REPLICAOF NO ONE",
    b"CONFIG SET maxmemory 0",
    b"CONFIG SET min-replicas-to-write 0",
    b"FLUSHALL",
]
#: Commands that may look at the clock more than once.
AT_SEVERAL_TIMES: Final = frozenset(b"EVAL XREADGROUP XCLAIM XAUTOCLAIM".split())
#: How many states of the model are kept.
MOST: Final = 16
#: How often a sequence is run in which the clock ticked in a script.
TRIES: Final = 30


class Wire:
    """A connection to a real server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def ask(self, *commands: Sequence[bytes]) -> list[Any]:
        """Send commands at once, and return their replies."""
        self._socket.sendall(b"".join(hiredis.pack_command(tuple(words)) for words in commands))  # type: ignore[arg-type]
        replies: list[Any] = []
        while len(replies) < len(commands):
            reply = self._reader.gets()
            if reply is False:
                data = self._socket.recv(1 << 16)
                assert data, "the server has closed the connection"
                self._reader.feed(data)
            else:
                replies.append(plain(reply))
        return replies

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def plain(reply: Any) -> Any:
    """Return a reply of either side in one form."""
    if isinstance(reply, hiredis.ReplyError):
        return "-" + str(reply)
    if isinstance(reply, ErrorReply):
        return "-" + reply.decode("utf-8", "backslashreplace")
    if isinstance(reply, list):
        found = [plain(each) for each in reply]
        if b"radix-tree-nodes" in found:  # of XINFO STREAM; the model makes them up
            found[found.index(b"radix-tree-nodes") + 1] = None
        return found
    return bytes(reply) if isinstance(reply, bytes) else reply


@attrs.frozen
class Difference:
    """
    What a server and the model answer differently.

    @ivar commands: all up to that one.
    @ivar is_certain: whether the clock of the server stood still meanwhile, so that it is no matter of time.
    """

    commands: Sequence[Sequence[bytes]]
    real: Any
    model: Any
    is_certain: bool

    def __str__(self) -> str:
        lines = [
            "  " + " ".join(repr(word)[2:-1] if len(word) < 200 else "..." for word in words) for words in self.commands
        ]
        return "\n".join([*lines, f"real:  {self.real}", f"model: {self.model}"])


def milliseconds(time: Any) -> int:
    """Return a reply to TIME in milliseconds."""
    return int(time[0]) * 1000 + int(time[1]) // 1000


@attrs.define
class Comparison:
    """
    One server, and the model in each state that agrees with all replies so far.

    # Note [When did it happen]

    The clock of the server may tick while it runs a command.  The model then tries all times that are
    possible, and more than one of its states may agree with the reply::

        TIME -> 7 ms     SET a 1 PX 5 -> OK     TIME -> 8 ms          the key lasts until 12 or 13 ms

    A script of Redis 6.2 and 7.0 sees the clock tick between two of its commands, and a consumer there
    gets two entries at two times, which no state of the model shows.  So a difference after that is not certain.

    @ivar done: the commands so far.
    @ivar is_certain: whether no clock ticked in such a command.
    """

    wire: Wire
    models: list[Keyspace]
    mode: Mode = AS_IT_IS
    done: list[Sequence[bytes]] = attrs.field(factory=list)
    is_certain: bool = True

    def step(self, command: Sequence[bytes]) -> Difference | None:
        """Run one command on both sides."""
        self.done.append([self.mode.user.encode(), *command] if self.mode.user != "default" else command)
        before, real, after = self.wire.ask([b"TIME"], command, [b"TIME"])
        times = range(milliseconds(before), milliseconds(after) + 1)
        if len(times) > 1 and command[0] in AT_SEVERAL_TIMES:
            self.is_certain = False
        agreeing: list[Keyspace] = []
        replies = []
        for model in self.models:
            for now in times:
                candidate = model if len(times) == 1 else model.copy()
                replies.append(plain(candidate.execute(command, now, self.mode.conditions)))
                if replies[-1] == real:
                    agreeing.append(candidate)
        if not agreeing:
            return Difference(self.done, real, replies[0], self.is_certain)
        self.models = agreeing[:MOST]
        self.is_certain = self.is_certain and len(agreeing) <= MOST
        return None

    def change(self, mode: Mode) -> None:
        """
        Set the server up in another way.

        A primary removes expired keys when it likes, a replica never: so they are removed before.
        """
        if mode.conditions.is_replica and not self.mode.conditions.is_replica and self.models[0].expiry:
            self.wire.ask([b"EXISTS", *self.models[0].expiry])
            now = milliseconds(self.wire.ask([b"TIME"])[0])
            for model in self.models:
                model.expire(now)
        if self.mode.user != "default":
            self._run("AUTH default x")
        for command in (*self.mode.leave, *mode.enter):
            self._run(command)
        if mode.user != "default":
            self._run(f"AUTH {mode.user} x")
        self.mode = mode

    def _run(self, command: str) -> None:
        self.done.append(command.encode().split())
        (reply,) = self.wire.ask(self.done[-1])
        assert reply == b"OK", reply


def run_sequence(wire: Wire, version: Version, seed: int) -> Difference | None:
    """Run random commands on both; return the first difference."""
    random = Random(seed)
    for reset in RESET:
        wire.ask(reset.split())
    both = Comparison(wire, [Keyspace(version)])
    modes = make_modes(random) if random.random() < 0.5 else []
    for command in Maker(random, both.models[0]).begin():
        if difference := both.step(command):
            return difference
    for _ in range(LENGTH):
        if random.random() < 0.04:
            sleep(random.choice([0.001, 0.003]))
        if modes and random.random() < 0.15:
            both.change(random.choice(modes))
        if difference := both.step(Maker(random, both.models[0]).command()):
            return difference
    both.change(AS_IT_IS)
    for command in looks(both.models[0]):
        if difference := both.step(command):
            return difference
    return None


def looks(model: Keyspace) -> Iterator[list[bytes]]:
    """Yield commands that show all that a server holds."""
    for key in sorted(model.values):
        yield [b"TYPE", key]
        yield [b"GET", key]
        yield [b"HGETALL", key]
        yield [b"XRANGE", key, b"-", b"+"]
        yield [b"XINFO", b"STREAM", key]
        yield [b"XINFO", b"GROUPS", key]
        for group in (b"g", b"h"):
            yield [b"XPENDING", key, group]
            yield [b"XPENDING", key, group, b"-", b"+", b"1000"]
            yield [b"XINFO", b"CONSUMERS", key, group]
        yield [b"PTTL", key]


def find_difference(wire: Wire, version: Version, seed: int) -> Difference | None:
    """Run a sequence; again if a difference may come from the clock: see the Note [When did it happen]."""
    for _ in range(TRIES):
        difference = run_sequence(wire, version, seed)
        if difference is None or difference.is_certain:
            return difference
    return difference


def find_replica_difference(wire: Wire, replica: Wire, version: Version, seed: int) -> str | None:
    """
    Run random commands on a primary with a replica and on the model; return what the two replicas hold differently.

    Nothing in a sequence expires.  Returns an empty text if there is no difference; C{None} if the clock ticked.
    """
    random = Random(seed)
    wire.ask([b"FLUSHALL"])
    both, copy = Comparison(wire, [Keyspace(version)]), Keyspace(version)
    begin = list(Maker(random, both.models[0]).begin())
    for _ in range(LENGTH):
        words = begin.pop(0) if begin else Maker(random, both.models[0]).command()
        if set(words) & {b"SET", b"PEXPIRE", b"EXPIRE", OWNER, HASHES[0]}:
            continue
        assert both.step(words) is None or not both.is_certain
        if len(both.models) > 1 or not both.is_certain:
            return None
        copy.apply(list(both.models[0].effects), both.models[0].now)
    wire.ask([b"WAIT", b"1", b"10000"])
    for key in sorted(copy.values):
        for question in ([b"GET", key], [b"HGETALL", key], [b"XRANGE", key, b"-", b"+"], [b"XPENDING", key, b"g"]):
            (real,), model = replica.ask(question), plain(copy.execute(question, both.models[0].now))
            if real != model:
                return f"{question}: real {real}, model {model}"
    return ""


def main(count: int, first: int = 0) -> int:
    """Compare so many sequences on each version; return how many differ."""
    wrong = 0
    for version, name in MAKES.items():
        with running_server(binary=find_binary(name)) as server, closing(Wire(server.port)) as wire:
            own = undecided = 0
            for seed in range(first, first + count):
                difference = find_difference(wire, version, seed)
                if difference is not None and difference.is_certain:
                    own += 1
                    print(f"{name}, seed {seed}:\n{difference}\n" if own <= 5 else "", flush=True)
                undecided += difference is not None and not difference.is_certain
            print(f"{name}: {count} sequences of {LENGTH} commands, {own} differ, {undecided} undecided", flush=True)
            wrong += own
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(*map(int, sys.argv[1:]))))
