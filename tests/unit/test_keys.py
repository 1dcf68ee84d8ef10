"""
Tests for L{eventsvc.web.api}: requests with an C{Idempotency-Key}.
"""

from __future__ import annotations

import pytest

from eventsvc.submission import IdempotencyKey
from eventsvc.web.answers import InvalidKey
from eventsvc.web.idempotency import parse_key, read_key
from tests.support.http import EVENT, Served, post


def test_the_same_key_again_gets_the_first_answer(served: Served) -> None:
    """Nothing is stored twice; a quoted key equals the bare one."""
    first = served.answer(post(EVENT, 'Idempotency-Key: "one"'))
    assert served.answer(post(EVENT, "Idempotency-Key: one")) == first
    assert served.answer(post(EVENT, "Idempotency-Key: two")) != first
    assert served.stored() == ["hello"] * 2


def test_a_batch_has_a_key_too(served: Served) -> None:
    """The answer has all its ids again."""
    request = post(EVENT + b"\n" + EVENT, "Idempotency-Key: one", path="/events")
    assert served.answer(request) == served.answer(request)
    assert len(served.stored()) == 2


def test_a_key_with_another_body_or_path_is_422(served: Served) -> None:
    """It is not a repetition."""
    served.post(EVENT, "Idempotency-Key: one")
    for body, path in ((EVENT + b" ", "/event"), (EVENT, "/events")):
        response = served.post(body, "Idempotency-Key: one", path=path)
        assert response.status == 422
        assert response.problem["title"] == "Idempotency-Key"
    assert served.stored() == ["hello"]


def test_a_key_of_a_request_that_is_still_running_is_409(served: Served) -> None:
    """The client may retry later, and then gets the first answer."""
    served.world.link.disconnect()
    first = served.connect()
    first.send(post(EVENT, "Idempotency-Key: one"))
    response = served.post(EVENT, "Idempotency-Key: one")
    assert (response.status, response.headers["Retry-After"]) == (409, "1")
    assert response.problem["title"] == "Idempotency-Key"
    served.world.link.connect()
    served.run()
    assert served.post(EVENT, "Idempotency-Key: one").headers["Event-Id"] == first.response().headers["Event-Id"]
    assert served.stored() == ["hello"]


KEYS = {"": "", '""': "", '"a': '"a', "a b": "a b", "k" * 256: "k" * 255, "\xff": "\xff", '"\\a"': "a", "\x7f": "\\x7f"}


@pytest.mark.parametrize("value", KEYS)
def test_a_key_that_is_none_is_400(served: Served, value: str) -> None:
    """Nothing is stored."""
    response = served.post(EVENT, f"Idempotency-Key: {value}")
    assert response.status == 400
    assert response.problem["title"] == "Idempotency-Key"
    assert KEYS[value] in response.problem["description"]
    assert served.stored() == []


def test_two_keys_are_400(served: Served) -> None:
    """Even if both are equal."""
    response = served.post(EVENT, "Idempotency-Key: one", "idempotency-key: one")
    assert response.problem["description"] == "Expected one Idempotency-Key, got 2"


@pytest.mark.parametrize(
    ("value", "key"),
    [(b"a", b"a"), (b'"a"', b"a"), (b'"a b"', b"a b"), (b'"\\"\\\\"', b'"\\'), (b"k" * 255, b"k" * 255)],
)
def test_a_key_is_a_token_or_a_quoted_string(value: bytes, key: bytes) -> None:
    """Quotes and escapes are not part of the key."""
    assert parse_key(value) == key


def test_a_key_stands_for_itself_and_for_the_request() -> None:
    """A different key, route or body differs."""
    keys = [
        read_key([key], route, body)
        for key in (b"a", b"b")
        for route in (b"/event", b"/events")
        for body in (b"x", b"y")
    ]
    assert len(set(keys)) == 8
    digests = [key.digest for key in keys if isinstance(key, IdempotencyKey)]
    assert len(set(digests)) == 2
    with pytest.raises(InvalidKey):
        read_key([b"a", b"a"], b"/event", b"body")
