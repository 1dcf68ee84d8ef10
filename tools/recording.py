"""
Records what a command shows on a terminal, as a moving SVG.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Final, TypeAlias

import attrs
import pyte

#: What a picture shows: columns, rows, and seconds between two frames.
COLUMNS: Final = 100
ROWS: Final = 27
_EVERY: Final = 0.5
#: A space that viewers do not leave out.
_SPACE: Final = "\u00a0"
#: Seconds for which the last frame stays.
_LAST: Final = 4.0
#: Pixels of a character, of a line, and around them.
_WIDTH: Final = 8.4
_HEIGHT: Final = 18
_EDGE: Final = 14
_COLOURS: Final = {
    "default": "#d6deeb",
    "red": "#ff6b6b",
    "green": "#7ec699",
    "brown": "#f0c674",
    "yellow": "#f0c674",
    "blue": "#82aaff",
    "magenta": "#c792ea",
    "cyan": "#7fdbca",
}


@attrs.frozen
class Run:
    """Characters of a line that look alike."""

    column: int
    text: str
    colour: str
    bold: bool


Line: TypeAlias = tuple[Run, ...]


def record(command: Sequence[str], seconds: float) -> list[list[Line]]:
    """
    Run a command on a terminal, press Ctrl-C after some seconds, and return what is there, frame by frame.

    The seconds begin when it has written something.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    environment = {name: text for name, text in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    frames: list[list[Line]] = []
    due, is_told = time.monotonic() + _EVERY, False
    while (data := _read(ours, due)) != b"":
        if data is None:
            due += _EVERY
            frame = list(_lines(screen))
            if frames or any(frame):
                frames.append(frame)
            if not is_told and _EVERY * len(frames) >= seconds:
                process.send_signal(signal.SIGINT)
                is_told = True
        else:
            stream.feed(data)
    os.close(ours)
    if process.wait(30) != 0:
        raise SystemExit(f"{command} has ended with {process.returncode}")
    return [*frames, list(_lines(screen))]


def _read(end: int, until: float) -> bytes | None:
    """Return what a terminal writes; C{None} if nothing comes in time; empty once the command has ended."""
    if not select.select([end], [], [], max(0.0, until - time.monotonic()))[0]:
        return None
    try:
        return os.read(end, 65_536)
    except OSError:  # EIO: nobody writes any more
        return b""


def _lines(screen: pyte.Screen) -> Iterator[Line]:
    for row in range(screen.lines):
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        runs, column = [], 0
        for (colour, bold), some in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
            text = "".join(cell.data for cell in some)
            if text.strip():
                left = len(text) - len(text.lstrip())
                runs.append(Run(column + left, text.strip(), colour, bold))
            column += len(text)
        yield tuple(runs)


def draw(frames: Sequence[Sequence[Line]], title: str) -> str:
    """
    Return frames as an SVG that shows one after the other, again and again.

    Viewers that move nothing show the last frame.
    """
    whole = _EVERY * (len(frames) - 1) + _LAST
    width, height = COLUMNS * _WIDTH + 2 * _EDGE, ROWS * _HEIGHT + 2 * _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" rx="8" fill="#1d2433"/>',
        '<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14">',
    ]
    for row in range(ROWS):
        first = 0
        for line, same in groupby(frame[row] for frame in frames):
            last = first + len(list(same))
            if line:
                parts += _draw_line(row, line, _EVERY * first, _EVERY * last, whole)
            first = last
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _draw_line(row: int, line: Line, begin: float, end: float, whole: float) -> list[str]:
    """Return a line that is there from one second to another, of a whole; the last frame ends C{_LAST} before that."""
    is_last = end > whole - _LAST
    times = [(0.0, "hidden")] if begin else []
    times.append((begin, "visible"))
    times += [] if is_last else [(end, "hidden")]
    values, places = ";".join(state for _, state in times), ";".join(f"{at / whole:.4f}" for at, _ in times)
    moves = (
        f'<animate attributeName="visibility" dur="{whole:g}s" repeatCount="indefinite" calcMode="discrete" '
        f'values="{values}" keyTimes="{places}"/>'
    )
    state = "visible" if is_last else "hidden"
    return [f'<g visibility="{state}">{moves}', *(_draw_run(row, run) for run in line), "</g>"]


def _draw_run(row: int, run: Run) -> str:
    x, y, length = _EDGE + run.column * _WIDTH, _EDGE + (row + 0.75) * _HEIGHT, len(run.text) * _WIDTH
    colour, weight = _COLOURS.get(run.colour, _COLOURS["default"]), "bold" if run.bold else "normal"
    place = f'x="{x:.1f}" y="{y:.1f}" textLength="{length:.1f}"'
    return f'<text {place} fill="{colour}" font-weight="{weight}">{escape(run.text).replace(" ", _SPACE)}</text>'
