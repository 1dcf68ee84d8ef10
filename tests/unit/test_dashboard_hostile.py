"""
Tests for the dashboard on requests and records that nobody sensible makes.
"""

from __future__ import annotations

import pytest

from eventsvc.web.pages.routes import Pages
from tests.support.dashboard_world import dashboard


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_a_dashboard_answers_probes(path: str) -> None:
    with dashboard() as world:
        assert world.get(path).status == 200


def test_no_route_takes_the_place_of_another() -> None:
    """Klein keeps one function for each name."""
    endpoints = [rule.endpoint for rule in Pages.app.url_map.iter_rules()]
    assert len(set(endpoints)) == len(endpoints)
