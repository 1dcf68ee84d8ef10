"""
Tells a run as a page of plain text: which promise broke, what the world was,
who did what, and what each side believed at the end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from simulation.schedules.choices import Choice, Schedule, Setup
from simulation.schedules.kinds import KINDS
from simulation.schedules.records import Record

#: Lines of the journal in a story.
_LINES: Final = 44
#: Seconds around a fault whose lines matter.
_AROUND: Final = 0.25

#: A text in a finding that names an event.
_QUOTED: Final = re.compile(r"'([^']+)'")


class Line(NamedTuple):
    """
    Something that happened.

    @ivar at: seconds since the world began.
    @ivar who: the process that did it; empty: the schedule.
    """

    at: float
    who: str
    words: str


def tell(
    record: Record,
    journal: Sequence[Line],
    beliefs: Mapping[str, Sequence[str]],
    command: str,
    subjects: Collection[str] = (),
) -> str:
    """
    Return the story of a run.

    @param journal: all that happened, in order.
    @param beliefs: what each process believed at the end, a sentence each.
    @param command: the command that runs it again.
    @param subjects: what the journal calls the events that the findings name, beside their descriptions.
    """
    lines = [
        f"Seed {record.schedule.seed}: {record.state}",
        "",
        *(f"  {sentence}" for sentence in (*record.broken, *record.missing)),
        "",
        f"Again: {command}",
        "",
        "The world",
        f"  {describe_setup(record.schedule.setup)}",
        "",
        "The faults",
        *(f"  {describe_choice(choice)}" for choice in record.schedule.choices),
        "",
        "What happened",
        *(f"  {line}" for line in _extract(journal, {*subjects_of(record), *subjects})),
        "",
        "What each side believes at the end",
        *(f"  {who:<11} {sentence}" for who, sentences in beliefs.items() for sentence in sentences),
    ]
    return "\n".join([*lines, ""])


def describe_setup(setup: Setup) -> str:
    """Return the world in a sentence."""
    redis = f"Redis {setup.version}"
    if setup.replicas:
        redis += f" with {_count(setup.replicas, 'replica')} and 3 Sentinels"
        redis += f", which lag by {setup.lag:g} s" if setup.lag else ""
        redis += "" if setup.moves is None else f"; their name moves {setup.moves:g} s after a failover"
    kept = {"no": "no append-only file"}.get(setup.fsync, f"appendfsync {setup.fsync}")
    services = ", ".join(
        [
            f"{_count(setup.producers, 'producer')} (REDIS_DURABILITY={setup.durability})",
            f"{_count(setup.consumers, 'consumer')} of concurrency {setup.concurrency} ({setup.handler})",
            f"{_count(setup.clients, 'client')} that post {setup.rate:g} requests/s for {setup.seconds:g} s",
        ]
    )
    settings = " ".join(f"{name}={value}" for name, value in setup.settings.items())
    return f"{redis}, {kept}; {services}.  {settings}".rstrip()


def describe_choice(choice: Choice) -> str:
    """Return a fault in a sentence, with its time or step."""
    kind = KINDS[choice.kind]
    when = f"{choice.at:7.3f} s"
    if choice.on:
        time = f"the next {choice.on}" if choice.nth == 1 else f"{choice.on} number {choice.nth} from then on"
        when += f", at {time}"
    words = kind.words.format(target=choice.target, seconds=choice.seconds, amount=choice.amount, what=choice.what)
    lasts = f", for {choice.seconds:.2f} s" if choice.seconds else ""
    return f"{when}: {words}{lasts}"


def subjects_of(record: Record) -> Sequence[str]:
    """Return the events that the findings name."""
    return [name for sentence in record.broken for name in _QUOTED.findall(sentence)]


def _extract(journal: Sequence[Line], subjects: Collection[str]) -> Iterator[str]:
    """Yield the lines that matter: the faults and what is around them, and what is about the events that broke."""
    faults = [line.at for line in journal if not line.who]
    ranked = [place for place, line in enumerate(journal) if not line.who]
    ranked += [place for place, line in enumerate(journal) if _is_about(line, subjects)]
    ranked += [
        place
        for place, line in enumerate(journal)
        if line.who and any(abs(line.at - fault) <= _AROUND for fault in faults)
    ]
    chosen = sorted(list(dict.fromkeys(ranked))[:_LINES])
    before = -1
    for place in chosen:
        if place > before + 1:
            yield f"{'':>9}  ... {place - before - 1} more ..."
        before = place
        yield _write(journal[place])
    if before < len(journal) - 1:
        yield f"{'':>9}  ... {len(journal) - 1 - before} more ..."


def _is_about(line: Line, subjects: Collection[str]) -> bool:
    return any(re.search(rf"{re.escape(subject)}(?!\w)", line.words) for subject in subjects)


def _write(line: Line) -> str:
    return f"{line.at:9.4f}  {line.who or '*** fault':<11} {line.words}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def replay_command(path: str) -> str:
    """Return the command that runs a schedule in a file again."""
    return f"python -m simulation replay {path}"


def describe_schedule(schedule: Schedule) -> str:
    """Return the world and the faults, without what happened."""
    return "\n".join([describe_setup(schedule.setup), *map(describe_choice, schedule.choices)])
