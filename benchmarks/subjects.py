"""
The services that accept events over HTTP: eventsvc and its peers.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import attrs

from benchmarks.processes import RedisServer, Running, is_listening, start
from chaos.suites import TWISTD, wait_until
from eventsvc.embedded import free_port

STREAM = "NotificationStream"
EVENT = b'{"description": "hello world"}'
_HERE = Path(__file__).parent


@attrs.frozen
class Subject:
    """
    A service to measure.

    @ivar command: returns its command for an HTTP port and the port of Redis.
    @ivar path: path to which an event is posted.
    @ivar body: an event in the form that it expects.
    """

    name: str
    command: Callable[[int, int], Sequence[str]]
    path: str = "/event"
    body: bytes = EVENT


def _flags(http: int, redis: int) -> Sequence[str]:
    """Return the flags of an eventsvc producer."""
    return [
        *("--rest-server-port", f"{http}", "--redis-port", f"{redis}"),
        *("--redis-stream-hard-max", "100000000", "--log-level", "WARNING"),
    ]


def _eventsvc(http: int, redis: int) -> Sequence[str]:
    return [*TWISTD, "-n", "eventsvc", "producer", *_flags(http, redis)]


def _fast_path_off(http: int, redis: int) -> Sequence[str]:
    return [sys.executable, str(_HERE / "peers" / "fast_path_off.py"), *_flags(http, redis)]


def _klein(http: int, redis: int) -> Sequence[str]:
    return [sys.executable, str(_HERE / "peers" / "plain_klein.py"), f"{http}", f"{redis}"]


def _fastapi(http: int, redis: int) -> Sequence[str]:
    return [sys.executable, str(_HERE / "peers" / "fastapi_redis.py"), f"{http}", f"{redis}"]


def _webdis(http: int, redis: int) -> Sequence[str]:
    config = Path(f"/tmp/webdis-{http}.json")
    config.write_text(
        json.dumps(
            {
                "redis_host": "127.0.0.1",
                "redis_port": redis,
                "redis_auth": None,
                "http_host": "127.0.0.1",
                "http_port": http,
                "threads": 1,
                "pool_size": 20,
                "daemonize": False,
                "websockets": False,
                "database": 0,
                "verbosity": 0,
                "logfile": "/dev/null",
                "acl": [{"disabled": []}],
            }
        )
    )
    return [shutil.which("webdis") or "webdis", str(config)]


def durable(level: str) -> Subject:
    """Return eventsvc with a level of C{REDIS_DURABILITY}."""
    return Subject(f"eventsvc, {level}", lambda http, redis: [*_eventsvc(http, redis), "--redis-durability", level])


EVENTSVC = Subject("eventsvc", _eventsvc)
FAST_PATH_OFF = Subject("eventsvc, fast path off", _fast_path_off)
KLEIN = Subject("plain Klein + txredisapi", _klein)
FASTAPI = Subject("FastAPI + uvicorn + redis-py", _fastapi)
WEBDIS = Subject("webdis (C, no checks)", _webdis, "/", b"XADD/" + STREAM.encode() + b"/*/EventStream/hello world")


@attrs.define
class Deployed:
    """A running service with its own Redis."""

    subject: Subject
    port: int
    redis: RedisServer
    service: Running

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.subject.path}"

    def is_ready(self) -> bool:
        """Return whether it says so."""
        with suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/health/ready") as answer:
            return bool(answer.status == 200)
        return False

    def clear(self) -> None:
        """Remove all entries of the stream, but keep the stream."""
        with self.redis.client() as client:
            client.xtrim(STREAM, maxlen=0, approximate=False)

    def end(self) -> None:
        self.service.end()
        self.redis.end()


def deploy(subject: Subject, options: Sequence[str] = ()) -> Deployed:
    """Start a service and its Redis with the given options, and wait until the service listens."""
    redis = RedisServer(options)
    redis.start()
    port = free_port()
    service = start(subject.command(port, redis.port))
    wait_until(lambda: is_listening(port), patience=60.0)
    return Deployed(subject, port, redis, service)
