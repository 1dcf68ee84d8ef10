"""
Runs a coroutine in the background, until it ends or is cancelled.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure


def run_in_background(coroutine: Coroutine[Deferred[Any], Any, None], log: Logger) -> Deferred[None]:
    """
    Start a coroutine; cancel the returned Deferred to end it.

    The Deferred always fires with C{None}: a failure is logged.
    """

    def ended(failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("a background task failed", failure)

    return ensureDeferred(coroutine).addErrback(ended)
