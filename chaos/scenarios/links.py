"""
Scenarios in which the links to Redis fail, completely or partly.
"""

from __future__ import annotations

from signal import SIGKILL
from typing import Final

from chaos.faults import (
    CUT_AT_ONCE,
    KILL_CLIENTS,
    REDIS_DOWN,
    All,
    Frozen,
    LeadingNowhere,
    Restarted,
    Toxified,
    everywhere,
)
from chaos.plan import Plan
from chaos.scenario import Expectations, Scenario
from chaos.signs import Counted, Said, Suffered
from chaos.toxics import Toxic
from chaos.workload import Load

_RECONNECTED: Final = Said("connected to Redis")
_CALM: Final = Load(rate=50)

LINKS: Final = (
    # Redis cannot be reached
    Scenario(
        name="down-at-start",
        what="Producer and consumer start while Redis cannot be reached.",
        faults=[All([REDIS_DOWN, Restarted(("producer-1", "consumer-1"), SIGKILL, ready=False)])],
        signs=[Suffered(), Said("no connection to Redis", "producer"), Said("no connection to Redis", "consumer")],
    ),
    Scenario(
        name="down-long",
        what="Redis cannot be reached for longer than an event may wait for it.",
        faults=[REDIS_DOWN],
        on=10,
        signs=[Suffered(1.0, 100)],
    ),
    Scenario(
        name="down-often",
        what="Redis repeatedly cannot be reached for a moment.",
        faults=[REDIS_DOWN],
        plan=Plan(tokens=False),
        pulses=10,
        on=0.2,
        signs=[Said("connected to Redis", "producer", 8), Said("connected to Redis", "consumer", 8)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="accept-then-eof",
        what="A proxy before Redis accepts connections and closes them.",
        faults=[All([LeadingNowhere("producer-"), LeadingNowhere("consumer-")])],
        signs=[Suffered(), Said("no connection to Redis", "producer"), Said("no connection to Redis", "consumer")],
    ),
    Scenario(
        name="cut-in-handshake",
        what="Connections are cut in the middle of AUTH, or before its reply.",
        faults=[
            everywhere(Toxic("limit_data", {"bytes": 10}, "upstream")),
            everywhere(CUT_AT_ONCE),
        ],
        pulses=4,
        on=1,
        signs=[Suffered(), _RECONNECTED],
    ),
    # Redis can be reached partly
    Scenario(
        name="reply-cut",
        what="Redis appends, and the connection is cut before its reply arrives.",
        faults=[Toxified("producer-", CUT_AT_ONCE)],
        pulses=8,
        on=0.3,
        signs=[Suffered(0.2), Counted("eventsvc_duplicates_resolved", 3)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="late-bytes",
        what="Bytes of an aborted connection arrive after the next connection has sent the batch again.",
        faults=[Toxified("producer-", Toxic("latency", {"latency": 2600}, "upstream", toxicity=0.7))],
        pulses=6,
        on=2.8,
        off=0.2,
        signs=[Suffered(1.0, 10), Counted("eventsvc_duplicates_resolved")],
    ),
    Scenario(
        name="reset",
        what="Connections are reset before and after Redis receives the command.",
        faults=[
            everywhere(Toxic("reset_peer", {"timeout": 0}, "upstream")),
            everywhere(Toxic("reset_peer", {"timeout": 0})),
        ],
        pulses=8,
        on=0.3,
        signs=[Counted("eventsvc_redis_reconnects", 6), Counted("eventsvc_duplicates_resolved")],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="freeze",
        what="No bytes move on any link for a moment, and no connection is closed.",
        faults=[everywhere(Toxic("bandwidth", {"rate": 0})), everywhere(Toxic("bandwidth", {"rate": 0}, "upstream"))],
        pulses=4,
        on=1.2,
        off=1,
        signs=[Suffered(0.8, 50)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="freeze-long",
        what="No bytes move on any link for longer than a reply may take; new connections are accepted and held too.",
        faults=[Frozen("toxiproxy")],
        pulses=2,
        on=4,
        off=1.5,
        direct=True,
        signs=[Suffered(1.0, 50), Said("no reply within", "producer")],
    ),
    Scenario(
        name="black-hole",
        what="All bytes are dropped, and no connection is closed.",
        faults=[
            everywhere(Toxic("timeout", {"timeout": 0})),
            everywhere(Toxic("timeout", {"timeout": 0}, "upstream")),
        ],
        pulses=2,
        on=4,
        off=1.5,
        signs=[Suffered(1.0, 50), Said("no reply within", "producer")],
    ),
    Scenario(
        name="slow-and-jittery",
        what="Every chunk is delayed, by varying times.",
        faults=[
            All(
                [
                    everywhere(Toxic("latency", {"latency": 100, "jitter": 90})),
                    everywhere(Toxic("latency", {"latency": 100, "jitter": 90}, "upstream")),
                ]
            )
        ],
        plan=Plan(tokens=False),
        on=5,
        signs=[Suffered(0.1, 50)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="one-byte-slices",
        what="Commands and replies arrive one byte at a time.",
        faults=[
            All(
                [
                    everywhere(Toxic("slicer", {"average_size": 1, "size_variation": 0, "delay": 20})),
                    everywhere(Toxic("slicer", {"average_size": 1, "size_variation": 0, "delay": 20}, "upstream")),
                ]
            )
        ],
        load=_CALM,
        on=5,
        signs=[Suffered(0.02, 20)],
    ),
    Scenario(
        name="slow-close",
        what="Services see much later that Redis has closed a connection.",
        faults=[All([everywhere(Toxic("slow_close", {"delay": 1500})), KILL_CLIENTS])],
        pulses=3,
        on=2.5,
        signs=[Suffered(0.5), _RECONNECTED],
    ),
)
