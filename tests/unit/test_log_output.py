"""
Tests for L{eventsvc.telemetry.log_output}: outputs that block, fail and come back.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import attrs
import pytest

from chaos.suites import wait_until
from eventsvc.telemetry import log_output
from eventsvc.telemetry.log_output import MOST_LINES, LogOutput


@attrs.define
class Pipe:
    """A pipe whose reader may start late, and an output that writes to it."""

    reader: int
    writer: int
    output: LogOutput

    @classmethod
    def make(cls) -> Pipe:
        reader, writer = os.pipe()
        return cls(reader, writer, LogOutput(lambda data: os.write(writer, data)))

    def read(self) -> bytes:
        """Read until nothing more is written."""
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
    """When a disk fills up within a line, nothing is lost, doubled or raised."""
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


def test_pauses_grow_while_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 10 ms to a second; a successful write makes them short again."""
    pauses: list[float] = []
    monkeypatch.setattr(log_output, "time", SimpleNamespace(sleep=pauses.append))
    results = iter([*[None] * 9, 1, None, None])

    def write(data: memoryview) -> int:
        written = next(results, len(data))
        if written is None:
            raise OSError(errno.ENOSPC, "full")
        return written

    output = LogOutput(write)
    output.put(b"line\n")
    assert output.finish(30.0)
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 0.01, 0.02]


@attrs.define
class Gate:
    """An output that accepts nothing until it is opened."""

    sizes: list[int] = attrs.field(factory=list)
    reached: threading.Event = attrs.field(factory=threading.Event)
    opened: threading.Event = attrs.field(factory=threading.Event)

    def write(self, data: memoryview) -> int:
        self.reached.set()
        assert self.opened.wait(30.0)
        self.sizes.append(len(data))
        return len(data)

    def close_on_first(self) -> LogOutput:
        """Return an output whose thread is blocked on a first line of one byte."""
        output = LogOutput(self.write)
        output.put(b"\n")
        assert self.reached.wait(30.0)
        return output


def test_as_many_lines_wait_as_are_allowed() -> None:
    gate = Gate()
    output = gate.close_on_first()
    for _ in range(MOST_LINES):
        output.put(b"x\n")
    assert output.dropped == 0
    output.put(b"too many\n")
    assert output.dropped == 1
    gate.opened.set()
    assert output.finish(30.0)
    assert sum(gate.sizes) == 1 + 2 * MOST_LINES


def test_lines_that_wait_are_written_together_up_to_64_kib() -> None:
    gate = Gate()
    output = gate.close_on_first()
    for size in (10, 65_526, 65_535, 20, 30_000, 5):
        output.put(b"x" * size)
    gate.opened.set()
    assert output.finish(30.0)
    assert gate.sizes == [1, 65_536, 65_555, 30_005]


def test_a_process_may_end_although_its_log_cannot_be_written() -> None:
    """Python waits for every thread that is not a daemon."""
    gate = Gate()
    output = gate.close_on_first()
    assert output._thread is not None
    assert output._thread.daemon
    gate.opened.set()
    assert output.finish(30.0)


def test_an_output_with_nothing_to_write_is_finished() -> None:
    assert LogOutput(len).finish(0.0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_was_forked_writes_too(pipe: Pipe) -> None:
    """The thread stays with the parent, as when twistd goes into the background."""
    pipe.output.put(b"parent\n")
    assert pipe.output.finish(30.0)
    child = os.fork()
    if child == 0:
        pipe.output.put(b"child\n")
        os._exit(0 if pipe.output.finish(30.0) else 1)
    assert wait_until(lambda: (ended := os.waitpid(child, os.WNOHANG))[0] and ended) == (child, 0)
    assert pipe.read() == b"parent\nchild\n"
