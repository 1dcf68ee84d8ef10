"""
Detects a peer that does not reply in time.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Seconds of silence after which a peer that owes a reply counts as dead.
REPLY_TIMEOUT: Final = 2.0
#: Seconds that a call may exceed its timeout while bytes flow.
_LONGEST: Final = 60.0
#: Seconds between two checks of bytes that are sent slowly.
_SAMPLE: Final = 0.5
#: Bytes from which a call may take long to send.
_LARGE: Final = 65_536
#: Most unconfirmed bytes that do not mean a call is still being sent: such as health checks.
_FEW: Final = 512


@attrs.define(eq=False)
class Silence:
    """
    Detects that a peer which owes replies is silent.

    Each call has a timeout from sending to its reply.  After that the peer is
    silent unless bytes have arrived, or sent bytes were confirmed, within
    L{REPLY_TIMEOUT}: over a slow link a large call or reply takes long, and does
    not mean that the peer is dead.

    All calls share one timer, which is set for the oldest; most of the time that
    call was answered before the timer fires.

    @ivar give_up: called with the reason once the peer is silent.
    @ivar tcp: the transport, if the system can report what it has sent.
    """

    clock: IReactorTime
    give_up: Callable[[str], None]
    tcp: Any = None
    #: when each call that waits was sent, and how long it may take
    _calls: deque[tuple[float, float]] = attrs.field(factory=deque, init=False)
    _progress: float = attrs.field(default=float("-inf"), init=False)
    _confirmed: int = attrs.field(default=0, init=False)
    _wakes: float = attrs.field(default=float("inf"), init=False)
    _timer: IDelayedCall | None = attrs.field(default=None, init=False)

    def sent(self, size: int, timeout: float) -> None:
        """Record a call of C{size} bytes, due to be answered within C{timeout} seconds."""
        now = self.clock.seconds()
        self._calls.append((now, timeout))
        wakes = now + (timeout if size < _LARGE or timeout < _SAMPLE else _SAMPLE)
        if wakes < self._wakes:
            self._wake_at(wakes, now)

    def heard(self) -> None:
        """Record that bytes have arrived."""
        self._progress = self.clock.seconds()

    def answered(self) -> None:
        """Record the reply to the oldest call."""
        self._calls.popleft()

    def stop(self) -> None:
        """Stop watching."""
        self._calls.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_at(self, then: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = then
        self._timer = self.clock.callLater(then - now, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        if not self._calls:
            self._wakes = float("inf")
            return
        leaving = self._look_at_sending(now)
        if (deadline := self._deadline()) > now:
            self._wake_at(min(deadline, now + _SAMPLE) if leaving else deadline, now)
        else:
            # Read received bytes first: this process may be the one that was slow.
            self._timer = self.clock.callLater(0, self._judge)

    def _judge(self) -> None:
        self._timer = None
        now = self.clock.seconds()
        if not self._calls:
            self._wakes = float("inf")
        elif (deadline := self._deadline()) > now:
            self._wake_at(deadline, now)
        else:
            self.give_up(f"no reply within {self._calls[0][1]:g} s")

    def _deadline(self) -> float:
        """Return when the peer counts as silent if nothing more happens."""
        sent, timeout = self._calls[0]
        extended = min(self._progress + min(timeout, REPLY_TIMEOUT), sent + timeout + _LONGEST)
        return max(sent + timeout, extended)

    def _look_at_sending(self, now: float) -> bool:
        """Return whether a call is still being sent; newly confirmed bytes count as progress."""
        if bytes_under_way(self.tcp) <= _FEW:
            return False
        confirmed = bytes_confirmed(self.tcp)
        if confirmed > self._confirmed:
            self._confirmed = confirmed
            self._progress = now
        return True


def bytes_under_way(tcp: Any) -> int:
    """Return the bytes not yet sent or confirmed; 0 where the system does not report it."""
    if tcp is None:
        return 0
    queued = len(tcp.dataBuffer) - tcp.offset + tcp._tempDataLen
    try:
        (kernel,) = struct.unpack("i", ioctl(tcp.fileno(), TIOCOUTQ, b"\0\0\0\0"))
    except (OSError, ValueError):  # it is closed
        return 0
    return int(queued + kernel)


def bytes_confirmed(tcp: Any) -> int:
    """
    Return the bytes that the peer has confirmed on this connection; 0 where the system does not report it.

    Source: C{struct tcp_info} of Linux, C{tcpi_bytes_acked}.
    """
    try:
        info = tcp.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    except (AttributeError, OSError):
        return 0
    return int.from_bytes(info[120:128], sys.byteorder)
