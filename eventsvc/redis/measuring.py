"""
Measures how far a group is behind, within the rights of the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from eventsvc.event import MARKER_FIELD
from eventsvc.measures import Measures
from eventsvc.redis.connection import Connection
from eventsvc.redis.errors import code_of
from eventsvc.redis.scripts import dead_letters, load_script
from eventsvc.redis.session import Argument

_MEASURE: Final = load_script("measure.lua")

#: What a user needs on the key of the stream, as rules of its ACL.
RIGHTS: Final = "+xinfo|groups +xlen +xpending +xrange"


def measure(connection: Connection, stream: str, group: str | bytes, with_dead: bool = False) -> Deferred[Measures]:
    """
    Measure a stream and a group with a few commands, however long the stream is.

    Fails with L{eventsvc.interfaces.Refused} or L{eventsvc.interfaces.Unknown} if the script itself was not run.

    @param with_dead: whether to count the dead letters, which is another key.
    """
    keys: list[Argument] = [stream, dead_letters(stream)] if with_dead else [stream]
    return connection.run(_MEASURE, keys, [group, MARKER_FIELD]).addCallback(_read, stream)


def _read(reply: Sequence[Any], stream: str) -> Measures:
    length, dead, unread, pending, unread_age, pending_age, refused = reply
    return Measures(
        length=length,
        dead=dead,
        unread=unread,
        pending=pending,
        unread_age=None if unread_age is None else unread_age / 1000,
        pending_age=None if pending_age is None else pending_age / 1000,
        problem=explain(stream, refused[0].decode(), refused[1].decode()) if refused else "",
    )


def explain(stream: str, command: str, reply: str, rights: str = RIGHTS) -> str:
    """
    Return in words why Redis refused a command that measures, without the text of Redis.

    @param rights: what the user needs there; empty to leave that out.
    """
    code = code_of(reply)
    if code == "NOPERM":
        place = f" on {stream}; it needs the rights {rights} there" if rights else ""
        return f"the user of Redis may not run {command}{place}"
    if code == "WRONGTYPE":
        return f"the key {stream} is no stream"
    if "no such key" in reply:
        return f"there is no stream {stream}"
    return f"Redis refuses {command} ({code})"
