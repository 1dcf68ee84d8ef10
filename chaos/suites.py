"""
Helpers that all suites, tests and benchmarks share: the command that starts a
service, and waiting for a condition.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

#: The command C{twistd} of this interpreter.
TWISTD: Final = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]

#: Seconds after which a wait fails.
PATIENCE: Final = 30.0


class NotInTime(Exception):
    """A condition did not become true in time; the text names it."""


def wait_until(
    what: Callable[[], T],
    name: str = "",
    patience: float = PATIENCE,
    every: float = 0.01,
    passing: tuple[type[Exception], ...] = (),
) -> T:
    """
    Call a function repeatedly until its result is true, and return the result.

    @param name: the condition in words, for the error text.
    @param patience: the most seconds to wait.
    @param every: seconds between two calls.
    @param passing: errors that count as false.
    @raise NotInTime: the result did not become true.
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
