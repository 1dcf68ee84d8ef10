"""
Tests for what L{eventsvc.testing.history} says about the content of events, and
about a CloudEvent that is posted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from msgspec import Raw

from eventsvc.event import Notification
from eventsvc.testing.history import Content, Handling, History, Op, check
from tests.support.histories import REFUSED, UNKNOWN, A, handle, note, op


def stored(type: str | None = None, key: str | None = None, data: str = "", cloudevent: str = "") -> Notification:
    more: dict[str, Any] = {"type": type, "key": key}
    return Notification(A, "a", "", data_json=Raw(data.encode()), cloudevent_json=Raw(cloudevent.encode()), **more)


def posted(*contents: Content | None) -> Sequence[Op]:
    return [attrs.evolve(op("a", at=float(at)), content=content) for at, content in enumerate(contents)]


def broken(ops: Sequence[Op], event: Notification, handled: Content | None = None) -> Sequence[str]:
    handlings = [Handling(A, "one", 10.0, content=handled)]
    return check(History(ops=ops, stream=[event], handled=handlings)).broken


CLOUDEVENT = '{"id":"1","source":"s","data":[1.0]}'


@pytest.mark.parametrize(
    ("content", "event"),
    [
        (None, stored(data="[1]")),  # not recorded
        (Content(), stored()),
        (Content(type="t", key="k", data='{ "a":\t1.0 }'), stored("t", "k", '{ "a":\t1.0 }')),
        (Content(data='"\\u00e4ä\u2028"'), stored(data='"\\u00e4ä\u2028"')),
        (Content(cloudevent=CLOUDEVENT), stored(cloudevent=CLOUDEVENT)),
        (Content(cloudevent=CLOUDEVENT, is_binary=True), stored(cloudevent=CLOUDEVENT)),
        # the producer writes the text of binary mode
        (Content(cloudevent='{"a":"ä","data":1.0}', is_binary=True), stored(cloudevent='{"data":1.0, "a":"\\u00e4"}')),
    ],
)
def test_an_event_that_is_stored_as_it_was_posted(content: Content | None, event: Notification) -> None:
    assert broken(posted(content), event) == ()


@pytest.mark.parametrize(
    ("content", "event", "words"),
    [
        (Content(), stored(data="1"), "another `data` than was posted: \"a: posted '', stored '1'\""),
        (Content(data="1"), stored(), "another `data` than was posted: \"a: posted '1', stored ''\""),
        (Content(data="[1, 2]"), stored(data="[1,2]"), "posted '[1, 2]', stored '[1,2]'"),
        (Content(data="1.0"), stored(data="1"), "posted '1.0', stored '1'"),
        (Content(data="1e2"), stored(data="100.0"), "posted '1e2', stored '100.0'"),
        (Content(data='"\\u00e4"'), stored(data='"ä"'), "another `data`"),
        (Content(data='{"a":1,"a":2}'), stored(data='{"a":2}'), "another `data`"),
        (Content(type="t"), stored("T"), "another `type` than was posted: \"a: posted 't', stored 'T'\""),
        (Content(key="k"), stored(), "another `key` than was posted: \"a: posted 'k', stored ''\""),
        (Content(cloudevent=CLOUDEVENT), stored(), "another `cloudevent`"),
        (Content(cloudevent=CLOUDEVENT), stored(cloudevent=CLOUDEVENT.replace(",", ", ")), "another `cloudevent`"),
        (Content(), stored(cloudevent=CLOUDEVENT), "another `cloudevent`"),
        (Content(cloudevent='{"data":1.0}', is_binary=True), stored(), "another `cloudevent`"),
        (Content(cloudevent='{"data":1.0}', is_binary=True), stored(cloudevent='{"data":1}'), "another `cloudevent`"),
        (Content(cloudevent='{"a":"1"}', is_binary=True), stored(cloudevent='{"a":"2"}'), "another `cloudevent`"),
        (Content(cloudevent='{"a":"1"}', is_binary=True), stored(cloudevent='{"a":"1","b":"2"}'), "`cloudevent`"),
        # far inside a long text, the excerpt begins just before the difference
        (
            Content(data="[" + "1," * 500 + "22]"),
            stored(data="[" + "1," * 500 + "23]"),
            "posted ',1,1,1,1,22]', stored",
        ),
    ],
)
def test_an_event_that_is_stored_otherwise_is_named_with_both_texts(
    content: Content, event: Notification, words: str
) -> None:
    [sentence] = broken(posted(content), event)
    assert sentence.startswith("stored with another `")
    assert words in sentence


def test_one_of_the_texts_of_a_cloudevent_that_was_posted_again_is_stored() -> None:
    first, second, third = (Content(cloudevent=f'{{"data":{number}}}') for number in (1, 2, 3))
    for content in (first, second):
        assert broken(posted(first, second), stored(cloudevent=content.cloudevent)) == ()
    [sentence] = broken(posted(first, second), stored(cloudevent=third.cloudevent))
    assert "another `cloudevent` than was posted" in sentence


def test_what_the_handler_gets_is_what_is_stored() -> None:
    event = stored("t", "k", "[1.0]")
    assert broken(posted(None), event, Content("t", "k", "[1.0]")) == ()
    [sentence] = broken(posted(None), event, Content("t", "k", "[1]"))
    assert sentence == "handled with another `data` than is stored: \"a: stored '[1.0]', handled '[1]'\""
    kinds = broken(posted(None), event, Content())
    assert [kind.partition(":")[0] for kind in kinds] == [
        f"handled with another `{name}` than is stored" for name in ("type", "key", "data")
    ]


def test_what_was_handled_and_is_not_in_the_stream_has_nothing_to_be_compared_with() -> None:
    handled = [Handling(A, "one", 10.0, content=Content()), Handling(99, "one", 11.0, content=Content(data="1"))]
    history = History(ops=posted(Content()), stream=[stored()], handled=handled, wiped=0.5, alarms=1)
    assert check(history).held


class TestRepeats:
    """A CloudEvent that is posted again is one event."""

    @pytest.mark.parametrize(
        ("ops", "stream", "words"),
        [
            ([op("a"), op("a", at=2.0), op("a", at=0.5)], [note("a")], None),
            ([op("a"), op("a", at=2.0)], [note("a"), note("a")], "stored more than once: 'a'"),
            ([op("a"), op("a", id=7, at=2.0)], [note("a")], "answered with more than one id: 'a'"),
            ([op("a", UNKNOWN), op("a", at=2.0)], [note("a", 7)], "another id than it was answered: 'a'"),
            ([op("a"), op("a", REFUSED, at=2.0)], [note("a")], "refused, but stored: 'a'"),
        ],
    )
    def test_it_has_one_entry_and_one_id(self, ops: Sequence[Op], stream: Any, words: str | None) -> None:
        verdict = check(History(ops=ops, stream=stream))
        assert verdict.broken == () if words is None else words in verdict.describe()

    @pytest.mark.parametrize(
        ("ops", "stream", "words"),
        [
            # it is lost, and stored anew
            ([op("a"), op("a", id=7, at=4.0)], [note("a", 7)], None),
            ([op("a"), op("a", UNKNOWN, at=4.0)], [note("a", 7)], None),
            ([op("a"), op("a", UNKNOWN, at=4.0)], [], None),
            # an attempt during the loss may be answered before or after it
            ([op("a"), op("a", id=7, at=2.5)], [note("a", 7)], None),
            ([op("a"), op("a", id=7, at=4.0)], [], "answered 200, but not stored: 'a'"),
            ([op("a"), op("a", id=7, at=4.0)], [note("a")], "another id than it was answered: 'a'"),
            ([op("a"), op("a", id=7, at=4.0), op("a", id=8, at=6.0)], [note("a", 7)], "more than one id: 'a'"),
            ([op("a"), op("b", at=4.0)], [note("a", 7), note("b")], "another id than it was answered: 'a'"),
        ],
    )
    def test_after_a_loss_it_may_have_a_new_id(self, ops: Sequence[Op], stream: Any, words: str | None) -> None:
        verdict = check(History(ops=ops, stream=stream, wiped=3.0, alarms=1))
        assert verdict.broken == () if words is None else words in verdict.describe()

    @pytest.mark.parametrize("rolled_back", [True, False])
    def test_a_server_that_has_the_first_may_replace_the_one_that_lacked_it(self, rolled_back: bool) -> None:
        """Only if there was such a failover, and another producer answered."""
        ops = [op("a"), attrs.evolve(op("a", id=7, at=4.0), client="another")]
        verdict = check(History(ops=ops, stream=[note("a")], wiped=3.0, alarms=1, rolled_back=rolled_back))
        assert (verdict.broken == ()) is rolled_back

    @pytest.mark.parametrize(
        ("rolled_back", "first", "holds"), [(True, 0.0, True), (True, 8.0, False), (False, 0.0, False)]
    )
    def test_a_server_that_was_replaced_may_come_back_with_an_attempt_that_had_no_answer(
        self, rolled_back: bool, first: float, holds: bool
    ) -> None:
        """It was made before the one that was answered."""
        ops = [op("a", UNKNOWN, at=first), op("a", at=4.0)]
        verdict = check(History(ops=ops, stream=[note("a", 7)], rolled_back=rolled_back))
        assert (verdict.broken == ()) is holds

    @pytest.mark.parametrize(("first", "holds"), [(3.5, True), (2.0, False)])
    def test_a_server_that_was_replaced_may_come_back_with_an_attempt_that_had_no_answer_yet(
        self, first: float, holds: bool
    ) -> None:
        """Both were answered with the id under which another server had stored it."""
        ops = [op("a", at=first), op("a", at=4.0)]
        verdict = check(History(ops=ops, stream=[note("a", 7)], rolled_back=True))
        assert (verdict.broken == ()) is holds


def test_an_event_of_a_batch_that_is_lost_is_named() -> None:
    """The events of a batch are attempts of the same time, with an id each."""
    ops = [op("a"), op("a", at=2.0), op("b", at=2.0), op("c", at=2.0)]
    [sentence] = check(History(ops=ops, stream=[note("a"), note("c")], handled=handle("ac"))).broken
    assert sentence == "answered 200, but not stored: 'b'"


def test_an_event_that_redis_lost_in_between_may_have_been_handled_with_another_text_that_was_posted() -> None:
    ops = posted(Content(cloudevent='{"a":1}'), Content(cloudevent='{"a":2}'))
    event = stored(cloudevent='{"a":2}')
    for text, held in (('{"a":1}', True), ('{"a":2}', True), ('{"a":3}', False)):
        handled = [Handling(A, content=Content(cloudevent=text))]
        assert check(History(ops=ops, stream=[event], handled=handled, rolled_back=True)).held is held
    before = [Handling(A, content=Content(cloudevent='{"a":1}'))]
    assert not check(History(ops=ops, stream=[event], handled=before)).held
