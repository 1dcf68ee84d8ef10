"""
Writes lines to an output that may block or fail, without blocking the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Final

import attrs

#: Most lines that may wait, and most bytes in a line; their product bounds the memory.
MOST_LINES: Final = 1_000
LONGEST: Final = 16_384

#: Bytes after which no more lines are added to one write.
_CHUNK: Final = 65_536

#: Seconds between attempts to write, first and longest.
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0

_Item = tuple[bytes, Callable[[], object] | None]


@attrs.define(eq=False)
class LogOutput:
    """
    Queues lines for a thread that writes them.

    If nobody reads the pipe, or the disk is full, the thread waits or retries
    until everything is written.  The service keeps running meanwhile; its log
    lines are dropped once too many wait.

    The queue may be used from signal handlers, finalizers and any thread.

    @ivar write_some: writes what it can and returns the number of bytes written;
        it may block or raise C{OSError}.
    @ivar dropped: lines that were dropped.
    """

    write_some: Callable[[memoryview], int]
    dropped: int = attrs.field(default=0, init=False)
    _waiting: SimpleQueue[_Item] = attrs.field(factory=SimpleQueue, init=False)
    _thread: Thread | None = attrs.field(default=None, init=False)

    def put(self, line: bytes) -> None:
        """Queue a line, or drop it if too many wait."""
        if self._waiting.qsize() >= MOST_LINES:
            self.dropped += 1
        else:
            self._put(line, None)

    def write(self, lines: bytes, written: Callable[[], object]) -> None:
        """Queue lines that are never dropped; call C{written} in the thread once they are written."""
        self._put(lines, written)

    def finish(self, seconds: float) -> bool:
        """Wait until everything is written, at most C{seconds}; return whether it is."""
        if self._thread is None:
            return True
        written = Event()
        self._put(b"", written.set)
        return written.wait(seconds)

    def _put(self, data: bytes, written: Callable[[], object] | None) -> None:
        self._waiting.put((data, written))
        if self._thread is None or not self._thread.is_alive():  # a forked process does not have the thread
            self._thread = Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            items = [self._waiting.get()]
            size = len(items[0][0])
            try:
                while size < _CHUNK:
                    items.append(self._waiting.get_nowait())
                    size += len(items[-1][0])
            except Empty:
                pass
            self._write_all(b"".join([data for data, _ in items]))
            for _, written in items:
                if written is not None:
                    written()

    def _write_all(self, data: bytes) -> None:
        rest, pause = memoryview(data), _FIRST_PAUSE
        while rest:
            try:
                rest = rest[self.write_some(rest) :]
                pause = _FIRST_PAUSE
            except (OSError, ValueError):  # ValueError: it is closed
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
