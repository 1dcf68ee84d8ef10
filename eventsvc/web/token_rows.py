"""
Reads and writes the rows of a file of tokens, in TOML.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from eventsvc.web.meter import Meter
from eventsvc.web.tokens import Token, Tokens

#: What each member is, for error texts.
_EXPECTED: Final = {
    "name": "1 to 100 printable characters, and not the token",
    "sha256": "64 hexadecimal digits, the SHA-256 of the token",
    "streams": "an array of names of streams, at least one",
    "rate": "events per second from 0.001 to 1000000",
    "burst": "a whole number of events from 1 to 1000000000, beside a rate",
    "expires": "an RFC 3339 date and time with its zone, such as 2030-01-31T00:00:00Z",
}
#: The longest text that an error quotes: a longer one may be a token in the wrong place.
_LONGEST_QUOTED: Final = 40
#: A pattern in an annotation itself would be read as a forward reference by pydoctor.
_DIGEST: Final = r"^[0-9A-Fa-f]{64}\Z"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class InvalidTokens(ValueError):
    """The file is no list of tokens; the text names row, member and what was expected."""


class _Row(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    sha256: Annotated[str, Meta(pattern=_DIGEST)]
    streams: Annotated[list[str], Meta(min_length=1)] | None = None
    rate: Annotated[float, Meta(ge=0.001, le=1e6)] | None = None
    burst: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    expires: Annotated[datetime, Meta(tz=True)] | None = None


def parse_tokens(text: bytes, known: Collection[str]) -> Tokens:
    """
    Parse a file of tokens: rows C{[[token]]} in TOML.

    @param known: the names of the streams that there are.
    @raise InvalidTokens: the text says why.
    """
    names: set[str] = set()
    tokens: dict[bytes, Token] = {}
    for number, members in enumerate(_split(text), 1):
        try:
            token = read_row(members)
            _check_streams(token, known)
            if token.name in names:
                raise InvalidTokens("name: expected one that no other row has")
            if token.digest in tokens:
                raise InvalidTokens(f"sha256: expected another token than that of {_quote(tokens[token.digest].name)}")
        except InvalidTokens as error:
            raise InvalidTokens(f"row {number}{_name_of(members)}: {error}") from None
        names.add(token.name)
        tokens[token.digest] = token
    return Tokens(tokens)


def _split(text: bytes) -> list[Any]:
    """Return the rows of a file as they are."""
    try:
        document = tomllib.loads(text.decode())
    except UnicodeDecodeError:
        raise InvalidTokens("expected TOML in UTF-8") from None
    except (ValueError, RecursionError) as error:
        # The rest of the message may quote the file.
        place = re.search(r"\((at (?:line \d+, column \d+|end of document))\)\Z", str(error))
        raise InvalidTokens(f"expected TOML{f', got something else {place[1]}' if place else ''}") from None
    rows = document.pop("token", [])
    if document or not isinstance(rows, list):
        raise InvalidTokens("expected rows [[token]], and nothing else")
    return rows


def read_row(members: Any) -> Token:
    """
    Return the token of a row.

    @param members: the members as C{tomllib} returns them.
    @raise InvalidTokens: the text says what is wrong with which member.
    """
    if not isinstance(members, dict):
        raise InvalidTokens("expected a table")
    for name in members:
        if name not in _EXPECTED:
            raise InvalidTokens(f"{_quote(name)} is no member: expected {', '.join(_EXPECTED)}")
    try:
        row = msgspec.convert(members, _Row)
    except msgspec.ValidationError as error:
        found = re.search(r"`(?:\$\.)?(\w+)[^`]*`\Z", str(error))
        raise _wrong(found[1] if found else "") from None
    digest = bytes.fromhex(row.sha256)
    if not row.name.isprintable() or sha256(row.name.encode()).digest() == digest:
        raise _wrong("name")
    if row.burst is not None and row.rate is None:
        raise _wrong("burst")
    return Token(
        row.name,
        digest,
        None if row.streams is None else frozenset(row.streams),
        None if row.expires is None else (row.expires - _EPOCH) // timedelta(microseconds=1) * 1000,
        None if row.rate is None else Meter(math.ceil(1e9 / row.rate), row.burst or max(1, int(row.rate))),
    )


def _check_streams(token: Token, known: Collection[str]) -> None:
    for stream in sorted(token.streams or ()):
        if stream not in known:
            names = ", ".join(sorted(known))
            raise InvalidTokens(f"streams: expected streams of this producer ({names}), got {_quote(stream)}")


def _wrong(member: str) -> InvalidTokens:
    return InvalidTokens(f"{member}: expected {_EXPECTED[member]}")


def _name_of(members: Any) -> str:
    name = members.get("name") if isinstance(members, dict) else None
    return f" ({_quote(name)})" if isinstance(name, str) else ""


def _quote(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST_QUOTED else "a long text"


def format_row(members: Mapping[str, Any]) -> str:
    """
    Return a row as TOML, with an empty line before it.

    @param members: as L{read_row} takes them, with times as texts; those that are
        C{None} are left out.
    """
    # JSON writes numbers and arrays as TOML does, and texts too if they are printable.
    row = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in members.items() if value is not None]
    return "\n".join(["", "[[token]]", *row, ""])
