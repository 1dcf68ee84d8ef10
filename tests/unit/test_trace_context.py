"""
Tests for L{eventsvc.web.trace_context}, with the cases of the W3C's own test suite
(U{https://github.com/w3c/trace-context/blob/main/test/test.py}).
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventsvc.web.trace_context import read_trace_context

TRACE = b"12345678901234567890123456789012"
PARENT = b"1234567890123456"
VALID = b"00-%b-%b-01" % (TRACE, PARENT)
LATER = b"cc-%b-%b-01" % (TRACE, PARENT)


@pytest.mark.parametrize(
    "value",
    [
        VALID,
        b"00-%b-%b-00" % (TRACE, PARENT),
        b"00-%b-%b-ff" % (TRACE, PARENT),
        b"00-%b-%b-01" % (b"0" * 31 + b"1", b"0" * 15 + b"1"),
        b"00-%b-%b-01" % (b"abcdef" + b"0" * 26, b"f" + b"0" * 15),
        LATER,
        LATER + b"-",
        LATER + b"-what-the-future-will-be-like",
        b"01" + LATER[2:],
        b"fe" + LATER[2:] + b"-~!",
        LATER + b"-" + b"x" * (512 - len(LATER) - 1),
    ],
)
def test_a_traceparent_is_kept(value: bytes) -> None:
    """White space around it is not part of the value."""
    for around in (b"%b", b" %b", b"\t%b", b"%b ", b"%b\t", b"\t %b \t"):
        assert read_trace_context([around % value], []) == (value.decode(), None)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        VALID + b".",
        VALID + b"-",
        VALID + b"-what-the-future-will-be-like",
        VALID + b"," + VALID,
        LATER + b".what-the-future-will-be-like",
        LATER + b"0",
        LATER + b"-a b",
        LATER + b"-\xff",
        LATER + b"-a\n",
        LATER + b"-" + b"x" * (512 - len(LATER)),
        LATER[:-1],
        b"ff" + VALID[2:],
        b"FE" + VALID[2:],
        b".0" + VALID[2:],
        b"0." + VALID[2:],
        b"000" + VALID[2:],
        b"0000" + VALID[2:],
        b"0" + VALID[2:],
        VALID[2:],
        b"00-%b-%b-01" % (b"0" * 32, PARENT),
        b"00-%b-%b-01" % (b"." + TRACE[1:], PARENT),
        b"00-%b-%b-01" % (TRACE[:-1] + b".", PARENT),
        b"00-%b-%b-01" % (TRACE[:-1] + b"A", PARENT),
        b"00-%b-%b-01" % (TRACE + b"3", PARENT),
        b"00-%b-%b-01" % (TRACE[:-1], PARENT),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE, b"." + PARENT[1:]),
        b"00-%b-%b-01" % (TRACE, PARENT[:-1] + b"."),
        b"00-%b-%b-01" % (TRACE, PARENT[:-1] + b"F"),
        b"00-%b-%b-01" % (TRACE, PARENT + b"7"),
        b"00-%b-%b-01" % (TRACE, PARENT[:-1]),
        b"cc-%b-%b-01" % (b"0" * 32, PARENT),
        b"cc-%b-%b-01" % (TRACE, b"0" * 16),
        VALID[:-2] + b".0",
        VALID[:-2] + b"0.",
        VALID[:-2] + b"0A",
        VALID[:-2] + b"001",
        VALID[:-2] + b"1",
        VALID.replace(b"-", b"_"),
        VALID.replace(b"1", "\u0661".encode()),
    ],
)
def test_a_malformed_traceparent_is_dropped(value: bytes) -> None:
    """And with it the C{tracestate}, which has no meaning without."""
    assert read_trace_context([value], [b"foo=1"]) == (None, None)


@pytest.mark.parametrize("values", [[], [VALID, VALID], [VALID, b""], [VALID, VALID.replace(b"1", b"2")]])
def test_there_must_be_one_traceparent(values: list[bytes]) -> None:
    assert read_trace_context(values, [b"foo=1"]) == (None, None)


THIRTY_TWO = b",".join([b"bar%02d=%02d" % (number, number) for number in range(32)])
KEY = b"abcdefghijklmnopqrstuvwxyz0123456789_-*/"
VALUE = bytes([each for each in range(0x20, 0x7F) if each not in b",="])


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([b"foo=1"], b"foo=1"),
        ([b"foo=1,bar=2"], b"foo=1,bar=2"),
        ([b"foo=1", b""], b"foo=1,"),
        ([b"", b"foo=1"], b",foo=1"),
        ([b"foo=1,bar=2", b"rojo=1,congo=2", b"baz=3"], b"foo=1,bar=2,rojo=1,congo=2,baz=3"),
        ([b"%b=%b" % (KEY, VALUE)], b"%b=%b" % (KEY, VALUE)),
        ([b"%b@a-z0-9_-*/=%b" % (KEY, VALUE)], b"%b@a-z0-9_-*/=%b" % (KEY, VALUE)),
        ([b"foo=1 \t , \t bar=2, \t baz=3"], b"foo=1 \t , \t bar=2, \t baz=3"),
        ([b"foo=1\t \t,\t \tbar=2,\t \tbaz=3"], b"foo=1\t \t,\t \tbar=2,\t \tbaz=3"),
        ([b"\t foo=1 \t"], b"foo=1"),
        ([b"foo= 1,bar=a b"], b"foo= 1,bar=a b"),
        ([THIRTY_TWO], THIRTY_TWO),
        ([THIRTY_TWO[:98], b"", THIRTY_TWO[99:]], THIRTY_TWO[:98] + b",," + THIRTY_TWO[99:]),
        ([b"foo=1", b"z" * 256 + b"=1"], b"foo=1," + b"z" * 256 + b"=1"),
        ([b"foo=1," + b"z=" + b"v" * 256], b"foo=1,z=" + b"v" * 256),
        ([b"t" * 241 + b"@" + b"v" * 14 + b"=1"], b"t" * 241 + b"@" + b"v" * 14 + b"=1"),
        # level 2 has no more rules for @ than for other characters
        ([b"foo@=1,bar=2"], b"foo@=1,bar=2"),
        ([b"foo@@bar=1,t@" + b"v" * 15 + b"=1"], b"foo@@bar=1,t@" + b"v" * 15 + b"=1"),
        ([b"0foo=1"], b"0foo=1"),
        ([b"a=" + b"1" * 200 + b",b=" + b"1" * 200 + b",c=" + b"1" * 105], None),
        ([b"a=" + b"1" * 200 + b",b=" + b"1" * 200 + b",c=" + b"1" * 104], Ellipsis),
    ],
)
def test_a_tracestate_is_kept_as_it_came(values: list[bytes], kept: object) -> None:
    """Several headers are one list; an Ellipsis is short for the values themselves."""
    expected = b",".join(values) if kept is ... else kept
    assert read_trace_context([VALID], values) == (
        VALID.decode(),
        expected.decode() if isinstance(expected, bytes) else None,
    )


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b" \t"],
        [b",, ,"],
        [b"foo"],
        [b"foo="],
        [b"foo=,bar=3"],
        [b"foo= ,bar=3"],
        [b"=1"],
        [b"foo=1,foo=1"],
        [b"foo=1,bar=2, foo=2"],
        [b"foo=1", b"foo=1"],
        [b"foo=1", b"\tfoo=2"],
        [b"foo =1"],
        [b"FOO=1"],
        [b"foo.bar=1"],
        [b"@foo=1,bar=2"],
        [b"-foo=1"],
        [b"foo=bar=baz"],
        [b"foo=a\tb"],
        [b"foo=\xc3\xa4"],
        [b"foo=1\x00"],
        [b"foo=1\n"],
        [b"foo=1;bar=2"[:5] + b"\x7f"],
        [THIRTY_TWO + b",bar33=33"],
        [THIRTY_TWO, b"bar33=33"],
        [b"foo=1", b"z" * 257 + b"=1"],
        [b"foo=1,z=" + b"v" * 257],
        [b"," * 513 + b"foo=1"],
    ],
)
def test_a_malformed_tracestate_is_dropped_alone(values: list[bytes]) -> None:
    """The C{traceparent} stays."""
    assert read_trace_context([VALID], values) == (VALID.decode(), None)


@given(st.lists(st.binary(max_size=60), max_size=3), st.lists(st.binary(max_size=60), max_size=3))
@example([VALID], [b"a=1", b"b=\xff"])
def test_no_bytes_are_an_error(traceparents: list[bytes], tracestates: list[bytes]) -> None:
    """Whatever is kept is printable, bounded, and what came."""
    traceparent, tracestate = read_trace_context(traceparents, tracestates)
    assert traceparent is None or traceparent.encode() == traceparents[0].strip()
    assert tracestate is None or tracestate.encode() == b",".join(tracestates).strip(b" \t")


MEMBERS = st.dictionaries(
    st.from_regex(r"\A[a-z0-9][a-z0-9_*/@-]{0,10}\Z"), st.from_regex(r"\A[ -+\--<>-~]{0,5}[!-+\--<>-~]\Z"), max_size=12
)


@given(MEMBERS, st.lists(st.sampled_from(["", " ", "\t"]), min_size=26, max_size=26), st.integers(0, 12))
def test_every_valid_list_is_kept(members: dict[str, str], spaces: list[str], split: int) -> None:
    """Wherever it is split into headers."""
    written = [
        f"{spaces[2 * number]}{key}={value}{spaces[2 * number + 1]}"
        for number, (key, value) in enumerate(members.items())
    ]
    headers = [",".join(written[:split]).encode(), ",".join(written[split:]).encode()]
    _, tracestate = read_trace_context([VALID], headers)
    found = [member.strip(" \t") for member in (tracestate or "").split(",")]
    assert [member for member in found if member] == [f"{key}={value}" for key, value in members.items()]
