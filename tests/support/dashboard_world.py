"""
A dashboard over connections in memory, whose stream is what a test says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from eventsvc.dashboard.overview import Overview
from eventsvc.dashboard.point import Point
from eventsvc.dashboard.source import PAGE_BYTES
from eventsvc.dashboard.story import MaybeDelivery, StoredEntry
from eventsvc.dead_letter import DeadLetter
from eventsvc.event import EVENT_FIELD
from eventsvc.heartbeat import Heartbeat
from eventsvc.measures import Measures
from eventsvc.stream_state import ConsumerState, GroupState, ServerState, StreamState
from eventsvc.web.health import Health
from eventsvc.web.pages.guard import Guard
from eventsvc.web.pages.live import Followers
from eventsvc.web.pages.routes import Pages, make_dashboard_site
from tests.support.http import WELL, Connection, Response

STREAM = "NotificationStream"
TOKEN = "0123456789abcdef"


def cut(entries: Sequence[StoredEntry]) -> Sequence[StoredEntry]:
    """Return the page that ends with the entries that bring it to its bytes."""
    size, page = 0, []
    for entry in entries:
        page.append(entry)
        size += entry.size
        if size >= PAGE_BYTES:
            break
    return page


def place(id: str) -> tuple[int, int]:
    first, _, second = id.partition("-")
    return int(first), int(second)


def make_heartbeat(id: str = "a", **more: Any) -> Heartbeat:
    """Return a heartbeat of a consumer, ten seconds after its start."""
    fixed = {"role": "consumer", "name": f"consumer-{id}", "host": "host", "pid": 1, "version": "1", "started": 0.0}
    return Heartbeat(id=id, **{"uptime": 10.0, **fixed, **more})


def make_state(*groups: GroupState, **more: Any) -> StreamState:
    """Return a stream with a group that is not behind, or with these."""
    still = Measures(length=3, dead=0, unread=0, pending=0, unread_age=0.0, pending_age=0.0)
    usual = GroupState("group", still, "9-0", 1, [ConsumerState("consumer-a", 0, 0.1)])
    server = ServerState(product="valkey", version="9.1", role="primary", memory=1_000, max_memory=0, uptime=5)
    fixed = {"length": 3, "dead": 0, "group_count": 1, "server": server}
    return StreamState(stream=STREAM, now=10.0, groups=groups or [usual], **{**fixed, **more})


def make_letter(id: str, **more: Any) -> DeadLetter:
    fixed = {"reason": "failed", "error": "ValueError: no", "deliveries": 5, "group": "group", "consumer": "consumer-a"}
    fields = [(EVENT_FIELD, make_text(1, "dead one"))]
    return DeadLetter(id=id, **{"original": "1-0", "fields": fields, **fixed, **more})


def make_text(id: int, description: str, **more: str) -> bytes:
    """Return the text of an event; the members are JSON."""
    members = "".join(f',"{name}":{value}' for name, value in more.items())
    return f'{{"id":{id},"description":"{description}","timestamp":"2026-01-01T00:00:00Z"{members}}}'.encode()


@attrs.define
class FakeSource:
    """A stream in memory; C{problem} makes whatever is asked of Redis fail."""

    overview: Overview = attrs.field(factory=lambda: Overview(stream=STREAM, state=make_state()))
    hour: Sequence[Point] = ()
    entries: list[StoredEntry] = attrs.field(factory=list)
    delivery: MaybeDelivery = None
    kept: dict[str, DeadLetter] = attrs.field(factory=dict)
    problem: Exception | None = None
    done: list[str] = attrs.field(factory=list)

    @property
    def watched(self) -> FakeSource:
        return self

    @property
    def events(self) -> FakeEvents:
        return FakeEvents(self)

    @property
    def letters(self) -> FakeLetters:
        return FakeLetters(self)

    def survey(self) -> Deferred[StreamState]:
        return self.answer(self.overview.state or make_state())

    def add(self, id: str, text: bytes) -> None:
        self.entries.append(StoredEntry(id, ((EVENT_FIELD, text),)))

    def answer(self, value: Any) -> Deferred[Any]:
        return fail(self.problem) if self.problem else succeed(value)


@attrs.define
class FakeEvents:
    source: FakeSource

    def read_newest(self, before: str, count: int) -> Deferred[Sequence[StoredEntry]]:
        older = [each for each in self.source.entries if not before or place(each.id) < place(before)]
        return self.source.answer(cut(older[::-1][:count]))

    def read_after(self, after: str, count: int) -> Deferred[Sequence[StoredEntry]]:
        return self.source.answer(cut([each for each in self.source.entries if place(each.id) > place(after)][:count]))

    def find(self, id: str) -> Deferred[StoredEntry | None]:
        return self.source.answer(next((each for each in self.source.entries if each.id == id), None))

    def find_delivery(self, group: GroupState, id: str) -> Deferred[MaybeDelivery]:
        return self.source.answer(self.source.delivery)

    def find_letter(self, id: str) -> Deferred[DeadLetter | None]:
        return self.source.answer(next((each for each in self.source.kept.values() if each.original == id), None))


@attrs.define
class FakeLetters:
    source: FakeSource

    def count(self) -> Deferred[int]:
        return self.source.answer(len(self.source.kept))

    def find_newest(self) -> Deferred[str]:
        return self.source.answer(max(self.source.kept, key=place, default=""))

    def read(self, after: str = "", count: int = 100) -> Deferred[Sequence[DeadLetter]]:
        found = [each for id, each in self.source.kept.items() if not after or place(id) > place(after)]
        return self.source.answer(found[:count])

    def list_ids(self, after: str, last: str) -> Deferred[Sequence[str]]:
        low = place(after or "0-0")
        return self.source.answer([id for id in self.source.kept if low < place(id) <= place(last)][:2])

    def find(self, id: str) -> Deferred[DeadLetter | None]:
        return self.source.answer(self.source.kept.get(id))

    def replay(self, id: str) -> Deferred[str]:
        if not self.source.problem and self.source.kept.pop(id, None) is None:
            return self.source.answer("gone")
        self.source.done.append(f"replay {id}")
        return self.source.answer("99-0")

    def purge(self, ids: Sequence[str]) -> Deferred[int]:
        self.source.done += [f"purge {id}" for id in ids if self.source.kept.pop(id, None)]
        return self.source.answer(len(ids))


@attrs.define
class DashboardWorld:
    """A dashboard, and browsers that ask it."""

    source: FakeSource = attrs.field(factory=FakeSource)
    guard: Guard = attrs.field(factory=Guard)
    health: Health = WELL
    clock: Clock = attrs.field(factory=Clock)
    others: dict[str, FakeSource] = attrs.field(factory=dict)
    followers: Followers = attrs.field(init=False)
    site: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.followers = Followers(self.clock)
        sources: Any = {STREAM: self.source, **self.others}
        self.site = make_dashboard_site(Pages(sources, self.guard, self.health, self.clock, self.followers), self.clock)

    def connect(self) -> Connection:
        protocol = self.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50_000))
        connection = Connection(self.clock, protocol)
        protocol.makeConnection(connection)
        return connection

    def run(self, seconds: float = 0.1) -> None:
        self.clock.pump([0.05] * max(1, round(seconds / 0.05)))

    def send(self, request: bytes) -> Connection:
        connection = self.connect()
        connection.send(request)
        self.run()
        return connection

    def get(self, path: str, *headers: str, host: str = "localhost:8081") -> Response:
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
        return self.send("\r\n".join(lines).encode("latin-1")).response()

    def text(self, path: str) -> str:
        """Return the HTML of a page that is there."""
        response = self.get(path)
        assert response.status == 200, response.body
        return response.body.decode()

    def post(self, body: str, *headers: str, path: str = "/dead/run", host: str = "localhost:8081") -> Response:
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers, "", body]
        return self.send("\r\n".join(lines).encode("latin-1")).response()

    def follow(self, page: str) -> Connection:
        return self.send(f"GET /live/{page} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


@contextmanager
def dashboard(**more: Any) -> Iterator[DashboardWorld]:
    """Run a dashboard."""
    world = DashboardWorld(**more)
    yield world
    world.followers.stop()
    world.run(1.0)
