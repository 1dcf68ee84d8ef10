"""
How XADD and XTRIM remove entries.
"""

from __future__ import annotations

from typing import Final

import attrs

from simulation.redis.numbers import SYNTAX, read_id, read_integer
from simulation.redis.stream import Stream
from simulation.redis.values import Command, CommandError

#: The most that one trimming with C{~} removes without C{LIMIT}.
_LIMIT: Final = 10_000


@attrs.define
class Trimming:
    """
    The options of XADD and XTRIM.

    @ivar strategy: C{maxlen} or C{minid}; empty: nothing is removed.
    @ivar value: the length to keep, or the least id.
    @ivar makes: whether XADD makes a stream that is missing.
    @ivar end: the place after the options.
    """

    strategy: bytes = b""
    value: int = 0
    is_approximate: bool = False
    limit: int | None = None
    makes: bool = True
    end: int = 2

    def apply(self, stream: Stream) -> int:
        """Remove entries, and return how many."""
        if not self.strategy:
            return 0
        limit = self.limit if self.limit is not None else _LIMIT if self.is_approximate else 0
        length = self.value if self.strategy == b"maxlen" else None
        return stream.trim(length, self.value, self.is_approximate, limit)

    def _read_strategy(self, words: Command, option: bytes) -> None:
        if self.strategy:
            raise CommandError(b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible")
        self.strategy, self.is_approximate = option, False
        if self.end + 2 < len(words) and words[self.end + 1] in (b"~", b"="):
            self.is_approximate = words[self.end + 1] == b"~"
            self.end += 1
        word = words[self.end + 1]
        self.value = read_integer(word) if option == b"maxlen" else read_id(word)
        if option == b"maxlen" and self.value < 0:
            raise CommandError(b"ERR The MAXLEN argument must be >= 0.")
        self.end += 2

    def _read_limit(self, word: bytes) -> None:
        self.limit = read_integer(word)
        if self.limit < 0:
            raise CommandError(b"ERR The LIMIT argument must be >= 0.")
        self.end += 2

    def _read_option(self, words: Command, is_trimming: bool) -> bool:
        """Read the next option; return whether there is one."""
        option, has_more = words[self.end].lower(), self.end + 1 < len(words)
        if option in (b"maxlen", b"minid") and has_more:
            self._read_strategy(words, option)
        elif option == b"limit" and has_more:
            self._read_limit(words[self.end + 1])
        elif option == b"nomkstream" and not is_trimming:
            self.makes = False
            self.end += 1
        else:
            return False
        return True

    def check(self, is_trimming: bool) -> None:
        """Refuse options that do not fit together."""
        if self.limit and not self.strategy:
            raise CommandError(b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy")
        if is_trimming and not self.strategy:
            raise CommandError(b"ERR syntax error, XTRIM must be called with a trimming strategy")
        if self.limit is not None and not self.is_approximate:
            raise CommandError(b"ERR syntax error, LIMIT cannot be used without the special ~ option")


def read_trimming(words: Command, is_trimming: bool) -> Trimming:
    """
    Read the options of XADD, up to the id, or of XTRIM.

    @param is_trimming: whether the command is XTRIM.
    """
    found = Trimming()
    while found.end < len(words) and (is_trimming or words[found.end] != b"*"):
        if not found._read_option(words, is_trimming):
            break
    if is_trimming and found.end < len(words):
        raise CommandError(SYNTAX)
    return found
