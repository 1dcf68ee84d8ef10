"""
Watches what services and servers say to each other.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import attrs
import hiredis

from simulation.world.scripts import name_command
from simulation.world.transport import Transport

#: Called with the process that asks, the server, C{request}, C{applied} or C{reply}, and the command.
Told = Callable[[Any, Any, str, str], None]


class _Conversation:
    """The commands on one connection that have no reply yet."""

    __slots__ = ("commands", "reader")

    def __init__(self) -> None:
        self.commands: deque[str] = deque()
        self.reader = hiredis.Reader()


@attrs.define(eq=False)
class Wire:
    """
    Names the requests and replies on connections to Redis, and sums up all bytes.

    @ivar is_server: whether a host is a server of Redis.
    @ivar told: is told of each.
    """

    timeline: Any
    is_server: Callable[[str], bool]
    told: Told
    _conversations: dict[Transport, _Conversation] = attrs.field(factory=dict, init=False)
    _sent: list[bytes] = attrs.field(factory=list, init=False)
    _times: array[float] = attrs.field(factory=lambda: array("d"), init=False)

    def watch(self, end: Transport, data: bytes) -> None:
        """Look at a message before it is sent."""
        way = end.way
        self._sent += (way.mark, data)
        self._times.append(self.timeline.now)
        if self.is_server(way.target):
            conversation = self._conversations.get(end)
            if conversation is None:
                conversation = self._conversations[end] = _Conversation()
            command = name_command(data)
            conversation.commands.append(command)
            self.told(end.process, end.peer.process, "request", command)
        elif self.is_server(way.source) and (conversation := self._conversations.get(end.peer)) is not None:
            conversation.reader.feed(data)
            while conversation.reader.gets() is not False and conversation.commands:
                command = conversation.commands[0]
                for step in ("applied", "reply"):
                    self.told(end.peer.process, end.process, step, command)
                conversation.commands.popleft()

    def open_commands(self, process: Any) -> list[str]:
        """Return the commands of a process that have no reply yet."""
        return [
            command
            for end, conversation in self._conversations.items()
            if end.process is process and not end.lost
            for command in conversation.commands
        ]

    def digest(self) -> str:
        """Return a sum of everything that was sent so far."""
        sum = blake2b(self._times.tobytes(), digest_size=16)
        sum.update(b"".join(self._sent))
        return sum.hexdigest()
