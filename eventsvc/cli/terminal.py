"""
Renders tables for terminals and for files, with C{rich}.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from eventsvc.telemetry.logs import has_colours
from eventsvc.text_lines import TextLines, printable

#: Columns of an output that is no terminal: nothing is cut off there.
_WIDE: Final = 100_000


def width_of(out: TextIO) -> int | None:
    """Return the columns of an output; C{None} if it is no terminal."""
    return shutil.get_terminal_size().columns if out.isatty() else None


def is_coloured(out: TextIO) -> bool:
    return out.isatty() and has_colours(os.environ)


def lines_for(out: TextIO) -> TextLines:
    """Return what formats the lines of an output."""
    return TextLines(is_coloured(out), width_of(out) or sys.maxsize)


def render(what: RenderableType, out: TextIO) -> str:
    """Return something as the lines that an output is to get."""
    console = Console(
        file=out,
        width=width_of(out) or _WIDE,
        color_system="standard" if is_coloured(out) else None,
        force_terminal=is_coloured(out),
        highlight=False,
        markup=False,
        emoji=False,
    )
    with console.capture() as captured:
        console.print(what)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def wrap(text: str, width: int, margin: int) -> str:
    """Return a sentence in as many lines as it takes on a terminal; all but the first begin after a margin."""
    lines = textwrap.wrap(printable(text), max(20, width - margin), break_on_hyphens=False)
    return f"\n{'':{margin}}".join(lines)


def cell(value: object, style: str = "") -> Text:
    """Return a cell of a table, whatever is in its text."""
    return Text(printable(str(value)), style, no_wrap=True, overflow="ellipsis")


def make_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """
    Return a table with headers; the last column is the first to be cut off.

    @param columns: the names; a C{>} in front aligns a column to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, name in enumerate(columns):
        last = number == len(columns) - 1
        header = printable(name.removeprefix(">"))
        table.add_column(
            Text(header),
            justify="right" if name.startswith(">") else "left",
            no_wrap=True,
            min_width=None if last else len(header),
            ratio=None,
        )
    for row in rows:
        table.add_row(*(each if isinstance(each, Text) else cell(each) for each in row))
    return table
