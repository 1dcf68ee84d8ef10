"""
The rules for URLs and errors that the routes of every port share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from klein import Klein
from twisted.python.failure import Failure

from eventsvc.web.answers import Answer, answer_for, render

FindAnswer = Callable[[BaseException | None, str], Answer | None]


def make_app(find_answer: FindAnswer = answer_for) -> Klein:
    """
    Return an app without routes.

    A path must match a route exactly: no slash is added, merged or removed, and
    no path is redirected.  C{find_answer} maps the error of a route and the
    method to the answer; an unexpected error goes on to
    L{eventsvc.web.site.BoundedRequest.processingFailed}, which answers 500.
    """
    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False

    @app.handle_errors(Exception)
    def render_error(self: Any, request: Any, failure: Failure) -> bytes:
        answer = find_answer(failure.value, request.method.decode())
        if answer is None:
            failure.raiseException()
        return render(request, answer)

    return app


def may_be_route(path: bytes) -> bool:
    """Return whether Klein can route a path: it confuses some paths with others, and fails if one is not UTF-8."""
    decoded = unquote_to_bytes(path)
    try:
        decoded.decode()
    except UnicodeDecodeError:
        return False
    return path.startswith(b"/") and not decoded.startswith(b"//")
