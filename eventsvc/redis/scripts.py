"""
The scripts beside this module, and the keys they are given.
"""

from __future__ import annotations

from importlib.resources import files

from eventsvc.redis.session import Script


def load_script(*names: str) -> Script:
    """Read a script from this package, and what goes in front of it."""
    return Script("".join(files("eventsvc.redis").joinpath(name).read_text(encoding="utf-8") for name in names))


def companion(stream: str, *names: str | bytes) -> bytes:
    """The key of something that belongs to the stream, in its hash slot."""
    parts = [name.encode() if isinstance(name, str) else name for name in names]
    return b":".join([b"{" + stream.encode() + b"}", *parts])


def dead_letters(stream: str) -> bytes:
    """The stream of the entries that were set aside."""
    return companion(stream, "dead")
