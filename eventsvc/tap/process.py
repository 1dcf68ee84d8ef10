"""
The root service of a process: JSON logs, exit codes, messages instead of tracebacks.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from threading import Timer, main_thread
from threading import enumerate as enumerate_threads
from typing import Any, Final

from twisted.application.service import IServiceCollection, MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger

from eventsvc.net.nested_poll import listening_reactor
from eventsvc.tap.accepting import BACKLOG, PausingPort
from eventsvc.tap.asyncio_exits import outlive_exits
from eventsvc.tap.monotonic_time import use_monotonic_time as use_monotonic_time
from eventsvc.telemetry.logs import FAREWELL, ServiceLog

#: Seconds the process may take to exit once its services have stopped.
_PATIENCE: Final = 1.0


class Process(MultiService):
    """
    The root service of a role.

    Its children start in order and stop in reverse order, each after the one
    before has stopped.

    @ivar say: called with a message for whoever started it.
    """

    def __init__(self, reactor: Any, log: ServiceLog) -> None:
        super().__init__()
        self.say: Callable[[str], object] = _say
        use_monotonic_time(reactor)
        self.reactor = reactor
        self.log = log
        self.exit_code = 0
        self._finishing = False

    def setServiceParent(self, parent: Any) -> None:
        """Replace twistd's own log observer."""
        if not IServiceCollection.providedBy(parent):
            parent.setComponent(ILogObserver, self.log)
        super().setServiceParent(parent)

    def privilegedStartService(self) -> None:
        """Handle signals before anything starts, so that none is lost or kills the process."""
        self._take_signals()
        outlive_exits(self.reactor, self.fail)
        super().privilegedStartService()

    def startService(self) -> None:
        self.reactor.callWhenRunning(self._take_signals)  # again: the reactor takes them when it starts
        self.reactor.callWhenRunning(_leave_to_the_end)
        self.reactor.addSystemEventTrigger("after", "shutdown", self._leave)
        super().startService()

    async def _stop_children(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except BaseException:  # the others must stop all the same
                Logger().failure("stopping {name} failed", name=type(child).__name__)
        if self._finishing:
            self._end_in_time()

    def _end_in_time(self) -> None:
        """
        Exit soon, even if threads still run.

        The reactor and Python wait for every thread, however long it blocks.
        """

        def end() -> None:
            if any(not (thread.daemon or thread is main_thread()) for thread in enumerate_threads()):
                Logger().warn("some threads still run; the process exits without waiting for them")
            self._end_now()

        timer = Timer(_PATIENCE, end)
        timer.daemon = True
        timer.start()

    def _end_now(self) -> None:
        self.log.output.finish(FAREWELL)
        os._exit(self.exit_code)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_children())

    def fail(self, problem: str) -> None:
        """Stop the process with exit status 1, and log the reason."""
        Logger().critical("{problem}", problem=problem)
        self.finish(1)

    def finish(self, code: int = 0) -> None:
        """
        Stop all services, then exit with C{code}.

        Only the first call counts: later calls have no effect.
        """
        if not self._finishing:
            self._finishing = True
            self.exit_code = code
            self.reactor.callWhenRunning(self.reactor.stop)

    def end_with(self, code: int) -> None:
        """Exit with C{code} once all services have stopped, unless something else has failed already."""
        self.exit_code = self.exit_code or code

    def attempt(self, start: Callable[[], object]) -> None:
        """Call C{start} while the process runs; stop the process if it fails, as at start-up."""
        try:
            start()
        except SystemExit as end:  # the reason was already said
            self.finish(end.code if isinstance(end.code, int) else 1)
        except Exception:
            Logger().failure("the process cannot start")
            self.finish(1)

    def _take_signals(self) -> None:
        """
        Let SIGTERM and SIGINT end the process with 0.

        twistd would raise the signal again after a clean shutdown, and the
        exit status would be that of a process that was killed.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.reactor.callFromThread(self.finish))

    def _leave(self) -> None:
        """Exit with our own code; twistd has no other way to set it."""
        if self.exit_code:
            self._end_now()


def _say(message: str) -> None:
    print(message, file=sys.__stderr__)  # sys.stderr is already redirected into the log


def _leave_to_the_end() -> None:
    """
    Exempt the objects that exist at start-up from garbage collection.

    They live as long as the process, and are most of its objects: the modules.
    """
    gc.collect()
    gc.freeze()


class Listener(Service):
    """
    Listens on a TCP port; if the port is taken, the process ends with a message.

    @ivar port: the port; 0 is replaced by the actual one once it listens.
    @ivar interface: an address, or empty for all IPv4 addresses.
    @ivar settings: the flags and variables that set the address, for the message.
    @ivar factory: if it has a C{drain}, stopping waits for it.
    """

    def __init__(self, reactor: Any, port: int, factory: Any, interface: str = "", settings: str = "") -> None:
        self.reactor = reactor
        self.port = port
        self.factory = factory
        self.interface = interface
        self.settings = settings
        self.listening: Any = None

    def privilegedStartService(self) -> None:
        """Listen before any service starts, so that nothing must be stopped if that fails."""
        super().privilegedStartService()
        try:
            self.listening = PausingPort(
                self.port, self.factory, BACKLOG, self.interface, listening_reactor(self.reactor)
            )
            self.listening.startListening()
        except CannotListenError as error:
            address = f"[{self.interface}]" if ":" in self.interface else self.interface or "0.0.0.0"
            words = f"eventsvc: cannot listen on {address}:{self.port}: {error.socketError.strerror}"
            remedy = f"; choose another with {self.settings}" if self.settings else ""
            say = self.parent.say if isinstance(self.parent, Process) else _say
            say(f"{words}{remedy}")
            raise SystemExit(1) from None
        self.port = self.listening.getHost().port

    async def _close(self) -> None:
        if self.listening is not None:
            await maybeDeferred(self.listening.stopListening)
        if hasattr(self.factory, "drain"):
            await self.factory.drain()

    def stopService(self) -> Deferred[None]:
        """Stop accepting connections, and wait until requests in progress are answered."""
        super().stopService()
        return Deferred.fromCoroutine(self._close())
