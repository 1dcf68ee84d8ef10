"""
Scenarios in which handlers fail: what they need is away, or they hang.
"""

from __future__ import annotations

from typing import Final

from chaos.environment import Answering, Keyed
from chaos.faults import CUT_AT_ONCE, After, All, Down, Frozen, Restarted, Toxified
from chaos.plan import Plan
from chaos.receiver import SECRET
from chaos.scenario import Expectations, Scenario
from chaos.signs import Alarmed, Counted, HandledAgain, Said, SetAside
from chaos.workload import Load

#: The alarm that a breaker has tripped.
_FAILING: Final = Alarmed("handler_failing", "consumer")

#: What the receiver of webhooks does instead of taking them.
_WAYS: Final = ("fail", "postpone", "redirect", "close", "cut", "hang")

HANDLERS: Final = (
    Scenario(
        name="database-away",
        what="The database of a handler that takes one event at a time refuses connections for a while.",
        faults=[Down("database")],
        plan=Plan(handlers=["chaos.database.Blocking"], database=True),
        load=Load(rate=70),
        on=10,
        signs=[_FAILING, Said("the handler succeeds again", "consumer")],
        expect=Expectations(all_ok=True, set_aside=2, resume_within=2.0),
    ),
    Scenario(
        name="database-hangs",
        what="The database of a handler that takes 50 events at a time hangs for a while; some events have keys.",
        faults=[All([Frozen("database"), After(0.5, Keyed(events=200, keys=5))])],
        plan=Plan(
            handlers=["chaos.database.Asyncio"],
            database=True,
            settings={"CONSUMER_CONCURRENCY": "50", "CONSUMER_HANDLER_TIMEOUT": "1"},
        ),
        on=8,
        signs=[_FAILING, Said("the handler succeeds again", "consumer"), Counted("eventsvc_handler_timeouts", 50)],
        expect=Expectations(all_ok=True, in_order=False, in_order_of_key=True, set_aside=2, resume_within=4.0),
    ),
    Scenario(
        name="batch-fails",
        what="A handler of batches fails on some events, and on whole batches while its database is away.",
        faults=[Down("database")],
        plan=Plan(handlers=["chaos.database.Batches"], database=True, settings={"CONSUMER_MAX_DELIVERIES": "3"}),
        load=Load(rate=70, poison=0.02),
        pulses=2,
        on=3,
        off=2,
        signs=[_FAILING, SetAside(5), Said("which is halved", "consumer")],
        expect=Expectations(all_ok=True, doomed=[" poison "], set_aside=4, resume_within=3.0),
    ),
    Scenario(
        name="handler-hangs",
        what="The handler hangs on some events, at one delivery or at all of them, and the consumer is restarted.",
        faults=[Restarted(("consumer-1",))],
        plan=Plan(
            handlers=["chaos.handlers.Hanging"],
            settings={
                "CONSUMER_CONCURRENCY": "50",
                "CONSUMER_HANDLER_TIMEOUT": "0.3",
                "CONSUMER_MAX_DELIVERIES": "2",
            },
        ),
        load=Load(rate=50, poison=0.02),
        on=8,
        signs=[Counted("eventsvc_handler_timeouts", 10), SetAside(5)],
        expect=Expectations(all_ok=True, in_order=False, doomed=[" poison "], work_on=100),
    ),
    Scenario(
        name="webhook-receiver-flaps",
        what="The receiver of webhooks fails, postpones, redirects, hangs, is away, and closes connections, by turns.",
        faults=[*[Answering(way) for way in _WAYS], Toxified("receiver", CUT_AT_ONCE), Down("receiver")],
        plan=Plan(
            handlers=["webhook"],
            receiver=True,
            settings={
                "CONSUMER_CONCURRENCY": "10",
                "WEBHOOK_ALLOW_PRIVATE": "on",
                "WEBHOOK_SECRET": SECRET,
                "WEBHOOK_TIMEOUT": "1",
            },
        ),
        load=Load(rate=60),
        pulses=len(_WAYS) + 2,
        on=1.3,
        off=1.5,
        signs=[
            *[Said(f"event failed: {way}", "receiver", 2) for way in _WAYS],
            HandledAgain(),
            Said("refused", "consumer"),
            _FAILING,
        ],
        expect=Expectations(all_ok=True, in_order=False, set_aside=2, resume_within=4.0),
    ),
)
