"""
Tests for L{eventsvc.web.tokens}, L{eventsvc.web.meter} and
L{eventsvc.web.access}: who may post, and how much.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.web.access import Access
from eventsvc.web.meter import Meter
from eventsvc.web.tokens import Forbidden, Rejected, Token, Tokens, TooManyRequests, Unauthorized
from tests.support.http import EVENT, MAKERS, post, serving
from tests.support.producer_world import make_world

SECRET = b"evt_c2VjcmV0c2VjcmV0"
SECOND = 1_000_000_000


def make_token(secret: bytes = SECRET, name: str = "shop", **more: object) -> Token:
    return Token(name, sha256(secret).digest(), **more)  # type: ignore[arg-type]


def make_tokens(*tokens: Token) -> Tokens:
    return Tokens({token.digest: token for token in tokens})


class Clocks:
    """Both clocks, in nanoseconds."""

    now = 0
    wall = 0

    def access(self, tokens: Tokens) -> Access:
        return Access(tokens, lambda: self.now, lambda: self.wall)


# Who


@pytest.mark.parametrize("value", [b"Bearer %b", b"bearer %b", b"BEARER   %b"])
def test_a_token_is_found(value: bytes) -> None:
    """The scheme is case-insensitive, and is followed by one or more spaces."""
    token = make_token()
    assert make_tokens(token, make_token(b"other", "other")).find([value % SECRET], 0) is token


@pytest.mark.parametrize("secret", [b"a-._~+/Z9", b"a==", b"0"])
def test_a_token_may_have_all_characters_of_the_rfc(secret: bytes) -> None:
    token = make_token(secret)
    assert make_tokens(token).find([b"Bearer " + secret], 0) is token


@pytest.mark.parametrize(
    ("authorization", "words"),
    [
        ([], "Expected one Authorization header, got 0"),
        ([b"Bearer " + SECRET] * 2, "Expected one Authorization header, got 2"),
        *[
            ([value], "Expected `Authorization: Bearer TOKEN`")
            for value in (
                b"",
                SECRET,
                b"Bearer",
                b"Bearer ",
                b"Bearer" + SECRET,
                b"Bearer\t" + SECRET,
                b"Basic " + SECRET,
                b"XBearer " + SECRET,
                b"Bearer " + SECRET + b" ",
                b"Bearer " + SECRET + b"\n",
                b"Bearer " + SECRET + b", Bearer " + SECRET,
                b"Bearer =" + SECRET,
                b"Bearer a=" + SECRET,
                b"Bearer \xff" + SECRET,
                b'Bearer "' + SECRET + b'"',
            )
        ],
        ([b"Bearer " + SECRET[:-1]], "The token is not known"),
        ([b"Bearer " + SECRET + b"="], "The token is not known"),
        ([b"Bearer " + SECRET.swapcase()], "The token is not known"),
        ([b"Bearer " + sha256(SECRET).hexdigest().encode()], "The token is not known"),
        ([b"Bearer " + b"a" * 100_000], "The token is not known"),
    ],
)
def test_a_request_without_a_known_token_is_unauthorized(authorization: Sequence[bytes], words: str) -> None:
    """No text of the error, its traceback included, contains what the client sent."""
    with pytest.raises(Unauthorized) as caught:
        make_tokens(make_token()).find(authorization, 0)
    assert str(caught.value) == words
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert not any(value[-12:].decode("latin-1") in told for value in authorization if len(value) > 12)


def test_a_digest_that_is_filed_wrongly_lets_nobody_in() -> None:
    """The found digest is compared too."""
    with pytest.raises(Unauthorized):
        Tokens({sha256(SECRET).digest(): make_token(b"other")}).find([b"Bearer " + SECRET], 0)


def test_nothing_shows_a_digest() -> None:
    """The SHA-256 of a token that a person made up can be guessed."""
    tokens = make_tokens(make_token())
    told = f"{tokens!r} {make_token()!r} {Clocks().access(tokens)!r}"
    assert repr(sha256(SECRET).digest()) not in told
    assert sha256(SECRET).hexdigest() not in told


def test_an_expired_token_is_unauthorized() -> None:
    """It is valid until just before its time."""
    tokens = make_tokens(make_token(expires=1000))
    assert tokens.find([b"Bearer " + SECRET], 999).name == "shop"
    with pytest.raises(Unauthorized, match=r"^The token 'shop' has expired$"):
        tokens.find([b"Bearer " + SECRET], 1000)


def test_a_token_may_write_to_its_streams_alone() -> None:
    """Without streams it may write to all."""
    make_token().check_stream("any")
    token = make_token(streams=frozenset(["a"]))
    token.check_stream("a")
    with pytest.raises(Forbidden, match=r"^The token 'shop' may not write to the stream 'A'$"):
        token.check_stream("A")


# How much


def test_a_burst_is_let_in_and_then_the_rate() -> None:
    """A pause longer than the burst takes gives no more credit."""
    meter = Meter(interval=10, burst=3)
    assert [meter.take(0) for _ in range(4)] == [0, 0, 0, 10]
    assert [meter.take(9), meter.take(10), meter.take(10)] == [1, 0, 10]
    assert [meter.take(10_000) for _ in range(4)] == [0, 0, 0, 10]


def test_a_burst_of_one_is_a_pace() -> None:
    meter = Meter(interval=10, burst=1)
    assert [meter.take(now) for now in (5, 5, 14, 15)] == [0, 10, 1, 0]


def test_a_batch_larger_than_the_burst_makes_a_debt() -> None:
    """It passes when there is no debt, and the next waits for all of it."""
    meter = Meter(interval=10, burst=3)
    assert meter.take(0, 100) == 0
    assert meter.take(0) == (100 - 2) * 10
    assert meter.take(979) == 1
    assert meter.take(980) == 0


def test_the_rest_of_a_batch_is_charged_later() -> None:
    """One event at the head and the rest behind it cost as much as all at once."""
    one, other = Meter(10, 3), Meter(10, 3)
    one.take(50, 7)
    other.take(50)
    other.charge(6)
    assert one.take(60) == other.take(60) > 0


def admit(access: Access, token: Token, events: int = 1) -> None:
    """Let a request in and charge its events, or raise why it is refused."""
    refused = access.refuse(token)
    if refused is not None:
        raise refused
    token.charge(events - 1)


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)), min_size=1, max_size=60),
)
def test_a_meter_is_a_token_bucket(interval: int, burst: int, requests: Sequence[tuple[int, int]]) -> None:
    """In fractions: a bucket that fills at the rate up to the burst, and lets a request in while it holds one."""
    meter, level, now = Meter(interval, burst), Fraction(burst), 1_000_000
    begun, last, events = now, 0, 0
    for pause, count in requests:
        now += pause
        level = min(Fraction(burst), level + Fraction(pause, interval))
        wait = meter.take(now, count)
        assert (wait == 0) == (level >= 1)
        assert wait == max(0, (1 - level) * interval)
        if not wait:
            level -= count
            events, last = events + count, count
    assert events <= burst + Fraction(now - begun, interval) + last - 1


def test_retry_after_is_in_whole_seconds() -> None:
    """It is at least 1, and a client that follows it is let in."""
    token, clocks = make_token(meter=Meter(interval=1_500_000_000, burst=1)), Clocks()
    access = clocks.access(make_tokens(token))
    admit(access, token)
    for clocks.now, seconds in ((0, 2), (500_000_000, 1), (1_499_999_999, 1)):
        with pytest.raises(TooManyRequests, match=r"^The token 'shop' is past its rate$") as caught:
            admit(access, token)
        assert caught.value.retry_after == seconds
    clocks.now = 2 * SECOND
    admit(access, token)


def test_many_tokens_past_their_rates_fill_no_memory() -> None:
    """The errors are kept, because making one costs as much as the rest of a refusal, but not without bound."""
    clocks = Clocks()
    access = clocks.access(make_tokens())
    for number in range(3000):
        token = make_token(name=f"{number}", meter=Meter(SECOND, 1))
        admit(access, token)
        for stored in ("no", "unknown"):
            refusal = access.refuse(token, stored)
            assert isinstance(refusal, TooManyRequests)
            assert (str(refusal), refusal.stored) == (f"The token '{number}' is past its rate", stored)
            assert access.refuse(token, stored) is refusal
    assert len(access._refusals) <= 1024


def test_a_token_without_a_rate_has_none() -> None:
    token, access = make_token(), Clocks().access(make_tokens())
    for _ in range(10_000):
        admit(access, token, 1000)
    token.charge(10**9)
    admit(access, token)


# Changes


def test_a_debt_survives_a_change_of_the_tokens() -> None:
    """The token from before, which a request in progress holds, has the same meter."""
    clocks = Clocks()
    access = clocks.access(make_tokens(make_token(meter=Meter(SECOND, 1))))
    before = access.identify([b"Bearer " + SECRET], "s")
    admit(access, before)
    access.replace(make_tokens(make_token(name="renamed", meter=Meter(SECOND, 1))))
    after = access.identify([b"Bearer " + SECRET], "s")
    assert after.name == "renamed"
    before.charge(4)
    with pytest.raises(TooManyRequests) as caught:
        admit(access, after)
    assert caught.value.retry_after == 5


def test_a_debt_stays_the_same_number_of_events_when_the_rate_changes() -> None:
    """So a higher rate ends it sooner."""
    clocks = Clocks()
    clocks.now = 7 * SECOND
    access = clocks.access(make_tokens(make_token(meter=Meter(60 * SECOND, 1))))
    admit(access, access.identify([b"Bearer " + SECRET], "s"), 100)
    access.replace(make_tokens(make_token(meter=Meter(SECOND // 10, 1))))
    with pytest.raises(TooManyRequests) as caught:
        admit(access, access.identify([b"Bearer " + SECRET], "s"))
    assert caught.value.retry_after == 10


def test_a_new_rate_of_a_token_that_was_never_used_has_its_burst() -> None:
    """No debt comes of a change."""
    clocks = Clocks()
    access = clocks.access(make_tokens(make_token(meter=Meter(60 * SECOND, 1))))
    access.replace(make_tokens(make_token(meter=Meter(SECOND, 3))))
    token = access.identify([b"Bearer " + SECRET], "s")
    for _ in range(3):
        admit(access, token)
    with pytest.raises(TooManyRequests):
        admit(access, token)


def test_the_rotation_of_a_token_is_two_rows() -> None:
    """Each has a rate of its own, and the old one ends when its row does."""
    clocks = Clocks()
    old, new = make_token(name="shop-1"), make_token(b"new", "shop-2")
    access = clocks.access(make_tokens(old))
    changes: list[int] = []
    access.on_change.append(lambda: changes.append(len(access.tokens)))
    access.replace(make_tokens(old, new))
    assert access.identify([b"Bearer " + SECRET], "s").name == "shop-1"
    assert access.identify([b"Bearer new"], "s").name == "shop-2"
    access.replace(make_tokens(new))
    with pytest.raises(Unauthorized):
        access.identify([b"Bearer " + SECRET], "s")
    assert changes == [2, 1]


# At the door


def test_a_token_that_is_known_expires_all_the_same() -> None:
    """A head that comes again is identified once, and admitted each time."""
    clocks = Clocks()
    access = clocks.access(make_tokens(make_token(expires=1000)))
    token = access.identify([b"Bearer " + SECRET], "s")
    admit(access, token)
    clocks.wall = 1000
    with pytest.raises(Unauthorized, match="has expired"):
        admit(access, token)


def test_a_token_is_identified_for_a_stream() -> None:
    access = Clocks().access(make_tokens(make_token(streams=frozenset(["a"]))))
    access.identify([b"Bearer " + SECRET], "a")
    with pytest.raises(Forbidden):
        access.identify([b"Bearer " + SECRET], "b")


def test_rejections_are_counted_by_reason() -> None:
    """All reasons are there from the beginning."""
    access = Clocks().access(Tokens())
    assert access.rejected == {"unauthorized": 0, "forbidden": 0, "rate": 0}
    errors: list[Rejected] = [Unauthorized(), Unauthorized(), Forbidden(), TooManyRequests("", 1, "no")]
    for error in errors:
        access.count(error)
    assert access.rejected == {"unauthorized": 2, "forbidden": 1, "rate": 1}


@pytest.mark.parametrize("comes", [True, False])
@pytest.mark.parametrize("path", ["/event", "/events"])
@pytest.mark.parametrize("make", MAKERS)
def test_a_request_that_waits_for_room_needs_a_token_when_its_turn_comes(make: Any, path: str, comes: bool) -> None:
    """Its token may be taken from the file meanwhile, and its turn may end with its deadline."""
    access = Clocks().access(make_tokens(make_token()))
    world = make_world(queue_events=1)
    world.link.disconnect()
    with serving(make, world, access=access) as served:
        clients = [served.connect() for _ in range(2)]
        for client in clients:
            client.send(post(EVENT, f"Authorization: Bearer {SECRET.decode()}", path=path))
        access.replace(Tokens())
        if comes:
            world.link.connect()
        served.run(6.0)
        assert [client.response().status for client in clients] == [200 if comes else 503, 401]
        assert len(served.stored()) == comes
