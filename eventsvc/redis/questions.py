"""
Asks a server what it is, within the rights of the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsvc.redis.errors import ErrorReply, UnclearReply
from eventsvc.redis.session import Argument, Session


def credentials(username: str, password: str) -> Sequence[str]:
    """Return the arguments of C{AUTH}; empty if there is nothing to give."""
    if not username and not password:
        return ()
    return (username, password) if username else (password,)


async def ask(session: Session, *arguments: Argument) -> Any:
    """
    Send an optional command and return its reply.

    Returns C{None} if the user may not run the command, or the server does not
    have it.
    """
    try:
        return await session.call(*arguments)
    except (ErrorReply, UnclearReply) as error:
        if session.reason or not error.reply.startswith(("NOPERM ", "ERR unknown ")):
            raise
        return None


def no_primary(session: Session, role: Any) -> str:
    """
    Return why a server accepts no events; empty if it does.

    @param role: the reply to C{ROLE}; C{None} if the user may not run it.
    """
    match role:
        case [b"slave", *_]:
            return f"Redis at {session.peer} is a read-only replica"
        case [b"sentinel", *_]:
            return f"{session.peer} is a Sentinel, not Redis"
        case _:
            return ""


def parse_info(reply: bytes) -> dict[bytes, bytes]:
    """Return the values in a reply to INFO, by name."""
    return dict(line.partition(b":")[::2] for line in reply.splitlines())
