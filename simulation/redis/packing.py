"""
The libraries C{struct} and C{cmsgpack} of scripts, as far as the scripts of eventsvc use them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgpack

_CHARACTERS: Final = re.compile(rb"c([0-9]*)|(.)", re.DOTALL)


class LibraryError(Exception):
    """Ends a script, as an error of a library does; the text is what the script sees."""


@lru_cache(maxsize=256)
def _read_format(form: bytes) -> tuple[Sequence[int], bytes]:
    """Return the widths in a format, and the first character that has no place in it."""
    widths: list[int] = []
    for found in _CHARACTERS.finditer(form):
        if found[2] is not None:
            return widths, found[2]
        widths.append(int(found[1] or b"1"))
    return widths, b""


def unpack_characters(form: bytes, text: bytes, begin: int = 1) -> tuple[bytes | int, ...]:
    """Return parts of a text with the widths of a format such as C{c16c24}, then the place after them."""
    place = begin - 1
    widths, wrong = _read_format(form)
    found: list[bytes | int] = []
    for width in widths:
        if place + width > len(text):
            raise LibraryError(b"bad argument #2 to 'unpack' (data string too short)")
        found.append(text[place : place + width])
        place += width
    if wrong:
        raise LibraryError(b"bad argument #1 to 'unpack' (invalid format option '%s')" % wrong)
    return (*found, place + 1)


def pack_values(values: Sequence[Any], read_table: Callable[[Any], list[Any]]) -> bytes:
    """
    Return values, lists and texts, one after another.

    @param read_table: returns a table of a script as a list.
    """
    packer = msgpack.Packer(use_bin_type=False)
    return b"".join(packer.pack(_plain(value, read_table)) for value in values)


def _plain(value: Any, read_table: Callable[[Any], list[Any]]) -> Any:
    if value is None or isinstance(value, bytes | int):
        return value
    if isinstance(value, float):
        raise LibraryError(b"the model packs no fractions")
    return [_plain(each, read_table) for each in read_table(value)]


def unpack_values(text: bytes, make_table: Callable[[list[Any]], Any]) -> tuple[Any, ...]:
    """Return the values in a text."""
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
    unpacker.feed(text)
    try:
        found = list(unpacker)
    except (ValueError, msgpack.UnpackException) as error:
        raise LibraryError(b"Bad data format in input.") from error
    if unpacker.tell() != len(text):
        raise LibraryError(b"Missing bytes in input.")
    return tuple(_table(value, make_table) for value in found)


def _table(value: Any, make_table: Callable[[list[Any]], Any]) -> Any:
    return make_table([_table(each, make_table) for each in value]) if isinstance(value, list) else value
