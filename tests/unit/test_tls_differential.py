"""
A site behind TLS and one without get the same requests, cut at the same random
places: they answer with the same bytes and store the same events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eventsvc.event import MAX_BYTES
from eventsvc.web.limits import MAX_HEAD_BYTES
from tests.support.certificates import Authority
from tests.support.http import MAKERS, post, serving, without_date
from tests.support.producer_world import make_world
from tests.support.tls import TLSServed
from tests.unit.test_fast_path_differential import CUTS, GOOD, SENT, converse

IDENTITY = Authority().issue("localhost")


def outcome(make: Any, sent: bytes, cuts: Sequence[int], ends: bool, tls: bool) -> tuple[Any, ...]:
    """Return the answers, the events stored, and whether the server has ended the connection."""
    with serving(make, make_world()) as served:
        connection: Any = TLSServed(served, IDENTITY).connect() if tls else served.connect()
        converse(served, connection, sent, cuts, ends)
        served.run(60.0)
        return without_date(bytes(connection.received)), served.world.stream.payloads(), connection.lost


@pytest.mark.parametrize("make", MAKERS)
def test_a_port_with_tls_answers_as_one_without(make: Any) -> None:
    """For every request, valid or not; the examples cover all kinds."""
    statuses: Counter[bytes] = Counter()

    @settings(max_examples=200)
    @example(post(GOOD[0]) + post(GOOD[1], "Expect: 100-continue") + post(GOOD[2]), [120, 185], False)
    @example(post(GOOD[0]) * 100, [1_000], True)
    @example(b"GET /event HTTP/1.1\r\nHost: a\r\n\r\n", [], True)
    @example(post(GOOD[0])[:-1], [], False)
    @example(post(b"x" * (MAX_BYTES + 1)), [], False)
    @example(post(b" " * (MAX_BYTES - 100) + GOOD[0]), [], False)
    @example(post(GOOD[0], "X: " + "x" * MAX_HEAD_BYTES), [], False)
    @given(SENT, CUTS, st.booleans())
    def compare(sent: bytes, cuts: Sequence[int], ends: bool) -> None:
        plain = outcome(make, sent, cuts, ends, tls=False)
        assert outcome(make, sent, cuts, ends, tls=True) == plain
        statuses.update(line[9:12] for line in plain[0].split(b"\r\n") if line.startswith(b"HTTP/1."))

    compare()
    assert {b"100", b"200", b"400", b"404", b"405", b"408", b"413", b"431"} <= set(statuses)
    assert min(statuses[b"200"], statuses[b"400"]) > 30
