"""
The routes of the producer: each parses a request, calls the appender and renders its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from io import BytesIO
from typing import Any, Final

import attrs
from twisted.web.http import Request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter

from eventsvc.interfaces import QueueFull
from eventsvc.web.answers import Answer, all_stored, render, stored
from eventsvc.web.arrivals import Arrivals
from eventsvc.web.health import Health, serve_health
from eventsvc.web.post_head import PostHead, PostReader
from eventsvc.web.routing import make_app

_OPENAPI: Final = files("eventsvc.web").joinpath("openapi.json").read_bytes()


class StreamName(BaseConverter):
    """The name of a stream in a path; unlike werkzeug's paths it may begin with a slash."""

    regex = "(?s:.+)"
    part_isolating = False


@attrs.define(eq=False, slots=False)
class Api:
    """The HTTP interface of the producer."""

    app = make_app()
    app.url_map.converters["stream"] = StreamName
    serve_health(app)
    posts: PostReader
    health: Health

    @property
    def arrivals(self) -> Arrivals:
        """The bound on the bodies of requests for no stream."""
        return self.posts.destinations.first.arrivals

    @app.route("/event", methods=["POST"])
    @app.route("/streams/<stream:stream>/event")
    async def post_event(self, request: Request, stream: str = "") -> bytes:
        ids = await self._append(request)
        return render(request, stored(ids[0]))

    @app.route("/events", methods=["POST"])
    @app.route("/streams/<stream:stream>/events")
    async def post_events(self, request: Request, stream: str = "") -> bytes:
        ids = await self._append(request)
        return render(request, all_stored(ids))

    async def _append(self, request: Any) -> Sequence[int]:
        """Append the events of a request, once the queue has room for them."""
        head: PostHead | None = request.post_head
        if head is None and self.posts.destinations.find(request.path) is None:
            raise NotFound  # for every method
        body = read_body(request)
        assert head is not None  # it is a POST
        if head.error is not None:
            head.admit()  # raises it, and takes no place in the line
        turns = head.route.destination.turns
        full: QueueFull | None = None
        is_over = False
        while True:
            if full is not None or not turns.is_open:
                is_over = await request.wait_for_turn(turns, len(body), full)
            if is_over:
                raise head.give_up(body)
            try:
                stored = head.begin(body, request.waiting_since)
            except QueueFull as error:
                full = error.with_traceback(None)  # its frames would keep the events in memory
            else:
                break
        del body  # the body is freed while its events wait
        request.leave_arrivals()
        return await stored

    @app.route("/openapi.json", methods=["GET"])
    def get_openapi(self, request: Request) -> bytes:
        return render(request, Answer(200, ((b"Content-Type", b"application/json"),), _OPENAPI))


def read_body(request: Any) -> bytes:
    """
    Return the body of a POST, and remove it from the request.

    @raise MethodNotAllowed: the method is not exactly C{POST}; Klein's routes ignore its case.
    """
    if request.method != b"POST":
        raise MethodNotAllowed(["POST"])
    content, request.content = request.content, BytesIO()
    body: bytes = content.getvalue()
    return body
