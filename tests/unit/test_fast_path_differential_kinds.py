"""
As L{tests.unit.test_fast_path_differential}, for all that a POST may carry: CloudEvents, streams, tokens, codings,
origins and trace contexts.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventsvc.web.access import Access
from eventsvc.web.meter import Meter
from eventsvc.web.site import make_site
from eventsvc.web.tokens import Token, Tokens
from tests.support.http import routes_alone, serving, without_date
from tests.support.producer_world import make_world
from tests.unit.test_fast_path_differential import (
    BAD,
    BATCHES,
    CUTS,
    GOOD,
    HOSTS,
    KEYS,
    LENGTHS,
    assemble,
    converse,
    count_parsed,
    damage,
)

CLOUD = [
    b'{"specversion":"1.0","id":"%d","source":"/a","type":"t","data":{"a":[1, 2]}}' % number for number in range(3)
]
MEMBERS = [
    b'{"description":"a","type":"t","key":"k","data":{"a": 1.0e2}}',
    b'{"description":"a","type":null,"data":null}',
    b'{"description":"a","key":""}',
    b'{"description":"a","key":1}',
    *(CLOUD[0], b"[%b]" % b",".join(CLOUD), b'{"specversion":"1.0"}', b"\0\1", gzip.compress(GOOD[0])),
]

STREAMS = [
    *[b"POST /streams/Orders/event HTTP/1.1"] * 8,
    *(
        b"POST /streams/stream/event HTTP/1.1",
        b"POST /streams/Orders/events HTTP/1.1",
        b"POST /streams/none/event HTTP/1.1",
    ),
    *(b"POST /streams/Ord%65rs/event HTTP/1.1", b"POST /%65vent HTTP/1.1", b"POST /streams//event HTTP/1.1"),
    *(
        b"POST /streams/Orders/event/ HTTP/1.1",
        b"POST /streams/Orders%2fevent HTTP/1.1",
        b"POST /streams/../event HTTP/1.1",
    ),
    *(
        b"POST /streams/a%20b/event HTTP/1.1",
        b"POST /streams/a b/event HTTP/1.1",
        b"GET /streams/Orders/event HTTP/1.1",
    ),
    *(b"GET /streams/none/event HTTP/1.1", b"POST /streams/\xff/event HTTP/1.1", b"POST /streams/%ff/event HTTP/1.1"),
    *(b"POST /streams/Orders/event?a HTTP/1.1", b"POST /streams/Orders/event#a HTTP/1.1"),
    *(b"POST http://a/streams/Orders/event HTTP/1.1", b"OPTIONS /streams/Orders/event HTTP/1.1"),
]
TOKENS = [b"Authorization: Bearer all"] * 24 + [
    *(
        b"authorization:bearer all",
        b"Authorization: Bearer  all ",
        b"Authorization: Bearer orders",
        b"Authorization: all",
    ),
    *(b"Authorization: Bearer all\r\nAuthorization: Bearer all", b"Authorization: Bearer all\x0b", b"X: y"),
    *(b"Authorization: Bearer old", b"Authorization: Bearer slow", b"Authorization:", b"Authorization: Bearer \xff"),
]
BINARY = [b"ce-specversion: 1.0", b"ce-id: 1", b"CE-Source: /a", b"ce-type:t"]
TELLING = [
    *[b"\r\n".join(BINARY)] * 4,
    *(
        b"\r\n".join(BINARY[1:]),
        b"\r\n".join(BINARY[:3]),
        b"ce-subject: %e2%82%ac",
        b"ce-subject: %ff",
        b'ce-x: "a\\"b"',
    ),
    *(
        b"ce-a-b: c",
        b"ce-: c",
        b"ce-data: c",
        b"ce-subject:",
        b"ce-id: 2",
        b"ce-subject: \x0ba\x0c",
        b"ce-subject: \xe9",
    ),
    *[b"Content-Type: application/cloudevents+json"] * 9,
    *(b"content-type:\tApplication/CloudEvents+JSON ; charset=utf-8", b"Content-Type: text/plain", b"Content-Type:"),
    *[b"Content-Type: application/cloudevents-batch+json"] * 2,
    *(b"Content-Type: application/json", b"Content-Type: application/cloudevents+json\x0c", b"Content-Type: \xff"),
    *(b"Content-Type: application/octet-stream", b"Content-Type: a\r\nContent-Type: b", b"Content-Type: a/b+json;x"),
    *(b"traceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"tracestate: a=b", b"tracestate: c=d"),
    *(b"Traceparent:00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00 ", b"tracestate: a=b,\ta=b", b"tracestate: \x0ba=b"),
    *(b"Content-Encoding: gzip", b"Content-Encoding: identity", b"Content-Encoding: br", b"Content-Encoding:"),
    *(b"Origin: http://a", b"Origin: http://web.example", b"Origin: null", b"Origin: http://evil.example"),
    *(b"Access-Control-Request-Method: POST", b"Expect: 100-continue", *KEYS),
]


def make_access(clock: Any) -> Access:
    """Return one that knows a token for all, for one stream, one that has expired, and one with a rate."""
    digests = {name: sha256(name.encode()).digest() for name in ("all", "orders", "old", "slow")}
    rows = [
        Token("a", digests["all"]),
        Token("b", digests["orders"], frozenset(["Orders"])),
        Token("c", digests["old"], expires=1),
        Token("d", digests["slow"], meter=Meter(10**9, 2)),
    ]
    return Access(Tokens({row.digest: row for row in rows}), lambda: int(clock.seconds() * 1e9), lambda: 2)


REQUESTS = st.builds(
    lambda first, host, length, token, more, body: assemble(first, host, length, [token, *more], body),
    *map(
        st.sampled_from,
        ([b"POST /event HTTP/1.1"] * 16 + [b"POST /events HTTP/1.1"] * 4 + STREAMS, HOSTS, LENGTHS, TOKENS),
    ),
    st.lists(st.sampled_from(TELLING), max_size=3),
    st.sampled_from(GOOD * 3 + CLOUD * 4 + BAD[:4] + BATCHES + MEMBERS),
)
DAMAGED = st.builds(damage, REQUESTS, st.integers(0, 300), st.integers(0, 3), st.binary(max_size=2))
SENT = st.lists(st.one_of(REQUESTS, REQUESTS, REQUESTS, DAMAGED), min_size=1, max_size=5).map(b"".join)


def outcome(make: Any, sent: bytes, cuts: Sequence[int], ends: bool, tokens: bool, again: bool) -> tuple[Any, ...]:
    """Return everything visible of a connection from both sides, and how many requests twisted.web parsed."""
    world = make_world()
    orders = make_world(clock=world.clock)
    access = make_access(world.clock) if tokens else None
    origins = frozenset([b"http://web.example"])
    with serving(make, world, origins=origins, others={"Orders": orders}, access=access) as served:
        parsed = count_parsed(served)
        received = []
        for _ in range(2 if again else 1):
            connection = served.connect()
            converse(served, connection, sent, cuts, ends)
            served.run(60.0)
            received.append((without_date(bytes(connection.received)), connection.lost))
        return (
            received,
            (world.stream.payloads(), orders.stream.payloads()),
            access.rejected if access else None,
            len(parsed),
        )


def test_the_fast_path_answers_as_the_routes_do() -> None:
    """For every request, valid or not; the examples cover all kinds."""
    statuses: Counter[bytes] = Counter()
    stored = Counter[tuple[bool, bool]]()
    takers = Counter[str]()

    @settings(max_examples=300)
    @given(SENT, CUTS, st.booleans(), st.booleans(), st.booleans())
    def compare(sent: bytes, cuts: Sequence[int], ends: bool, tokens: bool, again: bool) -> None:
        *by_fast_path, parsed = outcome(make_site, sent, cuts, ends, tokens, again)
        *by_routes, all_parsed = outcome(routes_alone, sent, cuts, ends, tokens, again)
        assert by_fast_path == by_routes
        for received, _ in by_fast_path[0]:
            statuses.update(line[9:12] for line in received.split(b"\r\n") if line.startswith(b"HTTP/1."))
        stored[bool(by_fast_path[1][0]), bool(by_fast_path[1][1])] += 1
        takers["both" if parsed < all_parsed else "one"] += 1

    compare()
    assert {b"200", b"400", b"401", b"404", b"415"} <= set(statuses)  # the usual ones; others come by chance
    assert min(statuses[b"200"], stored[True, False], stored[False, False], takers["both"]) > 10
