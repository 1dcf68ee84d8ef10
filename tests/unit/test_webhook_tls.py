"""
Webhooks over TLS: who is trusted, and what a receiver that ends no connection
may cost.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import create_server, socket
from threading import Thread
from typing import Any

import attrs
import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.support.certificates import Authority, Identity
from tests.support.webhook_receiver import EVENT, Maker, Receiver, failure_of

reactor: Any = _reactor
LOCALHOST = "localhost"


@attrs.define
class Stubborn:
    """
    A receiver over TLS that begins an answer, and takes no notice of an end.

    @ivar port: where it listens; it takes one connection.
    @ivar ended: whether that has ended.
    """

    identity: Identity
    directory: Path
    answer: bytes
    listening: socket = attrs.field(factory=lambda: create_server(("127.0.0.1", 0)))
    answered: bool = False
    ended: bool = False

    def start(self) -> int:
        """Listen, and return the port."""
        Thread(target=self._serve, daemon=True).start()
        port: int = self.listening.getsockname()[1]
        return port

    def _serve(self) -> None:
        connection, _ = self.listening.accept()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context().wrap_bio(incoming, outgoing, server_side=True)
        with connection, suppress(OSError):
            while True:
                with suppress(ssl.SSLError):  # it wants to read more, or was told an end
                    self._go_on(tls)
                connection.sendall(outgoing.read())
                received = connection.recv(65_536)
                if not received:
                    break
                incoming.write(received)
        self.ended = True

    def _go_on(self, tls: ssl.SSLObject) -> None:
        tls.do_handshake()
        if not self.answered and tls.read():
            tls.write(self.answer)
            self.answered = True

    def _context(self) -> ssl.SSLContext:
        chain = self.directory / "chain.pem"
        key = self.identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(key + self.identity.certificate.public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this system trusts."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


@pytest.fixture
def stubborn(authority: Authority, tmp_path: Path) -> Iterator[Stubborn]:
    stubborn = Stubborn(authority.issue(LOCALHOST), tmp_path, b"")
    yield stubborn
    stubborn.listening.close()


async def until(done: Any) -> None:
    while not done():
        await deferLater(reactor, 0.005)


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_an_authority_of_the_system_vouches_for_is_trusted(
    make: Maker, stubborn: Stubborn
) -> None:
    stubborn.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    handler = make(url=f"https://localhost:{stubborn.start()}/")
    await handler.handle(EVENT)
    handler.stop()
    await until(lambda: stubborn.ended)


@pytest.mark.parametrize(
    ("signer", "host", "words"),
    [
        ("unknown", LOCALHOST, "certificate verify failed"),
        ("known", "other.example", "VerificationError"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_another_receiver_gets_nothing(
    make: Maker, stubborn: Stubborn, authority: Authority, signer: str, host: str, words: str
) -> None:
    stubborn.identity = (authority if signer == "known" else Authority()).issue(host)
    handler = make(url=f"https://localhost:{stubborn.start()}/")
    assert words in await failure_of(handler.handle(EVENT))
    make.clock.advance(60.0)
    await until(lambda: stubborn.ended)
    assert not stubborn.answered


@pytest_twisted.ensureDeferred
async def test_one_that_speaks_no_tls_is_a_failure(receiver: Receiver, make: Maker) -> None:
    handler = make(url=f"https://127.0.0.1:{receiver.port}/")
    handling = Deferred.fromCoroutine(handler.handle(EVENT))
    await until(lambda: receiver.connections and receiver.connections[0].data)
    receiver.connections[0].transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await failure_of(handling)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 two\r\n\r\n",
    ],
    ids=["never whole", "to be closed", "to be kept", "malformed"],
)
@pytest_twisted.ensureDeferred
async def test_a_connection_ends_although_its_other_end_does_not(
    make: Maker, stubborn: Stubborn, answer: bytes
) -> None:
    """TLS waits for the other end when a connection is closed, for ever."""
    stubborn.answer = answer
    handler = make(url=f"https://localhost:{stubborn.start()}/")
    handling = Deferred.fromCoroutine(handler.handle(EVENT))
    handling.addErrback(lambda _: None)
    await until(lambda: stubborn.answered)
    if b"9" in answer:
        make.clock.advance(10.0)
    await handling
    make.clock.advance(31.0)
    await until(lambda: stubborn.ended)
    assert make.clock.getDelayedCalls() == []
