"""
Names of the commands and scripts that services send to Redis, for steps and stories.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Final

import eventsvc.redis
from eventsvc.redis.session import Script

_SCRIPT_CALLS: Final = (b"EVAL", b"EVALSHA")

#: Names of scripts by their digests: those of the module members that hold them.
_names: Final[dict[bytes, str]] = {}


def name_command(data: bytes) -> str:
    """Return what a packed command does: the name of its script, or the command."""
    words = data.split(b"\r\n", 5)
    name = words[2].upper() if len(words) > 2 else b""
    if name not in _SCRIPT_CALLS:
        return name.decode("ascii", "replace")
    digest = _digest(words[4]) if name == b"EVAL" else words[4]
    if digest not in _names:  # the first, or one that a planted bug has changed
        _find_names()
    return _names.setdefault(digest, "script")


@lru_cache
def _digest(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _find_names() -> None:
    for module in iter_modules(eventsvc.redis.__path__, "eventsvc.redis."):
        for name, value in vars(import_module(module.name)).items():
            if isinstance(value, Script):
                _names[value.sha.encode()] = name.strip("_").lower()
