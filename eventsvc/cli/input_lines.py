"""
Reads lines of standard input.
"""

from __future__ import annotations

import os
from select import select
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from eventsvc.cli.call import NotDone
from eventsvc.event import MAX_BYTES

#: Seconds between two looks whether there is more.
_EVERY: Final = 0.05
_CHUNK: Final = 65_536


@attrs.define
class InputLines:
    """
    The lines of a file, such as standard input.

    The reactor runs while there is none: otherwise Ctrl-C would have no effect.

    @ivar file: its descriptor.
    @ivar number: that of the last line that was read.
    """

    file: int
    clock: IReactorTime
    number: int = attrs.field(default=0, init=False)
    _data: bytearray = attrs.field(factory=bytearray, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    async def read(self) -> bytes:
        """
        Return the next line with its end; empty after the last one.

        @raise NotDone: it cannot be read, or is longer than a producer takes.
        """
        self.number += 1
        while (end := self._data.find(b"\n") + 1) == 0 and not self._ended:
            if len(self._data) > MAX_BYTES:
                raise NotDone(f"line {self.number}: expected at most {MAX_BYTES:,} bytes")
            await self._read_more()
        line = bytes(self._data[: end or len(self._data)])
        del self._data[: len(line)]
        return line

    async def _read_more(self) -> None:
        while not select([self.file], [], [], 0)[0]:
            await deferLater(self.clock, _EVERY)
        try:
            data = os.read(self.file, _CHUNK)
        except OSError as error:
            raise NotDone(f"cannot read standard input: {error.strerror}") from None
        self._data += data
        self._ended = not data
