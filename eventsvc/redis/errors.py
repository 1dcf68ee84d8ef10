"""
Classifies error replies of Redis by what they prove.

Their text names users, commands and scripts, so it goes only to the log.
"""

from __future__ import annotations

import re
from typing import Final

from eventsvc.errors import RedisFull
from eventsvc.interfaces import Refused, Unknown

#: Codes of error replies which prove that the command was not executed.
NOT_APPLIED: Final = frozenset(
    "ASK BUSY BUSYGROUP LOADING MASTERDOWN MISCONF MOVED NOAUTH NOGROUP NOPERM NOREPLICAS NOSCRIPT OOM READONLY "
    "UNBLOCKED WRONGPASS WRONGTYPE".split()
)
#: Those of them after which a new connection may succeed.
CHANGE_CONNECTION: Final = frozenset("LOADING MASTERDOWN MOVED NOAUTH READONLY".split())

#: The texts for clients; L{ErrorReply} has one for the other codes.
_TOLD: Final = {
    "BUSY": "Redis is busy",
    "LOADING": "Redis is starting",
    "MASTERDOWN": "Redis is a replica without its primary",
    "MISCONF": "Redis cannot write to its disk",
    "NOAUTH": "Redis denies access",
    "NOGROUP": "Redis has no such stream or consumer group",
    "NOPERM": "Redis denies access",
    "NOREPLICAS": "Redis has too few replicas",
    "OOM": "Redis is out of memory",
    "READONLY": "Redis is a read-only replica",
    "WRONGPASS": "Redis denies access",
    "WRONGTYPE": "Redis holds something else in the place of the stream",
}

#: The prefix that Redis 6.2 adds to an error of a command in a script.
_IN_SCRIPT: Final = re.compile(r"(?:ERR Error running script \(call to f_\w+\): )?(?:@user_script: ?\d+: )+-?")
#: How servers report a missing permission for a command in a script: without a code.
_NO_RIGHT: Final = re.compile(r"(?:ERR )?(?:ACL failure in script: |The user executing the script can't )")


def code_of(reply: str) -> str:
    """
    Return the code of an error reply, such as C{OOM}.

    An error of a command in a script has the code of that command; see the
    Note [Errors in scripts].

    # Note [Errors in scripts]

    A command in a script that writes nothing because memory is full::

        Valkey, Redis 7   OOM command not allowed ... script: 1f..., on @user_script:5.
        Redis 6.2         ERR Error running script (call to f_1f...): @user_script:5: @user_script: 5: -OOM ...
        Redis 6.2         @user_script: 5: -OOM ...     (from redis.pcall, returned by the script)

    A refused command proves nothing about the commands before it::

        XADD ...   is executed
        SET ...    -> NOPERM: the script ends, and the entry stays

    So each script runs every command that may be refused before its first
    write, or as its first write.  Then the code proves that nothing was written.
    """
    reply = _IN_SCRIPT.sub("", reply, count=1) if "@user_script" in reply[:120] else reply
    if _NO_RIGHT.match(reply):
        return "NOPERM"
    return reply.split(" ", 1)[0]


class ErrorReply(Refused):
    """
    Redis answered with an error which proves that nothing was written.

    The text may be sent to clients.

    @ivar reply: the text of Redis, for logs and operators.
    """

    def __init__(self, reply: str) -> None:
        self.reply = reply
        self.code = code_of(reply)
        super().__init__(_TOLD.get(self.code, "Redis refuses writes at present"))


class FullReply(ErrorReply, RedisFull):
    """Redis refused a write because its memory is full."""


class UnclearReply(Unknown):
    """
    Redis answered with an error, and the operation may have taken effect.

    The text may be sent to clients.

    @ivar reply: the text of Redis, for logs and operators.
    """

    def __init__(self, reply: str) -> None:
        self.reply = reply
        super().__init__("Redis answered with an error")


class NotConnected(Refused):
    """There is no connection to Redis, so nothing was sent."""


def sort_reply(reply: str) -> ErrorReply | UnclearReply:
    """Convert an error reply to L{Refused} or L{Unknown}."""
    code = code_of(reply)
    if code == "OOM":
        return FullReply(reply)
    return ErrorReply(reply) if code in NOT_APPLIED else UnclearReply(reply)
