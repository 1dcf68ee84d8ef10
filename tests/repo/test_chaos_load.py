"""
Tests for the load of the chaos suite: what it posts is what it says that readers must see.
"""

from __future__ import annotations

import gzip
import json
import stat
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import attrs
import msgspec
import pytest

pytest.importorskip("toxiproxy", reason="the chaos suite needs toxiproxy-python")
pytest.importorskip("chaos", reason="the chaos suite is beside the package, in the repository")

from chaos.evidence import Kept, tell
from chaos.lines import parse_log
from chaos.mixture import Mixture, Post
from chaos.passes import Passes
from chaos.payloads import draw_json
from chaos.posting import classify
from eventsvc.cloudevent import decode_batched, decode_binary, decode_structured, read_headers
from eventsvc.event import (
    EVENT_FIELD,
    Event,
    Notification,
    decode_notification,
    encode_notification,
    write_notification,
)
from eventsvc.event_message import decode_event
from eventsvc.handlers.log import LogHandler
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Content, check
from eventsvc.testing.history.content import content_of, differences
from eventsvc.web.token_rows import parse_tokens

MANY = 600


def draw(seed: int = 1, mixed: float = 1.0, many: int = MANY, **more: float) -> Sequence[Post]:
    mixture = Mixture(Random(seed), mixed, more.get("large", 0.1), "/chaos")
    return [mixture.draw(f"{number} öffnen", None) for number in range(many)]


def body_of(request: Post) -> bytes:
    return gzip.decompress(request.body) if ("Content-Encoding", "gzip") in request.headers else request.body


def read(request: Post) -> Sequence[Event]:
    """Return the events of a request as a producer reads them."""
    names = {name.lower().encode(): value.encode() for name, value in request.headers}
    form = names.get(b"content-type", b"")
    body = body_of(request)
    if form.startswith(b"application/cloudevents-batch+json"):
        return decode_batched(body)
    if form.startswith(b"application/cloudevents+json"):
        return [decode_structured(body)]
    if b"ce-specversion" in names:
        attributes = read_headers({name: [value] for name, value in names.items()})
        return [decode_binary(attributes, names.get(b"content-type"), body)]
    return [decode_event(body)]


def stored(event: Event, id: int = 7) -> Notification:
    return decode_notification(write_notification(id, event, "2026-11-27T08:00:00Z"))


@pytest.mark.parametrize("seed", range(5))
def test_a_producer_stores_what_the_load_says(seed: int) -> None:
    for request in draw(seed):
        events = read(request)
        assert len(events) == len(request.parts)
        for event, (description, content) in zip(events, request.parts, strict=True):
            assert event.description == description
            assert list(differences(content, content_of(stored(event)))) == []


def test_all_kinds_are_posted_in_all_forms() -> None:
    seen: Counter[str] = Counter()
    for request in draw():
        for _, content in request.parts:
            seen["binary" if content.is_binary else "cloudevent" if content.cloudevent else "message"] += 1
            seen["base64"] += "data_base64" in content.cloudevent
            seen["key"] += content.key is not None
            seen["null"] += not (content.data or content.cloudevent)
        seen["batch"] += request.path.endswith("/events")
        seen["compressed"] += body_of(request) is not request.body
        seen["named"] += request.path.startswith("/streams/NotificationStream/")
    assert min(seen.values()) > 5, seen


def test_cloudevents_are_repeated_in_and_across_batches_and_modes() -> None:
    modes = defaultdict(set)
    twice = 0
    for request in draw():
        for event in read(request):
            if event.identity is not None:
                modes[event.identity].add((request.path.rpartition("/")[2], request.parts[0][1].is_binary))
        twice += len(dict(request.parts)) < len(request.parts)
    assert twice > 5
    assert sum(len(each) > 1 for each in modes.values()) > 20
    assert any(len(each) == 3 for each in modes.values())


def test_what_may_be_stored_already_is_said() -> None:
    seen: set[bytes] = set()
    for request in draw():
        identities = {event.identity for event in read(request) if event.identity is not None}
        assert request.repeated is bool(identities & seen)
        assert request.repeatable is bool(identities)
        seen |= identities


def test_most_requests_of_the_usual_load_are_plain() -> None:
    requests = draw(mixed=0.3)
    plain = [each for each in requests if each.path == "/event" and each.parts[0][1] == Content()]
    assert len(plain) > 0.6 * len(requests)
    assert all(each.parts[0][1] == Content() for each in draw(mixed=0.0))


def test_a_seed_fixes_the_requests() -> None:
    assert draw(3) == draw(3) != draw(4)


def test_payloads_would_not_survive_being_decoded_and_encoded_again() -> None:
    """Some are changed by each of the usual ways, and all are valid."""
    random = Random(1)
    changed: Counter[str] = Counter()
    for _ in range(300):
        text, again = draw_json(random, 200), ""
        json.loads(text)
        with suppress(msgspec.DecodeError):  # a number out of the range of floats
            again = msgspec.json.encode(msgspec.json.decode(text)).decode()
        changed["decoded"] += again != text
        changed["without white space"] += msgspec.json.format(text.encode(), indent=-1).decode() != text
    assert changed.total() > 590


# The evidence


def handled(events: Sequence[Notification], log: bytes | None = None) -> str:
    """Return what the judge says if these events are handled, with the lines of the default handler."""
    written: list[bytes] = []
    LogHandler(lambda lines, _: written.append(lines), lambda: 0, lambda *_: None).handle_batch(events)
    kept = Kept(
        {f"{place}-0".encode(): {EVENT_FIELD: encode_notification(each)} for place, each in enumerate(events, 1)},
        (),
        {},
        b"999-0",
    )
    lines = list(parse_log(log or written[0], "consumer-1", 0.0))
    assert len(lines) == len(events)
    return check(attrs.evolve(tell(kept, (), lines, (0.0, 0.0), True, 0.0), ops=())).describe()


def test_what_the_log_says_of_events_is_compared_with_the_stream() -> None:
    events = [
        stored(event, id) for id, event in enumerate(event for request in draw(many=100) for event in read(request))
    ]
    assert "handled with another" not in handled(events)
    assert any(b"\n" in bytes(each.data_json) for each in events)


def test_what_a_handler_was_given_wrongly_is_found() -> None:
    event = Notification(7, "a", "", data_json=msgspec.Raw(b"[\n1.0 ]"))
    log = b'{"time":"2026-11-27T08:00:00Z","level":"info","message":"event","id":7%s}'
    assert "handled with another `data`" not in handled([event], log % b',"data":[1.0]')
    for data in (b',"data":[1]', b"", b',"data":[1.0],"key":"k"'):
        assert "handled with another `" in handled([event], log % data)


# The answers, and the tokens


@pytest.mark.parametrize(
    ("status", "id", "body", "outcome", "is_promise"),
    [
        (200, b"7", b"", Outcome.OK, False),
        (200, None, b'{"accepted":1,"ids":["7"]}', Outcome.OK, False),
        (200, None, b"", Outcome.UNKNOWN, False),
        (503, None, b'{"stored":"no"}', Outcome.REFUSED, True),
        (503, None, b'{"stored":"unknown"}', Outcome.UNKNOWN, False),
        (503, None, b"<html>", Outcome.UNKNOWN, False),
        (401, None, b'{"title":"Unauthorized"}', Outcome.REFUSED, False),
        (429, None, b'{"stored":"unknown"}', Outcome.UNKNOWN, False),
        (409, None, b"{}", Outcome.UNKNOWN, False),
    ],
)
def test_an_answer_is_a_promise_only_if_it_says_so(
    status: int, id: bytes | None, body: bytes, outcome: Outcome, is_promise: bool
) -> None:
    answered = classify(status, id, body)
    assert (answered.outcome, answered.is_promise) == (outcome, is_promise)
    assert list(answered.ids) == ([7] if outcome is Outcome.OK else [])


def test_a_producer_can_read_the_tokens_of_a_run(tmp_path: Path) -> None:
    passes = Passes(tmp_path)
    first, second = passes.make(), passes.make()
    passes.accept(first, second)
    passes.use(second)
    assert len(parse_tokens(passes.accepted.read_bytes(), {"NotificationStream"})) == 2
    assert passes.used.read_text() == second
    assert not any(token in passes.accepted.read_text() for token in passes.made)
    assert {path.name for path in tmp_path.iterdir()} == {"token", "tokens.toml"}
    assert stat.S_ISREG(passes.used.stat().st_mode)
