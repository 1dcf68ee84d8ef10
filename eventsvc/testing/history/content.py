"""
What an event carries besides its description, as text that is compared byte for
byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
import msgspec

from eventsvc.event import Notification

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
#: Characters of a text shown before its first difference, and in all.
_BEFORE: Final = 10
_SHOWN: Final = 40


@attrs.frozen
class Content:
    """
    The type and key of an event, and its payload as JSON text.

    @ivar data: the member C{data} as it was posted; empty if there is none.
    @ivar cloudevent: the whole CloudEvent as it was posted; empty if it is none.
    @ivar is_binary: whether it was posted in binary mode.  The producer writes its
        text then, with the attributes in any order, so only their values and the
        text of the payload are compared.
    """

    type: str | None = None
    key: str | None = None
    data: str = ""
    cloudevent: str = ""
    is_binary: bool = False


def content_of(notification: Notification) -> Content:
    """Return what an event in the stream carries."""
    data, cloudevent = [bytes(raw).decode() for raw in (notification.data_json, notification.cloudevent_json)]
    return Content(notification.type, notification.key, data, cloudevent)


def differences(wanted: Content, got: Content) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each member that differs, with excerpts of both from just before the first difference."""
    for name in ("type", "key", "data", "cloudevent"):
        first, second = getattr(wanted, name), getattr(got, name)
        if first != second and not (name == "cloudevent" and wanted.is_binary and _says_the_same(first, second)):
            yield name, *_excerpts(first or "", second or "")


def _says_the_same(posted: str, stored: str) -> bool:
    """Return whether two CloudEvents have the same attributes, and the same text as payload."""
    if not stored:
        return False
    ours, theirs = _members.decode(posted), _members.decode(stored)
    return ours.keys() == theirs.keys() and all(
        bytes(text) == bytes(theirs[name])
        or (name != "data" and msgspec.json.decode(text) == msgspec.json.decode(theirs[name]))
        for name, text in ours.items()
    )


def _excerpts(first: str, second: str) -> tuple[str, str]:
    pairs = enumerate(zip(first, second, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))
    begin = max(0, same - _BEFORE)
    return first[begin : begin + _SHOWN], second[begin : begin + _SHOWN]
