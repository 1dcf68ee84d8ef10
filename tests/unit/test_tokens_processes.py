"""
Tests for a real producer with tokens: who gets which answer on which path, and
what a change of the file does while clients post.
"""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import product
from pathlib import Path
from threading import Event
from typing import Any

import attrs
import pytest

from chaos.suites import wait_until
from eventsvc.web.token_rows import format_row
from tests.support.http import Response, read_responses
from tests.support.processes import Server, Service, Services, get

STREAM, OTHER = "NotificationStream", "Orders"
EVENT = b'{"description": "hello"}'
CLOUD_EVENT = b'{"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}'

#: How an event may be posted: by the fast path, by Klein, and in a batch.
WAYS = ["fast", "chunked", "batch"]


def secret_of(name: str) -> str:
    return f"evt_token-of-{name}-0123456789"


def row(name: str, **more: object) -> str:
    return format_row({"name": name, "sha256": sha256(secret_of(name).encode()).hexdigest(), **more})


def request(
    way: str, name: str = "", body: bytes = EVENT, headers: Mapping[str, str] = {}, stream: str = STREAM
) -> bytes:
    """Return the bytes of a POST with the token of a name, if there is one."""
    path = "" if stream == STREAM else f"/streams/{stream}"
    lines = [f"POST {path}/{'events' if way == 'batch' else 'event'} HTTP/1.1", "Host: a"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    if name:
        lines.append(f"Authorization: Bearer {secret_of(name)}")
    if way == "chunked":
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@attrs.define
class Client:
    """A connection that is made anew after the server has said that it closes it."""

    port: int
    _socket: socket.socket | None = None

    def ask(self, data: bytes) -> Response:
        """Send a request, and return its answer."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=30.0)
        self._socket.sendall(data)
        response = self._read(self._socket)
        if response.headers.get("Connection") == "close":
            self.close()
        return response

    def _read(self, connection: socket.socket) -> Response:
        received = b""
        length: int | None = None
        while length is None or len(received) < length:
            data = connection.recv(65_536)
            assert data, "the connection was closed"
            received += data
            head, end, _ = received.partition(b"\r\n\r\n")
            if end:
                length = len(head) + 4 + int(re.findall(rb"Content-Length: (\d+)", head)[0])
        (response,) = read_responses(received)
        return response

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


@contextmanager
def connected(port: int) -> Iterator[Client]:
    with closing(Client(port)) as client:
        yield client


@attrs.define
class Producer:
    """A producer with a file of tokens."""

    service: Service
    server: Server
    file: Path
    port: int = attrs.field(init=False)

    @port.default
    def _find_port(self) -> int:
        port = self.service.port()
        wait_until(lambda: self.service.says("connected to Redis"))
        return port

    def use(self, content: str) -> None:
        """Swap the file, and wait until its tokens are in use."""
        told = f"tokens from {self.file}: "
        before = self.service.out().count(told)
        self.put(content)
        wait_until(lambda: self.service.out().count(told) > before)

    def put(self, content: str) -> None:
        new = self.file.with_name("new.toml")
        new.write_text(content)
        new.rename(self.file)

    def figure(self, name: str, label: str = "") -> float:
        """Return the sum of a metric, of the lines that have a label."""
        lines = re.findall(rf"^{name}(?:\{{(.*)\}})? (.+)$", get(self.port, "/metrics")[1], re.M)
        return sum(float(value) for labels, value in lines if label in labels)

    def count(self, stream: str = STREAM) -> int:
        """Return the number of events in a stream."""
        with self.server.client() as client:
            return sum(b"EventStream" in fields for _, fields in client.xrange(stream))

    def check_secrets(self) -> None:
        """Fail if any output shows a token."""
        assert "evt_" not in self.service.out()
        assert "evt_" not in self.service.err()
        assert "Traceback" not in self.service.out()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def start(services: Services, server: Server, file: Path, content: str, *flags: str) -> Producer:
    file.write_text(content)
    service = services.start(
        "eventsvc",
        "producer",
        "--rest-server-port=0",
        f"--redis-port={server.port}",
        f"--redis-streams={OTHER}",
        f"--rest-server-tokens={file}",
        "--log-level=DEBUG",
        *flags,
    )
    return Producer(service, server, file)


# Who


@pytest.mark.parametrize("way", WAYS)
def test_a_post_needs_a_token(way: str, services: Services, server: Server, file: Path) -> None:
    """Known and unknown ones take turns on one connection; each head comes often enough to be remembered."""
    producer = start(services, server, file, row("shop"))
    with connected(producer.port) as client:
        for _ in range(4):
            assert client.ask(request(way, "shop")).status == 200
            for name, words in (("", "Expected one Authorization header, got 0"), ("no", "The token is not known")):
                response = client.ask(request(way, name))
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert response.problem == {"status": 401, "title": "Unauthorized", "description": words}
    assert producer.count() == 4
    assert producer.figure("eventsvc_requests_rejected_total", 'reason="unauthorized"') == 8
    assert producer.figure("eventsvc_events_accepted_total") == 4
    producer.check_secrets()


def test_a_malformed_header_is_answered_401_and_not_told(services: Services, server: Server, file: Path) -> None:
    """Neither to the client nor to the log."""
    secret = secret_of("shop")
    values = [f"Basic {secret}", f"Bearer {secret} {secret}", f"Bearer {secret}\xff", secret, "Bearer", ""]
    producer = start(services, server, file, row("shop"))
    with connected(producer.port) as client:
        for value, way in product(values, WAYS * 2):
            data = request(way, headers={"Authorization": "VALUE"}).replace(b"VALUE", value.encode("latin-1"))
            response = client.ask(data)
            assert response.status == 401, value
            assert b"evt_" not in response.body
        twice = request("fast", "shop", headers={"Authorization": f"Bearer {secret}"})
        assert client.ask(twice).problem["description"] == "Expected one Authorization header, got 2"
    assert producer.count() == 0
    producer.check_secrets()


@pytest.mark.parametrize("way", WAYS)
def test_a_token_writes_to_its_streams_alone(way: str, services: Services, server: Server, file: Path) -> None:
    """A stream that there is not is 404 for everybody with a token, and 404 tells nothing more than that."""
    content = row("all") + row("first", streams=[STREAM]) + row("other", streams=[OTHER])
    producer = start(services, server, file, content)
    with connected(producer.port) as client:
        for _ in range(3):
            answers = {
                (name, stream): client.ask(request(way, name, stream=stream))
                for name in ("all", "first", "other")
                for stream in (STREAM, OTHER)
            }
            statuses = {asked: answer.status for asked, answer in answers.items()}
            assert statuses == {
                ("all", STREAM): 200,
                ("all", OTHER): 200,
                ("first", STREAM): 200,
                ("first", OTHER): 403,
                ("other", STREAM): 403,
                ("other", OTHER): 200,
            }
            assert answers["first", OTHER].problem == {
                "status": 403,
                "title": "Forbidden",
                "description": "The token 'first' may not write to the stream 'Orders'",
            }
        assert client.ask(request(way, "all", stream="Nowhere")).status == 404
    assert (producer.count(STREAM), producer.count(OTHER)) == (6, 6)
    assert producer.figure("eventsvc_requests_rejected_total", 'reason="forbidden"') == 6


def test_what_stores_nothing_needs_no_token(services: Services, server: Server, file: Path) -> None:
    """Probes know no tokens."""
    producer = start(services, server, file, "")
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json"):
        assert get(producer.port, path)[0] == 200
    with connected(producer.port) as client:
        assert client.ask(request("fast", "shop")).status == 401


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("path", ["/event", "/events", "/streams/Orders/event"])
@pytest.mark.parametrize("more", ["", "Expect: 100-continue\r\n"], ids=["now", "expect"])
def test_a_large_body_is_refused_at_its_head(
    path: str, chunked: bool, more: str, services: Services, server: Server, file: Path
) -> None:
    """The body of a client without a token is not waited for, and takes no memory."""
    producer = start(services, server, file, row("shop"))
    body = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000000"
    with connected(producer.port) as client:
        response = client.ask(f"POST {path} HTTP/1.1\r\nHost: a\r\n{more}{body}\r\n\r\n".encode())
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert producer.count() == producer.count(OTHER) == 0


def test_a_client_without_a_token_does_not_wait_for_room(services: Services, server: Server, file: Path) -> None:
    """While the queue is full, others wait in line for it; this one would take a place."""
    flags = (
        "--queue-max-events=1",
        "--batch-max-events=1",
        "--redis-write-timeout=20",
        "--rest-server-write-timeout=25",
    )
    producer = start(services, server, file, row("shop"), *flags)
    server.send(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor() as threads, connected(producer.port) as client:
            posts = [threads.submit(post_once, producer.port, "shop") for _ in range(4)]
            wait_until(lambda: producer.figure("eventsvc_queue_events") >= 1)
            for way in WAYS:
                assert client.ask(request(way, "no")).status == 401
            assert not any(post.done() for post in posts), "the queue was not full any more"
            server.send(signal.SIGCONT)
            assert [post.result() for post in posts] == [200] * 4
    finally:
        server.send(signal.SIGCONT)


def post_once(port: int, name: str) -> int:
    with connected(port) as client:
        return client.ask(request("fast", name)).status


# How much


@pytest.mark.parametrize("way", WAYS)
def test_a_token_past_its_rate_is_answered_429(way: str, services: Services, server: Server, file: Path) -> None:
    """Its burst is let in; then nothing is stored, and others are not concerned."""
    producer = start(services, server, file, row("slow", rate=0.001, burst=2) + row("fast"))
    with connected(producer.port) as client:
        assert [client.ask(request(way, "slow")).status for _ in range(4)] == [200, 200, 429, 429]
        response = client.ask(request(way, "slow"))
        assert 1 <= int(response.headers["Retry-After"]) <= 1000
        assert response.problem == {
            "status": 429,
            "title": "Too Many Requests",
            "description": "The token 'slow' is past its rate",
            "stored": "no",
        }
        assert client.ask(request(way, "fast")).status == 200
    assert producer.count() == 3
    assert producer.figure("eventsvc_requests_rejected_total", 'reason="rate"') == 3


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (EVENT, {"Idempotency-Key": "k"}),
        (CLOUD_EVENT, {"Content-Type": "application/cloudevents+json"}),
        (EVENT, {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t"}),
    ],
    ids=["key", "structured", "binary"],
)
@pytest.mark.parametrize("way", ["fast", "chunked"])
def test_a_request_that_may_be_stored_already_is_unknown(
    way: str, body: bytes, headers: Mapping[str, str], services: Services, server: Server, file: Path
) -> None:
    """It may be the repetition of one that was."""
    producer = start(services, server, file, row("slow", rate=0.001))
    with connected(producer.port) as client:
        assert client.ask(request(way, "slow", body, headers)).status == 200
        for _ in range(3):
            response = client.ask(request(way, "slow", body, headers))
            assert (response.status, response.problem["stored"]) == (429, "unknown")
    assert producer.count() == 1


def test_a_batch_is_paid_for_event_by_event(services: Services, server: Server, file: Path) -> None:
    """It may be larger than the burst; what comes after it waits for all of it."""
    producer = start(services, server, file, row("slow", rate=0.1))
    with connected(producer.port) as client:
        assert client.ask(request("batch", "slow", b"\n".join([EVENT] * 100))).status == 200
        response = client.ask(request("fast", "slow"))
    assert response.status == 429
    assert 900 < int(response.headers["Retry-After"]) <= 1000
    assert producer.count() == 100


def test_a_reload_fills_no_bucket(services: Services, server: Server, file: Path) -> None:
    """Nor does a change of the name."""
    producer = start(services, server, file, row("slow", rate=0.001))
    with connected(producer.port) as client:
        assert client.ask(request("fast", "slow")).status == 200
        for content in (row("more") + row("slow", rate=0.001), row("slow", rate=0.001).replace("slow", "renamed")):
            producer.use(content)
            for way in WAYS:
                assert client.ask(request(way, "slow")).status == 429
    assert producer.count() == 1


# Changes


def test_a_token_expires_while_it_is_used(services: Services, server: Server, file: Path) -> None:
    """On a connection that stays open, with a head that is remembered; and never comes back."""
    expires = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    producer = start(services, server, file, row("short", expires=expires) + row("long"))
    accepted = 0
    with connected(producer.port) as client:

        def is_over() -> bool:
            nonlocal accepted
            response = client.ask(request("fast", "short"))
            accepted += response.status == 200
            return response.status == 401

        wait_until(is_over)
        for way in WAYS:
            response = client.ask(request(way, "short"))
            assert response.problem["description"] == "The token 'short' has expired"
            assert client.ask(request(way, "long")).status == 200
    assert producer.count() == accepted + 3


@attrs.define
class Load:
    """Posts a hundred times a second with one token until it is told to stop, and records each change of the answer."""

    port: int
    name: str
    way: str
    stop: Event
    statuses: list[int] = attrs.field(factory=list)
    accepted: int = 0

    def run(self) -> Load:
        with connected(self.port) as client:
            while not self.stop.wait(0.01):
                status = client.ask(request(self.way, self.name)).status
                self.accepted += status == 200
                if self.statuses[-1:] != [status]:
                    self.statuses.append(status)
        return self


def test_tokens_rotate_under_load_without_one_wrong_answer(services: Services, server: Server, file: Path) -> None:
    """
    One token stays, one comes and one goes, each on all paths; meanwhile the
    file is broken, gone, and half written.
    """
    old, new, stays = row("old"), row("new"), row("stays")
    producer = start(services, server, file, stays + old)
    stop = Event()
    loads = [Load(producer.port, name, way, stop) for name in ("stays", "old", "new", "never") for way in WAYS]

    def have_all(name: str, status: int) -> bool:
        """Whether all with a token got such an answer; fail if one has failed."""
        for each in runs:
            if each.done():
                each.result()
        return all(status in load.statuses for load in loads if load.name == name)

    with ThreadPoolExecutor(len(loads)) as threads:
        try:
            runs = [threads.submit(load.run) for load in loads]
            wait_until(lambda: all(load.statuses for load in loads))
            for damage in ("no TOML", "[[token]]", stays + old + "[[token]]\nname = 'half"):
                failures = producer.figure("eventsvc_tokens_reload_failures_total")
                producer.put(damage)
                wait_until(
                    lambda failures=failures: (  # type: ignore[misc]
                        producer.figure("eventsvc_tokens_reload_failures_total") > failures
                    )
                )
                assert producer.figure("eventsvc_tokens_stale") == 1
                producer.use(stays + old)
                assert producer.figure("eventsvc_tokens_stale") == 0
            producer.use(stays + old + new)
            wait_until(lambda: have_all("new", 200))
            file.unlink()
            wait_until(lambda: producer.figure("eventsvc_tokens_stale") == 1)
            producer.use(new + stays)
            wait_until(lambda: have_all("old", 401))
        finally:
            stop.set()
        for each in runs:
            each.result()
    expected = {"stays": [200], "old": [200, 401], "new": [401, 200], "never": [401]}
    assert {(load.name, load.way): load.statuses for load in loads} == {
        (load.name, load.way): expected[load.name] for load in loads
    }
    assert producer.count() == sum(load.accepted for load in loads)
    alarms = [line for line in producer.service.lines() if line.get("alarm") == "tokens_stale"]
    assert [line["level"] for line in alarms] == ["error"] * 4
    producer.check_secrets()


def test_a_broken_file_at_the_start_is_exit_2(services: Services, server: Server, file: Path) -> None:
    """The message names the variable, the file, the row, the member and what was expected."""
    file.write_text(row("a") + row("b", rate=0))
    service = services.start(
        "eventsvc", "producer", f"--redis-port={server.port}", environment={"REST_SERVER_TOKENS": str(file)}
    )
    assert service.process.wait(30) == 2
    assert service.err() == (
        f"eventsvc: REST_SERVER_TOKENS={str(file)!r}: row 2 ('b'): rate: expected events per second "
        "from 0.001 to 1000000\n"
    )


def test_an_empty_setting_is_off(services: Services, server: Server) -> None:
    """Then everybody may post, with or without a token."""
    service = services.start(
        "eventsvc",
        "producer",
        "--rest-server-port=0",
        f"--redis-port={server.port}",
        environment={"REST_SERVER_TOKENS": ""},
    )
    port = service.port()
    wait_until(lambda: service.says("connected to Redis"))
    with connected(port) as client:
        for way in WAYS:
            assert client.ask(request(way)).status == 200
            assert client.ask(request(way, "any")).status == 200
    assert "eventsvc_tokens" not in get(port, "/metrics")[1]
    lines: list[Any] = service.lines()
    assert "evt_" not in json.dumps(lines)
