"""
Tests for the commands that L{eventsvc.redis.group} sends, in the units of Redis.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from eventsvc.event import Entry
from eventsvc.interfaces import Claimed, Measures
from eventsvc.redis.errors import ErrorReply
from eventsvc.redis.group import RedisEventGroup
from eventsvc.redis.silence import REPLY_TIMEOUT
from tests.support.fake_connection import error_of
from tests.support.recording import Recorder, result_of


def make_group(recorder: Any) -> RedisEventGroup:
    """Return a group on a recording connection."""
    return RedisEventGroup(recorder, "stream", "group", "consumer")


@pytest.mark.parametrize(
    ("block", "sent"), [(0.25, ["BLOCK", 250]), (0.0001, ["BLOCK", 1]), (0.0, []), (5.0, ["BLOCK", 5000])]
)
def test_a_read_blocks_for_milliseconds_and_its_deadline_includes_that(block: float, sent: list[Any]) -> None:
    """A read without a wait has no BLOCK, because BLOCK 0 waits forever."""
    recorder = Recorder()
    make_group(recorder).read(7, block)
    assert recorder.calls == [
        ("XREADGROUP", "GROUP", "group", "consumer", "COUNT", 7, *sent, "STREAMS", "stream", ">"),
    ]
    assert recorder.timeouts == [block + REPLY_TIMEOUT]


def test_idle_times_are_sent_in_milliseconds() -> None:
    recorder = Recorder()
    group = make_group(recorder)
    group.claim(30.0, "0-0", 5, 1000)
    group.remove_stale(3600.5)
    assert recorder.calls == [
        ("group", "consumer", 30_000, "0-0", 5, 1000),
        ("group", "consumer", 3_600_500),
    ]


def test_a_group_is_looked_for_once_there_is_a_session() -> None:
    """A group that exists is not created."""
    recorder = Recorder(answer=[], opened=Deferred())
    opened = make_group(recorder).open()
    assert recorder.calls == []
    recorder.opened.callback(None)
    assert result_of(opened) is False
    assert recorder.calls == [("XPENDING", "stream", "group", "-", "+", 1)]


def test_a_group_that_may_not_be_looked_for_is_not_created() -> None:
    """Only C{NOGROUP} proves that it is missing."""
    recorder = Recorder(answer=ErrorReply("NOPERM no"))
    assert str(error_of(make_group(recorder).open())) == "Redis denies access"
    assert len(recorder.calls) == 1


def test_entries_of_a_read_have_all_their_fields() -> None:
    """A new entry is on its first delivery."""
    recorder = Recorder(answer=[[b"stream", [[b"1-0", [b"a", b"1"]], [b"2-0", [b"a", b"1", b"b", b"2"]]]]])
    assert result_of(make_group(recorder).read(7, 0.0)) == [
        Entry("1-0", {b"a": b"1"}),
        Entry("2-0", {b"a": b"1", b"b": b"2"}),
    ]


def test_a_field_without_a_value_fails_the_read() -> None:
    """The field is not dropped silently."""
    recorder = Recorder(answer=[[b"stream", [[b"1-0", [b"a", b"1", b"b"]]]]])
    assert isinstance(error_of(make_group(recorder).read(7, 0.0)), ValueError)


def test_a_claim_gives_cursor_entries_and_trimmed_ids() -> None:
    """This delivery counts too; an entry that was trimmed while it was read has no fields."""
    recorder = Recorder(answer=[b"9-0", [[b"1-0", 3, [b"a", b"1"]], [b"2-0", 0, None]], [b"4-0"]])
    entries = [Entry("1-0", {b"a": b"1"}, 4, again=True), Entry("2-0", None, 1, again=True)]
    assert result_of(make_group(recorder).claim(30.0, "0-0", 5)) == Claimed("9-0", entries, ["4-0"])


def test_pending_ids_are_listed_from_behind_the_last() -> None:
    recorder = Recorder(answer=[[b"1-0", b"consumer", 250, 3]])
    group = make_group(recorder)
    assert [result_of(group.list_pending(after, 10)) for after in ("", "1-0")] == [["1-0"], ["1-0"]]
    assert recorder.calls == [("XPENDING", "stream", "group", start, "+", 10, "consumer") for start in ("-", "(1-0")]


def test_a_renewed_entry_is_idle_for_no_time_and_a_released_one_for_a_year() -> None:
    """Counting a delivery does not change the idle time."""
    recorder = Recorder(answer=[b"2-0"])
    group = make_group(recorder)
    assert result_of(group.renew({"1-0": "abc", "2-0": ""})) == ["2-0"]
    assert result_of(group.release(["1-0"])) is None
    assert result_of(group.count_delivery(["1-0"], 3)) is None
    assert recorder.calls == [
        ("group", "consumer", "IDLE", 0, "1-0", "abc", "2-0", ""),
        ("group", "consumer", "IDLE", 31_536_000_000, "1-0", ""),
        ("group", "consumer", "RETRYCOUNT", 3, "1-0", ""),
    ]


def test_a_name_is_held_for_milliseconds_and_told_in_seconds() -> None:
    recorder = Recorder(answer=1_500)
    assert result_of(make_group(recorder).hold_name("token", 2.5)) == 1.5
    assert recorder.keys == [["stream", b"{stream}:owner:group:consumer"]]
    assert recorder.calls == [("token", 2_500)]


def test_measures_are_in_seconds() -> None:
    recorder = Recorder(answer=[1, 2, None, 3, 4_000, 5_500, []])
    told = Measures(length=1, dead=2, unread=None, pending=3, unread_age=4.0, pending_age=5.5)
    assert result_of(make_group(recorder).measure()) == told
    assert recorder.calls == [("group", b"CreateStream")]


@pytest.mark.parametrize(
    ("facts", "share"),
    [
        (b"# Memory\r\nused_memory:25\r\nmaxmemory:100\r\n", 0.25),
        (b"# Memory\r\nused_memory:25\r\nmem_not_counted_for_evict:5\r\nmaxmemory:100\r\n", 0.2),
        (b"# Memory\r\nused_memory:25\r\nmaxmemory:0\r\n", 0.0),
        (b"# Memory\r\nused_memory:25\r\n", 0.0),
        (b"# Memory\r\nmaxmemory:100\r\n", 0.0),
        (ErrorReply("NOPERM no"), 0.0),
    ],
)
def test_the_memory_used_is_a_share_of_the_limit(facts: Any, share: float) -> None:
    """
    It is 0 without a limit, or without the permission to read it.  What does not count against the limit,
    such as the buffers of replicas, is left out.
    """
    recorder = Recorder(answer=facts)
    assert result_of(make_group(recorder).memory()).share == share
    assert recorder.calls == [("INFO", "memory")]


def test_any_other_error_reply_to_the_question_for_memory_is_raised() -> None:
    recorder = Recorder(answer=ErrorReply("LOADING no"))
    assert str(error_of(make_group(recorder).memory())) == "Redis is starting"


def test_an_interruption_ends_the_connection() -> None:
    recorder = Recorder()
    make_group(recorder).interrupt()
    assert recorder.aborted == ["interrupted"]
