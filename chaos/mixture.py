"""
The requests of a load: mostly plain events, and among them events of all kinds in
all forms, chosen by lot.
"""

from __future__ import annotations

import gzip
import json
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Final

import attrs

from chaos import STREAM
from chaos.cloudevents import CloudEvent, Headers, draw_cloudevent
from chaos.payloads import draw_json, write_array, write_object, write_string
from eventsvc.event import Event
from eventsvc.testing.history import Content

#: Bytes of a payload that is large, at least.
_LARGE: Final = 4_000
#: Shares: of requests that name the first stream, and of compressed bodies, as parts of L{Mixture.mixed};
#: of keys among events that are not plain, and of CloudEvents that were posted before.
_NAMED: Final = 0.3
_COMPRESSED: Final = 0.3
_KEYED: Final = 0.3
_REPEATED: Final = 0.25
#: The keys of events, which are handled in their order.
_KEYS: Final = ("a", "door 7", "ключ", '"', "%41")
_MOST_OF_A_BATCH: Final = 4

#: An event of a request: its description, and what it carries besides.
Part = tuple[str, Content]


@attrs.frozen
class Post:
    """
    A request.

    @ivar path: C{/event} or C{/events}, after the stream if it is named.
    @ivar parts: its events, in the order of the ids of its answer.
    @ivar repeatable: whether nothing is stored twice if it is posted again.
    @ivar repeated: whether some of its events may be stored already.
    @ivar event: the event, if it is an ordinary one, which L{eventsvc.client} posts.
    """

    path: str
    headers: Headers
    body: bytes
    parts: Sequence[Part]
    repeatable: bool = False
    repeated: bool = False
    event: Event | None = None


@attrs.define(eq=False)
class Mixture:
    """
    Draws requests.

    @ivar mixed: share of events that are not plain.
    @ivar large: share of payloads of some kilobytes.
    @ivar source: of the CloudEvents.
    @ivar stream: where events are posted to by name; by default to the first
        stream, which is named now and then.
    """

    random: Random
    mixed: float
    large: float
    source: str
    stream: str = ""
    _recent: deque[CloudEvent] = attrs.field(factory=lambda: deque(maxlen=100), init=False)
    _numbers: int = attrs.field(default=0, init=False)

    def draw(self, description: str, key: str | None, is_plain: bool = False) -> Post:
        """
        Return the request for an event.

        Where it is a CloudEvent, others may be posted with it, or one that was
        posted before instead.

        @param key: its C{Idempotency-Key}; it makes it an Event Message.
        @param is_plain: whether it must be one that has only a description.
        """
        random = self.random
        if is_plain or random.random() >= self.mixed:
            request = plain(description, key)
        elif key is not None:
            request = self._members(description, key)
        else:
            forms = (self._members, self._members, self._structured, self._binary, self._batched)
            request = random.choice(forms)(description, None)
        if self.stream or random.random() < self.mixed * _NAMED:
            request = attrs.evolve(request, path=f"/streams/{self.stream or STREAM}{request.path}", event=None)
        if random.random() < self.mixed * _COMPRESSED:
            headers = [*request.headers, ("Content-Encoding", "gzip")]
            request = attrs.evolve(request, headers=headers, body=gzip.compress(request.body, 1, mtime=0), event=None)
        return request

    def _members(self, description: str, key: str | None) -> Post:
        """An Event Message with more members."""
        random = self.random
        members, content = [("description", write_string(random, description))], Content()
        if random.random() < 0.5:
            content = attrs.evolve(content, type="door.öffnen")
            members.append(("type", write_string(random, "door.öffnen")))
        if order := self._key():
            content = attrs.evolve(content, key=order)
            members.append(("key", write_string(random, order)))
        data = draw_json(random, self._size())
        members += [("data", data), ("ignored", draw_json(random))]
        content = attrs.evolve(content, data="" if data == "null" else data)
        random.shuffle(members)
        body = write_object(random, members).encode()
        return Post("/event", _json_headers(key), body, [(description, content)], repeatable=key is not None)

    def _structured(self, description: str, _: str | None) -> Post:
        event, repeated = self._cloudevent(description, self._recent)
        text, content = event.structured(self.random)
        headers = [("Content-Type", "application/cloudevents+json; charset=UTF-8")]
        return Post("/event", headers, text.encode(), [(event.subject, content)], True, repeated)

    def _binary(self, description: str, _: str | None) -> Post:
        event, repeated = self._cloudevent(description, self._recent)
        headers, body, content = event.binary()
        return Post("/event", headers, body, [(event.subject, content)], True, repeated)

    def _batched(self, description: str, _: str | None) -> Post:
        """Several CloudEvents; one of them may be in the batch twice."""
        random = self.random
        known = list(self._recent)
        drawn = [
            self._cloudevent(f"{description} {place}", known) for place in range(random.randrange(1, _MOST_OF_A_BATCH))
        ]
        events = [event for event, _ in drawn]
        if random.random() < _REPEATED:
            events.append(random.choice(events))
        written = [event.structured(random) for event in events]
        return Post(
            "/events",
            [("Content-Type", "application/cloudevents-batch+json")],
            write_array(random, [text for text, _ in written]).encode(),
            [(event.subject, content) for event, (_, content) in zip(events, written)],
            repeatable=True,
            repeated=any(repeated for _, repeated in drawn),
        )

    def _cloudevent(self, description: str, known: Sequence[CloudEvent]) -> tuple[CloudEvent, bool]:
        """Return a CloudEvent, and whether it is one that is known, because it was posted before."""
        if known and self.random.random() < _REPEATED:
            return self.random.choice(known), True
        self._numbers += 1
        event = draw_cloudevent(self.random, self.source, f"{self._numbers}", description, self._key(), self._size())
        self._recent.append(event)
        return event, False

    def _key(self) -> str | None:
        return self.random.choice(_KEYS) if self.random.random() < _KEYED else None

    def _size(self) -> int:
        return self.random.randrange(_LARGE) if self.random.random() < self.large else 0


def plain(description: str, key: str | None = None) -> Post:
    """
    Return the request for an event that has only a description.

    @param key: its C{Idempotency-Key}.
    """
    body = json.dumps({"description": description}, ensure_ascii=False).encode()
    event = Event(description) if key is None else None
    return Post("/event", _json_headers(key), body, [(description, Content())], key is not None, event=event)


def _json_headers(key: str | None) -> Headers:
    more = [] if key is None else [("Idempotency-Key", f'"{key}"')]
    return [("Content-Type", "application/json"), *more]
