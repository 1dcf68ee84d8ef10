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
    """
    A connection to a server, and the commands on it that have no reply yet.

    @ivar end: of the process that asks.
    """

    __slots__ = ("commands", "end")

    def __init__(self, end: Transport) -> None:
        self.end = end
        self.commands: deque[str] = deque()


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
    #: By each of their ends; C{None} for those that lead to no server.
    _conversations: dict[Transport, _Conversation | None] = attrs.field(factory=dict, init=False)
    _sent: list[bytes] = attrs.field(factory=list, init=False)
    _times: array[float] = attrs.field(factory=lambda: array("d"), init=False)

    def watch(self, end: Transport, data: bytes) -> None:
        """Look at a message before it is sent."""
        self._sent += (end.way.mark, data)
        self._times.append(self.timeline.now)
        try:
            conversation = self._conversations[end]
        except KeyError:
            conversation = self._begin(end)
        if conversation is None:
            return
        commands, asking = conversation.commands, conversation.end
        if asking is end:
            command = name_command(data)
            commands.append(command)
            self.told(end.process, end.peer.process, "request", command)
        elif len(commands) == 1:  # whole replies are sent, so this is the one
            self._tell_reply(conversation, end)
        else:
            reader = hiredis.Reader()
            reader.feed(data)
            while reader.gets() is not False and commands:
                self._tell_reply(conversation, end)

    def _tell_reply(self, conversation: _Conversation, end: Transport) -> None:
        asking, commands = conversation.end.process, conversation.commands
        self.told(asking, end.process, "applied", commands[0])
        self.told(asking, end.process, "reply", commands[0])
        commands.popleft()

    def _begin(self, end: Transport) -> _Conversation | None:
        conversation = None
        if self.is_server(end.way.target):
            conversation = _Conversation(end)
        elif self.is_server(end.way.source):
            conversation = _Conversation(end.peer)
        self._conversations[end] = self._conversations[end.peer] = conversation
        return conversation

    def open_commands(self, process: Any) -> list[str]:
        """Return the commands of a process that have no reply yet."""
        return [
            command
            for end, conversation in self._conversations.items()
            if conversation is not None and conversation.end is end and end.process is process and not end.lost
            for command in conversation.commands
        ]

    def digest(self) -> str:
        """Return a sum of everything that was sent so far."""
        sum = blake2b(self._times.tobytes(), digest_size=16)
        sum.update(b"".join(self._sent))
        return sum.hexdigest()
