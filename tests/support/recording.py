"""
A connection that records its calls.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import hiredis
from twisted.internet.defer import Deferred, fail, succeed

from eventsvc.redis.silence import REPLY_TIMEOUT

#: No answer.
NOTHING: Final = object()


@attrs.define
class Recorder:
    """
    Records every command and script, and gives all the same answer.

    @ivar answer: the reply, or the error; L{NOTHING} leaves the caller waiting.
    @ivar opened: fires once there is a session.
    @ivar command: what a session says of the last script that was run.
    """

    answer: Any = NOTHING
    opened: Deferred[None] = attrs.field(factory=lambda: succeed(None))
    calls: list[tuple[Any, ...]] = attrs.field(factory=list)
    keys: list[list[Any]] = attrs.field(factory=list)
    timeouts: list[float] = attrs.field(factory=list)
    aborted: list[str] = attrs.field(factory=list)
    connects: int = 0

    def when_ready(self) -> Deferred[None]:
        return self.opened

    @property
    def session(self) -> Recorder:
        """Return itself, with the last C{command}."""
        return self

    @property
    def command(self) -> bytes:
        """Return the last call of a script in the protocol of Redis."""
        return bytes(hiredis.pack_command(("EVALSHA", "sha", len(self.keys[-1]), *self.keys[-1], *self.calls[-1])))

    def call(self, *arguments: Any, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        self.calls.append(arguments)
        self.timeouts.append(timeout)
        return self._answer()

    def run(self, script: Any, keys: Any, arguments: Any, timeout: float = REPLY_TIMEOUT) -> Deferred[Any]:
        self.keys.append(list(keys))
        self.calls.append(tuple(arguments))
        return self._answer()

    def abort(self, why: str) -> None:
        self.aborted.append(why)

    def _answer(self) -> Deferred[Any]:
        if isinstance(self.answer, Exception):
            return fail(self.answer)
        return Deferred() if self.answer is NOTHING else succeed(self.answer)


def result_of(answer: Deferred[Any]) -> Any:
    """Return the result of a successful call."""
    found: list[Any] = []
    answer.addCallback(found.append)
    [result] = found
    return result
