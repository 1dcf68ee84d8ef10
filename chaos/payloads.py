"""
JSON texts that a program which decodes and encodes them again would change:
numbers that no float has, escapes, members named twice, odd white space.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from random import Random
from typing import Final

_NUMBERS: Final = ("0", "-0", "1.0", "1.10", "1E5", "1e-7", "-0.0", "1e400", "9007199254740993", "3" * 40)
_WORDS: Final = ("", "open", "öffnen", "開く", "\u2028", "\U0001f6aa", '\\ "', "a/b", "\x00\x1f\x7f", "<b>&amp;")
_BLANKS: Final = ("", "", "", " ", "  ", "\t", "\n", "\r\n ")
#: Levels of nesting.
_DEPTH: Final = 3


def draw_json(random: Random, size: int = 0, depth: int = _DEPTH) -> str:
    """
    Return any JSON value as text.

    @param size: the least number of characters.
    """
    if size:
        return write_array(random, _until(size, random))
    match random.randrange(6 if depth else 4):
        case 0:
            return random.choice(("null", "true", "false"))
        case 1:
            return random.choice(_NUMBERS)
        case 2 | 3:
            return write_string(random, random.choice(_WORDS))
        case 4:
            return write_array(random, [draw_json(random, 0, depth - 1) for _ in range(random.randrange(4))])
        case _:
            values = [draw_json(random, 0, depth - 1) for _ in range(random.randrange(4))]
            return write_object(random, [(random.choice(_WORDS), value) for value in values])


def _until(size: int, random: Random) -> Iterable[str]:
    while size > 0:
        value = draw_json(random)
        size -= len(value) + 1
        yield value


def write_string(random: Random, text: str) -> str:
    """Write a string, with or without escapes that it does not need."""
    written = json.dumps(text, ensure_ascii=random.random() < 0.5)
    return written.replace("/", "\\/") if random.random() < 0.3 else written


def write_array(random: Random, values: Iterable[str]) -> str:
    """Write an array of JSON texts."""
    return f"[{','.join(_pad(random, value) for value in values)}]"


def write_object(random: Random, members: Iterable[tuple[str, str]]) -> str:
    """Write an object; the value of each member is a JSON text."""
    written = [f"{_pad(random, write_string(random, name))}:{_pad(random, value)}" for name, value in members]
    return f"{{{','.join(written)}}}"


def _pad(random: Random, text: str) -> str:
    return f"{random.choice(_BLANKS)}{text}{random.choice(_BLANKS)}"
