"""
Tests for a producer under C{twistd} whose port speaks TLS, and for its admin port.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import attrs
import pytest
from OpenSSL import SSL

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.certificates import Authority
from tests.support.http import post, read_responses
from tests.support.processes import Server, Service, Services, get

EVENT = b'{"description": "hello"}'
#: The figure that counts broken changes.
FAILURES = "eventsvc_tls_reload_failures_total"


@attrs.define
class Port:
    """
    The files of a TLS port, as Kubernetes mounts them: links through C{data}, which is swapped.

    @ivar authority: signs the certificates.
    """

    directory: Path
    authority: Authority = attrs.field(factory=Authority)
    version: int = 0

    def flags(self) -> list[str]:
        return [f"--rest-server-tls-cert={self.directory}/cert", f"--rest-server-tls-key={self.directory}/key"]

    def context(self) -> ssl.SSLContext:
        """Return the context of a client that verifies the certificate."""
        return ssl.create_default_context(cadata=self.authority.pem().decode())

    def swap(self) -> None:
        """Write a new pair beside the old one, and swap the link."""
        self.version += 1
        new = self.directory / str(self.version)
        new.mkdir()
        self._write(new)
        (self.directory / "next").symlink_to(new)
        os.replace(self.directory / "next", self.directory / "data")
        for name in ("cert", "key"):
            if not (self.directory / name).exists():
                (self.directory / name).symlink_to(f"data/{name}")

    def rename(self) -> None:
        """Replace the files one after the other."""
        self.version += 1
        new = self.directory / str(self.version)
        new.mkdir()
        self._write(new)
        for name in ("cert", "key"):
            os.replace(new / name, (self.directory / name).resolve())

    def _write(self, directory: Path) -> None:
        identity = self.authority.issue("localhost")
        (directory / "cert").write_bytes(identity.certificate_pem())
        (directory / "key").write_bytes(identity.key_pem())


@pytest.fixture
def files(tmp_path: Path) -> Port:
    made = Port(tmp_path)
    made.swap()
    return made


def start(services: Services, server: Server, *flags: str) -> Service:
    service = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}", *flags)
    wait_until(lambda: service.says("connected to Redis"))
    return service


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect and do the handshake."""
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 30.0), server_hostname="localhost")


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


def exchange(port: int, context: ssl.SSLContext, request: bytes) -> list[int]:
    """Send a request that ends the connection, and return the statuses of its answers."""
    with connect(port, context) as connection:
        connection.sendall(request)
        return [response.status for response in read_responses(read_to_end(connection))]


LAST = post(EVENT, "Connection: close")


def stored(server: Server) -> int:
    with server.client() as client:
        return int(client.xlen("NotificationStream")) - 1  # without the marker


def figure(port: int, name: str) -> float:
    """Return a figure from the admin port."""
    lines = get(port, "/metrics")[1].splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name)))


def test_events_are_stored_over_tls(services: Services, server: Server, files: Port) -> None:
    """On both paths, also large ones; and a stop answers what is in progress."""
    producer = start(services, server, *files.flags())
    port, context = producer.port(), files.context()
    large = b'{"description": "' + b"x" * 1_000_000 + b'"}'
    assert exchange(port, context, post() * 50 + post(large) + post(EVENT, path="/events") + LAST) == [200] * 53
    assert stored(server) == 53
    with connect(port, context) as connection:
        connection.sendall(post()[:-1])
        producer.process.send_signal(signal.SIGTERM)
        wait_until(lambda: producer.says("Received SIGTERM") or refuses(port))
        connection.sendall(post()[-1:])
        assert [response.status for response in read_responses(read_to_end(connection))] == [200]
    assert producer.process.wait(30.0) == 0
    assert stored(server) == 54


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("how", ["close_notify", "FIN"])
def test_a_client_that_closes_its_side_gets_its_answers(
    services: Services, server: Server, files: Port, how: str
) -> None:
    """As without TLS."""
    port = start(services, server, *files.flags()).port()
    if how == "FIN":
        with connect(port, files.context()) as connection:
            connection.sendall(post() * 3)
            socket.socket.shutdown(connection, socket.SHUT_WR)
            received = read_to_end(connection)
    else:
        received = read_after_close_notify(port, post() * 3)
    assert [response.status for response in read_responses(received)] == [200] * 3
    assert stored(server) == 3


def read_after_close_notify(port: int, request: bytes) -> bytes:
    """Send a request and a close_notify, and return the answer; with C{ssl} that cannot be done on a socket."""
    with socket.create_connection(("127.0.0.1", port), 30.0) as opened:
        opened.setblocking(True)
        connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), opened)
        connection.set_connect_state()
        connection.do_handshake()
        connection.sendall(request)
        connection.shutdown()
        received = b""
        with suppress(SSL.ZeroReturnError):
            while True:
                received += connection.recv(65_536)
        return received


def test_who_speaks_no_tls_is_closed_and_nothing_is_logged(services: Services, server: Server, files: Port) -> None:
    """Plain HTTP, nonsense, and a TLS client that does not trust the certificate."""
    producer = start(services, server, *files.flags())
    port = producer.port()
    lines = len(producer.lines())
    for sent in (post(), b"\0" * 10_000, b"\x16\x03\x01\xff\xff" + b"x" * 20_000):
        with socket.create_connection(("127.0.0.1", port), 30.0) as connection:
            connection.sendall(sent)
            with suppress(ConnectionResetError):
                assert b"HTTP" not in read_to_end(connection)
    with pytest.raises(ssl.SSLCertVerificationError):
        exchange(port, ssl.create_default_context(), LAST)
    assert exchange(port, files.context(), LAST) == [200]
    assert len(producer.lines()) == lines
    assert "Traceback" not in producer.err()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rest-server-tls-cert=/x"], "REST_SERVER_TLS_KEY: expected a file, because REST_SERVER_TLS_CERT is set"),
        (
            ["--rest-server-tls-cert=/x", "--rest-server-tls-key=/x"],
            "REST_SERVER_TLS_CERT='/x': expected a readable PEM file (No such file or directory)",
        ),
    ],
)
def test_files_that_are_not_valid_end_it_with_2(services: Services, flags: list[str], words: str) -> None:
    service = services.start("eventsvc", "producer", "--rest-server-port=0", *flags)
    assert service.process.wait(30.0) == 2
    assert (service.out(), service.err()) == ("", f"eventsvc: {words}\n")


# Swaps


@attrs.define
class Traffic:
    """
    Opens a hundred connections a second, and posts an event on each.

    @ivar certificates: those that were presented.
    """

    port: int
    context: ssl.SSLContext
    statuses: list[int] = attrs.field(factory=list)
    errors: list[BaseException] = attrs.field(factory=list)
    certificates: set[bytes | None] = attrs.field(factory=set)
    _ended: Event = attrs.field(factory=Event)

    def run(self) -> None:
        while not self._ended.wait(0.01):
            try:
                with connect(self.port, self.context) as connection:
                    self.certificates.add(connection.getpeercert(binary_form=True))
                    connection.sendall(LAST)
                    self.statuses += [response.status for response in read_responses(read_to_end(connection))]
            except Exception as error:
                self.errors.append(error)

    def end(self) -> None:
        self._ended.set()


@pytest.mark.parametrize("replace", [Port.swap, Port.rename])
def test_certificates_are_replaced_under_load_without_one_failed_request(
    services: Services, server: Server, files: Port, replace: Callable[[Port], None]
) -> None:
    """Connections are opened all the time; one that is open goes on with its old certificate."""
    producer = start(services, server, *files.flags())
    traffic = Traffic(producer.port(), files.context())
    thread = Thread(target=traffic.run)
    with connect(traffic.port, traffic.context) as old:
        thread.start()
        try:
            for number in range(1, 5):
                wait_until(lambda number=number: len(traffic.certificates) == number)  # type: ignore[misc]
                replace(files)
            wait_until(lambda: len(traffic.certificates) == 5)
        finally:
            traffic.end()
            thread.join()
        old.sendall(LAST)
        assert [response.status for response in read_responses(read_to_end(old))] == [200]
    assert traffic.errors == []
    assert set(traffic.statuses) == {200}
    assert stored(server) == len(traffic.statuses) + 1
    assert not [line for line in producer.lines() if line["level"] == "error"]


def test_a_broken_replacement_is_counted_and_the_old_pair_stays(
    services: Services, server: Server, files: Port
) -> None:
    """The key of another certificate; later a good pair is used."""
    admin = stable_port()
    producer = start(services, server, *files.flags(), f"--admin-port={admin}")
    port, context = producer.ports(2)[0], files.context()
    assert figure(admin, FAILURES) == 0
    expires = figure(admin, "eventsvc_tls_certificate_expires_seconds")
    key = (files.directory / "key").resolve()
    (files.directory / "other").write_bytes(files.authority.issue("x").key_pem())
    os.replace(files.directory / "other", key)
    wait_until(lambda: figure(admin, FAILURES) == 1)
    assert exchange(port, context, LAST) == [200]
    files.swap()
    wait_until(lambda: producer.says("the TLS files have changed; new connections use them"))
    assert exchange(port, context, LAST) == [200]
    assert figure(admin, FAILURES) == 1
    assert figure(admin, "eventsvc_tls_certificate_expires_seconds") >= expires > 0
    (error,) = [line for line in producer.lines() if line["level"] == "error"]
    assert "expected the key of the first certificate" in error["message"]


# Clients with certificates, and the admin port


def test_clients_need_a_certificate_but_probes_do_not(services: Services, server: Server, files: Port) -> None:
    """The admin port is plain HTTP; the event port does not have its paths."""
    clients, admin = Authority(), stable_port()
    (files.directory / "ca").write_bytes(clients.pem())
    flags = [*files.flags(), f"--rest-server-tls-client-ca={files.directory}/ca", f"--admin-port={admin}"]
    producer = start(services, server, *flags)
    port, context = producer.ports(2)[0], files.context()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        exchange(port, context, LAST)
    identity = clients.issue("client")
    (files.directory / "client").write_bytes(identity.key_pem() + identity.certificate_pem())
    context.load_cert_chain(files.directory / "client")
    assert exchange(port, context, LAST) == [200]
    assert get(admin, "/health/live") == (200, '{"status":"live"}')
    wait_until(lambda: get(admin, "/health/ready")[0] == 200)
    assert figure(admin, "eventsvc_events_accepted_total") == 1
    for path in ("/health/live", "/health/ready", "/metrics", "/metric%73"):
        for method in ("GET", "POST"):
            request = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
            assert exchange(port, context, request) == [404]
    assert get(admin, "/event")[0] == 404
    assert stored(server) == 1


def test_without_an_admin_port_the_event_port_has_the_probes(services: Services, server: Server, files: Port) -> None:
    producer = start(services, server, *files.flags())
    request = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert exchange(producer.port(), files.context(), request) == [200]


def test_the_admin_port_of_a_plain_producer(services: Services, server: Server) -> None:
    admin = stable_port()
    producer = start(services, server, f"--admin-port={admin}")
    port = producer.ports(2)[0]
    assert get(admin, "/health/live")[0] == 200
    assert get(port, "/health/live")[0] == 404
    assert get(port, "/openapi.json")[0] == 200


def test_a_simulator_posts_over_tls(services: Services, server: Server, files: Port) -> None:
    producer = start(services, server, *files.flags())
    (files.directory / "root").write_bytes(files.authority.pem())
    simulator = services.start(
        "eventsvc",
        "simulator",
        f"--event-producer-port={producer.port()}",
        "--event-producer-host=localhost",
        "--event-producer-tls=on",
        f"--event-producer-tls-ca={files.directory}/root",
        "--count=5",
        "--events-per-second=100",
    )
    assert simulator.process.wait(30.0) == 0
    assert stored(server) == 5


# Connections without a handshake


def test_silent_clients_keep_nobody_out(services: Services, server: Server, files: Port) -> None:
    """They take all places, with a part of a handshake each; others get theirs, and a probe too."""
    producer = services.start(
        "eventsvc",
        "producer",
        "--rest-server-port=0",
        f"--redis-port={server.port}",
        *files.flags(),
        descriptors=128,
    )
    wait_until(lambda: producer.says("connected to Redis"))
    port, context = producer.port(), files.context()
    silent = [socket.create_connection(("127.0.0.1", port), 30.0) for _ in range(60)]
    try:
        for each in silent[::2]:
            with suppress(ConnectionError):  # it has been closed for others already
                each.sendall(b"\x16\x03\x01\x02")
        wait_until(lambda: exchange(port, context, LAST) == [200])  # those bytes are read
        for _ in range(3):
            assert exchange(port, context, LAST) == [200]
            probe = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            assert exchange(port, context, probe) == [200]
    finally:
        for each in silent:
            with closing(each):
                pass
