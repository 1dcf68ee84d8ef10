"""
A Sentinel: what it names, and what it announces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from simulation.redis.values import OK, Command, ErrorReply, Status, Version
from simulation.servers.node import LATER, Node, ServerSession
from simulation.servers.server import Server
from simulation.servers.words import (
    NO_LOGIN,
    NOT_LOGGED_IN,
    WRONG_LOGIN,
    only_messages,
    unknown_command,
    unknown_subcommand,
    wrong_number,
)

#: What all Sentinels of a simulation watch.
SERVICE: Final = b"mymaster"


class Sentinel(Node):
    """
    One Sentinel, which is told what it sees.

    @ivar named: the server that it names as the primary.
    @ivar epoch: the config-epoch of that.
    @ivar servers: all that it watches, C{named} included.
    @ivar others: how many other Sentinels it knows.
    @ivar is_isolated: whether it hears nothing of the others.
    @ivar password: needed by everybody who asks; empty for none.
    """

    def __init__(
        self,
        host: str,
        port: int,
        clock: IReactorTime,
        servers: Sequence[Server],
        others: int = 0,
        version: Version = Version.VALKEY_9_1,
    ) -> None:
        super().__init__(host, port, clock)
        self.servers = servers
        self.others = others
        self.version = version
        self.named = servers[0]
        self.epoch = 0
        self.password = b""
        self.is_isolated = False

    def answer(self, session: ServerSession, command: Command) -> Any:
        name = command[0].upper()
        if self.password and not session.user and name != b"AUTH":
            return NOT_LOGGED_IN
        if session.channels and name not in (b"SUBSCRIBE", b"PING"):
            return only_messages(self.version, command)
        match [name, *command[1:]]:
            case [b"AUTH", *_, password]:
                return self._log_in(session, password, len(command) == 2)
            case [b"PING"]:
                return [b"pong", b""] if session.channels else Status(b"PONG")
            case [b"ROLE"]:
                return [b"sentinel", [SERVICE]]
            case [b"SUBSCRIBE", *channels] if channels:
                return self._subscribe(session, channels)
            case [b"SENTINEL", question, *arguments]:
                return self._tell(command, question.upper(), arguments)
            case [b"SENTINEL" | b"AUTH" | b"SUBSCRIBE"]:
                return wrong_number(name.lower())
        return unknown_command(self.version, command)

    def _log_in(self, session: ServerSession, password: bytes, by_password_alone: bool) -> Any:
        if by_password_alone and not self.password:
            return NO_LOGIN
        if not self.password or password != self.password:
            return WRONG_LOGIN
        session.user = b"default"
        return OK

    def _subscribe(self, session: ServerSession, channels: list[bytes]) -> Any:
        for channel in channels:
            if channel not in session.channels:
                session.channels.append(channel)
            session.reply([b"subscribe", channel, len(session.channels)])
        return LATER

    def _tell(self, command: Command, question: bytes, arguments: Sequence[bytes]) -> Any:
        if question not in (b"GET-MASTER-ADDR-BY-NAME", b"MASTER", b"REPLICAS", b"SLAVES"):
            return unknown_subcommand(self.version, command)
        is_known = arguments == [SERVICE]
        if question == b"GET-MASTER-ADDR-BY-NAME":
            return [self.named.host.encode(), b"%d" % self.named.port] if is_known else None
        if not is_known:
            return ErrorReply(b"ERR No such master with that name")
        if question == b"MASTER":
            return self._describe_primary()
        return [_describe(each, b"slave") for each in self.servers if each is not self.named]

    def _describe_primary(self) -> list[bytes]:
        facts = {
            b"config-epoch": self.epoch,
            b"num-slaves": len(self.servers) - 1,
            b"num-other-sentinels": self.others,
            b"quorum": (self.others + 1) // 2 + 1,
        }
        more = [word for name, number in facts.items() for word in (name, b"%d" % number)]
        return [*_describe(self.named, b"master", SERVICE), *more]

    def start(self) -> None:
        """Start it again: it remembers what it named."""
        self.up = True

    def announce(self, channel: bytes, text: bytes) -> None:
        """Publish a message to all who have subscribed to it."""
        for session in list(self.sessions):
            if channel in session.channels:
                session.reply([b"message", channel, text])

    def learn(self, primary: Server, epoch: int) -> None:
        """Name another primary, and announce that."""
        before, self.named, self.epoch = self.named, primary, epoch
        if before is not primary:
            self.announce_switch(before)

    def announce_switch(self, before: Server) -> None:
        """Announce that it names another address than before."""
        words = (SERVICE, before.host.encode(), before.port, self.named.host.encode(), self.named.port)
        self.announce(b"+switch-master", b"%b %b %d %b %d" % words)

    def announce_replica(self, channel: bytes, replica: Server, primary: Server) -> None:
        """Announce a step of a failover that is about a replica."""
        host, old = replica.host.encode(), primary.host.encode()
        words = (host, replica.port, host, replica.port, SERVICE, old, primary.port)
        self.announce(channel, b"slave %b:%d %b %d @ %b %b %d" % words)


def _describe(server: Server, flags: bytes, name: bytes = b"") -> list[bytes]:
    host, port = server.host.encode(), b"%d" % server.port
    return [
        *(b"name", name or b"%b:%b" % (host, port)),
        *(b"ip", host),
        *(b"port", port),
        *(b"flags", flags if server.up else b"s_down," + flags),
    ]
