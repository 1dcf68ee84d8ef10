"""
Tests for L{eventsvc.findings} and L{eventsvc.cli.checks}, as tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from eventsvc.cli.checks import check_clock, check_descriptors, check_producer, check_rights, check_version
from eventsvc.findings import _REMEDIES, Finding, find_problems
from eventsvc.heartbeat import Heartbeat, SeenHeartbeat
from eventsvc.measures import Measures
from eventsvc.stream_state import GroupState, ReplicaState, ServerState, StreamState

DONE = Measures(length=5, unread=0, pending=0, unread_age=0.0, pending_age=0.0)
GROUP = GroupState("g", DONE, last="1-0", consumer_count=1)
WELL = StreamState(stream="S", now=0.0, length=5, dead=0, groups=[GROUP], group_count=1)


def behind(unread: float = 0.0, pending: float = 0.0, consumers: int = 1) -> StreamState:
    measures = attrs.evolve(DONE, unread_age=unread, pending_age=pending)
    return attrs.evolve(WELL, groups=[attrs.evolve(GROUP, measures=measures, consumer_count=consumers)])


def on(**server: object) -> StreamState:
    return attrs.evolve(WELL, server=ServerState(**server))  # type: ignore[arg-type]


def beating(age: float = 1.0, problem: str = "") -> SeenHeartbeat:
    beat = Heartbeat(
        id="1", role="consumer", name="c", host="h", pid=7, version="1", started=0.0, uptime=1.0, problem=problem
    )
    return SeenHeartbeat(beat, age)


def words_of(findings: Sequence[Finding]) -> list[tuple[bool, str]]:
    return [(finding.is_bad, finding.what) for finding in findings]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        (WELL, []),
        (behind(unread=59.0, pending=599.0), []),
        (behind(61.0), [(True, "ConsumersAreBehind: group g: the oldest unread event waits for 61 s")]),
        (behind(pending=601.0), [(True, "AnEventIsStuck: group g: the oldest pending event waits for 10 min")]),
        (behind(61.0, consumers=0), [(True, "NoConsumer: group g: the oldest unread event waits for 61 s")]),
        (behind(consumers=0), []),
        (attrs.evolve(WELL, dead=1), [(False, "DeadLetters: 1 dead letter")]),
        (attrs.evolve(WELL, dead=10_001), [(True, "ManyDeadLetters: 10,001 dead letters")]),
        (attrs.evolve(WELL, groups=[], group_count=0), [(False, "no group reads S")]),
        (
            attrs.evolve(WELL, groups=[], group_count=None, length=0, problems=["there is no stream S"]),
            [(True, "there is no stream S")],
        ),
        (
            attrs.evolve(WELL, groups=[], group_count=None, length=None, problems=["no right"]),
            [(False, "not everything is known: no right")],
        ),
        (
            attrs.evolve(WELL, groups=[], group_count=None, length=None, problems=["the key S is no stream"]),
            [(True, "the key S is no stream")],
        ),
        (
            attrs.evolve(WELL, dead=None, problems=["the key {S}:dead is no stream"]),
            [(True, "the key {S}:dead is no stream")],
        ),
        (on(max_memory=100, memory=89, policy="noeviction"), []),
        (on(max_memory=100, memory=90, policy="noeviction"), [(False, "RedisIsNearlyFull: 90 B of 100 B")]),
        (on(max_memory=100, memory=100, policy="noeviction"), [(True, "RedisIsFull: 100 B of 100 B")]),
        (on(max_memory=0, memory=100, policy="allkeys-lru"), []),
        (
            on(max_memory=100, memory=1, policy="allkeys-lru"),
            [(True, "Redis drops data when its memory is full: its maxmemory-policy is allkeys-lru")],
        ),
        (
            on(append_only=False),
            [(False, "Redis keeps no append-only file: events are lost when it crashes or restarts")],
        ),
        (on(append_only=True, replicas=[ReplicaState("a:1", "online", 0, 0)]), []),
        (on(replicas=[ReplicaState("a:1", "wait_bgsave", 0, 0)]), [(False, "replica a:1 is not online: wait_bgsave")]),
    ],
)
def test_what_is_wrong_with_a_stream(state: StreamState, found: list[tuple[bool, str]]) -> None:
    assert words_of(find_problems(state, [])) == found
    assert all(finding.remedy for finding in find_problems(state, []))


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (beating(), []),
        (beating(9.0), []),
        (beating(16.0), [(False, "AProcessIsSilent: consumer c (process 7 on h): last heartbeat 16 s ago")]),
        (beating(problem="too slow"), [(True, "AConsumerIsNotReady: consumer c (process 7 on h): too slow")]),
    ],
)
def test_what_is_wrong_with_a_process(seen: SeenHeartbeat, found: list[tuple[bool, str]]) -> None:
    assert words_of(find_problems(WELL, [seen])) == found


def test_the_worst_comes_first() -> None:
    state = attrs.evolve(behind(100.0), dead=1)
    assert [finding.is_bad for finding in find_problems(state, [])] == [True, False]


def test_the_alarms_with_a_remedy_of_their_own_are_those_of_the_alerts() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert [name for name in _REMEDIES if name != "AProcessIsSilent" and f"### {name}\n" not in page] == []


@pytest.mark.parametrize(
    ("version", "state"),
    [("6.0.16", "wrong"), ("5.0", "wrong"), ("6.2.0", "ok"), ("7.0.15", "ok"), ("9.1.2", "ok"), ("10.0.0", "ok"),
     ("255.255.255", "ok"), ("", "unknown"), ("x.y", "unknown"), ("7", "unknown")],
)  # fmt: skip
def test_old_servers_are_refused(version: str, state: str) -> None:
    assert check_version(ServerState(product="redis", version=version, role="primary")).state == state


@pytest.mark.parametrize(
    ("theirs", "state", "words"),
    [
        (100.0, "ok", "0.00 s"),
        (101.0, "ok", "1.00 s"),
        (103.5, "warning", "3.5 s ahead of the one here"),
        (40.0, "warning", "60.0 s behind the one here"),
    ],
)
def test_clocks_may_differ_by_a_second(theirs: float, state: str, words: str) -> None:
    check = check_clock(theirs, 100.0)
    assert check.state == state
    assert words in check.what


@pytest.mark.parametrize(
    ("status", "problem", "state", "words"),
    [
        (200, "", "ok", "ready at http://p"),
        (503, "", "wrong", "not ready: full"),
        (404, "", "warning", "answers 404"),
        (0, "refused", "warning", "none at http://p: refused"),
    ],
)
def test_what_a_producer_answers(status: int, problem: str, state: str, words: str) -> None:
    check = check_producer("http://p", status, "full", problem)
    assert check.state == state
    assert words in check.what
    assert bool(check.remedy) is (state != "ok")


@pytest.mark.parametrize(
    ("missing", "role", "state", "words"),
    [
        (None, None, "unknown", "cannot tell"),
        ({"producer": [], "dashboard": ["XLEN k"]}, None, "ok", "enough for: producer"),
        ({"producer": ["XADD k"], "dashboard": ["XLEN k"]}, None, "wrong", "not enough for any role"),
        ({"producer": ["XADD k"], "dashboard": []}, "producer", "wrong", "it may not run XADD k"),
        ({"producer": [], "dashboard": ["XLEN k"]}, "producer", "ok", "enough for: producer"),
    ],
)
def test_rights(missing: dict[str, list[str]] | None, role: str | None, state: str, words: str) -> None:
    [check] = check_rights(missing, role)
    assert check.state == state
    assert words in check.what


@pytest.mark.parametrize(("limit", "state"), [(256, "warning"), (4_095, "warning"), (4_096, "ok"), (10**9, "ok")])
def test_open_files(limit: int, state: str) -> None:
    assert check_descriptors(limit).state == state
