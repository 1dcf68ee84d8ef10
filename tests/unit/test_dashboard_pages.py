"""
Tests for L{eventsvc.web.pages}: what each page shows, and what nobody can make it do.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from urllib.parse import urlencode

import attrs
import msgspec
import pytest
from twisted.internet.defer import Deferred

from eventsvc.dashboard.alarms import Alarm
from eventsvc.dashboard.overview import Overview
from eventsvc.dashboard.point import Point
from eventsvc.dashboard.story import Filter, StoredEntry
from eventsvc.errors import Refused, Unknown
from eventsvc.heartbeat import SeenHeartbeat
from eventsvc.stream_state import ConsumerState, GroupState
from eventsvc.web.pages import live
from eventsvc.web.pages.guard import Guard
from eventsvc.web.pages.routes import SECURITY
from eventsvc.web.pages.views import EventsView
from tests.support.dashboard_world import (
    STREAM,
    TOKEN,
    FakeSource,
    dashboard,
    make_heartbeat,
    make_letter,
    make_state,
    make_text,
)
from tests.support.recording import result_of

#: What ends texts, attributes and scripts, in all the places where somebody else's text is shown.
HOSTILE = "</td></textarea></title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}&lt;\u202e"

PAGES = ["/", "/events", "/dead", "/processes", "/event?entry=1-0", "/letter?id=5-0", "/dead/plan?verb=replay&id=5-0"]


def hostile_source() -> FakeSource:
    """A stream in which every text is hostile."""
    quoted = msgspec.json.encode(HOSTILE).decode()
    source = FakeSource()
    beat = make_heartbeat(HOSTILE, name=HOSTILE, host=HOSTILE, role=HOSTILE, version=HOSTILE, problem=HOSTILE)
    silent = make_heartbeat("b", figures={HOSTILE: 1.0}, group=HOSTILE)
    group = attrs.evolve(make_state().groups[0], name=HOSTILE, consumers=[ConsumerState(HOSTILE, 1, 1.0)])
    state = make_state(group, problems=[HOSTILE])
    source.overview = Overview(
        stream=STREAM,
        state=attrs.evolve(state, server=attrs.evolve(state.server, version=HOSTILE, product=HOSTILE)),
        processes=[SeenHeartbeat(beat, 0.0), SeenHeartbeat(silent, 60.0)],
        alarms=[Alarm("DeadLetters", "warning", HOSTILE), Alarm(HOSTILE, "critical", HOSTILE)],
    )
    description = quoted[1:-1]
    source.add("1-0", make_text(1, description, type=quoted, key=quoted, data=quoted, traceparent=quoted))
    source.add("2-0", HOSTILE.encode())
    fields = [(HOSTILE.encode(), HOSTILE.encode())]
    about = dict.fromkeys(("error", "reason", "group", "consumer"), HOSTILE)
    source.kept["5-0"] = make_letter("5-0", fields=fields, **about)
    return source


class Tags(HTMLParser):
    """The tags of a page, and all their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.sources: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names |= {name for name, _ in attributes}
        self.sources |= {value or "" for name, value in attributes if name in ("src", "href", "action")}


def tags_of(html: str) -> Tags:
    parser = Tags()
    parser.feed(html)
    return parser


@pytest.mark.parametrize("page", [*PAGES, "/events?" + urlencode({"text": HOSTILE, "type": HOSTILE, "key": HOSTILE})])
def test_no_text_becomes_a_tag(page: str) -> None:
    """Nothing in an event, a letter, a heartbeat, a name or an URL can run."""
    with dashboard(source=hostile_source(), guard=Guard(token=TOKEN)) as world:
        html = world.text(page)
        found = tags_of(html)
        assert found.tags.count("script") == 1
        assert not {"img", "iframe", "object", "style", "base"} & set(found.tags)
        assert not [name for name in found.names if name.startswith("on") or name == "style"]
        assert all(re.match(r"/[^/]|/$|#", source) for source in found.sources), found.sources
        assert "49" not in re.sub(r"\d{3,}", "", html)


@pytest.mark.parametrize("page", PAGES)
def test_no_text_turns_what_is_after_it_around(page: str) -> None:
    """What would not be seen is, as an escape; a browser would show the rest of the line backwards."""
    with dashboard(source=hostile_source(), guard=Guard(token=TOKEN)) as world:
        html = world.text(page)
        assert "\u202e" not in html
        assert r"\u202e" in html


def test_what_is_filtered_for_stays_as_it_was_typed() -> None:
    with dashboard() as world:
        html = world.text("/events?" + urlencode({"text": 'a\u202e"b', "type": "\u2066", "key": "<\x07"}))
        for value in ("a\u202e&#34;b", "\u2066", "&lt;\x07"):
            assert f'value="{value}"' in html


@pytest.mark.parametrize("page", ["overview", "events", "processes"])
def test_what_is_sent_later_is_escaped_too(page: str) -> None:
    with dashboard(source=hostile_source()) as world:
        sent = bytes(world.follow(page).received)
        (line,) = re.findall(rb"^data: (.*)$", sent, re.M)
        for html in msgspec.json.decode(line).values():
            assert not {"script", "img"} & set(tags_of(html).tags)


@pytest.mark.parametrize("page", [*PAGES, "/nope", "/static/dashboard.css", "/event?entry=no", "/letter?id=77-0"])
def test_every_answer_has_the_headers_that_protect_it(page: str) -> None:
    with dashboard(source=hostile_source()) as world:
        headers = world.get(page).headers
        for name, value in SECURITY:
            assert headers[name.decode()] == value.decode()
        assert "default-src 'self'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8081", 200),
        ("LOCALHOST.:1", 200),
        ("127.0.0.1:8081", 200),
        ("[::1]:8081", 200),
        ("10.1.2.3", 200),
        ("dash.example:8081", 200),
        ("evil.example", 421),
        ("dash.example.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ],
)
def test_only_requests_for_this_host_are_answered(host: str, status: int) -> None:
    """See the Note [Host names]: else a web page could read all events."""
    with dashboard(guard=Guard(frozenset(["dash.example"]))) as world:
        for page in ("/", "/events", "/live/nope", "/static/dashboard.js"):
            expected = 404 if page == "/live/nope" and status == 200 else status
            assert world.get(page, host=host).status == expected


def test_the_pages_say_what_there_is() -> None:
    source = FakeSource()
    figures = {"handled": 30.0, "in_flight": 4.0, "failed": 2.0, "cpu_seconds": 1.0}
    source.overview = Overview(
        stream=STREAM,
        state=make_state(dead=1),
        processes=[
            SeenHeartbeat(make_heartbeat(figures=figures), 0.5),
            SeenHeartbeat(make_heartbeat("b", problem="no Redis"), 0.5),
            SeenHeartbeat(make_heartbeat("c"), 41.0),
        ],
        alarms=[Alarm("DeadLetters", "warning", "1 dead letter")],
    )
    source.hour = [Point(number=number, accepted=5.0, age_p99=0.1) for number in range(100)]
    with dashboard(source=source) as world:
        html = world.text("/")
        for words in ("● ready", "✖ no Redis", "○ silent for 41 s", "consumer-a", "valkey 9.1", "1 dead letter"):
            assert words in html
        assert "Events could not be handled and were set aside." in html  # the text of operations.md
        assert html.count("<polyline") == 2
        assert "in_flight" in world.text("/processes")


@pytest.mark.parametrize(("count", "label"), [(None, "handled<"), (1, "handled<"), (2, "handled, by 2 groups<")])
def test_what_is_handled_is_that_of_all_groups(count: int | None, label: str) -> None:
    """With two groups it is twice what is accepted, so that is said. The number of groups may be unknown."""
    source = FakeSource(overview=Overview(stream=STREAM, state=make_state(group_count=count)))
    with dashboard(source=source) as world:
        assert f"<dt>{label}" in world.text("/")


def test_a_chart_names_its_largest_value_as_it_is() -> None:
    source = FakeSource(hour=[Point(number=number, unread_age=0.4, accepted=2.5) for number in range(9)])
    with dashboard(source=source) as world:
        marks = re.findall(r'class="mark"[^>]*>([^<]+)<', world.text("/"))
    assert (marks[1], marks[3]) == ("2.5", "1")


def test_before_redis_has_answered_the_pages_are_there() -> None:
    source = FakeSource(overview=Overview(stream=STREAM))
    with dashboard(source=source) as world:
        assert "starting" in world.text("/")
        for page in ("/", "/processes"):
            assert "Not known yet" in world.text(page)
            assert "No process has left a heartbeat" not in world.text(page)
        assert "No alarm" not in world.text("/")
        source.problem = Refused("Redis is not connected")
        for page in ("/events", "/dead"):
            response = world.get(page)
            assert response.status == 503
            assert b"Redis is not connected" in response.body
        assert world.get("/").status == 200


def test_events_are_filtered_by_the_url() -> None:
    source = FakeSource()
    members = {"type": '"greeting"', "key": '"k"', "data": '{"a":"deep"}'}
    source.add("1-0", make_text(9007199254740993, "hello W\\u00f6rld", **members))
    source.add("2-0", make_text(2, "other", type='"other"'))
    source.add("3-0", b"no event")
    with dashboard(source=source) as world:
        html = world.text("/events")
        assert html.index("(not an event)") < html.index("other") < html.index("hello")
        assert "9007199254740993" in html
        for query, number in (
            ("text=W%C3%96RLD", 1),
            ("text=deep", 1),
            ("text=9007199254740993", 1),
            ("text=description", 0),
            ("type=greeting", 1),
            ("type=greet", 0),
            ("key=k&type=greeting&text=hello", 1),
            ("key=k&type=other", 0),
            ("text=no+event", 1),
            ("text=1-0", 1),
        ):
            html = world.text(f"/events?{query}")
            assert html.count('<td class="time">') == number, query
            assert ("Clear the filters</a></p>" in html) == (number == 0)
        assert 'value="greeting"' in world.text("/events?type=greeting")


def test_a_search_says_how_far_it_went_and_can_go_on() -> None:
    source = FakeSource()
    for number in range(1, 10_102):
        source.add(f"{number}-0", make_text(number, "needle" if number == 1 else "hay"))
    with dashboard(source=source) as world:
        html = world.text("/events?text=needle")
        assert "No event fits" in html
        assert "Searched back to 1970-01-01 00:00:00.102." in html
        (link,) = re.findall(r'href="([^"]+before=[^"]+)"', html)
        html = world.text(link.replace("&amp;", "&"))
        assert html.count('<td class="time">') == 1
        assert "This is all" in html


def test_a_search_among_large_events_ends_too() -> None:
    """Ten thousand events of a megabyte would take minutes."""
    source = FakeSource()
    for number in range(1, 51):
        source.add(f"{number}-0", make_text(number, "hay", data=f'"{"x" * 1_000_000}"'))
    with dashboard(source=source) as world:
        assert "Searched back to 1970-01-01 00:00:00.031." in world.text("/events?text=needle")
        assert world.text("/events").count('<td class="time">') == 20


def test_who_follows_large_events_sees_the_newest_of_them() -> None:
    """Also if more bytes come than a page has, look after look."""
    source = FakeSource()
    view = EventsView(source, Filter())
    for last in (30, 60, 90):
        for number in range(last - 29, last + 1):
            source.add(f"{number}-0", make_text(number, "large", data=f'"{"x" * 99_900}"'))
        rows = result_of(Deferred.fromCoroutine(view.look()))["rows"]
        assert rows[0].event_id == str(last)


@pytest.mark.parametrize("text", ["Wörld", 'a "word"', "\\", "line\nbreak", "1-0", "\u212a", "Σ", "k"])
def test_a_text_is_found_however_it_was_written(text: str) -> None:
    """With escapes or without; the quick look before an event is decoded must not miss it."""
    for written in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
        for document in (
            b'{"id":1,"description":%b,"timestamp":""}',
            b'{"id":1,"description":"","timestamp":"","data":[%b]}',
        ):
            entry = StoredEntry("1-0", ((b"EventStream", document % written.encode()),))
            found = Filter(text=text.upper()).admits(entry)
            assert found or (b"data" in document and "\\" in written)
            assert not Filter(text=text + "?").admits(entry)


def test_an_event_has_a_page_with_its_way() -> None:
    source = FakeSource()
    source.add("1-0", make_text(7, "hello", data='{"a":[1,2]}'))
    with dashboard(source=source) as world:
        html = world.text("/event?entry=1-0")
        for words in ("accepted", "stored", "acknowledged", "2026-01-01T00:00:00Z"):
            assert words in html
        assert world.get("/event?entry=2-0").status == 404
        for entry in ("", "1", "-", "1-0-0", "\u0661-0", "9" * 30 + "-0", "1-0 + COUNT 5"):
            assert world.get("/event?" + urlencode({"entry": entry})).status == 404


def test_an_event_has_its_page_before_the_stream_was_looked_at_for_the_first_time() -> None:
    source = FakeSource(overview=Overview(stream=STREAM))
    source.add("1-0", make_text(7, "hello"))
    with dashboard(source=source) as world:
        assert "acknowledged" in world.text("/event?entry=1-0")
        source.problem = Refused("Redis is not connected")
        assert world.get("/event?entry=1-0").status == 503


def test_a_letter_whose_entry_is_gone_still_has_a_page() -> None:
    source = FakeSource()
    source.kept["5-0"] = make_letter("5-0", original="1-0")
    with dashboard(source=source) as world:
        assert "after 5 deliveries to consumer-a" in world.text("/event?entry=1-0")
        assert "ValueError: no" in world.text("/letter?id=5-0")


def test_each_stream_has_its_pages() -> None:
    other = FakeSource(overview=Overview(stream="Ör/ders&x=1", state=make_state()))
    other.add("1-0", make_text(1, "of the other"))
    with dashboard(others={"Ör/ders&x=1": other}) as world:
        (link,) = {each for each in tags_of(world.text("/")).sources if "ders" in each}
        assert "Ör/ders&amp;x=1" in world.text(link)
        assert "of the other" in world.text("/events" + link[1:])
        assert "of the other" not in world.text("/events")
        assert world.get("/?stream=Nope").status == 404


# What changes while somebody looks


def parts(received: bytes) -> list[dict[str, str]]:
    """Return the parts that were sent, in turn."""
    return [msgspec.json.decode(line) for line in re.findall(rb"^data: (.*)$", received, re.M)]


def test_a_browser_that_follows_is_sent_what_changes() -> None:
    source = FakeSource()
    with dashboard(source=source) as world:
        connection = world.follow("events?text=new")
        assert b"Content-Type: text/event-stream" in connection.received
        assert set(parts(bytes(connection.received))[0]) == {"status", "events"}
        source.add("1-0", make_text(1, "new one"))
        source.add("2-0", make_text(2, "another"))
        world.run(0.6)
        (_, later) = parts(bytes(connection.received))
        assert set(later) == {"events"}
        assert "new one" in later["events"]
        assert "another" not in later["events"]
        world.run(5.0)
        assert len(parts(bytes(connection.received))) == 2


def test_a_flood_of_events_is_followed_by_its_newest() -> None:
    source = FakeSource()
    with dashboard(source=source) as world:
        connection = world.follow("events")
        for number in range(1, 5_001):
            source.add(f"{number}-0", make_text(number, f"event {number}"))
        world.run(0.6)
        newest = parts(bytes(connection.received))[-1]["events"]
        assert re.findall(r"<td>(event \d+)</td>", newest) == [f"event {number}" for number in range(5_000, 4_950, -1)]


def test_while_redis_is_away_a_page_stays_as_it_is() -> None:
    source = FakeSource()
    with dashboard(source=source) as world:
        connection = world.follow("events")
        source.problem = Unknown("no answer")
        world.run(3.0)
        assert len(parts(bytes(connection.received))) == 1
        assert not connection.ended
        source.problem = None
        source.add("1-0", make_text(1, "back"))
        world.run(1.0)
        assert "back" in parts(bytes(connection.received))[-1]["events"]


def test_an_answer_that_lasts_ends_in_time_and_with_the_process() -> None:
    """A request has a longest duration; the browser asks again."""
    with dashboard() as world:
        connection = world.follow("overview")
        world.run(live.LIFE + 1.0)
        assert connection.received.endswith(b"0\r\n\r\n")
        assert not connection.aborted
        assert not world.followers.is_full
        connection = world.follow("overview")
        world.followers.stop()
        world.run(0.1)
        assert connection.received.endswith(b"0\r\n\r\n")
        assert world.get("/live/overview").status == 503


def test_a_browser_that_leaves_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 1)
    with dashboard() as world:
        connection = world.follow("overview")
        assert world.get("/live/overview").status == 503
        connection.vanish()
        world.run(0.1)
        assert not [call for call in world.clock.getDelayedCalls() if "deferLater" in str(call)]
        assert world.follow("overview").received.startswith(b"HTTP/1.1 200")


# What may be done


FORM = f"verb=replay&id=5-0&token={TOKEN}"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("verb=replay&id=5-0", (), 403),
        ("verb=replay&id=5-0&token=", (), 403),
        ("verb=replay&id=5-0&token=0123456789abcdeF", (), 403),
        ("verb=replay&id=5-0&token=%FF%00", (), 403),
        (FORM, ("Origin: http://evil.example",), 403),
        (FORM, ("Origin: null",), 403),
        (FORM, ("Origin: http://localhost:9",), 403),
        (f"verb=drop&id=5-0&token={TOKEN}", (), 400),
        (f"verb=replay&token={TOKEN}", (), 400),
        (f"verb=replay&id=*&token={TOKEN}", (), 400),
        (f"verb=replay&id=5-0&stream=Nope&token={TOKEN}", (), 404),
        (FORM, ("Origin: http://localhost:8081",), 200),
        (FORM, ("Origin: https://localhost:8081",), 200),
        (FORM, (), 200),
    ],
)
def test_only_who_knows_the_token_can_act_and_from_this_page(body: str, headers: tuple[str, ...], status: int) -> None:
    source = FakeSource()
    source.kept["5-0"] = make_letter("5-0")
    with dashboard(source=source, guard=Guard(token=TOKEN)) as world:
        assert world.post(body, *headers).status == status
        assert source.done == (["replay 5-0"] if status == 200 else [])


def test_without_a_token_nothing_can_be_done() -> None:
    source = FakeSource()
    source.kept["5-0"] = make_letter("5-0")
    with dashboard(source=source) as world:
        for token in ("", "&token=", f"&token={TOKEN}"):
            response = world.post(f"verb=purge&id=5-0{token}")
            assert response.status == 403
            assert b"read-only" in response.body
        assert "checkbox" not in world.text("/dead")
        assert "<form" not in world.text("/letter?id=5-0")
        assert "<form" not in world.text("/dead/plan?verb=purge&id=5-0")
        assert source.done == []


def test_nothing_is_done_by_looking() -> None:
    with dashboard(source=FakeSource(kept={"5-0": make_letter("5-0")}), guard=Guard(token=TOKEN)) as world:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            request = f"{method} /dead/run?{FORM} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            connection = world.send(request.encode())
            assert connection.response(bodies=method != "HEAD").status == 405
        assert "Replay 1 dead letter?" in world.text("/dead/plan?verb=replay&id=5-0")
        assert world.source.done == []


def test_all_means_those_of_the_plan() -> None:
    """A letter that comes later is left alone: one that fails again at once would be replayed forever."""
    source = FakeSource(kept={f"{number}-0": make_letter(f"{number}-0") for number in (5, 6, 7)})
    with dashboard(source=source, guard=Guard(token=TOKEN)) as world:
        html = world.text("/dead/plan?verb=purge&scope=all&id=6-0")
        assert "3 dead letters of NotificationStream will be deleted for good" in html
        assert 'name="last" value="7-0"' in html
        source.kept["8-0"] = make_letter("8-0")
        response = world.post(f"verb=purge&last=7-0&token={TOKEN}")
        assert b"Purged 3 dead letters" in response.body
        assert list(source.kept) == ["8-0"]


def test_what_cannot_be_replayed_is_told() -> None:
    source = FakeSource(kept={"5-0": make_letter("5-0")})
    with dashboard(source=source, guard=Guard(token=TOKEN)) as world:
        response = world.post(f"verb=replay&id=5-0&id=6-0&token={TOKEN}")
        assert b"Replayed 1 dead letter<" in response.body
        assert b"6-0</span>: there is no such dead letter" in response.body
        assert world.get("/dead/plan?verb=replay&id=6-0").status == 400
        source.problem = Unknown("Redis did not answer in time")
        assert world.post(FORM).status == 503


def test_fifty_processes_and_a_full_hour_are_rendered_quickly() -> None:
    """The bar is 0.3 s; the figures of a stream do not depend on its length."""
    source = FakeSource()
    beats = [SeenHeartbeat(make_heartbeat(str(number), figures={"handled": 1.0}), 0.0) for number in range(50)]
    crowd = GroupState("crowd", make_state().groups[0].measures, "1-0", 500, [ConsumerState("c", 1, 1.0)] * 500)
    source.overview = Overview(stream=STREAM, state=make_state(crowd, length=10**6), processes=beats)
    source.hour = [Point(number=number, accepted=5.0, handled=4.0, age_p50=0.01, age_p99=0.1) for number in range(720)]
    with dashboard(source=source) as world:
        html = world.text("/?span=1h")
        assert html.count("● ready") == 50
        assert len(html) < 300_000
