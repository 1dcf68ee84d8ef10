"""
The settings of the simulator.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import (
    BATCH,
    BEARER,
    FORM,
    NAME,
    OPTIONAL_COUNT,
    OPTIONAL_SECONDS,
    PATTERN,
    PORT,
    RATE,
    SEED,
    SIZES,
    STREAM,
    SWITCH,
    TEXT,
    THRESHOLDS,
)
from eventsvc.settings.reading import setting
from eventsvc.simulator.thresholds import Threshold


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
    pattern: str = setting(
        "SIMULATOR_ARRIVAL",
        PATTERN,
        "POISSON",
        "How requests are spread over time: poisson is at random, constant with equal gaps, burst all of a second at "
        "once.",
        flag="arrival",
    )
    batch: int = setting(
        "SIMULATOR_BATCH",
        BATCH,
        1,
        "Events in each request; more than 1 are posted to /events, stored together or not at all.",
        flag="batch",
    )
    sizes: tuple[int, int] | None = setting(
        "SIMULATOR_SIZE",
        SIZES,
        None,
        "Characters of text in the data of each event; of a range, each event has one at random. Default: none.",
        flag="size",
    )
    duration: float | None = setting(
        "SIMULATOR_DURATION", OPTIONAL_SECONDS, None, "Seconds after which it stops; default: never.", flag="duration"
    )
    count: int | None = setting(
        "SIMULATOR_COUNT", OPTIONAL_COUNT, None, "Number of events after which it stops; default: never.", flag="count"
    )
    seed: int | None = setting(
        "SIMULATOR_SEED", SEED, None, "Seed of the arrival times; default: a new one each time.", flag="seed"
    )
    thresholds: tuple[Threshold, ...] = setting(
        "SIMULATOR_THRESHOLD",
        THRESHOLDS,
        (),
        "What the run must meet, or it ends with 99: p50, p99.9 and others, max and mean of the latency; the shares "
        "errors, refused, unknown and dropped; the rate of stored events.",
        flag="threshold",
    )
    save: str = setting("SIMULATOR_SAVE", TEXT, "", "JSON file for the result, see `eventsvc report`.", flag="save")
    follow: bool = setting(
        "SIMULATOR_FOLLOW",
        SWITCH,
        False,
        "Follow the events through Redis, wait until all are handled, and say how many were stored, handled and lost. "
        "It needs the settings of Redis and of the group.",
        flag="follow",
    )
