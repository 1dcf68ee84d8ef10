"""
What all suites share, tests and benchmarks too: the command that starts a
service, and how to wait for something that must come.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

#: The command C{twistd} of this interpreter.
TWISTD: Final = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

#: Seconds after which a wait for something that must come has failed.
PATIENCE: Final = 30.0


class NotInTime(Exception):
    """Something that had to come did not; the text says what."""


def wait_until(
    what: Callable[[], T],
    name: str = "",
    patience: float = PATIENCE,
    every: float = 0.01,
    passing: tuple[type[Exception], ...] = (),
) -> T:
    """
    Ask again and again, until the answer is true, and return it.

    @param name: what is waited for, in words.
    @param patience: seconds; C{every} is those between two questions.
    @param passing: errors that are no answer, and may go away.
    @raise NotInTime: it did not become true.
    """
    deadline = time.monotonic() + patience
    why = ""
    while True:
        try:
            if answer := what():
                return answer
        except passing as problem:
            why = f": {problem}"
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {patience:g} s: {name or what}{why}")
        time.sleep(every)
