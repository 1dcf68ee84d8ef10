"""
Serves health, metrics and backlogs over HTTP, for operators.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import attrs
from klein import Klein
from twisted.web.http import Request

from eventsvc.web.answers import Answer, json_answer, not_found, problem, render
from eventsvc.web.backlog import GroupBacklog


@attrs.frozen(eq=False)
class Health:
    """
    The health and metrics of a process.

    @ivar is_live: returns whether it makes progress, whatever the state of Redis.
    @ivar not_ready: returns why it should get no work now; empty if it should.
    @ivar metrics: returns its metrics in the text format of Prometheus.
    @ivar backlog: returns how far the group is behind in a stream, empty for
        that of the role; C{None} if this process does not tell.
    """

    is_live: Callable[[], bool]
    not_ready: Callable[[], str]
    metrics: Callable[[], bytes]
    backlog: Callable[[str], GroupBacklog | None] = lambda _: None

    def live(self) -> Answer:
        if self.is_live():
            return json_answer(HTTPStatus.OK, {"status": "live"})
        return problem(503, "Not live", "The service makes no progress")

    def ready(self) -> Answer:
        why = self.not_ready()
        return problem(503, "Not ready", why) if why else json_answer(HTTPStatus.OK, {"status": "ready"})

    def behind(self, stream: bytes) -> Answer:
        found = self.backlog(stream.decode(errors="replace"))
        return not_found() if found is None else found.answer()

    def figures(self) -> Answer:
        return Answer(HTTPStatus.OK, ((b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8"),), self.metrics())


def serve_health(app: Klein) -> None:
    """Add the routes of health, metrics and backlogs to an app, for the C{health} of its class."""

    @app.route("/health/live", methods=["GET"])
    def get_live(self: Any, request: Request) -> bytes:
        return render(request, self.health.live())

    @app.route("/health/ready", methods=["GET"])
    def get_ready(self: Any, request: Request) -> bytes:
        return render(request, self.health.ready())

    @app.route("/metrics", methods=["GET"])
    def get_metrics(self: Any, request: Request) -> bytes:
        return render(request, self.health.figures())

    @app.route("/backlog", methods=["GET"])
    def get_backlog(self: Any, request: Any) -> bytes:
        return render(request, self.health.behind(request.args.get(b"stream", [b""])[0]))
