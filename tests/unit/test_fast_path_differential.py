"""
A site with the fast path and one without get the same bytes, cut at the same random
places, in front of the same appender and log: they answer with the same bytes,
store the same events and end the connection alike.

They differ on purpose only in these points, which are not generated:

  - Requests of one read are under way together on the fast path, and one after
    another without it.  So when the line or the stream is nearly full, or Redis fails
    among them, each is told the truth, but perhaps another one.
  - Likewise when the server is to end: all that were under way are answered,
    and only the last answer says that it is the last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventsvc.event import MAX_BYTES
from eventsvc.web.limits import MAX_HEAD_BYTES, MAX_HEADERS
from eventsvc.web.site import BoundedRequest, make_site
from tests.support.http import Served, post, routes_alone, serving, without_date
from tests.support.producer_world import make_world

GOOD = [b'{"description": "%d"}' % number for number in range(3)]
BAD = [b"", b"{}", b"nonsense", b'{"description": 1}', b'{"description": "\xff"}', b"[]", b"{" * 5_000]
BATCHES = [b"\n".join(GOOD), b"[%b, %b]" % (GOOD[0], GOOD[1])]

FIRST = [b"POST /event HTTP/1.1"] * 30 + [
    *(b"POST /events HTTP/1.1", b"GET /event HTTP/1.1", b"HEAD /event HTTP/1.1", b"post /event HTTP/1.1"),
    *(b"POST /event HTTP/1.0", b"POST /event HTTP/1.9", b"POST /event?a HTTP/1.1", *[b"POST /eventful HTTP/1.1"] * 3),
    *(b"POST  /event HTTP/1.1", b"POST /event HTTP/1.1 ", b"\r\nPOST /event HTTP/1.1", b"GET /openapi.json HTTP/1.1"),
    *(b"POST http://a/event HTTP/1.1", b"POST /event HTTP/1.1\nX: y", b"\x16\x03\x01", b"\rPOST /event HTTP/1.1"),
]
HOSTS = [b"Host: a"] * 20 + [b"host:a:80", b"Host: [::1] ", b"Host:", b"Host: a b", b"Host: a\r\nHost: a", b"X: y"]
#: Around the length that is right.
LENGTHS = [b"Content-Length: %d"] * 20 + [
    *(b"content-length:%d\t", b"Content-Length: 0%d", b"Content-Length: +%d", b"Content-Length: %d, 1", b"X: %d"),
    *(
        b"Content-Length: %d\r\nContent-Length: 1",
        b"Content-Length : %d",
        b"Content-Length: %d0",
        b"Content-Length: -%d",
    ),
    *(b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Content-Length: 9%d999999"),
    *[b"Transfer-Encoding: chunked"] * 3,
]
KEYS = [b"Idempotency-Key: one", b'idempotency-key: "one"', b"Idempotency-Key: two", b"Idempotency-Key: a b"]
MORE = [
    *(b"User-Agent: wrk", b"Accept: */*", b"Content-Type: application/x-www-form-urlencoded", b"X: ", b"X:\xff"),
    *(b"traceparent: 00-1", b"traceparent: 00-2", b"Cookie: a; b=c; =", b"Upgrade: h2c", b"TE: trailers"),
    *(b"Connection: keep-alive", b"connection:Keep-Alive", b"Connection: close", b"Connection: x", b"Connection:"),
    *(
        b"Expect: 100-continue",
        b"Expect: it",
        b"Transfer-Encoding: identity",
        b"X: a\r\n b",
        b"X: a\0",
        b"X: a\nb",
        b"X: a\n",
    ),
    *(b"X: a\rb", b"no colon", b": no name", b"a b: c", b"X: " + b"x" * MAX_HEAD_BYTES, b"X: " + b"x" * 16_300),
    *(b"\r\n".join([b"X: y"] * 97), b"\r\n".join([b"X: y"] * (MAX_HEADERS + 1))),
    *KEYS * 3,
]


def assemble(first: bytes, host: bytes, length: bytes, more: Sequence[bytes], body: bytes) -> bytes:
    """Return a mostly valid request."""
    lines = [first, host, length.replace(b"%d", b"%d" % len(body)), *more]
    if length.startswith(b"Transfer"):
        body = b"%x\r\n%b\r\n" % (len(body), body) + b"0\r\n\r\n" * bool(body)
    return b"\r\n".join([*lines, b"", body])


def damage(whole: bytes, begin: int, size: int, other: bytes) -> bytes:
    """Return a request with a piece removed, doubled or replaced."""
    return whole[:begin] + (other or whole[begin : begin + size] * 2) + whole[begin + size :]


REQUESTS = st.builds(
    assemble,
    *map(st.sampled_from, (FIRST, HOSTS, LENGTHS)),
    st.just([]) | st.lists(st.sampled_from(MORE), max_size=2),
    st.sampled_from(GOOD * 4 + BAD + BATCHES),
)
DAMAGED = st.builds(damage, REQUESTS, st.integers(0, 200), st.integers(0, 3), st.binary(max_size=2))
#: Requests after which a connection goes on, for one parser or the other.
PLAIN = [post(event) for event in (*GOOD, *GOOD, b"{}")] + [post(GOOD[0], KEYS[0].decode())]
OTHER = [
    *(post(BATCHES[0], path="/events"), post(GOOD[0], path="/events"), post(b"", path="/none")),
    *(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"),
    *(b"\r\n" + post(GOOD[1]), post(GOOD[2], "Expect: 100-continue"), post(GOOD[2], "Connection: x")),
    assemble(FIRST[0], HOSTS[0], b"Transfer-Encoding: chunked", [], GOOD[1]),
    assemble(FIRST[0], HOSTS[0], b"Transfer-Encoding: chunked", [], b""),
    *(b"\r\n", post(b" " * 9_000 + GOOD[0]), post(b" " * 9_000)),
]
GOING_ON = st.lists(st.sampled_from(PLAIN * 2 + OTHER), min_size=2, max_size=9).map(b"".join)
SENT = st.lists(st.one_of(REQUESTS, REQUESTS, REQUESTS, DAMAGED, GOING_ON), min_size=1, max_size=4).map(b"".join)
CUTS = st.lists(st.integers(0, 600) | st.integers(0, 3_000), max_size=8).map(sorted)
#: How long the client rests where it cuts.
RESTS = [0.0, 0.0, 0.0005, 0.5, 0.0, 0.002, 6.0]
#: The same while requests fail: a second for each would change who has how much time.
SHORT_RESTS = [0.0, 0.0, 0.0005, 0.5]


def converse(
    served: Served, connection: Any, sent: bytes, cuts: Sequence[int], ends: bool, rests: Sequence[float] = RESTS
) -> None:
    """Send bytes in pieces, with rests between them, and then end the sending side or not."""
    for begin, end in zip([0, *cuts], [*cuts, len(sent)]):
        connection.send(sent[begin:end])
        served.run(rests[end % len(rests)])
    if ends:
        connection.end()


def count_parsed(served: Served) -> list[BoundedRequest]:
    """Return the requests that twisted.web has begun to parse, now and later."""
    parsed: list[BoundedRequest] = []

    def parse(*arguments: Any) -> BoundedRequest:
        parsed.append(BoundedRequest(*arguments))
        return parsed[-1]

    site: Any = served.site
    site.requestFactory = parse
    return parsed


def outcome(make: Any, sent: bytes, cuts: Sequence[int], ends: bool, connected: bool) -> tuple[Any, ...]:
    """Return everything visible of a connection from both sides, and how many requests twisted.web parsed."""
    with serving(make, make_world()) as served:
        parsed = count_parsed(served)
        if not connected:
            served.world.link.disconnect()
        connection = served.connect()
        converse(served, connection, sent, cuts, ends, RESTS if connected else SHORT_RESTS)
        served.run(250.0)  # 5 seconds for each request, if Redis is away and they come one by one
        return (
            without_date(bytes(connection.received)),
            served.world.stream.payloads(),
            (connection.lost, connection.aborted, connection.paused),
            len(parsed),
        )


def test_the_fast_path_answers_as_the_routes_do() -> None:
    """For every request, valid or not; the examples cover all kinds."""
    statuses: Counter[bytes] = Counter()
    stored = Counter[bool]()
    takers = Counter[str]()

    @settings(max_examples=600)
    @example(post(GOOD[0], "Idempotency-Key: one") + post(GOOD[1], "Idempotency-Key: one"), [], True, True)
    @example(post(GOOD[0]) + post(GOOD[1], "Expect: 100-continue") + post(GOOD[2]), [120, 185], False, True)
    @example(post(GOOD[0])[:-1], [], False, True)
    @example(post(b"x" * (MAX_BYTES + 1)), [], False, True)
    @example(post(GOOD[0], "X: " + "x" * MAX_HEAD_BYTES), [], False, True)
    @given(SENT, CUTS, st.booleans(), st.sampled_from([True, True, True, False]))
    def compare(sent: bytes, cuts: Sequence[int], ends: bool, connected: bool) -> None:
        connected |= sent.lower().count(b"idempotency-key") > 1  # else a key may be free or not when its time is over
        *by_fast_path, parsed = outcome(make_site, sent, cuts, ends, connected)
        *by_routes, all_parsed = outcome(routes_alone, sent, cuts, ends, connected)
        assert by_fast_path == by_routes
        statuses.update(line[9:12] for line in by_fast_path[0].split(b"\r\n") if line.startswith(b"HTTP/1."))
        stored[bool(by_fast_path[1])] += 1
        takers["both" if 0 < parsed < all_parsed else "one"] += 1

    compare()
    assert {b"100", b"200", b"400", b"404", b"405", b"408", b"413", b"422", b"431", b"503"} <= set(statuses)
    assert min(statuses[b"200"], statuses[b"400"], stored[True], stored[False], takers["both"]) > 50
