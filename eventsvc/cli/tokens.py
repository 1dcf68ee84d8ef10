"""
The command C{eventsvc token new}: makes a token, and the row that lets it in.
"""

from __future__ import annotations

import argparse
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, BinaryIO, Final, TextIO

import attrs

from eventsvc.settings.kinds import COUNT, RATE, STREAM, Kind
from eventsvc.web.token_rows import InvalidTokens, format_row, read_row

#: The beginning of each token, by which scanners of secrets find it.
PREFIX: Final = "evt_"
#: Random bytes in a token.
_ENTROPY: Final = 32


def add_token_topic(topics: Any) -> None:
    """Add the topic C{token} to the command line."""
    commands = topics.add_parser("token", help="make the tokens that clients post with").add_subparsers(
        title="commands", required=True, metavar="COMMAND", dest="command"
    )
    new = commands.add_parser(
        "new",
        allow_abbrev=False,
        help="make a token",
        description="Make a token. Its row for the file of REST_SERVER_TOKENS goes to standard output, and the token "
        "itself to standard error. It is not kept anywhere, and the row contains only its SHA-256.",
    )
    new.add_argument("--name", required=True, help="name of the token, for operators")
    new.add_argument("--streams", type=_streams, metavar="A,B", help="the streams it may write to; default: all")
    new.add_argument("--rate", type=_of(RATE), metavar="N", help="most events per second; default: no limit")
    new.add_argument("--burst", type=_of(COUNT), metavar="N", help="most events at once; default: those of a second")
    new.add_argument("--expires", metavar="DATE", help="when it expires: 2030-01-31, or 2030-01-31T12:00:00Z")


def _of(kind: Kind) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {kind.expects}") from None

    return parse


def _streams(text: str) -> list[str]:
    return [_of(STREAM)(name) for name in text.split(",")]


@attrs.frozen
class NewToken:
    """
    Makes a token.

    @ivar random_bytes: returns so many random bytes.
    @ivar wall_clock: returns nanoseconds since 1970.
    """

    out: BinaryIO
    err: TextIO
    random_bytes: Callable[[int], bytes]
    wall_clock: Callable[[], int]

    def show(self, given: Mapping[str, Any]) -> int:
        """Write the row and the token, and return the exit code."""
        token = PREFIX + urlsafe_b64encode(self.random_bytes(_ENTROPY)).decode().rstrip("=")
        members = _members(given, sha256(token.encode()).hexdigest())
        try:
            expires = read_row(members).expires
        except InvalidTokens as problem:
            self._tell(f"--{problem}")
            return 2
        if expires is not None and expires <= self.wall_clock():
            self._tell(f"--expires: expected a time in the future, got {given['expires']!r}")
            return 2
        try:
            self.out.write(format_row(members).encode())
            self.out.flush()
        except OSError as error:  # a token without its row would be of no use
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())  # Python writes the rest when it ends
            self._tell(f"the row cannot be written: {error.strerror}; no token was made")
            return 1
        self._tell("give this token to the client, and its row to the producer. The token is not shown again")
        self.err.write(f"{token}\n")
        return 0

    def _tell(self, words: str) -> None:
        self.err.write(f"eventsvc: {words}\n")


def _members(given: Mapping[str, Any], digest: str) -> dict[str, Any]:
    rate, expires = given["rate"], given["expires"]
    return {
        "name": given["name"],
        "sha256": digest,
        "streams": given["streams"],
        "rate": int(rate) if rate is not None and rate.is_integer() else rate,
        "burst": given["burst"],
        "expires": f"{expires}T00:00:00Z" if expires and re.fullmatch(r"\d{4}-\d\d-\d\d", expires) else expires,
    }
