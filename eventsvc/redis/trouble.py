"""
Why there is no connection to Redis: for the log, and for health.
"""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from eventsvc.redis.errors import code_of

#: The format of the log message about an error reply.
ERROR_REPLY: Final = "Redis answered with an error: {reply}"
#: Seconds for which an error reply of one kind is not logged again.
_SILENT: Final = 60.0
#: Most problems of one outage that are remembered as logged.
_MOST: Final = 20


@attrs.define(eq=False)
class Trouble:
    """
    The problems of one connection; each is logged once, until there is a session again.

    @ivar told: the latest problem in words, without the text of Redis.
    """

    clock: IReactorTime
    log: Logger
    told: str = attrs.field(default="", init=False)
    _latest: str = attrs.field(default="", init=False)
    _given_up: str | None = attrs.field(default=None, init=False)
    _logged: set[str] = attrs.field(factory=set, init=False)
    _replies: dict[str, float] = attrs.field(factory=dict, init=False)

    def given_up(self, why: str) -> None:
        """Record that this process itself ends its session; neither that nor the next session is logged."""
        self._latest = self.told = self._given_up = why

    def no_session(self, problem: str, told: str) -> None:
        """
        Record why a session or an attempt has ended.

        @param told: the problem without the text of Redis.
        """
        if problem != self._given_up and problem not in self._logged:
            self.log.warn("no connection to Redis: {problem}", problem=problem)
            if len(self._logged) == _MOST:
                self._logged.clear()
            self._logged.add(problem)
        self._latest, self.told = problem, told

    def connected(self) -> None:
        """Record that there is a session."""
        if self._latest != self._given_up:
            self.log.info("connected to Redis")
        self._latest = self.told = ""
        self._given_up = None
        self._logged.clear()

    def error_reply(self, reply: str) -> None:
        """Log an error reply, at most once a minute for each kind: every event may cause one."""
        now, code = self.clock.seconds(), code_of(reply)
        last = self._replies.get(code)
        if last is None or now - last >= _SILENT:
            self._replies[code] = now
            self.log.warn(ERROR_REPLY, reply=reply)
