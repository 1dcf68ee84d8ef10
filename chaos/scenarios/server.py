"""
Scenarios in which Redis itself fails.
"""

from __future__ import annotations

from typing import Final

from chaos.faults import (
    KILL_CLIENTS,
    Frozen,
    Killed,
    Told,
)
from chaos.plan import Plan
from chaos.scenario import Expectations, Scenario
from chaos.signs import Alarmed, Counted, Said, Suffered

SERVER: Final = (
    # Redis itself
    Scenario(
        name="redis-frozen",
        what="Redis is frozen and continues.",
        faults=[Frozen("redis")],
        on=5,
        signs=[Suffered(1.0, 50), Said("no reply within", "producer")],
    ),
    Scenario(
        name="redis-killed",
        what="Redis is killed and restarts with the data of its append-only file.",
        faults=[Killed("redis")],
        plan=Plan(tokens=False),
        pulses=3,
        on=1,
        off=2,
        signs=[Said("connected to Redis", "producer", 3), Said("connected to Redis", "consumer", 3)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="redis-flushed",
        what="Somebody deletes all data of Redis.",
        faults=[Told(["FLUSHALL"], wipes=True)],
        on=0.5,
        signs=[
            Alarmed("restored", "producer"),
            Counted("eventsvc_restored", 100),
            Alarmed("group_recreated", "consumer"),
        ],
        expect=Expectations(all_ok=True, alarm=True, least_each=20),
    ),
    Scenario(
        name="redis-emptied",
        what="Redis is killed and restarts without its data, of which the producer retains the last second.",
        faults=[Killed("redis", wiped=True)],
        plan=Plan(settings={"REDIS_RETAIN_SECONDS": "1"}),
        on=1,
        signs=[Alarmed("lost", "producer"), Alarmed("restored", "producer"), Alarmed("group_recreated", "consumer")],
        # an event that was posted again in that second is given back in the place of the second post
        expect=Expectations(all_ok=True, alarm=True, in_order=False),
    ),
    Scenario(
        name="out-of-memory",
        what="Redis is out of memory.",
        faults=[Told(["CONFIG SET maxmemory 1"], back=["CONFIG SET maxmemory 0"])],
        plan=Plan(recorded=True),
        on=6,
        signs=[Suffered(1.0, 50)],
    ),
    Scenario(
        name="scripts-flushed",
        what="Redis forgets its cached scripts, many times.",
        faults=[Told(["SCRIPT FLUSH"])],
        plan=Plan(tokens=False),
        pulses=100,
        on=0.01,
        off=0.03,
        signs=[Counted("redis_eval", 50)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="clients-killed",
        what="Redis closes all connections repeatedly.",
        faults=[KILL_CLIENTS],
        pulses=40,
        on=0.01,
        off=0.1,
        signs=[Said("connected to Redis", "producer", 20), Said("connected to Redis", "consumer", 20)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="no-more-clients",
        what="Redis closes all connections and accepts no new ones.",
        faults=[
            Told(
                ["CONFIG SET maxclients 1", "CLIENT KILL TYPE normal SKIPME yes"],
                back=["CONFIG SET maxclients 10000"],
            )
        ],
        signs=[Suffered(1.0, 50), Said("max number of clients", "producer")],
    ),
)
