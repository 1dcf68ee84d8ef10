"""
How many bytes an entry takes in a node of a stream.

C{XTRIM} with C{~} removes whole nodes, so where a node ends decides what is removed.

Source: listpack.c and t_stream.c of Redis.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Bytes of an empty listpack.
EMPTY: Final = 7

_INTEGER: Final = re.compile(rb"-?[1-9][0-9]{0,18}|0")


def _size_of_integer(value: int) -> int:
    """Return the bytes of a number, with those of its length."""
    if 0 <= value <= 127:
        return 2
    for bits, size in ((12, 3), (15, 4), (23, 5), (31, 6)):
        if -(1 << bits) <= value < 1 << bits:
            return size
    return 10


def _size_of(text: bytes) -> int:
    """Return the bytes of an element, with those of its length."""
    length = len(text)
    if length < 21 and _INTEGER.fullmatch(text) and -(1 << 63) <= (value := int(text)) < 1 << 63:
        return _size_of_integer(value)
    size = length + (1 if length < 64 else 2 if length < 4096 else 5)
    for most, more in ((128, 1), (16383, 2), (2097151, 3), (268435455, 4)):
        if size < most:
            return size + more
    return size + 5


def size_of_master(names: Sequence[bytes]) -> int:
    """Return the bytes of a new node before its first entry."""
    return EMPTY + 2 + 2 + _size_of_integer(len(names)) + sum(map(_size_of, names)) + 2


def size_of_entry(fields: Sequence[bytes], has_same_names: bool, milliseconds: int, sequence: int) -> int:
    """
    Return the bytes of an entry.

    @param has_same_names: whether the first entry of its node has the same names.
    @param milliseconds: its id less that of the first entry, as C{sequence}.
    """
    count = len(fields) // 2
    size = 2 + _size_of_integer(milliseconds) + _size_of_integer(sequence)
    if has_same_names:
        return size + sum(map(_size_of, fields[1::2])) + _size_of_integer(count + 3)
    return size + _size_of_integer(count) + sum(map(_size_of, fields)) + _size_of_integer(2 * count + 4)
