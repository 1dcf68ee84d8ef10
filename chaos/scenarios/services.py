"""
Scenarios in which a service or a client fails, and one in which everything does.
"""

from __future__ import annotations

from typing import Final

from chaos.environment import NothingParses
from chaos.faults import (
    CUT_AT_ONCE,
    DESTROY_GROUP,
    KILL_CLIENTS,
    REDIS_DOWN,
    Down,
    Frozen,
    Killed,
    Restarted,
    Told,
    Toxified,
    everywhere,
)
from chaos.plan import Plan
from chaos.scenario import Expectations, Scenario
from chaos.signs import Alarmed, Counted, HandledAgain, Said, SetAside, Suffered
from chaos.toxics import Toxic
from chaos.workload import Load

_SLOW: Final = Plan(handlers=["chaos.handlers.slow"])
_CALM: Final = Load(rate=50)

SERVICES: Final = (
    # Producers
    Scenario(
        name="producer-killed",
        what="A producer is killed with requests in flight.",
        faults=[Killed("producer-1")],
        load=Load(rate=200),
        pulses=2,
        on=0.5,
        off=2,
        signs=[Suffered(0.0, 10)],
    ),
    Scenario(
        name="rolling-restart",
        what="Two producers are restarted one after the other, and clients switch to the one that runs.",
        faults=[Restarted(("producer-1", "producer-2"), apart=1.0)],
        plan=Plan(producers=2),
        load=Load(rate=150, clients=4, failover=True),
        on=0.5,
        direct=True,
        signs=[Said("connected to Redis", "producer-1"), Said("connected to Redis", "producer-2")],
        expect=Expectations(all_ok=True),
    ),
    # Consumers
    Scenario(
        name="consumer-killed",
        what="A consumer is killed in the middle of a batch.",
        faults=[Killed("consumer-1", at_work=True)],
        plan=_SLOW,
        load=_CALM,
        pulses=3,
        on=0.5,
        off=2,
        signs=[Counted("eventsvc_redelivered"), Said("connected to Redis", "consumer", 3)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="consumer-restarted",
        what="A consumer is stopped in the middle of a batch and restarted.",
        faults=[Restarted(("consumer-1",))],
        plan=Plan(handlers=["chaos.handlers.awaitable"]),
        load=_CALM,
        pulses=2,
        on=0.5,
        off=2,
        signs=[Said("connected to Redis", "consumer", 2)],
        expect=Expectations(all_ok=True, least_each=40),
    ),
    Scenario(
        name="read-reply-cut",
        what="Redis delivers entries to the consumer, and the connection is cut before they arrive.",
        faults=[Toxified("consumer-", CUT_AT_ONCE)],
        pulses=8,
        on=0.3,
        signs=[Counted("eventsvc_redis_reconnects", 5), Counted("eventsvc_redelivered", 3)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="acknowledgement-cut",
        what="The connection is cut when the consumer acknowledges.",
        faults=[Toxified("consumer-", Toxic("limit_data", {"bytes": 50}, "upstream"))],
        plan=_SLOW,
        load=Load(rate=70),
        pulses=8,
        on=0.3,
        signs=[Counted("eventsvc_redis_reconnects", 5)],
        expect=Expectations(all_ok=True),
    ),
    Scenario(
        name="consumer-stuck",
        what="A consumer is frozen with events in flight, and a second one claims them.",
        faults=[Frozen("consumer-1", at_work=True)],
        plan=Plan(handlers=["chaos.handlers.slow", "chaos.handlers.slow"], settings={"REDIS_CLAIM_IDLE": "1"}),
        on=4,
        signs=[HandledAgain(), Counted("eventsvc_claimed")],
        expect=Expectations(all_ok=True, in_order=False),
    ),
    Scenario(
        name="group-destroyed",
        what="The group is destroyed while the consumer waits in a read.",
        faults=[DESTROY_GROUP],
        pulses=2,
        on=1,
        signs=[HandledAgain(), Alarmed("group_recreated", "consumer", 2)],
        expect=Expectations(all_ok=True, alarm=True),
    ),
    Scenario(
        name="poison",
        what="Some events make the handler fail, and some entries are not events.",
        faults=[NothingParses()],
        plan=Plan(handlers=["chaos.handlers.picky"], settings={"CONSUMER_MAX_DELIVERIES": "2"}),
        load=Load(rate=50, poison=0.05),
        pulses=3,
        on=1,
        signs=[SetAside(15), Alarmed("dead_letter", "consumer", 13)],
        expect=Expectations(all_ok=True, least_ok=100, doomed=[" poison ", "no event at "]),
    ),
    Scenario(
        name="trimmed",
        what="The stream is trimmed while the consumer is far behind.",
        faults=[Toxified("consumer-", Toxic("latency", {"latency": 100}))],
        plan=Plan(handlers=["chaos.handlers.slow"], settings={"REDIS_STREAM_MAX_LEN": "100"}, recorded=True),
        load=Load(rate=150, large=0.0),
        signs=[Counted("eventsvc_trimmed", 300)],
        expect=Expectations(all_ok=True),
    ),
    # Clients
    Scenario(
        name="clients-cut",
        what="Connections of clients break before or after the producer has the request; some events have a key.",
        faults=[
            Toxified("client-", Toxic("reset_peer", {"timeout": 0}, "upstream")),
            Toxified("client-", CUT_AT_ONCE),
            Toxified("client-", Toxic("reset_peer", {"timeout": 0})),
            Toxified("client-", Toxic("limit_data", {"bytes": 100}, "upstream")),
        ],
        load=Load(keyed=0.5),
        pulses=8,
        on=0.4,
        signs=[Suffered(0.0, 20), Counted("eventsvc_events_repeated", 5)],
    ),
    Scenario(
        name="clients-impolite",
        what="Clients reset their connections or close their half of it while they wait; some events have a key.",
        faults=[Toxified("producer-", Toxic("latency", {"latency": 20}))],
        plan=Plan(tokens=False),
        load=Load(keyed=0.5, impolite=0.5),
        signs=[Suffered(0.02, 50), Counted("eventsvc_events_repeated", 20)],
    ),
    # Everything
    Scenario(
        name="everything",
        what="Two producers and three consumers suffer random faults for a minute.",
        faults=[
            REDIS_DOWN,
            *(Down(link) for link in ("producer-1", "producer-2", "consumer-1", "consumer-2")),
            Toxified("producer-", CUT_AT_ONCE),
            Toxified("producer-", Toxic("limit_data", {"bytes": 100}, "upstream")),
            Toxified("consumer-", CUT_AT_ONCE),
            Toxified("consumer-", Toxic("limit_data", {"bytes": 100}, "upstream")),
            Toxified("client-", CUT_AT_ONCE),
            Toxified("client-", Toxic("reset_peer", {"timeout": 0})),
            everywhere(Toxic("latency", {"latency": 300, "jitter": 300})),
            everywhere(Toxic("slicer", {"average_size": 10, "size_variation": 5, "delay": 10})),
            everywhere(Toxic("bandwidth", {"rate": 0})),
            everywhere(Toxic("reset_peer", {"timeout": 0}, toxicity=0.5)),
            Frozen("consumer-3"),
            Frozen("redis"),
            Killed("redis"),
            Killed("producer-1"),
            Killed("consumer-1"),
            Restarted(("producer-2", "consumer-2")),
            Told(["SCRIPT FLUSH"]),
            KILL_CLIENTS,
        ],
        plan=Plan(producers=2, handlers=["log", "chaos.handlers.slow", "log"], settings={"REDIS_CLAIM_IDLE": "2"}),
        load=Load(rate=100, clients=6, keyed=0.3, impolite=0.02, large=0.02),
        pulses=40,
        on=1,
        off=0.5,
        drawn=True,
        after=3,
        signs=[Suffered(0.3, 20), Said("connected to Redis", "producer", 3)],
        expect=Expectations(in_order=False, least_ok=1000),
    ),
)
