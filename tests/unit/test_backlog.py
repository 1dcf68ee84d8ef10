"""
Tests for L{eventsvc.producer.backlog}: a bounded queue that answers every request.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from twisted.internet.task import Clock

from eventsvc.errors import RedisFull
from eventsvc.interfaces import QueueFull, Refused, Result, TooLarge, Unknown
from eventsvc.producer.backlog import Backlog, Limits, PendingRequest
from eventsvc.producer.sequence import Resend


@attrs.define
class Line:
    """A backlog on a fake clock, the answers to requests, and those passed over."""

    clock: Clock
    backlog: Backlog
    answers: dict[int, list[Result]] = attrs.field(factory=dict)
    passed_over: list[PendingRequest] = attrs.field(factory=list)

    def put(self, number: int, *sizes: int, since: float | None = None) -> PendingRequest:
        """Queue a request with events of these sizes."""
        self.answers[number] = []
        ids, entries = (number,) * len(sizes), tuple(b"x" * size for size in sizes)
        request = PendingRequest(ids, entries, answer=lambda _, result: self.answers[number].append(result))
        self.backlog.put(request, since)
        return request

    def told(self, number: int) -> str:
        """Return the answer to a request, as one word."""
        (answer,) = self.answers[number]
        return "stored" if isinstance(answer, tuple) else type(answer).__name__


def make_line(**limits: Any) -> Line:
    clock = Clock()
    passed_over: list[PendingRequest] = []
    return Line(
        clock, Backlog(clock, Limits(**limits), passed_over.append, PendingRequest.settle), passed_over=passed_over
    )


@pytest.fixture
def line() -> Iterator[Line]:
    """Return a queue of at most 10 events and 100 bytes, with 4 events and 50 bytes per batch."""
    made = make_line(queue_events=10, queue_bytes=100, batch_events=4, batch_bytes=50, wait=5.0)
    yield made
    made.backlog.close()
    assert made.clock.getDelayedCalls() == []
    assert (made.backlog.events, made.backlog.size, bool(made.backlog)) == (0, 0, False)


def numbers(batch: list[PendingRequest]) -> list[int]:
    return [request.ids[0] for request in batch]


def test_requests_go_out_in_the_order_they_came(line: Line) -> None:
    """A batch has as many as one call may carry, and no request is split."""
    for number in range(1, 4):
        line.put(number, 1, 1)
    assert (line.backlog.events, line.backlog.size) == (6, 6)
    assert numbers(line.backlog.take()) == [1, 2]
    assert numbers(line.backlog.take()) == [3]
    assert line.backlog.take() == []
    assert (line.backlog.events, line.backlog.size) == (0, 0)


def test_bytes_bound_a_batch(line: Line) -> None:
    """A batch of exactly the limit is allowed."""
    for number, size in enumerate((30, 20, 1), 1):
        line.put(number, size)
    assert numbers(line.backlog.take()) == [1, 2]


def test_a_request_larger_than_a_batch_goes_alone(line: Line) -> None:
    """Otherwise it would wait forever."""
    line.put(1, 1)
    line.put(2, *[1] * 6)
    line.put(3, 60)
    assert [numbers(line.backlog.take()) for _ in range(3)] == [[1], [2], [3]]


def test_a_full_line_takes_no_more(line: Line) -> None:
    """Both events and bytes are limited; a rejected request does not count."""
    line.put(1, *[1] * 8)
    for sizes in ([1] * 3, [93]):
        with pytest.raises(QueueFull, match="8 events wait for Redis"):
            line.put(2, *sizes)
    line.put(3, 1, 91)
    assert (line.backlog.events, line.backlog.size) == (10, 100)
    line.backlog.take()
    line.put(4, *[1] * 8)


@pytest.mark.parametrize("sizes", [[1] * 11, [101], [60, 41]])
def test_what_never_fits_is_told_so(line: Line, sizes: list[int]) -> None:
    """Even while the queue is full, because waiting would not help."""
    for filled in range(2):
        with pytest.raises(TooLarge, match="at most 10 events and 100 bytes"):
            line.put(1, *sizes)
        line.put(2, *[1] * (9 - filled))
        line.backlog.take()


@pytest.mark.parametrize("sizes", [[1] * 10, [100], [60, 40]])
def test_what_fits_an_empty_line_may_come_again(line: Line, sizes: list[int]) -> None:
    """While anything else is in the queue, it is refused for now."""
    line.put(1, 1)
    with pytest.raises(QueueFull):
        line.put(2, *sizes)


def test_a_line_of_no_events_says_that_it_is_full() -> None:
    """It says so to single events; more than one can never fit."""
    line = make_line(queue_events=0)
    with pytest.raises(QueueFull):
        line.put(1, 1)
    with pytest.raises(TooLarge):
        line.put(1, 1, 1)


def test_what_just_fits_is_taken(line: Line) -> None:
    line.put(1, 100)
    line.backlog.take()
    line.put(2, *[1] * 10)


def test_it_says_when_it_is_nearly_full(line: Line) -> None:
    """By events or bytes, so that the load balancer can react in time."""
    said = [line.backlog.is_full]
    for number, sizes in enumerate(([1] * 9, [1], [50], [40], [1])):
        line.put(number, *sizes)
        said.append(line.backlog.is_full)
        if number == 1:
            line.backlog.take()
            line.backlog.take()
    assert said == [False, False, True, False, False, True]


def test_who_waited_too_long_is_told_that_nothing_is_stored(line: Line) -> None:
    """Each at its own deadline; a request that was never sent is certainly not stored."""
    line.put(1, 1)
    line.clock.advance(3.0)
    line.put(2, 1)
    line.clock.advance(1.999)
    assert line.answers == {1: [], 2: []}
    line.clock.advance(0.001)
    assert (line.told(1), line.answers[2]) == ("Refused", [])
    assert line.backlog.events == 1
    line.clock.advance(3.0)
    assert line.told(2) == "Refused"
    assert line.backlog.take() == []


def test_who_began_to_wait_before_is_told_in_its_own_time(line: Line) -> None:
    """Its deadline holds although others queued before it, and theirs do not change."""
    line.put(1, 1)
    line.clock.advance(3.0)
    for number, since in (2, 1.0), (3, -1.0), (4, 2.0), (5, 2.0), (6, 0.5):
        line.put(number, 1, since=since)
    ends: dict[int, int] = {}
    line.clock.advance(0.5)
    for second in range(4, 9):
        line.clock.advance(1.0)
        ends |= {number: second for number, told in line.answers.items() if told and number not in ends}
    assert ends == {3: 4, 1: 5, 6: 5, 2: 6, 4: 7, 5: 7}


@pytest.mark.parametrize("others", [[], [-1.0]])
@pytest.mark.parametrize(("since", "end"), [(-4.5, 3.5), (-8.0, 3.0)])
def test_the_timer_is_set_for_the_first_end_and_never_in_the_past(
    line: Line, others: list[float], since: float, end: float
) -> None:
    """A reactor rejects a negative delay."""
    line.clock.advance(3.0)
    for number, other in enumerate(others):
        line.put(number, 1, since=other)
    line.put(9, 1, since=since + 3.0)
    assert [call.getTime() for call in line.clock.getDelayedCalls()] == [end]
    line.clock.advance(end - 3.0)
    assert line.told(9) == "Refused"


def test_nobody_is_told_too_early_because_one_behind_it_went_away(line: Line) -> None:
    line.put(1, 1)
    line.clock.advance(1.0)
    line.put(2, 1)
    line.put(3, 1).abandon()
    line.clock.advance(4.0)
    assert (line.told(1), line.answers[2]) == ("Refused", [])


def test_others_are_told_when_there_is_room(line: Line) -> None:
    """Room appears when requests go out, are passed over or expire."""
    told: list[tuple[int, int]] = []
    line.backlog.on_room.append(lambda: told.append((line.backlog.events, line.backlog.size)))
    line.backlog.take()
    assert told == []
    line.put(1, 2)
    line.put(2, 1, 1).abandon()
    line.put(3, 3)
    line.backlog.take()
    line.put(4, 1).abandon()
    line.backlog.take()
    line.put(5, 7)
    line.clock.advance(5.0)
    assert told == [(0, 0)] * 3


def test_who_was_sent_is_told_that_it_is_unknown(line: Line) -> None:
    """It may be stored now or later."""
    request = line.put(1, 1)
    line.backlog.take()
    request.sent = True
    line.clock.advance(5.0)
    assert line.told(1) == "Unknown"


def test_the_reason_is_passed_on(line: Line) -> None:
    """The answer says why the request was not stored."""
    line.put(1, 1).problem = "OOM"
    line.put(2, 1)
    line.clock.advance(5.0)
    assert [str(line.answers[number][0]) for number in (1, 2)] == ["OOM", "Redis is away"]


def test_the_trouble_of_the_queue_is_that_of_all_in_it(line: Line) -> None:
    """Also of a request that was never attempted, because those before it could not be stored."""
    line.put(1, 1).problem = "Redis is out of memory"
    line.put(2, 1)
    line.backlog.trouble = Resend(False, "Redis is out of memory", RedisFull)
    line.clock.advance(5.0)
    for number in (1, 2):
        [error] = line.answers[number]
        assert isinstance(error, RedisFull)
        assert (str(error), error.reason) == ("Redis is out of memory", "redis_full")


def test_an_answer_is_given_once(line: Line) -> None:
    """An answered request does not expire."""
    request = line.put(1, 1)
    line.backlog.take()
    request.settle((7,))
    line.clock.advance(5.0)
    line.backlog.close()
    assert line.answers == {1: [(7,)]}


def test_who_went_away_is_in_no_batch(line: Line) -> None:
    """An abandoned request is passed over, and not answered."""
    line.put(1, 1).abandon()
    line.put(2, 1)
    line.put(3, 1).abandon()
    assert numbers(line.backlog.take()) == [2]
    assert numbers(line.passed_over) == [1, 3]
    line.clock.advance(5.0)
    assert (line.answers[1], line.answers[3]) == ([], [])


def test_room_is_free_again_when_time_is_over(line: Line) -> None:
    """An outage does not fill the queue with requests that were answered long ago."""
    for number in range(10):
        line.put(number, 10)
    line.clock.advance(5.0)
    assert (line.backlog.events, line.backlog.size) == (0, 0)
    assert numbers(line.passed_over) == [*range(10)]


def test_it_is_settled_when_all_are_answered(line: Line) -> None:
    """At once if none waits, or at the last deadline at the latest."""
    assert line.backlog.when_settled().called
    first = line.put(1, 1)
    line.put(2, 1)
    settled: list[str] = []
    line.backlog.when_settled().addCallback(lambda _: settled.append(line.told(2)))
    line.backlog.take()
    first.settle((1,))
    line.backlog.forget_settled()
    line.clock.advance(4.9)
    assert settled == []
    line.clock.advance(0.1)
    assert settled == ["Refused"]


def test_a_close_answers_everybody(line: Line) -> None:
    """Regardless of their deadlines."""
    line.put(1, 1).sent = True
    line.backlog.take()
    line.put(2, 1)
    settled = line.backlog.when_settled()
    line.backlog.close()
    assert (line.told(1), line.told(2)) == ("Unknown", "Refused")
    assert settled.called


def test_a_close_empties_the_line_of_those_who_went_away(line: Line) -> None:
    """Even though no request has a deadline left."""
    line.put(1, 1).abandon()
    assert line.backlog.when_settled().called
    line.backlog.close()
    assert numbers(line.passed_over) == [1]
    assert line.backlog.events == 0


def keep_asking(line: Line) -> PendingRequest:
    """Submit a request whose client submits the next one whenever it is answered."""

    def ask_again(_: PendingRequest, result: Result) -> None:
        if len(line.answers[0]) < 50:
            line.answers[0].append(result)
            keep_asking(line)

    request = PendingRequest((0,), (b"x",), answer=ask_again)
    line.backlog.put(request)
    return request


def test_clients_that_ask_again_as_soon_as_they_are_answered_share_the_timer() -> None:
    """Each expiry queues as many requests as it ends."""
    line = make_line(wait=1.0)
    line.answers[0] = []
    timers = set()
    for _ in range(5):
        keep_asking(line)
        line.clock.advance(0.1)
    for _ in range(120):
        line.clock.advance(0.1)
        timers.add(len(line.clock.getDelayedCalls()))
    assert len(line.answers[0]) == 50
    assert timers == {0, 1}
    line.backlog.close()


@pytest.mark.parametrize("in_line", [True, False])
def test_a_close_answers_those_too_who_ask_again_meanwhile(line: Line, in_line: bool) -> None:
    """Whether or not they were in a batch by then."""
    line.answers[0] = []
    for _ in range(3):
        keep_asking(line)
    if not in_line:
        line.backlog.take()
    line.backlog.close()
    assert len(line.answers[0]) == 50


class Lining(RuleBasedStateMachine):
    """Requests are queued, sent, answered and abandoned in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.line = make_line(queue_events=10, queue_bytes=100, batch_events=4, batch_bytes=50, wait=5.0)
        self.requests: list[PendingRequest] = []
        self.out: list[PendingRequest] = []
        self.gone: set[int] = set()

    @rule(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=5))
    def put(self, sizes: list[int]) -> None:
        backlog = self.line.backlog
        fits = backlog.events + len(sizes) <= 10 and backlog.size + sum(sizes) <= 100
        try:
            self.requests.append(self.line.put(len(self.requests), *sizes))
        except QueueFull:
            self.line.answers.popitem()
            assert not fits
            assert sum(sizes) <= 100
        except TooLarge:
            self.line.answers.popitem()
            assert sum(sizes) > 100
        else:
            assert fits

    @rule(sent=st.booleans())
    def take(self, sent: bool) -> None:
        for request in self.line.backlog.take():
            assert not request.settled
            request.sent = sent
            self.out.append(request)

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if self.out:
            request = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
            if not request.settled:
                request.settle(request.ids)
            self.line.backlog.forget_settled()

    @rule(data=st.data())
    def go_away(self, data: st.DataObject) -> None:
        if self.requests:
            number = data.draw(st.integers(0, len(self.requests) - 1))
            self.gone.add(number)
            self.requests[number].abandon()

    @rule(seconds=st.floats(0, 4))
    def pass_time(self, seconds: float) -> None:
        self.line.clock.advance(seconds)

    @invariant()
    def what_is_counted_is_there(self) -> None:
        waiting = [each for each in self.requests if each not in self.out and not each.settled]
        assert self.line.backlog.events >= sum(len(each.ids) for each in waiting)
        assert 0 <= self.line.backlog.events <= 10
        assert 0 <= self.line.backlog.size <= 100
        now = self.line.clock.seconds()
        assert all(each.settled or each.deadline > now for each in self.requests)

    def teardown(self) -> None:
        self.line.clock.advance(5.0)
        assert self.line.backlog.when_settled().called
        assert self.line.backlog.events == self.line.backlog.size == 0
        assert self.line.clock.getDelayedCalls() == []
        for number, answers in self.line.answers.items():
            assert len(answers) == 1 or (number in self.gone and not answers)
            sent = self.requests[number].sent
            assert all(isinstance(answer, (tuple, Unknown if sent else Refused)) for answer in answers)


TestLining = Lining.TestCase
TestLining.settings = settings(max_examples=50, stateful_step_count=30)


def test_what_fits_is_what_may_be_put(line: Line) -> None:
    """Exactly, to the last byte and event."""
    line.put(1, 40)
    assert line.backlog.fits(1, 60)
    assert not line.backlog.fits(1, 61)
    assert line.backlog.fits(9, 9)
    assert not line.backlog.fits(10, 10)
    line.put(2, 60)
    with pytest.raises(QueueFull):
        line.put(3, 1)
