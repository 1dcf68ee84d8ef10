"""
Tests for L{eventsvc.web.origin}.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.settings.origins import ANY, normalize_origin, parse_origins
from eventsvc.web.origin import answer_preflight, check_origin, cors_headers, is_preflight
from eventsvc.web.tokens import Forbidden

HOST = b"events.example:8080"
ALLOWED = parse_origins("https://shop.example, http://localhost:3000")


def test_clients_that_are_no_browsers_send_no_origin() -> None:
    assert check_origin([], [HOST], frozenset()) is None
    assert check_origin([], [], frozenset()) is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://events.example:8080", b"events.example:8080"),
        (b"HTTP://Events.Example:8080", b"EVENTS.example:8080"),
        (b"http://events.example", b"events.example"),
        (b"http://events.example", b"events.example:80"),
        (b"http://events.example:80", b"events.example"),
        (b"http://events.example", b"events.example:"),
        (b"https://events.example", b"events.example"),
        (b"https://events.example", b"events.example:443"),
        (b"https://events.example:443", b"events.example:"),
        (b"https://events.example:8443", b"events.example:8443"),
        (b"http://10.0.0.5:8080", b"10.0.0.5:8080"),
        (b"http://[::1]:8080", b"[::1]:8080"),
        (b"http://[FE80::1]", b"[fe80::1]"),
        (b"http://event_producer", b"event_producer"),
    ],
)
def test_pages_of_the_own_host_may_post(origin: bytes, host: bytes) -> None:
    """They need no headers."""
    assert check_origin([origin], [host], frozenset()) is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://evil.example", HOST),
        (b"http://events.example", HOST),
        (b"http://events.example:8081", HOST),
        (b"http://events.example.evil.example:8080", HOST),
        (b"http://evil-events.example:8080", HOST),
        (b"http://events.example", b"events.example:443"),
        (b"https://events.example", b"events.example:80"),
        (b"http://events.example:80", b"events.example:8080"),
        (b"http://events.example:8080/", HOST),
        (b"http://events.example:8080/x", HOST),
        (b"http://evil.example@events.example:8080", HOST),
        (b"http://events.example:8080 http://evil.example", HOST),
        (b"http://events.example:8080, http://evil.example", HOST),
        (b"events.example:8080", HOST),
        (b"//events.example:8080", HOST),
        (b"capacitor://localhost", b"localhost"),
        (b"chrome-extension://abcdef", b"abcdef"),
        (b"null", HOST),
        (b"null", b"null"),
        (b"NULL", b""),
        (b"", b""),
        (b"http://", b""),
        (b"http://:8080", b":8080"),
        (b"http://events.example:0", b"events.example:0"),
        (b"http://events.example:65536", b"events.example:65536"),
        (b"http://b\xc3\xbccher.example", b"b\xc3\xbccher.example"),
        (b"*", b"*"),
    ],
)
def test_pages_of_another_host_may_not(origin: bytes, host: bytes) -> None:
    for allowed in (frozenset[bytes](), ALLOWED):
        with pytest.raises(Forbidden, match=r"^Pages of the origin '.*' may not post events$"):
            check_origin([origin], [host], allowed)


def test_the_own_host_is_known_from_one_host_header() -> None:
    """HTTP/1.0 may have none; two are refused elsewhere, and match nothing here."""
    for hosts in ([], [HOST, HOST], [HOST, b"other"]):
        with pytest.raises(Forbidden):
            check_origin([b"http://" + HOST], hosts, frozenset())


@pytest.mark.parametrize("allowed", [frozenset[bytes](), ALLOWED, ANY])
def test_several_origins_are_refused(allowed: frozenset[bytes]) -> None:
    """Also if each is allowed."""
    with pytest.raises(Forbidden, match=r"^Expected one Origin, got 2$"):
        check_origin([b"https://shop.example", b"https://shop.example"], [HOST], allowed)


@pytest.mark.parametrize("origin", [b"https://shop.example", b"https://SHOP.example:443", b"http://localhost:3000"])
def test_pages_of_an_allowed_origin_may_post(origin: bytes) -> None:
    """The answer repeats the origin as the browser spells it."""
    assert check_origin([origin], [HOST], ALLOWED) == origin


@pytest.mark.parametrize("origin", [b"http://shop.example", b"https://shop.example:8443", b"http://localhost", b"null"])
def test_an_allowed_origin_is_one_scheme_and_port(origin: bytes) -> None:
    with pytest.raises(Forbidden):
        check_origin([origin], [HOST], ALLOWED)


@pytest.mark.parametrize("origin", [b"https://any.example", b"null", b"app://x"])
def test_all_origins_may_be_allowed(origin: bytes) -> None:
    """Also C{null}, of files and sandboxed frames."""
    assert check_origin([origin], [HOST], parse_origins("*")) == origin


def test_the_error_is_of_bounded_length() -> None:
    with pytest.raises(Forbidden) as caught:
        check_origin([b"http://" + b"\xff" * 16_000], [HOST], ALLOWED)
    assert len(str(caught.value)) < 2_000


HOSTS = st.from_regex(rb"\A[a-z0-9.-]{1,10}(:[0-9]{1,5})?\Z")


@given(st.sampled_from([b"http", b"https"]), HOSTS, HOSTS)
def test_only_the_own_host_is_own(scheme: bytes, page: bytes, host: bytes) -> None:
    """An independent check: Python's parser of URLs."""

    def parts(authority: bytes) -> tuple[bytes | None, int]:
        split = urlsplit(scheme + b"://" + authority)
        return split.hostname, split.port or {b"http": 80, b"https": 443}[scheme]

    try:
        is_own = check_origin([scheme + b"://" + page], [host], frozenset()) is None
    except Forbidden:
        is_own = False
    assert not is_own or parts(page) == parts(host)
    if normalize_origin(scheme + b"://" + page) is not None:
        assert check_origin([scheme + b"://" + page], [page.upper()], frozenset()) is None


@given(st.binary(max_size=30))
def test_a_normalized_origin_stays_as_it_is(text: bytes) -> None:
    for origin in (normalize_origin(text), normalize_origin(b"http://" + text)):
        assert origin is None or normalize_origin(origin) == origin


# CORS


def test_an_answer_to_an_allowed_page_can_be_read() -> None:
    """No cookies are allowed: there are none to send."""
    assert dict(cors_headers(b"https://shop.example")) == {
        b"Access-Control-Allow-Origin": b"https://shop.example",
        b"Access-Control-Expose-Headers": b"Event-Id, Retry-After",
        b"Vary": b"Origin",
    }


@pytest.mark.parametrize(
    ("method", "origins", "methods", "is_one"),
    [
        (b"OPTIONS", [b"https://shop.example"], [b"POST"], True),
        (b"OPTIONS", [b"https://shop.example"], [b"PUT"], True),
        (b"OPTIONS", [b"https://shop.example"], [], False),
        (b"OPTIONS", [], [b"POST"], False),
        (b"POST", [b"https://shop.example"], [b"POST"], False),
        (b"options", [b"https://shop.example"], [b"POST"], False),
    ],
)
def test_a_preflight_is_known_by_its_headers(
    method: bytes, origins: list[bytes], methods: list[bytes], is_one: bool
) -> None:
    assert is_preflight(method, origins, methods) is is_one


def test_a_preflight_is_answered_with_what_a_page_may_send() -> None:
    answer = answer_preflight(b"https://shop.example", [b"content-type, ce-id,CE-Source", b"ce-myextension1"])
    assert (answer.status, answer.body) == (204, b"")
    assert dict(answer.headers) == {
        b"Access-Control-Allow-Origin": b"https://shop.example",
        b"Access-Control-Allow-Methods": b"POST",
        b"Access-Control-Allow-Headers": b"Authorization, Content-Type, Content-Encoding, Idempotency-Key, "
        b"traceparent, tracestate, ce-id, ce-myextension1, ce-source",
        b"Access-Control-Max-Age": b"7200",
        b"Vary": b"Origin",
    }


@pytest.mark.parametrize(
    "requested", [b"x-other", b"cookie", b"ce-", b"ce-a b", b"ce-a_b", b"ce-a\xff", b"", b",,", b"*"]
)
def test_other_headers_are_not_allowed(requested: bytes) -> None:
    """The browser then refuses to send the request."""
    answer = answer_preflight(b"https://shop.example", [requested])
    assert dict(answer.headers)[b"Access-Control-Allow-Headers"] == (
        b"Authorization, Content-Type, Content-Encoding, Idempotency-Key, traceparent, tracestate"
    )
