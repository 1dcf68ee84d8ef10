"""
Tests for L{eventsvc.web.token_rows}: the rows of a file of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.web.meter import Meter
from eventsvc.web.token_rows import InvalidTokens, format_row, parse_tokens, read_row
from eventsvc.web.tokens import Token, Tokens

SECRET = "evt_" + "s3cr3t-" * 6 + "x"
DIGEST = sha256(SECRET.encode()).hexdigest()
KNOWN = ["Orders", "NotificationStream"]


def row(*lines: str, name: str = "shop", digest: str = DIGEST) -> str:
    return "\n".join(["[[token]]", f"name = {name!r}", f"sha256 = {digest!r}", *lines, ""])


def only(tokens: Tokens) -> Token:
    (token,) = tokens.by_digest.values()
    return token


def read(*lines: str) -> Token:
    return only(parse_tokens(row(*lines).encode(), KNOWN))


def meaning(token: Token) -> tuple[object, ...]:
    """Return all that a token says, to be compared."""
    meter = token.meter and (token.meter.interval, token.meter.burst)
    return token.name, token.digest.hex(), token.streams, token.expires, meter


def test_a_row_needs_a_name_and_a_digest() -> None:
    """All else is optional: all streams, no limit, for ever."""
    assert meaning(read()) == ("shop", DIGEST, None, None, None)
    assert meaning(only(parse_tokens(row(digest=DIGEST.upper()).encode(), KNOWN))) == meaning(read())


@pytest.mark.parametrize("text", ["", "\n", "# none yet\n", "token = []"])
def test_there_may_be_no_tokens(text: str) -> None:
    assert len(parse_tokens(text.encode(), KNOWN)) == 0


@pytest.mark.parametrize(
    ("lines", "interval", "burst"),
    [
        (["rate = 100"], 10_000_000, 100),
        (["rate = 2.9"], 344_827_587, 2),
        (["rate = 0.5"], 2_000_000_000, 1),
        (["rate = 0.001"], 1_000_000_000_000, 1),
        (["rate = 1e6"], 1_000, 1_000_000),
        (["rate = 100", "burst = 1"], 10_000_000, 1),
        (["rate = 1", "burst = 500"], 1_000_000_000, 500),
    ],
)
def test_a_rate_has_a_burst_of_a_second(lines: list[str], interval: int, burst: int) -> None:
    """The interval is rounded up, so the rate is never exceeded."""
    meter = read(*lines).meter
    assert isinstance(meter, Meter)
    assert (meter.interval, meter.burst) == (interval, burst)


@pytest.mark.parametrize(
    ("value", "expires"),
    [
        ("2030-01-01T00:00:00Z", 1_893_456_000_000_000_000),
        ("2030-01-01T02:00:00.000001+02:00", 1_893_456_000_000_001_000),
        ('"2030-01-01T00:00:00Z"', 1_893_456_000_000_000_000),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000_000),
    ],
)
def test_an_expiry_is_a_time_with_a_zone(value: str, expires: int) -> None:
    """It is a date-time of TOML, or a string."""
    assert read(f"expires = {value}").expires == expires


def test_streams_are_those_of_the_producer() -> None:
    assert read('streams = ["Orders"]').streams == frozenset(["Orders"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[tokens]]", "expected rows [[token]], and nothing else"),
        ("[token]\nname = 'shop'", "expected rows [[token]], and nothing else"),
        ("version = 1\n" + row(), "expected rows [[token]], and nothing else"),
        ("token = 1", "expected rows [[token]], and nothing else"),
        ("token = [1]", "row 1: expected a table"),
        ("[[token]]\nname = \n", "expected TOML, got something else at line 2, column 8"),
        ("[[token]]\nname = 'a", "expected TOML, got something else at "),
        ("\N{ZERO WIDTH NO-BREAK SPACE}", "expected TOML, got something else at line 1, column 1"),
        ("x = " + "[" * 10_000, "expected TOML"),
        ("x = " + "1" * 10_000, "expected TOML"),
        ("[[token]]", "row 1: name: expected 1 to 100 printable characters"),
        (row(name=""), "row 1 (''): name: expected 1 to 100 printable characters"),
        (row(name="n" * 101), "row 1 (a long text): name: expected 1 to 100 printable characters"),
        ("[[token]]\nname = 1", "row 1: name: expected"),
        ('[[token]]\nname = "a\\nb"\nsha256 = "' + DIGEST + '"', "row 1 ('a\\nb'): name: expected"),
        ("[[token]]\nname = 'shop'", "row 1 ('shop'): sha256: expected 64 hexadecimal digits"),
        (row(digest=DIGEST[1:]), "row 1 ('shop'): sha256: expected 64 hexadecimal digits"),
        (row(digest=f"{DIGEST[1:]} "), "sha256: expected"),
        ('[[token]]\nname = "shop"\nsha256 = "' + DIGEST + '\\n"', "sha256: expected"),
        (row('streams = "Orders"'), "row 1 ('shop'): streams: expected an array of names"),
        (row("streams = []"), "streams: expected an array of names of streams, at least one"),
        (row("streams = [1]"), "streams: expected an array"),
        (row('streams = ["orders"]'), "streams of this producer (NotificationStream, Orders), got 'orders'"),
        *[
            (row(f"rate = {value}"), "row 1 ('shop'): rate: expected events per second from 0.001 to 1000000")
            for value in ("0", "-1", "0.0009", "1000001", "inf", "nan", "true", "'1'")
        ],
        *[
            (row("rate = 1", f"burst = {value}"), "row 1 ('shop'): burst: expected a whole number of events")
            for value in ("0", "-1", "1.5", "1000000001", "true", "'1'", "9999999999999999999999")
        ],
        (row("burst = 1"), "burst: expected a whole number of events from 1 to 1000000000, beside a rate"),
        *[
            (row(f"expires = {value}"), "row 1 ('shop'): expires: expected an RFC 3339 date and time with its zone")
            for value in ("2030-01-01", "2030-01-01T00:00:00", "'2030-01-01T00:00:00'", "00:00:00", "1", "1.5", "'1'")
        ],
        (row("stream = ['Orders']"), "row 1 ('shop'): 'stream' is no member: expected name, sha256, streams, rate,"),
        (row() + row(name="b"), "row 2 ('b'): sha256: expected another token than that of 'shop'"),
        (row() + row(digest="0" * 64), "row 2 ('shop'): name: expected one that no other row has"),
        (row() + row(name="b", digest=DIGEST.upper()), "row 2 ('b'): sha256: expected another token"),
        (row() + row("rate = 0", name="b", digest="0" * 64), "row 2 ('b'): rate: expected"),
    ],
)
def test_a_wrong_row_is_named(text: str, words: str) -> None:
    """An error says which row, which member, and what was expected."""
    with pytest.raises(InvalidTokens) as caught:
        parse_tokens(text.encode(), KNOWN)
    assert words in str(caught.value)


def test_other_encodings_are_no_toml() -> None:
    with pytest.raises(InvalidTokens, match=r"expected TOML in UTF-8"):
        parse_tokens("é".encode("latin-1"), KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        row(digest=SECRET),
        row(name=SECRET),
        row(name=SECRET, digest="0" * 64) + row(digest="0" * 64),
        row(f"{SECRET} = 1"),
        row(f"token = '{SECRET}'"),
        row(f"streams = ['{SECRET}']"),
        row(f"rate = '{SECRET}'"),
        row(f"expires = '{SECRET}'"),
        row(SECRET),
        f"{SECRET} = 1",
        f"x = {{{SECRET} = 1, {SECRET} = 2}}",
        f"[{SECRET}]\n[{SECRET}]",
        f"[[token]]\nname = '{SECRET}'",
        SECRET,
    ],
)
def test_a_token_in_a_wrong_place_is_not_told(text: str) -> None:
    """The error goes to the log, and people paste tokens anywhere."""
    with pytest.raises(InvalidTokens) as caught:
        parse_tokens(text.encode(), KNOWN)
    assert SECRET not in f"{caught.value}{caught.value!r}"
    assert SECRET[:20] not in str(caught.value)


@given(
    st.fixed_dictionaries(
        {
            "name": st.text(min_size=1, max_size=100).filter(str.isprintable),
            "sha256": st.binary(min_size=32, max_size=32).map(bytes.hex),
        },
        optional={
            "streams": st.lists(st.sampled_from(KNOWN), min_size=1),
            "rate": st.integers(1, 10**6) | st.floats(0.001, 1e6),
            "expires": st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)).map(datetime.isoformat),
        },
    )
)
def test_a_row_that_is_written_reads_as_it_was(members: Mapping[str, object]) -> None:
    """Whatever is in its name: quotes, backslashes, any alphabet."""
    assert meaning(only(parse_tokens(format_row(members).encode(), KNOWN))) == meaning(read_row(members))


def test_a_row_may_be_appended_to_a_file_that_does_not_end_in_a_newline() -> None:
    text = row().rstrip("\n") + format_row({"name": "b", "sha256": "0" * 64, "rate": None})
    assert [token.name for token in parse_tokens(text.encode(), KNOWN).by_digest.values()] == ["shop", "b"]
