"""
Tests for the dashboard on requests and records that nobody sensible makes.
"""

from __future__ import annotations

from urllib.parse import urlencode

import attrs
import msgspec
import pytest

from eventsvc.heartbeat import SeenHeartbeat, Spread, decode_heartbeat
from eventsvc.web.pages.guard import Guard
from eventsvc.web.pages.routes import Pages
from eventsvc.web.pages.templating import pretty
from tests.support.dashboard_world import TOKEN, dashboard, make_heartbeat


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_a_dashboard_answers_probes(path: str) -> None:
    with dashboard() as world:
        assert world.get(path).status == 200


def test_no_route_takes_the_place_of_another() -> None:
    """Klein keeps one function for each name."""
    endpoints = [rule.endpoint for rule in Pages.app.url_map.iter_rules()]
    assert len(set(endpoints)) == len(endpoints)


@pytest.mark.parametrize("page", ["/", "/processes"])
def test_figures_beyond_all_measure_hide_no_page(page: str) -> None:
    """Such a record is kept where every process of the system may write."""
    with dashboard() as world:
        beat = make_heartbeat(uptime=5e-324, figures={"cpu_seconds": 1e308, "accepted": 1e308, "failed": -1e308})
        world.source.overview = attrs.evolve(world.source.overview, processes=[SeenHeartbeat(beat, 0.0)])
        assert "inf %" in world.text(page)


@pytest.mark.parametrize("count", [-1, 10**400], ids=["negative", "large"])
def test_counts_that_nothing_has_counted_are_not_read(count: int) -> None:
    text = msgspec.json.encode(make_heartbeat(spreads={"append": Spread((1.0,), (77, 0))}))
    assert decode_heartbeat(text)
    assert decode_heartbeat(text.replace(b"77", b"%d" % count)) is None


def form(**more: str) -> str:
    return urlencode({"token": TOKEN, "verb": "purge", **more})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (form(id="99999999999999999999-0"), "That is not the id of a dead letter."),
        (form(last="0-99999999999999999999", verb="replay"), "That is not the id of a dead letter."),
        (form() + "&id=1-0" * 1_000, "Expected at most 1,000 fields."),
    ],
    ids=["large", "last", "many"],
)
def test_a_form_that_nobody_can_fill_in_is_refused(body: str, words: str) -> None:
    with dashboard(guard=Guard(token=TOKEN)) as world:
        response = world.post(body)
    assert response.status == 400
    assert words in response.body.decode()
    assert world.source.done == []


@pytest.mark.parametrize("page", ["/event?entry=99999999999999999999-0", "/letter?id=99999999999999999999-0"])
def test_an_id_that_no_entry_can_have_is_nowhere(page: str) -> None:
    with dashboard() as world:
        assert world.get(page).status == 404


def test_a_text_that_is_nested_deeper_than_any_event_is_shown_as_it_is() -> None:
    """In lines, each indented as deep, it would take hundreds of megabytes."""
    text = b"[" * 900 + b"1," * 1_000 + b"1" + b"]" * 900
    assert pretty(text) == text.decode()
    assert pretty(b"[[1]]") == "[\n  [\n    1\n  ]\n]"


def test_who_asks_only_for_the_head_of_a_followed_page_does_not_follow() -> None:
    """It would wait for the end, and take the place of a browser."""
    with dashboard() as world:
        connection = world.send(b"HEAD /live/overview HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.received.startswith(b"HTTP/1.1 200 ")
        assert b"text/event-stream" in connection.received
        assert not world.followers._running
