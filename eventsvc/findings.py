"""
Judges what is seen of a stream: what is wrong, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from eventsvc.heartbeat import SeenHeartbeat
from eventsvc.stream_state import GroupState, ServerState, StreamState

#: Seconds that an event may wait before a group is too far behind.
PATIENCE: Final = 60.0
#: Seconds after which a process that leaves no heartbeat is not heard of any more.
SILENCE: Final = 15.0
#: Share of its memory at which Redis is nearly full.
_NEARLY_FULL: Final = 0.9

#: The problem of a stream that is not there.
NO_STREAM: Final = "there is no stream {}"
_MORE_RIGHTS: Final = "use a user of Redis that may look, see docs/security.md"


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


def find_problems(
    state: StreamState, processes: Sequence[SeenHeartbeat], patience: float = PATIENCE
) -> Sequence[Finding]:
    """
    Return what is wrong, the worst first.

    @param patience: seconds that an event may wait.
    """
    found = [
        *_judge_server(state.server),
        *_judge_stream(state),
        *(finding for group in state.groups for finding in _judge_group(group, patience)),
        *_judge_processes(processes),
        *(
            Finding(False, f"not everything is known: {problem}", _MORE_RIGHTS)
            for problem in state.problems
            if problem != NO_STREAM.format(state.stream)
        ),
    ]
    return sorted(found, key=lambda finding: not finding.is_bad)


def _judge_server(server: ServerState) -> Iterator[Finding]:
    if server.max_memory and server.policy not in ("", "noeviction"):
        yield Finding(
            True,
            f"Redis drops data when its memory is full: its maxmemory-policy is {server.policy}",
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
        )
    if server.max_memory and server.memory is not None and server.memory >= _NEARLY_FULL * server.max_memory:
        share = server.memory / server.max_memory
        yield Finding(
            share >= 1,
            f"Redis uses {share:.0%} of its maxmemory",
            "see whether a group is behind, or raise maxmemory; a full Redis refuses new events",
        )
    if server.append_only is False:
        yield Finding(
            False,
            "Redis keeps no append-only file: events are lost when it crashes or restarts",
            "CONFIG SET appendonly yes, and the same in its configuration file",
        )
    for replica in server.replicas:
        if replica.state != "online":
            yield Finding(
                False, f"replica {replica.address} is not online: {replica.state}", "look at the log of the replica"
            )


def _judge_stream(state: StreamState) -> Iterator[Finding]:
    if NO_STREAM.format(state.stream) in state.problems:
        yield Finding(
            True, f"there is no stream {state.stream}", "start a producer, or check REDIS_STREAM and REDIS_DB"
        )
    elif state.group_count == 0:
        yield Finding(False, f"no group reads {state.stream}", "start a consumer")
    if state.dead:
        yield Finding(False, f"{state.dead:,} dead letter{'' if state.dead == 1 else 's'}", "eventsvc dead list")


def _judge_group(group: GroupState, patience: float) -> Iterator[Finding]:
    unread, pending = group.measures.unread_age or 0.0, group.measures.pending_age or 0.0
    if unread and not group.consumer_count:
        yield Finding(True, f"events wait, but group {group.name} has no consumer", "start a consumer")
    elif unread > patience:
        yield Finding(
            True,
            f"group {group.name} is behind: its oldest unread event is {unread:.0f} s old",
            "see `eventsvc groups`; start more consumers, or look at the log of those that are there",
        )
    if pending > patience:
        yield Finding(
            True,
            f"group {group.name} has not finished an event of {pending:.0f} s ago",
            "see `eventsvc groups` for who has it, and the log of that consumer for why",
        )


def _judge_processes(processes: Sequence[SeenHeartbeat]) -> Iterator[Finding]:
    for seen in processes:
        about = seen.heartbeat
        name = f"{about.role} {about.name} (process {about.pid} on {about.host})"
        if seen.age > SILENCE:
            yield Finding(
                False,
                f"{name} was last heard of {seen.age:.0f} s ago",
                "it was killed, or cannot reach Redis: see its log",
            )
        elif about.problem:
            yield Finding(True, f"{name} is not ready: {about.problem}", "see its log")
