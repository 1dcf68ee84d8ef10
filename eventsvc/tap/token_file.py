"""
Reads the file of tokens, and reads it again when it changes.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection
from typing import Final

import attrs
from twisted.logger import Logger

from eventsvc.settings.reading import InvalidSettings
from eventsvc.tap.health import Vitals
from eventsvc.telemetry.metrics import Figure
from eventsvc.web.access import Access
from eventsvc.web.token_rows import InvalidTokens, parse_tokens
from eventsvc.web.tokens import Tokens

#: The largest file, in bytes; it is parsed in about 0.2 seconds, in which no request is answered.
LARGEST: Final = 1_048_576


def add_tokens(path: str, streams: Collection[str], vitals: Vitals) -> Access | None:
    """
    Return who may post according to a file, which is read again when it changes.

    @param path: empty if everybody may post.
    @param streams: the names of the streams that there are.
    @return: C{None} if everybody may post.
    @raise InvalidSettings: the file cannot be used; the text says why.
    """
    if not path:
        return None
    access = Access(Tokens(), monotonic=time.monotonic_ns, wall_clock=time.time_ns)
    file = TokenFile(path, frozenset(streams), access)
    file.load()
    vitals.on_beat.append(file.check)
    vitals.metrics.add(token_figures(file))
    return access


@attrs.define(eq=False)
class TokenFile:
    """
    Keeps an L{Access} as a file says.

    # Note [A file that is still being written]

    An editor may empty a file and then write it.  Half of a list of tokens is a
    valid list, and an empty file is too::

        editor   truncates               writes the first half    the second half
        check               0 tokens!                    7 of 9!

    So a change counts once two checks in a row find the same bytes.  This holds for
    a change to a file that cannot be used too.  The bytes are compared, not a time:
    Kubernetes swaps a symbolic link to the directory.

    @ivar path: of the file.
    @ivar streams: the names of the streams that there are.
    @ivar failures: changes to a file that could not be used.
    @ivar is_stale: whether the tokens in use are older than the file.
    """

    path: str
    streams: frozenset[str]
    access: Access
    failures: int = attrs.field(default=0, init=False)
    is_stale: bool = attrs.field(default=False, init=False)
    #: what was read: bytes, or why they could not be read
    _used: bytes | str = attrs.field(default=b"", init=False, repr=False)
    _seen: bytes | str = attrs.field(default=b"", init=False, repr=False)
    _log = Logger()

    def load(self) -> None:
        """
        Read the file for the first time.

        @raise InvalidSettings: it cannot be used; the text says why.
        """
        self._used = self._seen = _read(self.path)
        try:
            self._adopt(self._used)
        except InvalidTokens as problem:
            raise InvalidSettings(f"REST_SERVER_TOKENS={self.path!r}: {problem}") from None

    def check(self) -> None:
        """Use the tokens of the file if it has changed; call this once a second."""
        before, self._seen = self._seen, _read(self.path)
        if self._seen != before or self._seen == self._used:
            return
        self._used = self._seen
        try:
            self._adopt(self._used)
        except InvalidTokens as problem:
            self.failures += 1
            self.is_stale = True
            self._log.error(
                "the tokens in {path} cannot be used: {problem}; the {count} tokens from before stay valid",
                path=self.path,
                problem=problem,
                count=len(self.access.tokens),
                details={"alarm": "tokens_stale"},
            )

    def _adopt(self, content: bytes | str) -> None:
        if isinstance(content, str):
            raise InvalidTokens(content)
        tokens = parse_tokens(content, self.streams)
        self.access.replace(tokens)
        self.is_stale = False
        if tokens:
            self._log.info("tokens from {path}: {count}", path=self.path, count=len(tokens))
        else:
            self._log.warn("there are no tokens in {path}: every POST is answered 401", path=self.path)


def _read(path: str) -> bytes | str:
    """Return the content of a file, or why it cannot be read; wait for nothing, and never read without end."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "expected a regular file"
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        return f"expected a readable file ({getattr(error, 'strerror', None) or 'not a path'})"
    return content if len(content) <= LARGEST else f"expected at most {LARGEST} bytes"


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, as for the other end of a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def token_figures(file: TokenFile) -> list[Figure]:
    """Return the metrics of the tokens."""
    access = file.access
    return [
        Figure("gauge", "eventsvc_tokens", "Tokens in use, expired ones included.", lambda: len(access.tokens)),
        Figure(
            "gauge",
            "eventsvc_tokens_stale",
            "1 while the file of tokens cannot be used, and tokens from before are in use, else 0.",
            lambda: float(file.is_stale),
        ),
        Figure(
            "counter",
            "eventsvc_tokens_reload_failures",
            "Changes of the file of tokens to one that could not be used.",
            lambda: file.failures,
        ),
        Figure(
            "counter",
            "eventsvc_requests_rejected",
            "Requests answered 401, 403 or 429 for their token, by reason.",
            lambda: access.rejected,
            "reason",
        ),
    ]
