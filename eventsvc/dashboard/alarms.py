"""
What is wrong with a stream, by what a dashboard sees of it.

The names are those of the alerts in C{docs/operations.md}, which says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import attrs

from eventsvc.dashboard import words
from eventsvc.dashboard.rates import SILENT, Rates
from eventsvc.heartbeat import SeenHeartbeat
from eventsvc.stream_state import StreamState

#: Seconds that the oldest unread event, and the oldest pending one, may wait.
_BEHIND: Final = 60.0
_STUCK: Final = 600.0
#: The share of its maxmemory that Redis may use.
_NEARLY: Final = 0.9
#: Dead letters from which they endanger the memory of Redis.
_MANY: Final = 10_000


@attrs.frozen
class Alarm:
    """
    Something that needs a person.

    @ivar name: the alert that it is; of a process that is silent, C{AProcessIsSilent}.
    @ivar detail: what was seen, in words.
    """

    name: str
    severity: Literal["critical", "warning"]
    detail: str


def find_alarms(
    state: StreamState | None,
    processes: Sequence[SeenHeartbeat],
    rates: Rates,
    problem: str = "",
    held: Mapping[str, float] | None = None,
) -> Sequence[Alarm]:
    """
    Return what is wrong, the worst first.

    @param problem: why Redis cannot be asked; empty if it can.
    @param held: seconds for which the oldest pending event of each group is the same, if that was watched; else its age
        is taken.
    """
    if problem:
        return [Alarm("RedisIsAway", "critical", problem)]
    found = [*_of_processes(processes), *_of_rates(rates)]
    if state is not None:
        found += [*_of_groups(state, processes, held), *_of_server(state)]
    return sorted(found, key=lambda alarm: alarm.severity)


def _of_processes(processes: Sequence[SeenHeartbeat]) -> Iterator[Alarm]:
    for seen in processes:
        beat = seen.heartbeat
        who = f"{beat.role} {beat.name} (process {beat.pid} on {beat.host})"
        if seen.age >= SILENT:
            yield Alarm("AProcessIsSilent", "warning", f"{who}: last heartbeat {words.duration(seen.age)} ago")
            continue
        if beat.figures.get("pausing"):
            yield Alarm("AHandlerIsFailing", "critical", who)
        elif beat.problem:
            name = "AConsumerIsNotReady" if beat.role == "consumer" else "EventsAreRefused"
            yield Alarm(name, "critical", f"{who}: {beat.problem}")
        if lost := beat.figures.get("lost"):
            yield Alarm("EventsMayBeLost", "critical", f"{who}: {words.count(lost)} since its start")


def _of_rates(rates: Rates) -> Iterator[Alarm]:
    if rates.refused:
        yield Alarm("EventsAreRefused", "critical", f"{words.rate(rates.refused)} a second")
    if rates.unknown:
        yield Alarm("EventsAreUnconfirmed", "critical", f"{words.rate(rates.unknown)} a second")


def _of_groups(
    state: StreamState, processes: Sequence[SeenHeartbeat], held: Mapping[str, float] | None
) -> Iterator[Alarm]:
    served = {seen.heartbeat.group for seen in processes if seen.age < SILENT}
    for group in state.groups:
        measures = group.measures
        unread, pending = measures.unread_age or 0.0, measures.pending_age or 0.0
        if unread >= _BEHIND:
            away = not group.consumer_count and group.name not in served
            oldest = f"group {group.name}: the oldest unread event waits for {words.duration(unread)}"
            yield Alarm("NoConsumer" if away else "ConsumersAreBehind", "critical" if away else "warning", oldest)
        if (pending if held is None else held.get(group.name, 0.0)) >= _STUCK:
            oldest = f"group {group.name}: the oldest pending event waits for {words.duration(pending)}"
            yield Alarm("AnEventIsStuck", "warning", oldest)
    if state.dead:
        many = state.dead > _MANY
        letters = f"{words.count(state.dead)} dead letter{'' if state.dead == 1 else 's'}"
        yield Alarm("ManyDeadLetters" if many else "DeadLetters", "critical" if many else "warning", letters)


def _of_server(state: StreamState) -> Iterator[Alarm]:
    used, most = state.server.memory, state.server.max_memory
    if used is not None and most and used >= _NEARLY * most:
        full = used >= most
        memory = f"{words.size(used)} of {words.size(most)}"
        yield Alarm("RedisIsFull" if full else "RedisIsNearlyFull", "critical" if full else "warning", memory)
