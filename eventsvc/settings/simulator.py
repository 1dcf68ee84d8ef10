"""
The settings of the simulator.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import (
    BEARER,
    FORM,
    NAME,
    OPTIONAL_COUNT,
    OPTIONAL_SECONDS,
    PORT,
    RATE,
    SEED,
    STREAM,
    SWITCH,
    TEXT,
)
from eventsvc.settings.reading import setting


@attrs.frozen(kw_only=True)
class SimulatorSettings:
    """The settings of the simulator alone."""

    host: str = setting("EVENT_PRODUCER_HOST", NAME, "127.0.0.1", "Host name or address of the producer.")
    port: int = setting("EVENT_PRODUCER_PORT", PORT, 8080, "Port of the producer.")
    tls: bool = setting("EVENT_PRODUCER_TLS", SWITCH, False, "Use TLS and verify the certificate of the producer.")
    tls_ca: str = setting(
        "EVENT_PRODUCER_TLS_CA", TEXT, "", "PEM file of the CA certificates to trust instead of the system's."
    )
    token: str = setting(
        "EVENT_PRODUCER_TOKEN", BEARER, "", "Token to post with, if the producer asks for one.", secret=True
    )
    stream: str = setting(
        "EVENT_PRODUCER_STREAM", STREAM, "", "Stream to post to; default: the REDIS_STREAM of the producer."
    )
    form: str = setting(
        "SIMULATOR_FORM",
        FORM,
        "",
        "Form of the events. Plain ones have a description alone; of mixed ones, one in ten is a CloudEvent, and one "
        "in three has a type, a key and data. Default: plain, but mixed in dev.",
        flag="form",
    )
    rate: float = setting("EVENTS_PER_SECOND", RATE, 5.0, "Events posted per second.")
    duration: float | None = setting(
        "SIMULATOR_DURATION", OPTIONAL_SECONDS, None, "Seconds after which it stops; default: never.", flag="duration"
    )
    count: int | None = setting(
        "SIMULATOR_COUNT", OPTIONAL_COUNT, None, "Number of events after which it stops; default: never.", flag="count"
    )
    seed: int | None = setting(
        "SIMULATOR_SEED", SEED, None, "Seed of the arrival times; default: a new one each time.", flag="seed"
    )
