"""
Writes replies in the protocol of Redis, version 2.
"""

from __future__ import annotations

from typing import Any

from simulation.redis.values import ErrorReply, Status


def encode(reply: Any) -> bytes:
    """Return the bytes of a reply."""
    pieces: list[bytes] = []
    _write(reply, pieces)
    return b"".join(pieces)


def _write(reply: Any, pieces: list[bytes]) -> None:
    kind = type(reply)
    if kind is bytes:
        pieces.append(b"$%d\r\n%b\r\n" % (len(reply), reply))
    elif kind is int:
        pieces.append(b":%d\r\n" % reply)
    elif reply is None:
        pieces.append(b"$-1\r\n")
    elif kind is list or kind is tuple:
        pieces.append(b"*%d\r\n" % len(reply))
        for each in reply:
            _write(each, pieces)
    elif kind is Status:
        pieces.append(b"+%b\r\n" % reply)
    elif kind is ErrorReply:
        pieces.append(b"-%b\r\n" % reply)
    else:
        raise TypeError(f"no reply: {reply!r}")
