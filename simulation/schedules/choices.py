"""
A schedule as a value: the world it begins with, and the list of its choices.

All values are frozen and go to JSON and back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Version = Literal["6.2", "7.0", "9.1"]
Durability = Literal["memory", "disk", "replicas"]
Fsync = Literal["no", "everysec", "always"]
Handler = Literal["coroutine", "awaitable", "batch"]


class Setup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    The world of a schedule, before its first fault.

    @ivar version: of all Redis servers.
    @ivar replicas: of Redis; with at least one there are three Sentinels, else the
        address of the server is fixed.
    @ivar moves: seconds after which the one name of the servers leads to a new primary;
        C{None}: services ask the Sentinels.
    @ivar lag: seconds that a write takes to a replica, at least.
    @ivar durability: C{REDIS_DURABILITY} of the producers.
    @ivar fsync: C{appendfsync} of the servers; C{no}: they keep nothing.
    @ivar handler: what the handler of consumers looks like.
    @ivar keyed: the share of requests with a key of their own: an
        C{Idempotency-Key}, or a CloudEvent.
    @ivar batched: the share of requests with more than one event.
    @ivar mixed: the share of requests with events that are not plain.
    @ivar poison: the share of plain events that no handler can handle; none where deliveries are many.
    @ivar rate: requests per second, of all clients.
    @ivar haste: how many times as often they come around the begin of a fault.
    @ivar seconds: for how long clients post.
    @ivar settings: more settings of the services.
    """

    version: Version = "9.1"
    replicas: int = 0
    moves: float | None = None
    lag: float = 0.0
    durability: Durability = "memory"
    fsync: Fsync = "always"
    producers: int = 1
    consumers: int = 1
    concurrency: int = 1
    handler: Handler = "coroutine"
    clients: int = 2
    keyed: float = 0.3
    batched: float = 0.2
    mixed: float = 0.4
    poison: float = 0.02
    rate: float = 5.0
    haste: float = 1.0
    seconds: float = 40.0
    settings: dict[str, str] = {}


class Choice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One fault.

    It begins at a time, or at a step: when something happens for the n-th time
    after that time.

    @ivar kind: a name in L{simulation.schedules.kinds.KINDS}.
    @ivar target: the process or link it is about, as L{simulation.schedules.kinds}
        names them; empty if the kind needs none.
    @ivar at: seconds of simulated time since the world began.
    @ivar on: the step, as in L{simulation.schedules.kinds.STEPS}; empty: at the time.
    @ivar nth: which of the steps after that time, from 1 on.
    @ivar seconds: how long it lasts.
    @ivar amount: how strong it is, in the unit of the kind.
    @ivar what: further word: a command, a script.
    """

    kind: str
    target: str = ""
    at: float
    on: str = ""
    nth: int = 1
    seconds: float = 0.0
    amount: float = 0.0
    what: str = ""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """
    All that determines a run.

    @ivar seed: of everything that is left to chance within the run: delays,
        arrivals, ids.
    """

    seed: int
    setup: Setup
    choices: tuple[Choice, ...] = ()


def write_schedule(schedule: Schedule) -> str:
    """Return a schedule as JSON, for people too."""
    return msgspec.json.format(msgspec.json.encode(schedule), indent=1).decode() + "\n"


def read_schedule(path: Path) -> Schedule:
    """
    Read a schedule from a file.

    @raise msgspec.ValidationError: the file holds something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=Schedule)
