"""
Names of the commands and scripts that services send to Redis, for steps and stories.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import import_module
from importlib.resources import files
from pkgutil import iter_modules
from typing import Final

import eventsvc.redis
from eventsvc.redis.session import Script

_SCRIPT_CALLS: Final = (b"EVAL", b"EVALSHA")


@cache
def script_names() -> dict[bytes, str]:
    """Return the name of each script, by its digest."""
    directory = files("eventsvc.redis")
    sources = {
        path.name.removesuffix(".lua"): path.read_text() for path in directory.iterdir() if path.suffix == ".lua"
    }  # type: ignore[attr-defined]
    names = {}
    for module in iter_modules(eventsvc.redis.__path__, "eventsvc.redis."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, Script):
                endings = [name for name, source in sources.items() if value.text.endswith(source)]
                names[value.sha.encode()] = max(endings, key=lambda name: len(sources[name]))
    return names


def name_command(data: bytes) -> str:
    """Return what a packed command does: the name of its script, or the command."""
    words = data.split(b"\r\n", 5)
    name = words[2].upper() if len(words) > 2 else b""
    if name not in _SCRIPT_CALLS:
        return name.decode("ascii", "replace")
    argument = words[4]
    if name == b"EVAL":
        return _name_text(argument)
    return script_names().get(argument, "script")


@cache
def _name_text(text: bytes) -> str:
    return script_names().get(hashlib.sha1(text, usedforsecurity=False).hexdigest().encode(), "script")
