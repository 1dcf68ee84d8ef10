"""
The server's side of a TLS connection: Twisted's, with half-close and immediate writes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL.SSL import Error, WantReadError, ZeroReturnError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from eventsvc.net.immediate_write import immediate_write

#: Bytes that OpenSSL is asked for at a time; a record has at most 16,384.
_AT_ONCE = 32_768


@implementer(IHalfCloseableProtocol)
class TLSTransport(TLSMemoryBIOProtocol):
    """
    A TLS connection that closes as a TCP connection does.

    # Note [Ends of a TLS connection]

    A client may close its sending side and still get its answers; Twisted
    would drop the connection.  So may we.  An end of the TCP stream without
    TLS's C{close_notify} counts as the same: HTTP itself tells whether a
    request is complete.  C{loseConnection} sends C{close_notify} and does not
    wait for the client's (RFC 8446, 6.1), because an idle client does not read::

        Twisted:  close_notify ->     waits ...                 until it is cut off
        here:     close_notify ->  FIN ->

    The wrapped protocol must provide C{IHalfCloseableProtocol}.
    """

    transport: Any
    wrappedProtocol: Any
    _read_lost = False
    _send: Callable[[bytes], None]
    _send_now: Callable[[bytes], None]

    def makeConnection(self, transport: Any) -> None:
        self._send, self._send_now = transport.write, immediate_write(transport)
        super().makeConnection(transport)

    @property
    def read_size(self) -> int:
        """Bytes per read from the socket."""
        return self.transport.read_size  # type: ignore[no-any-return]

    @read_size.setter
    def read_size(self, size: int) -> None:
        self.transport.read_size = size

    def write_now(self, data: bytes) -> None:
        """Write without waiting for the reactor, unless other data waits; see L{immediate_write}."""
        self._send = self._send_now
        try:
            self.write(data)
        finally:
            self._send = self.transport.write

    def _flushSendBIO(self) -> None:
        try:
            data = self._tlsConnection.bio_read(_AT_ONCE)
        except WantReadError:
            return
        self._send(data)

    def _flushReceiveBIO(self) -> None:
        while not self._lostTLSConnection:
            try:
                data = self._tlsConnection.recv(_AT_ONCE)
            except WantReadError:
                break
            except ZeroReturnError:
                self._end_of_input()
                break
            except Error:
                self._tlsShutdownFinished(Failure())
            else:
                if not self._aborted:
                    ProtocolWrapper.dataReceived(self, data)
        self._flushSendBIO()

    def _end_of_input(self) -> None:
        if not self._read_lost:
            self._read_lost = True
            self.wrappedProtocol.readConnectionLost()

    def readConnectionLost(self) -> None:
        """Do the same at the end of the TCP stream as at C{close_notify}."""
        if self._handshakeDone and not self._lostTLSConnection:
            self._end_of_input()
        else:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: the wrapped protocol closed its sending side itself."""

    def loseWriteConnection(self) -> None:
        """Close the sending side once everything is written."""
        if self._handshakeDone:
            super()._shutdownTLS()
            self.transport.loseWriteConnection()
        else:
            self.abortConnection()

    def _shutdownTLS(self) -> None:
        super()._shutdownTLS()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self._producer = None  # breaks a reference cycle: it refers to the wrapped protocol

    def abortConnection(self) -> None:
        if self.connected:
            super().abortConnection()


class TLSFactory(TLSMemoryBIOFactory):
    """Puts TLS between the connections of a port and the protocols of a site."""

    protocol = TLSTransport
    wrappedFactory: Any

    def logPrefix(self) -> str:
        return f"{type(self.wrappedFactory).__name__} (TLS)"

    def drain(self) -> Deferred[None]:
        """Drain the site."""
        drained: Deferred[None] = self.wrappedFactory.drain()
        return drained
