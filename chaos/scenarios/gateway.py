"""
Scenarios at the way into a producer: its tokens change, and another stream cannot
take its events.
"""

from __future__ import annotations

from typing import Final

from chaos.gateway import StreamFull, StreamSpoiled, TokensRotated
from chaos.plan import Plan
from chaos.scenario import Expectations, Scenario
from chaos.signs import Alarmed, Counted, Said
from chaos.workload import Load

#: Entries at which a stream is full; the judged one gets fewer.
_FULL: Final = 4_000

GATEWAY: Final = (
    Scenario(
        name="tokens-rotated",
        what="The tokens of two producers are rotated under load, and their file is broken for a while.",
        faults=[TokensRotated()],
        plan=Plan(producers=2),
        load=Load(rate=150, clients=4, mixed=0.5),
        pulses=2,
        on=0.5,
        signs=[
            Alarmed("tokens_stale", "producer", 4),
            Said("the tokens in", "producer", 4),
            Counted("eventsvc_requests_rejected", 8),
        ],
        expect=Expectations(all_ok=True, silence_at_most=3.0),
    ),
    Scenario(
        name="stream-full-beside",
        what="Another stream is at its hard limit, or its key is no stream, while events are posted to both.",
        faults=[StreamFull(_FULL), StreamSpoiled()],
        plan=Plan(beside="Beside", settings={"REDIS_STREAM_HARD_MAX": f"{_FULL}", "REDIS_WRITE_TIMEOUT": "1"}),
        load=Load(rate=100, mixed=0.5),
        beside=Load(rate=40, mixed=0.5),
        pulses=4,
        on=1.5,
        signs=[Counted("eventsvc_events_refused", 50)],
        expect=Expectations(all_ok=True, silence_at_most=2.0),
    ),
)
