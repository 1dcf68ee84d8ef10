"""
Reads the numbers and the ids of entries that commands carry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from simulation.redis.values import CommandError

_DECIMAL: Final = re.compile(rb"-?[1-9][0-9]{0,18}|0")
_ZERO: Final = ord("0")
_UNSIGNED: Final = re.compile(rb"\s*\+?[0-9]+")

#: The greatest value of a half of an id.
HALF: Final = (1 << 64) - 1
#: The greatest id.
LAST_ID: Final = (1 << 128) - 1

NOT_INTEGER: Final = b"ERR value is not an integer or out of range"
SYNTAX: Final = b"ERR syntax error"
BAD_ID: Final = b"ERR Invalid stream ID specified as stream command argument"


def read_integer(text: bytes, problem: bytes = NOT_INTEGER) -> int:
    """Return a signed number of 64 bits, written as Redis writes it."""
    if len(text) < 19 and text.isdigit() and text[0] != _ZERO:
        return int(text)
    if _DECIMAL.fullmatch(text) and -(1 << 63) <= (value := int(text)) < 1 << 63:
        return value
    raise CommandError(problem)


def _read_half(text: bytes) -> int:
    """Return an unsigned number of 64 bits."""
    if len(text) < 19 and text.isdigit():
        return int(text)
    if _UNSIGNED.fullmatch(text) and (value := int(text)) <= HALF:
        return value
    raise CommandError(BAD_ID)


def read_id(text: bytes, missing: int = 0) -> int:
    """
    Return an id as one number: milliseconds, shifted by 64 bits, and the sequence.

    @param missing: the sequence if the text has none.
    """
    if len(text) > 127:
        raise CommandError(BAD_ID)
    first, dash, second = text.partition(b"-")
    return _read_half(first) << 64 | (_read_half(second) if dash else missing)


def read_bound(text: bytes, missing: int = 0) -> int:
    """Return an id, or the least or the greatest one for C{-} and C{+}."""
    if text == b"-":
        return 0
    if text == b"+":
        return LAST_ID
    return read_id(text, missing)


def write_id(id: int) -> bytes:
    """Return the text of an id."""
    return b"%d-%d" % (id >> 64, id & HALF)


def read_range(first: bytes, last: bytes) -> tuple[int, int]:
    """Return the least and the greatest id of an interval; C{(} before an id leaves that out."""
    if first.startswith(b"("):
        start = read_id(first[1:])
        if start == LAST_ID:
            raise CommandError(b"ERR invalid start ID for the interval")
        start += 1
    else:
        start = read_bound(first)
    if last.startswith(b"("):
        end = read_id(last[1:], HALF)
        if end == 0:
            raise CommandError(b"ERR invalid end ID for the interval")
        end -= 1
    else:
        end = read_bound(last, HALF)
    return start, end


def read_pairs(words: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return names and values that follow each other."""
    return dict(zip(words[::2], words[1::2]))
