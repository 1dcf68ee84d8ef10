"""
Tests for L{eventsvc.web.routing}: which paths reach Klein.
"""

from __future__ import annotations

import pytest

from eventsvc.web.api import Api
from eventsvc.web.routing import make_app, may_be_route


@pytest.mark.parametrize(
    ("path", "may"),
    [
        (b"/event", True),
        (b"/event%73", True),
        (b"/%C3%B6", True),
        (b"event", False),
        (b"*", False),
        (b"//event", False),
        (b"/%2Fevent", False),
        (b"/%FF", False),
        (b"/\xff", False),
        (b"%2Fevent", False),
    ],
)
def test_klein_sees_only_paths_that_it_takes_for_what_they_are(path: bytes, may: bool) -> None:
    """All others are answered 404 before Klein could redirect or fail."""
    assert may_be_route(path) is may


def test_apps_have_routes_of_their_own() -> None:
    """The common parts add no route; the producer has the health routes as well."""
    assert list(make_app().url_map.iter_rules()) == []
    assert {"/event", "/events", "/health/live"} <= {rule.rule for rule in Api.app.url_map.iter_rules()}
