"""
Tests for L{tools.recording}: what a terminal showed is what the picture shows.
"""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest

from tools.recording import COLUMNS, ROWS, Line, Run, draw, record

SVG = "{http://www.w3.org/2000/svg}"


def make_frame(*texts: str) -> list[Line]:
    lines: list[Line] = [(Run(0, text, "green", True),) if text else () for text in texts]
    return lines + [()] * (ROWS - len(lines))


def read_moves(svg: str) -> list[tuple[str, str, list[str], list[float]]]:
    """Return each line, how it is where nothing moves, and how it changes when."""
    found = []
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        move = group.find(f"{SVG}animate")
        if move is not None:
            text = "".join(run.text or "" for run in group.findall(f"{SVG}text")).replace("\u00a0", " ")
            times = [float(each) for each in move.attrib["keyTimes"].split(";")]
            found.append((text, group.attrib["visibility"], move.attrib["values"].split(";"), times))
    return found


def test_each_line_is_there_while_it_was_and_the_last_ones_where_nothing_moves() -> None:
    frames = [make_frame("always", "first"), make_frame("always", "second"), make_frame("always", "third <&>")]
    assert read_moves(draw(frames, "<title> & more")) == [
        ("always", "visible", ["visible"], [0.0]),
        ("first", "hidden", ["visible", "hidden"], [0.0, 0.1]),
        ("second", "hidden", ["hidden", "visible", "hidden"], [0.0, 0.1, 0.2]),
        ("third <&>", "visible", ["hidden", "visible"], [0.0, 0.2]),
    ]


def test_a_line_that_goes_and_comes_back_is_there_twice() -> None:
    moves = read_moves(draw([make_frame("a"), make_frame(""), make_frame("a")], "t"))
    assert [state for _, state, _, _ in moves] == ["hidden", "visible"]


@pytest.mark.processes
def test_a_command_is_recorded_with_its_colours_until_it_ends() -> None:
    """Also what it writes after Ctrl-C."""
    program = (
        "import signal, sys, time\n"
        "time.sleep(1.2)\n"
        "print(chr(27) + '[1;31mred' + chr(27) + '[0m ' + 'x' * 200, flush=True)\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(print('the end')))\n"
        "while True: signal.pause()"
    )
    frames = record([sys.executable, "-c", program], 2.0)
    assert frames[0] == frames[1] != []
    assert 4 <= len(frames) <= 6
    first, rest = frames[-1][0]
    assert (first.text, first.colour, first.bold) == ("red", "red", True)
    assert (rest.column, len(rest.text)) == (4, COLUMNS - 4)
    assert any("the end" in run.text for line in frames[-1] for run in line)
