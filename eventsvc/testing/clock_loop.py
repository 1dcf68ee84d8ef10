"""
An asyncio loop on a clock that stands still until a test advances it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TypeVarTuple, Unpack

from twisted.internet.interfaces import IDelayedCall, IReactorTime

Ts = TypeVarTuple("Ts")


class ClockLoop(asyncio.SelectorEventLoop):
    """
    Runs asyncio code on a clock of Twisted: C{asyncio.sleep} ends when that is advanced.

    It never waits: not for sockets, nor for threads.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        #: by the identity of their handles, which are equal if they call the same at the same time
        self._timers: dict[int, IDelayedCall | asyncio.Handle] = {}
        self._soon = 0
        self._is_killed = False

    def time(self) -> float:
        return self._clock.seconds()

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        context = context or copy_context()

        def fire() -> None:
            self._timers[id(timer)] = self.call_soon(run, context=context)

        def run() -> None:
            del self._timers[id(timer)]
            callback(*args)

        self._timers[id(timer)] = self._clock.callLater(max(0.0, when - self.time()), fire)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by a timer that is cancelled."""
        if id(handle) in self._timers:
            self._timers.pop(id(handle)).cancel()

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._soon += 1
        return super().call_soon(callback, *args, context=context)

    def run(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the loop, then run what is ready until all waits for something."""
        errors: list[BaseException] = []

        def begin() -> None:
            try:
                function(*arguments)
            except BaseException as error:
                errors.append(error)

        self.call_soon(begin)
        while self._soon and not self._is_killed:
            self._soon = 0
            super().call_soon(self.stop)
            self.run_forever()
        if errors:
            raise errors[0]

    def kill(self) -> None:
        """Run nothing more."""
        self._is_killed = True

    def end(self) -> None:
        """Cancel what is left, and close."""
        self._is_killed = False
        tasks = asyncio.all_tasks(self)
        self.run(lambda: [task.cancel() for task in tasks])
        self.set_exception_handler(lambda _loop, _context: None)
        self.close()
