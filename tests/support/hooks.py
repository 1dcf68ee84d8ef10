"""
A receiver of webhooks that verifies them with the receivers' own library.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any, Final

import attrs
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.threads import serving_in_thread

SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@attrs.frozen
class Hook:
    """
    A webhook that came, and was verified.

    @ivar at: seconds on the monotonic clock.
    """

    path: str
    id: str
    headers: Mapping[str, str]
    body: Any
    at: float = attrs.field(factory=time.monotonic)


#: What to do about a webhook: a status, a status with headers, or anything done by hand.
Reaction = int | tuple[int, Mapping[str, str]] | Callable[["_Request"], object]


@attrs.define
class Hooks:
    """
    Receives webhooks.

    @ivar react: what to do about each, given how often it came before.
    @ivar forged: how many could not be verified.
    """

    port: int = 0
    secret: str = SECRET
    react: Callable[[Hook, int], Reaction] = lambda hook, times: 204
    came: list[Hook] = attrs.field(factory=list)
    taken: list[str] = attrs.field(factory=list)
    forged: int = 0
    released: threading.Event = attrs.field(factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=psst-psst"

    @property
    def ids(self) -> list[str]:
        """The ids of what came, in order."""
        return [hook.id for hook in self.came]


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        hooks: Hooks = self.server.hooks
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            verified = Webhook(hooks.secret).verify(body, headers)
        except WebhookVerificationError:
            hooks.forged += 1
            self.reply(401)
            return
        hook = Hook(self.path, headers["webhook-id"], headers, verified)
        before = hooks.ids.count(hook.id)
        hooks.came.append(hook)
        reaction = hooks.react(hook, before)
        if callable(reaction):
            reaction(self)
            return
        status, more = reaction if isinstance(reaction, tuple) else (reaction, {})
        if 200 <= status < 300:
            hooks.taken.append(hook.id)
        self.reply(status, more)

    do_GET = do_POST

    def reply(self, status: int, more: Mapping[str, str] = {}) -> None:
        body = b"" if status == 204 else f"said {status}".encode()
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang(self) -> None:
        """Answer nothing until the test ends."""
        self.server.hooks.released.wait(60.0)
        self.close_connection = True

    def drip(self) -> None:
        """Answer 200 with a body that comes in pieces and never ends."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.hooks.released.wait(0.05):
            self.wfile.write(b".")
        self.close_connection = True

    def hang_up(self) -> None:
        """Close the connection instead of an answer."""
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing: tests say enough."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hooks: Hooks

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Request)
        self.open: set[socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Close the port and all connections."""
        super().server_close()
        for each in list(self.open):
            with suppress(OSError):
                each.shutdown(SHUT_RDWR)


@contextmanager
def receiving_hooks(hooks: Hooks | None = None) -> Iterator[Hooks]:
    """Receive webhooks on loopback, on the same port again if it had one."""
    hooks = hooks or Hooks()
    server = _Server(hooks.port)
    server.hooks = hooks
    hooks.port = server.server_address[1]
    hooks.released.clear()
    with serving_in_thread(server, hooks.released):
        yield hooks
