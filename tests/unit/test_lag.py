"""
Tests for L{eventsvc.telemetry.lag} and L{eventsvc.web.backlog}, on a clock that stands still.
"""

from __future__ import annotations

import json
from typing import Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.interfaces import Refused, Unknown
from eventsvc.measures import Measures
from eventsvc.tap.figures import lag_figures
from eventsvc.tap.health import Vitals, producer_health, tell_backlog
from eventsvc.telemetry.lag import Lag, Watch
from eventsvc.telemetry.metrics import Metrics
from eventsvc.web.backlog import GroupBacklog
from tests.support.fake_connection import messages

DRAINED = Measures(length=1, unread=0, pending=0, unread_age=0.0, pending_age=0.0)
BEHIND = Measures(length=9, unread=None, pending=2, unread_age=0.001, pending_age=1.2)
FORBIDDEN = Measures(length=9, pending=2, pending_age=1.2, problem="the user of Redis may not")


@attrs.define
class Redis:
    """Answers to questions, each once, and then the last one for ever; C{None} never comes."""

    answers: list[Measures | Exception | None] = attrs.field(factory=lambda: [DRAINED])
    asked: list[str] = attrs.field(factory=list)
    ready: bool = True
    problem: str = "Connection refused"

    def lag(self, clock: Clock, stream: str = "s") -> Lag:
        def ask() -> Deferred[Measures]:
            self.asked.append(stream)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, Exception):
                return fail(answer)
            return Deferred() if answer is None else succeed(answer)

        return Lag(stream, "g", ask, clock, lifetime=6.0)

    def watch(self, clock: Clock, *lags: Lag) -> Watch:
        return Watch(lags, clock, lambda: self.ready)


def beat(clock: Clock, watch: Watch, times: int) -> None:
    """Look once a second."""
    for _ in range(times):
        watch.look()
        clock.advance(1.0)


def test_groups_are_measured_every_two_seconds() -> None:
    """Not more often, and not while Redis is away."""
    clock, redis = Clock(), Redis()
    watch = redis.watch(clock, redis.lag(clock))
    beat(clock, watch, 10)
    assert len(redis.asked) == 5
    redis.ready = False
    beat(clock, watch, 10)
    assert len(redis.asked) == 5
    redis.ready = True
    watch.look()
    assert len(redis.asked) == 6


def test_one_group_is_measured_after_the_other() -> None:
    """While one answer is awaited nothing else is asked."""
    clock, redis = Clock(), Redis([DRAINED, None])
    watch = redis.watch(clock, *[redis.lag(clock, name) for name in "abc"])
    beat(clock, watch, 10)
    assert redis.asked == ["a", "b"]


@pytest.mark.parametrize("error", [Refused("no"), Unknown("lost")])
def test_a_refusal_is_no_end(error: Exception) -> None:
    """The next round asks again, and what was known before grows old."""
    clock, redis = Clock(), Redis([DRAINED, error, error, error, DRAINED])
    lag = redis.lag(clock)
    watch = redis.watch(clock, lag)
    known = []
    for _ in range(5):
        beat(clock, watch, 2)
        known.append(lag.latest() is not None)
    assert known == [True, True, True, False, True]


def test_what_is_not_known_is_logged_once() -> None:
    """And again after it was known."""
    clock, redis = Clock(), Redis([FORBIDDEN, FORBIDDEN, DRAINED, FORBIDDEN])
    watch = redis.watch(clock, redis.lag(clock))
    with capturedLogs() as logs:
        beat(clock, watch, 4)
        said = messages(logs)
        assert said == ["how far group g is behind in stream s is not known: the user of Redis may not"]
        beat(clock, watch, 10)
    assert len(messages(logs)) == 2


def test_a_figure_that_is_not_known_is_absent() -> None:
    """Never 0."""
    clock, redis = Clock(), Redis([BEHIND, FORBIDDEN])
    lag = redis.lag(clock)
    watch = redis.watch(clock, lag)
    metrics = Metrics()
    metrics.add(lag_figures([lag]))

    def published() -> dict[str, str]:
        lines = [line.rsplit(" ", 1) for line in metrics.text().decode().splitlines() if line.startswith("eventsvc_")]
        return {name.removeprefix("eventsvc_"): value for name, value in lines}

    assert published() == {}
    beat(clock, watch, 1)
    labels = '{group="g",stream="s"}'
    known = {f"stream_entries{labels}": "9.0", f"pending_entries{labels}": "2.0"}
    known[f"oldest_pending_seconds{labels}"] = "1.2"
    assert published() == known | {f"oldest_unread_seconds{labels}": "0.001"}
    beat(clock, watch, 2)
    assert published() == known
    redis.ready = False
    beat(clock, watch, 7)
    assert published() == {}


@pytest.mark.parametrize(
    ("measures", "waiting", "age", "unread"),
    [
        (DRAINED, 0, 0, 0),
        (BEHIND, 1, 2, None),
        (attrs.evolve(DRAINED, unread_age=0.001, unread=1), 1, 1, 1),
        (attrs.evolve(DRAINED, pending_age=0.001, pending=1), 1, 1, 0),
        (attrs.evolve(DRAINED, unread_age=60.0, unread=3), 1, 60, 3),
    ],
)
def test_a_backlog_tells_whether_a_consumer_is_needed(
    measures: Measures, waiting: int, age: int, unread: int | None
) -> None:
    """The numbers to scale by are whole, and 0 only if nothing waits."""
    answer = GroupBacklog("s", "g", measures).answer()
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "stream": "s",
        "group": "g",
        "waiting": waiting,
        "age_seconds": age,
        "oldest_unread_seconds": measures.unread_age,
        "oldest_pending_seconds": measures.pending_age,
        "unread": unread,
        "pending": measures.pending,
    }


def test_a_backlog_that_is_not_known_is_no_number() -> None:
    """A scaler that took it for 0 would stop the consumers."""
    clock, redis = Clock(), Redis([FORBIDDEN])
    lag = redis.lag(clock)
    watch = redis.watch(clock, lag)

    def told() -> tuple[int, str]:
        answer = tell_backlog(lag, cast(Any, redis)).answer()
        body = json.loads(answer.body)
        return answer.status, body.get("description", "")

    assert told() == (503, "Redis has not told lately how far the group is behind")
    beat(clock, watch, 1)
    assert told() == (503, "the user of Redis may not")
    redis.answers = [DRAINED, Refused("BUSY")]
    beat(clock, watch, 2)
    assert told()[0] == 200
    beat(clock, watch, 7)
    assert told() == (503, "Redis has not told lately how far the group is behind")
    redis.answers = [DRAINED]
    beat(clock, watch, 2)
    assert told()[0] == 200
    redis.ready = False
    assert told() == (503, "Redis cannot be reached: Connection refused")


def test_each_stream_has_its_own_backlog() -> None:
    clock, redis = Clock(), Redis()
    lags = [redis.lag(clock, name) for name in ("s", "Orders")]
    beat(clock, redis.watch(clock, *lags), 1)
    health = producer_health(Vitals(clock), [], cast(Any, redis), cast(Any, None), lags)
    streams = [json.loads(health.behind(name).body).get("stream") for name in (b"", b"s", b"Orders", b"\xff", b"no")]
    assert streams == ["s", "s", "Orders", None, None]
    assert [health.behind(name).status for name in (b"\xff", b"no")] == [404, 404]
