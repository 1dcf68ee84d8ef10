"""
Decodes the bodies of requests that have a C{Content-Encoding}.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from eventsvc.event import MAX_EVENTS, InvalidEvent

#: Most members of a gzip body, and frames of a zstd body.  Each costs a new
#: decompressor, and has as few as 8 bytes.
MAX_MEMBERS: Final = MAX_EVENTS
#: Most bytes given to a decompressor at once: it copies those after its member.
_CHUNK: Final = 8_192
#: Most bytes of a zstd frame header (RFC 8878, 3.1.1.1).
_FRAME_HEADER: Final = 18
#: Largest window of a zstd frame, as a power of two: 8 MiB (RFC 9659).
_WINDOW_LOG: Final = 23
#: zlib's code for the gzip format with any window.
_GZIP: Final = 31


class UnsupportedCoding(ValueError):
    """
    The body has a content coding that is not decoded.

    @ivar accept: the codings that are, as a value of C{Accept-Encoding} (RFC 7694).
    """

    def __init__(self, text: str, accept: bytes) -> None:
        super().__init__(text)
        self.accept = accept


class BodyTooLarge(ValueError):
    """The decoded body is larger than a body may be."""


@attrs.frozen
class Coding:
    """
    A content coding.

    @ivar begin: returns a decompressor for the member or frame that begins with
        these bytes, given how many bytes it may produce.
    @ivar error: what a decompressor raises on invalid data.
    """

    name: str
    begin: Callable[[memoryview, int], Any]
    error: type[Exception]


def find_zstd() -> Any:
    """Return the zstd library; C{None} if there is none."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        return None
    return zstd


def make_codings(zstd: Any) -> Mapping[bytes, Coding]:
    """Return the codings that can be decoded, by name (RFC 9110, 8.4.1; RFC 8878, 7.2)."""
    gzip = Coding("gzip", lambda head, most: zlib.decompressobj(_GZIP), zlib.error)
    codings = {b"gzip": gzip, b"x-gzip": gzip}
    if zstd is None:
        return codings
    options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}

    def begin_frame(head: memoryview, most: int) -> Any:
        try:
            size = zstd.get_frame_info(head).decompressed_size
        except zstd.ZstdError:
            size = None  # the decompressor says what is wrong
        if size is not None and size > most:
            raise BodyTooLarge
        return zstd.ZstdDecompressor(options=options)

    return codings | {b"zstd": Coding("zstd", begin_frame, zstd.ZstdError)}


CODINGS: Final = make_codings(find_zstd())


def decode_body(body: bytes, codings: Sequence[bytes], most: int, known: Mapping[bytes, Coding] = CODINGS) -> bytes:
    """
    Return a body without its content coding.

    @param codings: the values of all C{Content-Encoding} headers.
    @param most: the most bytes of the decoded body; decoding stops beyond them.
    @raise UnsupportedCoding: there are several codings, or an unknown one.
    @raise InvalidEvent: the body is corrupt, too short or too long.
    @raise BodyTooLarge: the decoded body has more than C{most} bytes.
    """
    listed = [name.strip(b" \t").lower() for name in b",".join(codings).split(b",")]
    names = [name for name in listed if name not in (b"", b"identity")]
    if not names:
        return body
    if len(names) > 1 or names[0] not in known:
        accept = b", ".join([name for name in known if not name.startswith(b"x-")])
        got = b", ".join(names)[:100].decode("latin-1")
        raise UnsupportedCoding(f"Expected the content coding {_either(accept)}, got {got!r}", accept)
    coding = known[names[0]]
    try:
        return _decode(memoryview(body), coding, most)
    except coding.error as error:
        raise _invalid(coding, str(error)) from None
    except BodyTooLarge:
        raise BodyTooLarge(f"Expected a body of at most {most} bytes when decoded") from None


def _decode(body: memoryview, coding: Coding, most: int) -> bytes:
    pieces: list[bytes] = []
    room, begin, members = most, 0, 0
    while begin < len(body) or not members:
        members += 1
        if members > MAX_MEMBERS:
            raise _invalid(coding, f"it has more than {MAX_MEMBERS} members")
        member = coding.begin(body[begin : begin + _FRAME_HEADER], room)
        while not member.eof:
            if begin == len(body):
                raise _invalid(coding, "it ends too early")
            chunk = body[begin : begin + _CHUNK]
            piece = member.decompress(chunk, room + 1)
            if len(piece) > room:
                raise BodyTooLarge
            # a decompressor that is below its bound has read the whole chunk
            pieces.append(piece)
            room -= len(piece)
            begin += len(chunk)
        begin -= len(member.unused_data)
    return b"".join(pieces)


def _either(accept: bytes) -> str:
    return accept.decode().replace(", ", " or ")


def _invalid(coding: Coding, problem: str) -> InvalidEvent:
    return InvalidEvent(f"Body is not valid {coding.name}: {problem}")
