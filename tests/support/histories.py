"""
Builds histories whose events are named by single letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eventsvc.event import Notification
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Handling, History, Op

OK, REFUSED, UNKNOWN = Outcome


def op(description: str, outcome: Outcome = OK, id: int | None = None, at: float = 0.0, **more: Any) -> Op:
    """Return an attempt that took a second; an C{ok} one has the id of its letter."""
    number = ord(description[0]) if id is None and outcome is OK else id
    return Op("client", 0, description, at, more.get("ended", at + 1.0), outcome, number)


def note(description: str, id: int | None = None) -> Notification:
    return Notification(ord(description[0]) if id is None else id, description, "2025-02-25T22:06:25.478310425Z")


def notes(text: str) -> Sequence[Notification]:
    return [note(letter) for letter in text]


def handle(text: str, *consumers: str) -> Sequence[Handling]:
    """Return handlings of the events of the letters, one per second."""
    names = consumers or ("one",) * len(text)
    return [
        Handling(ord(letter), name, float(at)) for at, (letter, name) in enumerate(zip(text, names, strict=True), 10)
    ]


A, B, E = ord("a"), ord("b"), ord("e")

GOOD = History(
    ops=[
        op("a", at=0.0),
        op("b", at=2.0),
        op("c", REFUSED, at=4.0),
        op("d", UNKNOWN, at=6.0),
        op("e", at=8.0),
    ],
    stream=notes("abe"),
    handled=handle("abe"),
)
