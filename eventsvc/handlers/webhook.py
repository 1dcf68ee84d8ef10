"""
The handler C{webhook}: posts each event to a URL, signed as Standard Webhooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import attrs
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.reflect import safe_str
from twisted.web.http_headers import Headers

from eventsvc import __version__
from eventsvc.event import Notification
from eventsvc.handlers.webhook_answer import GONE, Answer, WebhookFailed, judge
from eventsvc.handlers.webhook_connections import KEPT_BYTES, Body, Connections, KeptConnectionLost, make_http
from eventsvc.handlers.webhook_message import Message, compose, make_headers
from eventsvc.net.public_endpoint import PrivateAddress
from eventsvc.settings.webhook import WebhookSettings
from eventsvc.text import shorten

#: Characters of an answer, or of an error, in an error text.
_MOST_TEXT: Final = 300


@attrs.define(eq=False)
class Webhook:
    """
    Posts events to one URL.

    Raises what L{judge} returns on the answer, and L{WebhookFailed} if there is
    none.

    @ivar http: has a pool of C{connections}.
    @ivar keys: the keys to sign with; none to sign nothing.
    @ivar timeout: seconds for the whole of an event, its answer included.
    @ivar wall_clock: nanoseconds since the epoch.
    @ivar gone: whether the receiver's last answer was that it wants no more.
    """

    http: HTTPClient = attrs.field(repr=False)
    connections: Connections
    url: str = attrs.field(repr=False)
    keys: Sequence[bytes] = attrs.field(repr=False)
    timeout: float
    clock: IReactorTime
    wall_clock: Callable[[], int]
    gone: bool = attrs.field(default=False, init=False)
    receiver: str = attrs.field(init=False)
    _host: str = attrs.field(init=False)
    _target: str = attrs.field(init=False, repr=False)
    _hidden: Sequence[str] = attrs.field(init=False, repr=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        parts = urlsplit(self.url)
        self.receiver = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc.removesuffix({"http": ":80", "https": ":443"}[parts.scheme])
        # treq refuses an IPv6 address for a host.  Where to connect to and the header are ours anyway.
        self._target = urlunsplit((parts.scheme, "receiver.invalid", parts.path, parts.query, ""))
        secrets = {parts.query, *parts.query.split("&"), *[value for _, value in parse_qsl(parts.query)]}
        self._hidden = sorted([each for each in secrets if len(each) > 3], key=len, reverse=True)

    def start(self) -> None:
        """Log where events go."""
        if self.keys:
            self._log.info(
                "posting events to {to}; secrets that sign them: {count}", to=self.receiver, count=len(self.keys)
            )
        else:
            self._log.warn("posting events to {to} unsigned: WEBHOOK_SECRET is none", to=self.receiver)

    def stop(self) -> None:
        """Close the connections."""
        self.connections.close()

    async def handle(self, notification: Notification) -> None:
        """Post an event."""
        posting = Deferred.fromCoroutine(self._exchange(compose(notification)))
        posting.addTimeout(self.timeout, self.clock, self._too_late)
        try:
            answer = await posting
        except (CancelledError, WebhookFailed):
            raise
        except Exception as error:
            raise WebhookFailed(f"no answer from {self.receiver}: {_describe(error)}") from None
        self._note_gone(answer.status == GONE)
        failure = judge(answer, self.receiver, self.wall_clock() / 1e9)
        if failure is not None:
            raise failure

    async def _exchange(self, message: Message) -> Answer:
        try:
            response = await self._post(message)
        except KeptConnectionLost:
            self.connections.close()  # their other ends may be closed too
            response = await self._post(message)
        body = Body()
        response.deliverBody(body)
        await body.done
        headers = {name: response.headers.getRawHeaders(name, [b""])[0] for name in (b"Location", b"Retry-After")}
        return Answer(
            response.code,
            self._quote(body.beginning),
            location=self._quote(headers[b"Location"]),
            retry_after=headers[b"Retry-After"].decode("latin-1"),
        )

    def _post(self, message: Message) -> Deferred[Any]:
        headers = Headers({"Host": [self._host], "User-Agent": [f"eventsvc/{__version__}"]})
        for name, value in make_headers(message, self.wall_clock() // 1_000_000_000, self.keys).items():
            headers.addRawHeader(name, value)
        posted: Deferred[Any] = self.http.post(
            self._target, data=message.body, headers=headers, allow_redirects=False, unbuffered=True
        )
        return posted

    def _too_late(self, result: object, seconds: float) -> None:
        raise WebhookFailed(f"no whole answer from {self.receiver} within {seconds:g} s")

    def _quote(self, part: bytes) -> str:
        """Return a part of an answer as a line that tells nothing of the URL's query."""
        text = part.decode("utf-8", "replace")
        for each in self._hidden:
            text = text.replace(each, "(hidden)")
        if self._hidden and len(part) == KEPT_BYTES:
            text = text[: -len(self._hidden[0])]  # it may end within one
        line = " ".join("".join([each if each.isprintable() else " " for each in text]).split())
        return line if len(line) <= _MOST_TEXT else f"{line[:_MOST_TEXT]} [...]"

    def _note_gone(self, gone: bool) -> None:
        """Alarm once for each time that the receiver goes."""
        if gone and not self.gone:
            self._log.error(
                "{to} answered 410: it wants no more webhooks. Events are kept, and posted again every minute",
                to=self.receiver,
                details={"alarm": "webhook_gone"},
            )
        self.gone = gone


def _describe(error: Any) -> str:
    """Say why there is no answer: Twisted wraps the cause."""
    for reason in getattr(error, "reasons", [])[:1]:
        return _describe(reason.value)
    if isinstance(error, PrivateAddress):
        return f"{error}; WEBHOOK_ALLOW_PRIVATE=on allows it"
    return shorten(f"{type(error).__name__}: {safe_str(error)}", _MOST_TEXT)


def make_webhook(reactor: Any, settings: WebhookSettings, wall_clock: Callable[[], int]) -> Webhook:
    """
    Return the handler for these settings.

    @raise InvalidSettings: see L{WebhookSettings.check}.
    """
    settings.check()
    connections = Connections(reactor, settings.timeout)
    http = make_http(reactor, connections, settings.url, settings.allow_private)
    return Webhook(http, connections, settings.url, settings.secret or (), settings.timeout, reactor, wall_clock)
