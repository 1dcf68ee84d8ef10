"""
Events as a dashboard shows them, and the way of one event through the system.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import attrs

from eventsvc.dashboard import words
from eventsvc.dead_letter import DeadLetter
from eventsvc.event import EVENT_FIELD, MARKER_FIELD, InvalidEvent, Notification, decode_notification
from eventsvc.stream_state import GroupState
from eventsvc.text import shorten

#: Bytes of a text in a table.
_SHORT: Final = 160


@attrs.frozen
class StoredEntry:
    """An entry of the stream, as it is."""

    id: str
    fields: Sequence[tuple[bytes, bytes]]

    @property
    def text(self) -> bytes:
        """The text of its event; empty if it has none."""
        return next((value for name, value in self.fields if name == EVENT_FIELD), b"")

    @property
    def event(self) -> Notification | None:
        """Its event; C{None} if it has none that can be read."""
        try:
            return decode_notification(self.text) if self.text else None
        except InvalidEvent:
            return None

    @property
    def is_marker(self) -> bool:
        """Whether it marks the creation of the stream, and is no event."""
        return any(name == MARKER_FIELD for name, _ in self.fields)

    @property
    def size(self) -> int:
        return sum(len(name) + len(value) for name, value in self.fields)


@attrs.frozen
class EventRow:
    """
    An entry as a row of a table.

    @ivar event_id: text, because browsers lose digits of large numbers.
    @ivar summary: its description, or why it is no event.
    """

    id: str
    at: float
    event_id: str
    type: str
    key: str
    summary: str
    payload: str
    size: int


def make_row(entry: StoredEntry) -> EventRow:
    """Return an entry as a row, with texts of bounded length."""
    event = entry.event
    about = {"id": entry.id, "at": words.entry_time(entry.id), "size": entry.size}
    if event is None:
        why = "(the stream was created)" if entry.is_marker else "(not an event)"
        return EventRow(event_id="", type="", key="", summary=why, payload="", **about)  # type: ignore[arg-type]
    payload = bytes(event.cloudevent_json) or bytes(event.data_json)
    return EventRow(
        event_id=str(event.id),
        type=shorten(event.type or "", _SHORT),
        key=shorten(event.key or "", _SHORT),
        summary=shorten(event.description, _SHORT),
        payload=shorten(payload[: 2 * _SHORT].decode("utf-8", "replace"), _SHORT),
        **about,  # type: ignore[arg-type]
    )


@attrs.frozen
class Filter:
    """
    Which events to show: with this type, this key, and this text in any case; empty fits all.

    The text is looked for in the ids, the type, the key, the description and the data; of an entry that is no event, in
    all it has.
    """

    type: str = ""
    key: str = ""
    text: str = ""

    def admits(self, entry: StoredEntry) -> bool:
        """Return whether an entry is to be shown."""
        if self == _ALL:
            return True
        if self.text and self._is_surely_elsewhere(entry):
            return False
        event = entry.event
        if event is None:
            texts = [entry.id, *(value.decode("utf-8", "replace") for _, value in entry.fields)]
            return not (self.type or self.key) and self._is_in(texts)
        if (self.type and event.type != self.type) or (self.key and event.key != self.key):
            return False
        payload = bytes(event.cloudevent_json) or bytes(event.data_json)
        texts = [entry.id, str(event.id), event.description, event.type or "", event.key or ""]
        return self._is_in([*texts, payload.decode("utf-8", "replace")])

    def _is_surely_elsewhere(self, entry: StoredEntry) -> bool:
        """
        Tell quickly that an entry does not have the text, without its event being decoded.

        Without a backslash, every text of a JSON document is there as it is.
        """
        texts = [entry.id, *(value.decode("utf-8", "replace") for _, value in entry.fields)]
        return b"\\" not in entry.text and not self._is_in(texts)

    def _is_in(self, texts: Sequence[str]) -> bool:
        wanted = self.text.lower()
        return any(wanted in text.lower() for text in texts)


_ALL: Final = Filter()


@attrs.frozen
class Delivery:
    """With whom a pending entry is; C{idle} is in seconds."""

    consumer: str
    idle: float
    deliveries: int


#: In place of a delivery: the group was removed after it was looked at, or its name is not UTF-8.
NO_GROUP: Final[Literal["no group"]] = "no group"
MaybeDelivery = Delivery | Literal["no group"] | None


@attrs.frozen
class Step:
    """
    A step of an event's way.

    @ivar mark: C{done}, C{waits}, C{wrong} or C{unknown}.
    @ivar at: when, in words; empty if nobody has recorded it.
    """

    mark: str
    name: str
    at: str
    detail: str


def tell_story(
    entry: StoredEntry | None,
    groups: Sequence[tuple[GroupState, MaybeDelivery]],
    letter: DeadLetter | None,
    now: float,
) -> Sequence[Step]:
    """
    Return the way of an event as far as Redis has it: what each group has done with it.

    @param entry: C{None} if the stream does not have it any more.
    @param groups: each group, and with whom the entry is pending.
    @param now: seconds since 1970, by the clock of Redis.
    """
    steps = [] if entry is None else _stored(entry, now)
    id = letter.original if entry is None and letter else entry.id if entry else ""
    for group, delivery in groups:
        steps += _in_group(id, group, delivery, letter)
    if letter is not None and all(group.name != letter.group for group, _ in groups):
        steps.append(_dead(letter))
    return steps


def _stored(entry: StoredEntry, now: float) -> list[Step]:
    stored = words.entry_time(entry.id)
    age = f"{words.duration(max(0.0, now - stored))} ago, {words.size(entry.size)}"
    event = entry.event
    accepted = [] if event is None else [Step("done", "accepted", event.timestamp, "by a producer, at its clock")]
    return [*accepted, Step("done", "stored", f"{words.clock(stored)} UTC", f"as {entry.id}, {age}")]


def _in_group(id: str, group: GroupState, delivery: MaybeDelivery, letter: DeadLetter | None) -> list[Step]:
    who = f"group {group.name}"
    if letter is not None and letter.group == group.name:
        return [_dead(letter)]
    if delivery == NO_GROUP:
        return [Step("unknown", "not known", "", f"{who}: it was removed, or its name is not UTF-8")]
    if delivery is not None:
        times = f"{delivery.deliveries} time{'' if delivery.deliveries == 1 else 's'}"
        when = f"idle for {words.duration(delivery.idle)}"
        return [
            Step("done", "delivered", "", f"{who}: to {delivery.consumer}, {times}"),
            Step("waits", "not acknowledged", "", f"{who}: with {delivery.consumer}, {when}"),
        ]
    if not is_after(id, group.last):
        return [Step("done", "acknowledged", "", f"{who}: delivered and acknowledged; Redis keeps no time of it")]
    return [Step("waits", "not delivered yet", "", f"{who}: has read up to {group.last}")]


def _dead(letter: DeadLetter) -> Step:
    times = f"{letter.deliveries} deliver{'y' if letter.deliveries == 1 else 'ies'}"
    why = f"{letter.reason}: {letter.error}" if letter.error else letter.reason
    at = f"{words.clock(words.entry_time(letter.id))} UTC"
    return Step("wrong", "dead", at, f"group {letter.group}: after {times} to {letter.consumer}; {shorten(why, 500)}")


def is_after(id: str, other: str) -> bool:
    """Return whether an entry id is greater than another."""
    first, second = ([int(part or 0) for part in text.partition("-")[::2]] for text in (id, other))
    return first > second
