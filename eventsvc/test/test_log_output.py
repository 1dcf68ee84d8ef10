"""
Tests for L{eventsvc.log_output}: outputs that block, fail and come back.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator

import attrs
import pytest

from eventsvc.log_output import MOST_LINES, LogOutput
from eventsvc.test.processes import wait_until


@attrs.define
class Pipe:
    """A pipe whose reader may be slow to come, and an output that writes to it."""

    reader: int
    writer: int
    output: LogOutput

    @classmethod
    def make(cls) -> Pipe:
        reader, writer = os.pipe()
        return cls(reader, writer, LogOutput(lambda data: os.write(writer, data)))

    def read(self) -> bytes:
        """All that is written, until there is no more."""
        data = b""
        os.set_blocking(self.reader, False)
        while True:
            finished = self.output.finish(0.01)
            try:
                data += os.read(self.reader, 1 << 20)
            except BlockingIOError:
                if finished:
                    return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe.make()
    yield made
    made.read()
    os.close(made.reader)
    os.close(made.writer)


def test_lines_are_written_in_their_order(pipe: Pipe) -> None:
    written = threading.Event()
    pipe.output.put(b"a\n")
    pipe.output.write(b"b\nc\n", written.set)
    pipe.output.put(b"d\n")
    assert pipe.output.finish(30.0)
    assert pipe.read() == b"a\nb\nc\nd\n"
    assert written.is_set()


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_takes_a_bounded_number_of_lines(pipe: Pipe) -> None:
    line = b"x" * 999 + b"\n"
    for _ in range(10_000):
        pipe.output.put(line)
    assert not pipe.output.finish(0.01)
    kept = 10_000 - pipe.output.dropped
    # What is in the pipe and in the hands of the thread comes on top.
    assert MOST_LINES <= kept < MOST_LINES + 500
    assert pipe.read() == line * kept


def test_lines_of_events_are_never_dropped_and_told_once_they_are_written(pipe: Pipe) -> None:
    told: list[int] = []
    for number in range(3 * MOST_LINES):
        pipe.output.write(b"x" * 99 + b"\n", lambda number=number: told.append(number))  # type: ignore[misc]
    assert len(told) < 3 * MOST_LINES
    assert len(pipe.read()) == 300 * MOST_LINES
    assert told == list(range(3 * MOST_LINES))
    assert pipe.output.dropped == 0


def test_what_cannot_be_written_is_tried_again_from_where_it_stopped() -> None:
    """A disk is full in the midst of a line: nothing is lost, doubled or raised."""
    written = bytearray()
    faults: Iterator[Exception] = iter(
        [OSError(errno.ENOSPC, "full"), BlockingIOError(), ValueError("closed"), BrokenPipeError(), InterruptedError()]
    )

    def write(data: memoryview) -> int:
        written.extend(data[:3])
        error = next(faults, None) if len(written) % 2 else None
        if error is not None:
            del written[-3:]
            raise error
        return len(data[:3])

    output = LogOutput(write)
    output.put(b"one line\n")
    output.put(b"another\n")
    assert output.finish(30.0)
    assert bytes(written) == b"one line\nanother\n"
    assert output.dropped == 0


def test_an_output_with_nothing_to_write_is_finished() -> None:
    assert LogOutput(len).finish(0.0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_was_forked_writes_too(pipe: Pipe) -> None:
    """The thread stays behind with the parent, as when twistd goes to the background."""
    pipe.output.put(b"parent\n")
    assert pipe.output.finish(30.0)
    child = os.fork()
    if child == 0:
        pipe.output.put(b"child\n")
        os._exit(0 if pipe.output.finish(30.0) else 1)
    assert wait_until(lambda: (ended := os.waitpid(child, os.WNOHANG))[0] and ended) == (child, 0)
    assert pipe.read() == b"parent\nchild\n"
