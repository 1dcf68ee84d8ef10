"""
Tests for L{eventsvc.web.api}: each row of the interface's table, byte for byte, on
connections in memory.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from eventsvc.event import MAX_BYTES, MAX_EVENTS
from eventsvc.testing import Fate
from tests.support.http import EVENT, MAKERS, Served, post, serving, without_date
from tests.support.producer_world import make_world


def json_response(status: str, body: str, *headers: str) -> bytes:
    """Return the bytes of an answer."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def test_an_event_is_answered_with_its_id_and_an_empty_body(served: Served) -> None:
    """200, once it is stored."""
    assert served.answer(post()) == b"HTTP/1.1 200 OK\r\nEvent-Id: 1\r\nContent-Length: 0\r\n\r\n"
    assert served.stored() == ["hello"]


def test_an_event_is_not_answered_before_it_is_stored(served: Served) -> None:
    """A 200 means that Redis has confirmed it."""
    served.world.link.disconnect()
    connection = served.connect()
    connection.send(post())
    served.run(4.0)
    assert connection.received == b""
    served.world.link.connect()
    served.run()
    assert connection.response().status == 200


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain; charset=latin-1", "?"]
)
def test_a_body_is_json_whatever_its_type_says(served: Served, content_type: str) -> None:
    """The interface guide's own C{curl --data} sends a form type."""
    assert served.post(EVENT, f"Content-Type: {content_type}").status == 200
    assert served.stored() == ["hello"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"description": "a"}\n{"description": "b"}',
        b'\r\n{"description": "a"}\r\n\r\n{"description": "b", "more": [1]}\r\n',
        b' [{"description": "a"}, {"description": "b"}] ',
    ],
)
def test_a_batch_is_answered_with_its_ids_in_order(served: Served, body: bytes) -> None:
    """NDJSON or an array, in one call to the log."""
    assert served.answer(post(body, path="/events")) == json_response("200 OK", '{"accepted":2,"ids":["1","2"]}')
    assert served.stored() == ["a", "b"]
    assert served.world.link.operations == ["append"]


BAD_BODIES = {
    b"": "ends too early",
    b"hello": "JSON is malformed",
    b'{"description": "a"': "ends too early",
    b'"description"': "Expected `object`, got `str`",
    b"null": "Expected `object`, got `null`",
    b'[{"description": "a"}]': "Expected `object`, got `array`",
    b"{}": "$.description",
    b'{"Description": "a"}': "$.description",
    b'{"description": 1}': "$.description",
    b'{"description": null}': "$.description",
    b'{"description": "a"} {}': "trailing characters",
    b'{"description": "\xff"}': "UTF-8",
    b'{"description": "a", "more": "\xff"}': "UTF-8",
    b'\xef\xbb\xbf{"description": "a"}': "malformed",
    b'{"description": "\\ud800"}': "surrogate",
    b'{"description": "a", "more": ' + b"[" * 100_000: "nested too deeply",
    b"\0" * 10: "malformed",
}


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:40]))
def test_a_body_that_is_no_event_is_400_and_the_answer_says_what_is_wrong(served: Served, body: bytes) -> None:
    """Nothing is stored."""
    response = served.post(body)
    assert response.status == 400
    assert response.problem["title"] == "Error unmarshalling body"
    assert set(response.problem) == {"status", "title", "description"}
    assert BAD_BODIES[body] in response.problem["description"]
    assert served.stored() == []


def test_a_bad_body_is_answered_in_these_bytes(served: Served) -> None:
    """The members are in order, and the connection stays open."""
    text = "Object missing required field `description` - at `$.description`"
    body = json.dumps({"status": 400, "title": "Error unmarshalling body", "description": text}, separators=(",", ":"))
    assert served.answer(post(b"{}")) == json_response("400 Bad Request", body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"description": "a"}\n{"description": 2}\n', "line 2: "),
        (b'{"description": "a"}\n\n\n{"description"}', "line 4: "),
        (b'[{"description": "a"}, {"description": 2}]', "$[1].description"),
        (b"[]", "at least one event"),
        (b"\n \n", "at least one event"),
        (b"", "at least one event"),
    ],
)
def test_a_batch_with_one_bad_event_stores_none(served: Served, body: bytes, said: str) -> None:
    """The answer names the place of the bad event."""
    response = served.post(body, path="/events")
    assert response.status == 400
    assert response.problem["title"] == "Error unmarshalling body"
    assert said in response.problem["description"]
    assert served.stored() == []


def test_more_events_than_a_batch_may_carry_are_413(served: Served) -> None:
    """1,000 events are stored; with one more, none is."""
    assert served.post(b"\n".join([EVENT] * (MAX_EVENTS + 1)), path="/events").problem == {
        "status": 413,
        "title": "Request body too large",
        "description": "Expected at most 1000 events, got 1001",
    }
    assert served.stored() == []
    assert served.post(b"\n".join([EVENT] * MAX_EVENTS), path="/events").status == 200
    assert len(served.stored()) == MAX_EVENTS


@pytest.mark.parametrize("path", ["/event", "/events"])
def test_a_body_of_the_limit_is_taken_and_one_of_a_byte_more_is_413(served: Served, path: str) -> None:
    """1 MiB."""
    largest = EVENT.ljust(MAX_BYTES)
    assert served.post(largest, path=path).status == 200
    response = served.post(largest + b" ", path=path)
    assert response.status == 413
    assert response.problem["title"] == "Request body too large"
    assert len(served.stored()) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "post", "NONSENSE"])
@pytest.mark.parametrize("path", ["/event", "/events", "/streams/stream/event", "/streams/stream/events"])
def test_another_method_is_405_and_told_which_is_allowed(served: Served, path: str, method: str) -> None:
    """The title is the method."""
    response = served.exchange(post(path=path).replace(b"POST", method.encode()), bodies=method != "HEAD")
    assert response.status == 405
    assert response.headers["Allow"] == "POST"
    if method != "HEAD":
        assert response.problem == {"status": 405, "title": method, "description": "Method Not Allowed"}
    assert served.stored() == []


def test_another_method_where_one_reads_is_405_too(served: Served) -> None:
    """HEAD is GET without the body."""
    request = post(path="/metrics")
    assert served.exchange(request).headers["Allow"] == "GET, HEAD"
    assert served.exchange(request.replace(b"POST", b"HEAD"), bodies=False).status == 200


def test_a_head_has_no_body(served: Served) -> None:
    """Its C{Content-Length} is that of GET."""
    request = post(b"", path="/openapi.json")
    got = served.exchange(request.replace(b"POST", b"GET"))
    head = served.exchange(request.replace(b"POST", b"HEAD"), bodies=False)
    assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.body))
    assert json.loads(got.body)["openapi"] == "3.1.0"


PATHS = ["/", "/Event", "/event/", "/events/", "//event", "/event//", "/a/event", "/event%00", "/event;a", "*"]
PATHS += ["/%ff", "/%", "event", "/health", "/health/live/", "/..", "/%2e%2e/event", "/\xb0"]
PATHS += [f"/streams/{name}/event" for name in ("nowhere", "", "/", "stream/", "/stream", "../stream", "stream%00")]
PATHS += ["/streams/nowhere/events", "/streams/stream/event/", "/streams/stream", "/streams/event", "/streams"]


@pytest.mark.parametrize("path", ["/nowhere", "/streams/nowhere/event", "/streams/nowhere/events"])
def test_a_large_body_for_another_path_is_404_too(served: Served, path: str) -> None:
    """It is for no stream, so it takes room from the bound of the first one."""
    assert served.exchange(post(b"a" * 100_000, path=path)).status == 404


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_another_path_is_404(served: Served, path: str, method: str) -> None:
    """This holds for every method and for malformed paths."""
    response = served.exchange(post(path=path).replace(b"POST", method.encode()))
    assert response.status == 404
    assert response.problem == {
        "status": 404,
        "title": "Endpoint Not Found",
        "description": "Endpoint Not Found",
    }
    assert served.stored() == []


@pytest.mark.parametrize("name", ["/odd", "a/b", "..", "a/event", "50%", "\xfc", "?", "a+b", "a//b/", ";", "event"])
def test_a_stream_may_have_any_name(name: str) -> None:
    """It is escaped in the path as in every URL."""
    world = make_world()
    other = make_world(clock=world.clock)
    with serving(world=world, others={name: other}) as served:
        assert served.post(path=f"/streams/{quote(name, safe='')}/event").status == 200
        assert served.post(path=f"/streams/{quote(name)}/events").status == 200
        assert (served.stored(), other.stored()) == ([], ["hello", "hello"])


@pytest.mark.parametrize("path", ["/event?a=b", "/event?", "/%65vent"])
def test_a_query_and_an_escaped_letter_do_not_make_another_path(served: Served, path: str) -> None:
    """Other servers treat these paths as the same, too."""
    assert served.post(path=path).status == 200


def test_health_and_figures_are_served_on_the_same_port(served: Served) -> None:
    """Operators use these routes."""
    request = post(b"").replace(b"POST", b"GET")
    assert served.exchange(request.replace(b"/event", b"/health/live")).body == b'{"status":"live"}'
    assert served.exchange(request.replace(b"/event", b"/health/ready")).body == b'{"status":"ready"}'
    assert served.exchange(request.replace(b"/event", b"/metrics")).body == b"figures 1\n"


@pytest.mark.parametrize(
    ("path", "form", "where"),
    [
        ("/event", b"%b", ""),
        ("/events", b"%b", "line 1: "),
        ("/events", b'{"description": "good"}\n%b', "line 2: "),
        ("/events", b'{"description": "good"}\n%b\n', "line 2: "),
        ("/events", b"[%b]", ""),
    ],
)
def test_bytes_that_are_not_utf_8_are_400_in_members_that_nobody_reads_too(
    served: Served, path: str, form: bytes, where: str
) -> None:
    """Otherwise the stored event could be read differently from the one sent."""
    response = served.post(form.replace(b"%b", b'{"description": "a", "more": ["\xff"]}'), path=path)
    assert response.status == 400
    assert response.problem["description"].startswith(f"{where}Body is not UTF-8")
    assert served.stored() == []


@pytest.mark.parametrize("limits", [{"queue_bytes": 150}, {"queue_events": 1}])
@pytest.mark.parametrize("make", MAKERS)
def test_what_the_queue_can_never_hold_is_413(make: Any, limits: dict[str, Any]) -> None:
    """A retry could never succeed."""
    bodies = {"/events": b"\n".join([EVENT] * 3)}
    if "queue_bytes" in limits:
        bodies["/event"] = b'{"description": "%b"}' % (b"x" * 100)
    with serving(make, make_world(**limits)) as served:
        for path, body in bodies.items():
            response = served.post(body, path=path)
            assert (response.status, response.problem["title"]) == (413, "Request body too large")
        assert served.post().status == 200
        assert served.stored() == ["hello"]


UNKNOWN = "Redis did not confirm the event in time"


@pytest.mark.parametrize(
    ("fates", "limits", "stored", "description"),
    [
        ([Fate.SILENT], {}, "unknown", UNKNOWN),
        ([Fate.REFUSED] * 100, {}, "no", "told to refuse"),
        ([], {"queue_events": 0}, "no", "0 events wait for Redis"),
        ([], {"hard_max": 0}, "no", "the stream is at its hard limit"),
    ],
)
@pytest.mark.parametrize("make", MAKERS)
def test_what_is_not_confirmed_is_503_and_says_whether_it_may_be_stored(
    make: Any, fates: list[Fate], limits: dict[str, Any], stored: str, description: str
) -> None:
    """C{no} is a promise that the event is not in the stream and never will be."""
    with serving(make, make_world(fates, **limits)) as served:
        connection = served.connect()
        connection.send(post())
        served.run(6.0)
        body = {"status": 503, "title": "Redis Client error", "description": description, "stored": stored}
        expected = json_response("503 Service Unavailable", json.dumps(body, separators=(",", ":")), "Retry-After: 1")
        assert without_date(bytes(connection.received)) == expected
        served.world.link.connect()
        served.run(10.0)
        assert stored == "unknown" or served.stored() == []
