"""
Loads the Lua scripts in this directory, and names their keys.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from eventsvc.redis.session import Script


def load_script(*names: str) -> Script:
    """Read a script of this package; the last name is the script, the others are prepended."""
    return Script("".join(files("eventsvc.redis").joinpath(name).read_text(encoding="utf-8") for name in names))


@lru_cache
def companion(stream: str, *names: str | bytes) -> bytes:
    """Return a key that belongs to a stream, in the same hash slot."""
    parts = [name.encode() if isinstance(name, str) else name for name in names]
    return b":".join([b"{" + stream.encode() + b"}", *parts])


def dead_letters(stream: str) -> bytes:
    """Return the key of the stream of dead letters."""
    return companion(stream, "dead")
