"""
Keywords for what clients, the stream and the consumer's log are promised.
"""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPSConnection
from os import environ
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import attrs
from local import Local
from robot.api import logger
from robot.api.deco import keyword, library

from chaos.plan import Plan
from chaos.suites import TWISTD, wait_until
from cluster.access import InPod, Outside
from cluster.commands import Namespace
from cluster.release import Release
from eventsvc.event import EVENT_FIELD

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
#: Seconds that an answer, and a consumer, may take.
_PATIENCE: Final = 20.0


@attrs.frozen
class Answer:
    """What a client was told."""

    status: int
    headers: dict[str, str]
    body: str


class Access(Protocol):
    """
    A way to a system.

    @ivar token: what a client posts with; empty for none.
    @ivar authority: PEM file of the CA certificates to trust; empty for the system's.
    """

    url: str
    token: str
    authority: str

    def start(self) -> None: ...
    def end(self) -> None: ...
    def redis(self) -> Any: ...
    def consumer_log(self) -> str: ...


@library(scope="SUITE")
class gateway:
    """
    A system, and the last answer it gave.

    @ivar target: C{local} or C{cluster}; there, from a pod or from outside.
    @ivar path: what stands before the paths of events, for a stream of the suite's own.
    """

    def __init__(self, target: str, namespace: str, prefix: str, stream: str, group: str, own: str) -> None:
        self.stream, self.group = stream, group
        self.path = f"/streams/{own}" if own else ""
        self.access: Access
        if target != "cluster":
            self.access = Local(Plan(proxied=False, tokens=False))
        elif "KUBERNETES_SERVICE_HOST" in environ:
            self.access = InPod(prefix)
        else:
            self.access = Outside(Release(Namespace(namespace), prefix))
        self.answer = Answer(0, {}, "")
        self.event, self.since = "", "-"
        self.threads = ThreadPoolExecutor(32)
        self.waiting: list[Future[Answer]] = []

    @keyword
    def reach_the_system(self) -> None:
        """Start it on this machine, or find a way to it in the cluster."""
        self.access.start()

    @keyword
    def start_a_system(self, **settings: str) -> None:
        """One of its own on this machine, with these settings."""
        self.access = Local(Plan(proxied=False, tokens=False, settings=settings))
        self.access.start()

    @keyword
    def leave_the_system(self) -> None:
        """Leave nothing behind."""
        self.access.end()
        self.threads.shutdown(cancel_futures=True)

    @keyword
    def new_description(self) -> str:
        """Words that no other event has; what is in the stream already does not count from now on."""
        self.waiting.clear()
        with self.access.redis() as client:
            self.since = f"({client.xinfo_stream(self.stream)['last-generated-id'].decode()}"
        self.event = f"robot {uuid4()}"
        return self.event

    # HTTP

    @keyword
    def post(self, body: str, path: str = "/event", key: str = "", method: str = "POST") -> None:
        """Send a request, and keep its answer."""
        self.answer = self._ask(body, path, key, method)
        logger.info(f"{method} {path} {body[:500]}\n{self.answer.status} {self.answer.headers}\n{self.answer.body}")

    @keyword
    def post_and_go_on(self, body: str, key: str = "") -> None:
        """Send a request, and do not wait for its answer."""
        self.waiting.append(self.threads.submit(self._ask, body, "/event", key, "POST"))

    @keyword
    def quickest_answer(self) -> None:
        """Wait for the first answer to those requests that are still without."""
        answered = next(as_completed(self.waiting, _PATIENCE))
        self.waiting.remove(answered)
        self.answer = answered.result()

    @keyword
    def answer_that_says(self, words: str) -> None:
        """Wait for one that has these words, among the answers to the requests that are still without."""
        answers = [each.result(_PATIENCE) for each in self.waiting]
        self.waiting.clear()
        found = [answer for answer in answers if words in answer.body]
        assert found, f"no answer says {words!r}: {answers}"
        self.answer = found[0]

    def _ask(self, body: str, path: str, key: str, method: str) -> Answer:
        headers = {"Idempotency-Key": f'"{key}"'} if key else {}
        if self.access.token:
            headers["Authorization"] = f"Bearer {self.access.token}"
        if path in ("/event", "/events"):
            path = self.path + path
        with closing(self._connect()) as connection:
            # A body that is too large is answered before it is read.
            with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                connection.request(method, path, body.encode(), headers)
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read().decode())

    def _connect(self) -> HTTPConnection:
        at = urlsplit(self.access.url)
        host = at.hostname or ""
        if at.scheme == "http":
            return HTTPConnection(host, at.port, timeout=_PATIENCE)
        context = ssl.create_default_context(cafile=self.access.authority or None)
        return HTTPSConnection(host, at.port, timeout=_PATIENCE, context=context)

    @keyword
    def answer_is_ok(self) -> str:
        """200, an empty body, and an id, which is given."""
        assert (self.answer.status, self.answer.body) == (200, ""), self.answer
        return self.answer.headers["Event-Id"]

    @keyword
    def all_are_accepted(self, number: int) -> list[str]:
        """200, and as many ids, which are given."""
        assert self.answer.status == 200, self.answer
        told: dict[str, Any] = json.loads(self.answer.body)
        assert told == {"accepted": number, "ids": told["ids"]}, told
        assert len(set(told["ids"])) == number, told
        ids: list[str] = told["ids"]
        return ids

    @keyword
    def answer_is(self, status: int, title: str, description: str = "", stored: str = "") -> None:
        """An error, in JSON; the description has these words."""
        assert self.answer.status == status, self.answer
        told = json.loads(self.answer.body)
        wanted = {"status": status, "title": title, "description": told["description"]}
        assert told == {**wanted, **({"stored": stored} if stored else {})}, f"{told} is not {wanted}"
        assert description in told["description"], told["description"]

    @keyword
    def answer_has_header(self, name: str, value: str = "") -> None:
        """A header is there, with this value if one is given."""
        got = self.answer.headers.get(name)
        assert got is not None, f"there is no header {name}: {self.answer.headers}"
        assert value in ("", got), f"{name} is {got}"

    # The stream

    @keyword
    def tell_redis(self, *command: str) -> Any:
        """What a client of another make gets as the answer to a command."""
        with self.access.redis() as client:
            return client.execute_command(*command)

    @keyword
    def stream_has(self, number: int, description: str) -> None:
        """So many entries have this description."""
        found = self._find(description)
        assert len(found) == number, found

    @keyword
    def notification_follows_the_schema(self, id: str, description: str) -> None:
        """One entry, one field, three members."""
        ((_, fields),) = self._find(description)
        assert fields.keys() == {EVENT_FIELD}, fields
        told = json.loads(fields[EVENT_FIELD])
        assert told.keys() == {"id", "description", "timestamp"}, told
        assert type(told["id"]) is int, told
        assert 0 <= told["id"] < 2**63, told
        assert str(told["id"]) == id, told
        assert _TIMESTAMP.fullmatch(told["timestamp"]), told

    def _find(self, description: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """The entries of ours that have this description."""
        with self.access.redis() as client:
            return self._ours(client.xrange(self.stream, self.since), description)

    def _ours(self, entries: Any, description: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Others may write what they like meanwhile."""
        ours = [(id, fields) for id, fields in entries if self.event.encode() in fields.get(EVENT_FIELD, b"")]
        return [(id, fields) for id, fields in ours if json.loads(fields[EVENT_FIELD])["description"] == description]

    @keyword
    def foreign_consumer_reads(self, group: str, description: str) -> None:
        """A consumer of another make gets the event from a group of its own, and acknowledges it."""
        with self.access.redis() as client:

            def read() -> bytes | None:
                for _, entries in client.xreadgroup(group, "foreign", {self.stream: ">"}, 1_000, 1_000):
                    for id, _ in self._ours(entries, description):
                        return id
                return None

            entry = wait_until(read, "the group is given the event", _PATIENCE)
            assert client.xack(self.stream, group, entry) == 1

    # The consumer

    @keyword
    def a_consumer_of_the_group_asks(self) -> None:
        """One of the consumers of the release has lately asked for events."""
        stream = environ.get("REDIS_STREAM", self.stream)

        def asks() -> bool:
            with self.access.redis() as client:
                idle = [each["idle"] for each in client.xinfo_consumers(stream, self.group)]
            return any(milliseconds < _PATIENCE * 1000 for milliseconds in idle)

        wait_until(asks, "a consumer asks", _PATIENCE)

    @keyword
    def consumer_logs(self, description: str) -> None:
        """The consumer handles the event: it logs it as one line of JSON."""
        line = wait_until(lambda: self._logged(description), f"the consumer logs {description}", _PATIENCE)
        assert line["level"] == "info", line
        assert {"time", "from", "id", "timestamp"} <= line.keys(), line
        logger.info(json.dumps(line))

    def _logged(self, description: str) -> dict[str, Any]:
        for text in self.access.consumer_log().split("\n"):
            if '"message":"event"' in text and description in text and text.endswith("}"):
                line: dict[str, Any] = json.loads(text)
                if line["description"] == description:
                    return line
        return {}

    @keyword
    def is_acknowledged(self, description: str) -> None:
        """The group was given the event, and has acknowledged it."""
        ((id, _),) = self._find(description)
        with self.access.redis() as client:
            wait_until(
                lambda: not client.xpending_range(self.stream, self.group, id, id, 1), "it is acknowledged", _PATIENCE
            )

    # Settings

    @keyword
    def setting_is_refused(self, role: str, name: str, value: str, expected: str) -> None:
        """A service that is started with it ends at once with 2, and names it."""
        done = subprocess.run(
            [*TWISTD, "-n", "eventsvc", role],
            env={**environ, name: value},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        said = done.stdout + done.stderr
        logger.info(said)
        assert done.returncode == 2, f"it ended with {done.returncode}"
        words = f"{name}={value!r}: expected {expected}"
        assert words in said, f"it did not say {words!r}"

    # What may happen to Redis on this machine

    @keyword
    def signal_redis(self, name: str) -> None:
        """Send a signal to the server of this machine."""
        assert isinstance(self.access, Local), "a signal reaches a process of this machine alone"
        self.access.deployment.processes["redis"].send(signal.Signals[name])

    @keyword
    def producer_is_ready(self) -> None:
        """It answers 200 again."""
        wait_until(self._is_ready, "the producer is ready", _PATIENCE)

    def _is_ready(self) -> bool:
        return self._ask("", "/health/ready", "", "GET").status == 200
