"""
A receiver of webhooks that takes them, or does something else for a while.

C{python -m chaos.receiver PORT} writes a line for each webhook to standard
output, as a consumer does for each event: it is the record of what was handled.
The body of C{PUT /} says what it does with webhooks from then on.
"""

from __future__ import annotations

import hmac
import os
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any, Final

import msgspec

from chaos import FAILED
from eventsvc.event import format_timestamp
from eventsvc.json_text import NOTHING, escape_breaks, in_one_line

KEY: Final = b"thirty-two bytes that are secret"
#: The key as a setting.
SECRET: Final = f"whsec_{b64encode(KEY).decode()}"
TAKE: Final = "take"


class Receiver(BaseHTTPRequestHandler):
    """
    Answers webhooks.

    @cvar way: what it does with them.
    @cvar changed: set at the next change of that.
    """

    protocol_version = "HTTP/1.1"
    way = TAKE
    changed = Event()

    def do_PUT(self) -> None:
        """Change what is done with webhooks."""
        Receiver.way = self._read().decode()
        changed, Receiver.changed = Receiver.changed, Event()
        changed.set()
        self._answer(HTTPStatus.NO_CONTENT)

    def do_GET(self) -> None:
        """Answer one who follows a redirect."""
        self._answer(HTTPStatus.OK)

    def do_POST(self) -> None:
        """Receive a webhook."""
        way, changed = self.way, self.changed
        body = self._read()
        id = int(self.headers["webhook-id"])
        if not self._is_signed(body):
            self._record(id, "not signed")
            self._answer(HTTPStatus.UNAUTHORIZED)
        elif way == TAKE:
            self._record(id, body=body)
            self._answer(HTTPStatus.OK)
        else:
            self._record(id, way)
            _WAYS[way](self, changed)

    def fail(self, changed: Event) -> None:
        self._answer(HTTPStatus.INTERNAL_SERVER_ERROR)

    def postpone(self, changed: Event) -> None:
        self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"})

    def redirect(self, changed: Event) -> None:
        self._answer(HTTPStatus.FOUND, {"Location": "/elsewhere"})

    def close(self, changed: Event) -> None:
        self.close_connection = True

    def cut(self, changed: Event) -> None:
        """Answer 200, and close the connection in the middle of the body."""
        self._answer(HTTPStatus.OK, {"Content-Length": "100"})
        self.close_connection = True

    def hang(self, changed: Event) -> None:
        changed.wait()
        self.close_connection = True

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _is_signed(self, body: bytes) -> bool:
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        signature = b64encode(hmac.digest(KEY, signed, "sha256")).decode()
        return self.headers["webhook-signature"] == f"v1,{signature}"

    def _answer(self, status: HTTPStatus, headers: Mapping[str, str] = {"Content-Length": "0"}) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _record(self, id: int, problem: str = "", body: bytes = b"{}") -> None:
        """Write the line of an event, before anybody can see the answer."""
        line: dict[str, Any] = {"time": format_timestamp(time.time_ns()), "level": "info", "id": id, "message": "event"}
        is_cloudevent = self.headers["content-type"] == "application/cloudevents+json"
        _write({**line, **({"message": FAILED, "error": problem} if problem else _carried(body, is_cloudevent))})

    def log_message(self, *_: object) -> None:
        pass


_WAYS: Final[Mapping[str, Callable[[Receiver, Event], None]]] = {
    "fail": Receiver.fail,
    "postpone": Receiver.postpone,
    "redirect": Receiver.redirect,
    "close": Receiver.close,
    "cut": Receiver.cut,
    "hang": Receiver.hang,
}


class _Body(msgspec.Struct):
    """What a webhook says of its event besides the description; a CloudEvent has its key in C{partitionkey}."""

    type: str | None = None
    key: str | None = None
    partitionkey: str | None = None
    data: msgspec.Raw = NOTHING


def _carried(body: bytes, is_cloudevent: bool) -> Mapping[str, Any]:
    """Return the members of the line that a consumer would write."""
    read = msgspec.json.decode(body, type=_Body)
    members: dict[str, Any] = {"type": read.type, "key": read.partitionkey if is_cloudevent else read.key}
    name, text = ("cloudevent", msgspec.Raw(body)) if is_cloudevent else ("data", read.data)
    return members | ({name: in_one_line(text)} if bytes(text) else {})


def _write(line: Mapping[str, Any]) -> None:
    os.write(sys.stdout.fileno(), escape_breaks(msgspec.json.encode(line)) + b"\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100


def main(port: str) -> None:
    """Receive webhooks until the end of the process."""
    with Server(("127.0.0.1", int(port)), Receiver) as server:
        _write({"time": format_timestamp(time.time_ns()), "level": "info", "message": "listening"})
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
