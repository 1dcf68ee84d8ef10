"""
Tests for L{eventsvc.web.encoding}.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsvc.event import InvalidEvent
from eventsvc.web.encoding import (
    CODINGS,
    MAX_MEMBERS,
    BodyTooLarge,
    Coding,
    UnsupportedCoding,
    decode_body,
    find_zstd,
    make_codings,
)

ZSTD = find_zstd()
MOST = 1_048_576
EVENT = b'{"description":"hello world"}'
LINES = b"".join([b'{"description":"hello world %d"}\n' % number for number in range(25_000)])
NAMES = ["gzip", "zstd"]

#: A skippable frame without content (RFC 8878, 3.1.2).
SKIPPABLE = struct.pack("<II", 0x184D2A50, 0)


def encode(name: str, body: bytes) -> bytes:
    return gzip.compress(body) if name == "gzip" else bytes(ZSTD.compress(body))


def decode(name: str, body: bytes, most: int = MOST) -> bytes:
    return decode_body(body, [name.encode()], most)


def frame(window_log: int, blocks: bytes) -> bytes:
    """Return a zstd frame that says how large its window is, but not its content."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3]) + blocks


def repeated(byte: bytes, times: int, last: bool = True) -> bytes:
    """Return a zstd block of one repeated byte."""
    return struct.pack("<I", times << 3 | 1 << 1 | last)[:3] + byte


@pytest.mark.parametrize("codings", [[], [b""], [b"identity"], [b"Identity", b" identity ,"]])
def test_a_body_without_a_coding_is_itself(codings: list[bytes]) -> None:
    assert decode_body(EVENT, codings, MOST) is EVENT


@pytest.mark.parametrize(
    "codings", [[b"gzip"], [b"GZip"], [b"x-gzip"], [b" gzip\t,"], [b"identity, gzip"], [b"", b"gzip"]]
)
def test_names_of_codings_have_no_case(codings: list[bytes]) -> None:
    assert decode_body(gzip.compress(EVENT), codings, MOST) == EVENT


@pytest.mark.parametrize(
    "codings",
    [
        [b"br"],
        [b"deflate"],
        [b"compress"],
        [b"gzip", b"gzip"],
        [b"gzip, zstd"],
        [b"gzip;q=1"],
        [b"gzip zstd"],
        [b"\xff"],
    ],
)
def test_another_coding_is_refused(codings: list[bytes]) -> None:
    """As are two, even if each is known: nobody sends them but to make work."""
    with pytest.raises(UnsupportedCoding, match="Expected the content coding gzip or zstd, got '") as caught:
        decode_body(EVENT, codings, MOST)
    assert caught.value.accept == b"gzip, zstd"


def test_without_the_library_zstd_is_refused() -> None:
    """The answer names what is left."""
    known = make_codings(None)
    assert decode_body(gzip.compress(EVENT), [b"gzip"], MOST, known) == EVENT
    with pytest.raises(UnsupportedCoding, match="Expected the content coding gzip, got 'zstd'") as caught:
        decode_body(ZSTD.compress(EVENT), [b"zstd"], MOST, known)
    assert caught.value.accept == b"gzip"


@given(st.sampled_from(NAMES), st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(0, 9))
def test_what_was_encoded_is_decoded(name: str, parts: list[bytes], level: int) -> None:
    """In one member or several, of any level."""
    if name == "gzip":
        encoded = b"".join([gzip.compress(part, level) for part in parts])
    else:
        encoded = b"".join([ZSTD.compress(part, level) for part in parts])
    assert decode(name, encoded) == b"".join(parts)


@given(st.binary(max_size=200_000), st.integers(1, 50_000))
def test_a_member_may_begin_anywhere(body: bytes, size: int) -> None:
    """Also where a decompressor is not given more at once."""
    parts = [body[begin : begin + size] for begin in range(0, len(body), max(size, len(body) // 900))]
    for name in NAMES:
        assert decode(name, b"".join([encode(name, part) for part in parts] or [encode(name, b"")])) == b"".join(parts)


def test_headers_of_gzip_are_passed_over() -> None:
    """Extra fields, a name, a comment and a checksum (RFC 1952, 2.3)."""
    head = b"\x1f\x8b\x08\x1e\0\0\0\0\0\xff" + b"\x04\0abcd" + b"name\0" + b"comment\0"
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    assert decode("gzip", head + gzip.compress(EVENT)[10:]) == EVENT


@pytest.mark.parametrize("window", [15, -15], ids=["zlib", "raw"])
def test_other_formats_of_deflate_are_refused(window: int) -> None:
    """They are the coding C{deflate}, or none."""
    with pytest.raises(InvalidEvent, match="incorrect header"):
        decode("gzip", zlib.compress(EVENT, wbits=window))


def test_frames_of_zstd_may_be_skippable() -> None:
    skipped = struct.pack("<II", 0x184D2A5F, 3) + b"abc"
    assert decode("zstd", skipped + ZSTD.compress(EVENT) + SKIPPABLE + ZSTD.compress(EVENT) + skipped) == EVENT * 2


def test_a_frame_need_not_say_its_size() -> None:
    compressor = ZSTD.ZstdCompressor()
    pieces = [compressor.compress(LINES[begin : begin + 1_000]) for begin in range(0, len(LINES), 1_000)]
    encoded = b"".join(pieces) + compressor.flush()
    assert ZSTD.get_frame_info(encoded).decompressed_size is None
    assert decode("zstd", encoded) == LINES


@pytest.mark.parametrize("name", NAMES)
def test_a_body_that_is_cut_off_is_refused(name: str) -> None:
    """Wherever, its beginning included."""
    encoded = encode(name, EVENT) + encode(name, EVENT)
    whole = len(encoded) // 2
    for end in {*range(len(encoded))} - {whole}:
        with pytest.raises(InvalidEvent, match=f"Body is not valid {name}: "):
            decode(name, encoded[:end])
    assert decode(name, encoded[:whole]) == EVENT


@given(st.sampled_from(NAMES), st.binary(min_size=1, max_size=40))
def test_garbage_after_the_last_member_is_refused(name: str, garbage: bytes) -> None:
    """Zeros too: HTTP has no padding."""
    with pytest.raises(InvalidEvent, match=f"Body is not valid {name}: "):
        decode(name, encode(name, EVENT) + b"\0" + garbage)
    with pytest.raises((InvalidEvent, BodyTooLarge)):
        decode(name, encode(name, EVENT) + garbage)


@given(st.sampled_from(NAMES), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_harmless(name: str, place: int, change: int) -> None:
    """What is decoded has a checksum, in zstd if the client asked for one."""
    if name == "gzip":
        encoded = bytearray(gzip.compress(LINES[:5_000]))
    else:
        encoded = bytearray(ZSTD.compress(LINES[:5_000], options={ZSTD.CompressionParameter.checksum_flag: 1}))
    encoded[place % len(encoded)] ^= change
    with contextlib.suppress(InvalidEvent, BodyTooLarge):
        assert decode(name, bytes(encoded)) == LINES[:5_000]


@given(st.sampled_from(NAMES), st.binary(max_size=200))
def test_any_bytes_are_an_event_or_an_error(name: str, body: bytes) -> None:
    with pytest.raises((InvalidEvent, BodyTooLarge)):
        decode(name, b"\x00" + body)
    with contextlib.suppress(InvalidEvent, BodyTooLarge):
        decode(name, encode(name, b"")[:5] + body)


def test_text_that_is_said_to_be_encoded_is_refused() -> None:
    with pytest.raises(InvalidEvent, match=r"^Body is not valid zstd: Unable to decompress"):
        decode("zstd", EVENT)


def test_the_error_says_what_is_wrong() -> None:
    with pytest.raises(
        InvalidEvent, match=r"^Body is not valid gzip: Error -3 while decompressing data: incorrect header"
    ):
        decode("gzip", EVENT)
    with pytest.raises(InvalidEvent, match=r"^Body is not valid gzip: it ends too early$"):
        decode("gzip", b"")
    with pytest.raises(InvalidEvent, match=r"^Body is not valid zstd: it ends too early$"):
        decode("zstd", ZSTD.compress(LINES)[:-1])


def test_a_dictionary_is_refused() -> None:
    """A server has none (RFC 8878, 5)."""
    trained = ZSTD.train_dict([LINES[begin : begin + 100] for begin in range(0, 100_000, 100)], 2_000)
    with pytest.raises(InvalidEvent, match=r"Body is not valid zstd: .*[Dd]ictionary"):
        decode("zstd", ZSTD.compress(EVENT, zstd_dict=trained))


@pytest.mark.parametrize("log", [10, 20, 23])
def test_windows_up_to_8_mib_are_taken(log: int) -> None:
    assert decode("zstd", frame(log, repeated(b"a", 1_000))) == b"a" * 1_000


@pytest.mark.parametrize("log", [24, 27, 41])
def test_larger_windows_are_refused(log: int) -> None:
    """A decompressor would allocate the whole of it (RFC 9659, 3)."""
    with pytest.raises(InvalidEvent, match=r"Body is not valid zstd: Unable to decompress .*[Ff]rame"):
        decode("zstd", frame(log, repeated(b"a", 1_000)))


# The limit


@attrs.define
class Counted:
    """A decompressor, and the bytes that all of them put out."""

    inner: Any
    produced: list[int]

    @property
    def eof(self) -> bool:
        return bool(self.inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self.inner.unused_data)

    def decompress(self, data: memoryview, most: int) -> bytes:
        piece: bytes = self.inner.decompress(data, most)
        self.produced.append(len(piece))
        return piece


def counting() -> tuple[Mapping[bytes, Coding], list[int]]:
    """Return the codings, and a list of the sizes of what they put out."""
    produced: list[int] = []

    def count(coding: Coding) -> Coding:
        return attrs.evolve(coding, begin=lambda head, most: Counted(coding.begin(head, most), produced))

    return {name: count(coding) for name, coding in CODINGS.items()}, produced


def stream_zstd(body: bytes, times: int) -> bytes:
    compressor = ZSTD.ZstdCompressor()
    return b"".join([compressor.compress(body) for _ in range(times)]) + bytes(compressor.flush())


BOMBS = {
    "gzip of zeros": (b"gzip", gzip.compress(bytes(100 * MOST))),
    "gzip in gzip": (b"gzip", gzip.compress(gzip.compress(bytes(100 * MOST)) + bytes(2 * MOST))),
    "members of gzip": (b"gzip", gzip.compress(bytes(MOST // 10)) * 900),
    "zstd of zeros": (b"zstd", stream_zstd(bytes(MOST), 1_000)),
    "sized zstd": (b"zstd", ZSTD.compress(bytes(100 * MOST))),
    "frames of zstd": (b"zstd", ZSTD.compress(bytes(MOST // 10)) * 900),
    "blocks of zstd": (b"zstd", frame(23, repeated(b"a", 131_072, last=False) * 8_000)),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("most", [1, 1_000, MOST])
def test_a_bomb_is_decoded_no_further_than_the_limit(bomb: str, most: int) -> None:
    """So it costs no more than an honest body of the largest size, in time and in memory."""
    coding, body = BOMBS[bomb]
    known, produced = counting()
    with pytest.raises(BodyTooLarge, match=f"^Expected a body of at most {most} bytes when decoded$"):
        decode_body(body, [coding], most, known)
    assert sum(produced) <= most + 1


@pytest.mark.parametrize("level", [3, 22])
def test_a_frame_that_says_it_is_too_large_is_not_decoded(level: int) -> None:
    """Also if its window is too large: the size is what the client can do something about."""
    known, produced = counting()
    with pytest.raises(BodyTooLarge):
        decode_body(ZSTD.compress(bytes(10 * MOST), level), [b"zstd"], MOST, known)
    assert produced == []


@given(st.sampled_from(NAMES), st.lists(st.binary(max_size=40), max_size=4), st.integers(0, 200))
def test_the_limit_is_exact(name: str, parts: list[bytes], most: int) -> None:
    body = b"".join(parts)
    encoded = b"".join([encode(name, part) for part in [*parts, b""]])
    if len(body) <= most:
        assert decode(name, encoded, most) == body
    else:
        with pytest.raises(BodyTooLarge):
            decode(name, encoded, most)


@pytest.mark.parametrize(
    ("name", "member"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", ZSTD.compress(b"")), ("zstd", SKIPPABLE)]
)
def test_the_number_of_members_is_bounded(name: str, member: bytes) -> None:
    """Each costs a decompressor, also without content."""
    assert decode(name, member * MAX_MEMBERS) == b""
    known, produced = counting()
    with pytest.raises(InvalidEvent, match=f"Body is not valid {name}: it has more than {MAX_MEMBERS} members"):
        decode_body(member * (MOST // len(member)), [name.encode()], MOST, known)
    assert len(produced) <= MAX_MEMBERS * 2
