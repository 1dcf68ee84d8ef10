"""
Health and figures over HTTP, for those who run the service.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import attrs
from klein import Klein
from twisted.python.failure import Failure
from twisted.web.http import Request

from eventsvc.web.answers import Answer, answer_for, json_answer, problem, render


@attrs.frozen(eq=False)
class Health:
    """
    What a process says of itself.

    @ivar is_live: whether it makes progress; Redis has no part in it.
    @ivar not_ready: why it should get no work at present; empty if it should.
    @ivar metrics: its figures, in the text form of Prometheus.
    """

    is_live: Callable[[], bool]
    not_ready: Callable[[], str]
    metrics: Callable[[], bytes]

    def live(self) -> Answer:
        if self.is_live():
            return json_answer(HTTPStatus.OK, {"status": "live"})
        return problem(503, "Not live", "The service makes no progress")

    def ready(self) -> Answer:
        why = self.not_ready()
        return problem(503, "Not ready", why) if why else json_answer(HTTPStatus.OK, {"status": "ready"})

    def figures(self) -> Answer:
        return Answer(HTTPStatus.OK, ((b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8"),), self.metrics())


def serve_health(app: Klein) -> None:
    """
    Complete the app of a class that has a C{health}: with the routes to it,
    and with the answers to whatever its routes raise.
    """

    @app.route("/health/live", methods=["GET"])
    def get_live(self: Any, request: Request) -> bytes:
        return render(request, self.health.live())

    @app.route("/health/ready", methods=["GET"])
    def get_ready(self: Any, request: Request) -> bytes:
        return render(request, self.health.ready())

    @app.route("/metrics", methods=["GET"])
    def get_metrics(self: Any, request: Request) -> bytes:
        return render(request, self.health.figures())

    @app.handle_errors(Exception)
    def render_error(self: Any, request: Any, failure: Failure) -> bytes:
        """What is not expected goes on to L{Request.processingFailed}."""
        answer = answer_for(failure.value, request.method.decode())
        if answer is None:
            failure.raiseException()
        return render(request, answer)

    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
