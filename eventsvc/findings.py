"""
Judges what is seen of a stream: what is wrong, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from eventsvc.dashboard.alarms import Alarm, find_alarms
from eventsvc.dashboard.rates import Rates
from eventsvc.heartbeat import SeenHeartbeat
from eventsvc.stream_state import StreamState

#: What to do about an alarm that has a command of ours, or a setting; the others are in C{docs/operations.md}.
_REMEDIES: Final = {
    "AHandlerIsFailing": "see the log of the consumer for the error; mend what the handler needs",
    "AnEventIsStuck": "`eventsvc groups` says who has it; see the log of that consumer",
    "AProcessIsSilent": "it was killed, or cannot reach Redis: see its log",
    "ConsumersAreBehind": "`eventsvc groups` says who reads; start more consumers, or see their logs",
    "DeadLetters": "eventsvc dead list",
    "ManyDeadLetters": "eventsvc dead list",
    "NoConsumer": "start a consumer",
}
#: Alarms of severity warning that mean that events wait too long.
_WAITING: Final = ("AnEventIsStuck", "ConsumersAreBehind")
#: The problem of a stream that is not there.
NO_STREAM: Final = "there is no stream {}"
#: How the problem of a key that holds something else ends.
_NOT_A_STREAM: Final = " is no stream"


@attrs.frozen
class Finding:
    """
    Something that is wrong, or may be.

    @ivar is_bad: whether events wait, are refused or may be lost; else it is a warning.
    @ivar what: a sentence about it.
    @ivar remedy: what to do.
    """

    is_bad: bool
    what: str
    remedy: str


def find_problems(state: StreamState, processes: Sequence[SeenHeartbeat]) -> Sequence[Finding]:
    """Return what is wrong, the worst first."""
    found = [
        *map(_from_alarm, find_alarms(state, processes, Rates())),
        *_judge_server(state),
        *_judge_stream(state),
    ]
    return sorted(found, key=lambda finding: not finding.is_bad)


def _from_alarm(alarm: Alarm) -> Finding:
    is_bad = alarm.severity == "critical" or alarm.name in _WAITING
    remedy = _REMEDIES.get(alarm.name, f"see {alarm.name} in docs/operations.md")
    return Finding(is_bad, f"{alarm.name}: {alarm.detail}", remedy)


def _judge_server(state: StreamState) -> Iterator[Finding]:
    server = state.server
    if server.max_memory and server.policy not in ("", "noeviction"):
        yield Finding(
            True,
            f"Redis drops data when its memory is full: its maxmemory-policy is {server.policy}",
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
        )
    if server.append_only is False:
        yield Finding(
            False,
            "Redis keeps no append-only file: events are lost when it crashes or restarts",
            "CONFIG SET appendonly yes, and the same in its configuration file",
        )
    for replica in server.replicas:
        if replica.state != "online":
            what = f"replica {replica.address} is not online: {replica.state}"
            yield Finding(False, what, "see the log of the replica")


def _judge_stream(state: StreamState) -> Iterator[Finding]:
    missing = NO_STREAM.format(state.stream)
    if missing in state.problems:
        yield Finding(True, missing, "start a producer, or check REDIS_STREAM and REDIS_DB")
    elif state.group_count == 0:
        yield Finding(False, f"no group reads {state.stream}", "start a consumer")
    for problem in state.problems:
        if problem.endswith(_NOT_A_STREAM):
            yield Finding(True, problem, "another program uses this key: check REDIS_STREAM and REDIS_DB")
        elif problem != missing:
            yield Finding(False, f"not everything is known: {problem}", "use a user that may look: docs/security.md")
