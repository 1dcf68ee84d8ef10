"""
Scenarios in which the environment of the services fails: memory, failover,
clocks, readers of logs, large events, foreign clients.
"""

from __future__ import annotations

from typing import Final

from chaos.environment import ClockStepped, Flooded, Full, LeadingToReplica, Promoted, RolledBack, Unread
from chaos.faults import (
    KILL_CLIENTS,
    REDIS_DOWN,
    After,
    All,
    Briefly,
    Down,
    Frozen,
    Killed,
    Restarted,
    Told,
    Toxified,
)
from chaos.plan import Plan
from chaos.scenario import Expectations, Scenario
from chaos.signs import Alarmed, Counted, HandledAgain, Said, Suffered
from chaos.toxics import Toxic
from chaos.workload import Load

_RECONNECTED: Final = (Said("connected to Redis", "producer"), Said("connected to Redis", "consumer"))
_HOUR: Final = 3600.0

SURROUNDINGS: Final = (
    # Memory
    Scenario(
        name="redis-full",
        what="The memory of Redis fills up under load; acknowledged entries are trimmed.",
        faults=[Full(3_000_000)],
        plan=Plan(recorded=True),
        load=Load(large=0.0, huge=2, huge_bytes=20_000),
        on=8,
        signs=[Counted("eventsvc_trimmed", 50)],
        expect=Expectations(silence_at_most=4.0, work_on=300),
    ),
    Scenario(
        name="redis-full-and-reconnected",
        what="Redis is out of memory and closes all connections; consumers drain the stream.",
        faults=[Told(["CONFIG SET maxmemory 1", *KILL_CLIENTS.commands], back=["CONFIG SET maxmemory 0"])],
        plan=Plan(handlers=["chaos.handlers.Plain"], recorded=True),
        on=4,
        signs=[Suffered(1.0, 50), *_RECONNECTED],
        expect=Expectations(work_on=40),
    ),
    # Failover
    Scenario(
        name="stale-replica",
        what="Redis is killed, and a replica that lags replaces it at the same address.",
        faults=[Promoted()],
        plan=Plan(standby=True),
        on=1,
        signs=[*_RECONNECTED, Alarmed("restored", "producer"), Counted("eventsvc_restored", 50)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="replica-at-address",
        what="The address of Redis leads to a replica that accepts writes, which will be lost.",
        faults=[All([LeadingToReplica("producer-"), LeadingToReplica("consumer-")])],
        plan=Plan(standby=True, redis=("--appendonly", "yes", "--replica-read-only", "no")),
        on=2,
        signs=[
            Suffered(1.0, 50),
            Said("is a read-only replica", "producer"),
            Said("is a read-only replica", "consumer"),
        ],
    ),
    Scenario(
        name="rolled-back-idle",
        what="Redis returns to the state before the last batch while nothing is posted, and a reply is lost.",
        faults=[All([Frozen("workload"), After(0.5, RolledBack("producer-1"))])],
        on=0.5,
        signs=[Said("connected to Redis", "producer"), Alarmed("restored", "producer")],
        expect=Expectations(least_each=0),
    ),
    # Clocks
    Scenario(
        name="clock-back",
        what="The clock of all services is set back by an hour while Redis cannot be reached.",
        faults=[All([REDIS_DOWN, After(0.7, ClockStepped(-_HOUR))])],
        plan=Plan(clock=True),
        on=1,
        after=4,
        signs=[Suffered(), *_RECONNECTED],
    ),
    # Large events
    Scenario(
        name="large-events",
        what="Some events have nearly a megabyte, and the link to Redis carries a third of one per second.",
        faults=[Toxified("producer-", Toxic("bandwidth", {"rate": 350}, "upstream"))],
        plan=Plan(settings={"REDIS_WRITE_TIMEOUT": "9"}),
        load=Load(rate=10, large=0.0, huge=60),
        on=15,
        before=6,
        after=6,
        signs=[Suffered(2.0, 3)],
        expect=Expectations(least_ok=100, least_each=20, all_ok=True),
    ),
    Scenario(
        name="large-pending",
        what="A consumer is disconnected while many large events arrive, and then its link is slow.",
        faults=[
            All(
                [
                    Toxified("consumer-", Toxic("bandwidth", {"rate": 1200})),
                    Briefly(5.0, Down("consumer-")),
                ]
            )
        ],
        load=Load(rate=50, huge=5, huge_bytes=250_000),
        on=8,
        before=3,
        signs=[Said("connected to Redis", "consumer")],
        expect=Expectations(work_on=40, all_ok=True),
    ),
    # Handlers and logs
    Scenario(
        name="plain-handler-killed",
        what="A consumer with a slow handler that blocks the reactor is killed while it has a backlog.",
        faults=[Killed("consumer-1")],
        plan=Plan(handlers=["chaos.handlers.Plain"]),
        load=Load(rate=45, large=0.0),
        pulses=3,
        on=0.5,
        off=2,
        signs=[HandledAgain(), Said("connected to Redis", "consumer", 3)],
        expect=Expectations(all_ok=True, least_each=40, repeat_within=0.5),
    ),
    Scenario(
        name="log-unread",
        what="Nobody reads the output of a consumer, and it is stopped.",
        faults=[All([Unread("consumer-1"), After(3.0, Restarted(("consumer-1",)))])],
        plan=Plan(piped=["consumer-1"]),
        load=Load(rate=300),
        on=1,
        signs=[Said("connected to Redis", "consumer")],
        expect=Expectations(all_ok=True),
    ),
    # Strangers
    Scenario(
        name="flooded",
        what="Silent clients take all connections of a producer, while other clients and Redis lose theirs.",
        faults=[All([Flooded("producer-1", 600), Briefly(0.3, Down("client-")), KILL_CLIENTS])],
        plan=Plan(files=300),
        on=4,
        signs=[Suffered(0.0, 3), Said("connected to Redis", "producer")],
        expect=Expectations(silence_at_most=3.0),
    ),
)
