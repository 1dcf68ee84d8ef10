"""
Every setting, defined once: its name, flag, default, unit, check and help.

Flags, environment variables, C{--help}, errors and the table in the docs are
generated from the classes below.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from eventsvc.memory import HISTORY_SHARE
from eventsvc.settings.dashboard import DashboardSettings, StreamListSettings
from eventsvc.settings.durability import DurabilitySettings
from eventsvc.settings.kinds import (
    ADDRESS,
    BOUND,
    COUNT,
    LEVEL,
    LOG_FORMAT,
    LONG_SECONDS,
    NAME,
    OPTIONAL_PORT,
    OPTIONAL_SECONDS,
    ORIGINS,
    REACTOR,
    SECONDS,
    SHARE,
    TEXT,
)
from eventsvc.settings.reading import Setting, rows, setting
from eventsvc.settings.redis import RedisSettings as RedisSettings
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.settings.tls import TLSSettings
from eventsvc.settings.tracing import TracingSettings
from eventsvc.settings.webhook import WebhookSettings


@attrs.frozen(kw_only=True)
class GroupSettings:
    """The settings of all that look at a group."""

    group: str = setting(
        "REDIS_CONSUMER_GROUP",
        NAME,
        "demo_consumer_group",
        "Consumer group. The producer measures how far it is behind in each of its streams.",
    )


@attrs.frozen(kw_only=True)
class StreamSettings(GroupSettings):
    """The settings that producer and consumer must agree on."""

    hard_max: int = setting(
        "REDIS_STREAM_HARD_MAX",
        COUNT,
        1_000_000,
        "Number of entries in the stream at which new events are refused. The consumer keeps at most three quarters "
        "of this number as history.",
    )
    max_memory: float = setting(
        "REDIS_STREAM_MAX_MEMORY",
        SHARE,
        HISTORY_SHARE,
        "Share of Redis' maxmemory past which history gives way: entries that every group has acknowledged are "
        "trimmed, so that new events are not refused. Without a maxmemory only the numbers of entries count.",
    )


@attrs.frozen(kw_only=True)
class ProducerSettings:
    """The settings of the producer alone."""

    host: str = setting(
        "REST_SERVER_HOST",
        ADDRESS,
        "",
        "Address to listen on; default: all IPv4 addresses (for the role dev: 127.0.0.1). :: is all IPv6 addresses, "
        "and all IPv4 addresses too where the system allows it.",
    )
    port: int = setting("REST_SERVER_PORT", OPTIONAL_PORT, 8080, "Port for HTTP; 0 selects a free port.")
    request_timeout: float = setting("REST_SERVER_WRITE_TIMEOUT", SECONDS, 10.0, "Longest duration of one request.")
    grace: float = setting(
        "REST_SERVER_GRACE", SECONDS, 0.5, "Seconds for which idle connections stay open once the process is to end."
    )
    connections_per_address: int = setting(
        "REST_SERVER_CONNECTIONS_PER_ADDRESS",
        BOUND,
        0,
        "Most connections from one client address; 0 means no limit. A load balancer is one address.",
        flag="connections-per-address",
    )
    tokens: str = setting(
        "REST_SERVER_TOKENS",
        TEXT,
        "",
        "TOML file of the tokens that may post; it is read again when it changes. Default: everybody may post.",
    )
    allowed_origins: frozenset[bytes] = setting(
        "REST_SERVER_ALLOWED_ORIGINS",
        ORIGINS,
        frozenset(),
        "Origins of web pages that may post events; default: only pages of the producer's own host.",
        flag="allowed-origins",
    )
    write_timeout: float = setting("REDIS_WRITE_TIMEOUT", SECONDS, 5.0, "Longest time an event may wait for Redis.")
    batch_events: int = setting("BATCH_MAX_EVENTS", COUNT, 1_000, "Most events in one call to Redis.")
    batch_bytes: int = setting("BATCH_MAX_BYTES", COUNT, 1_048_576, "Most bytes of events in one call to Redis.")
    queue_events: int = setting("QUEUE_MAX_EVENTS", COUNT, 10_000, "Most events waiting for Redis.")
    queue_bytes: int = setting(
        "QUEUE_MAX_BYTES",
        COUNT,
        16_777_216,
        "Most bytes of events waiting for Redis, including larger requests that are still arriving.",
    )
    idempotency_window: float = setting(
        "IDEMPOTENCY_WINDOW", LONG_SECONDS, 86_400.0, "Shortest time an Idempotency-Key is remembered."
    )
    idempotency_max_keys: int = setting(
        "IDEMPOTENCY_MAX_KEYS",
        COUNT,
        1_000_000,
        "Most Idempotency-Keys remembered; at this number only requests with a new key are refused.",
    )


@attrs.frozen(kw_only=True)
class ConsumerSettings:
    """The settings of the consumer alone."""

    name: str = setting(
        "REDIS_CONSUMER",
        NAME,
        "",
        "Name of this consumer in its group; default: the host name and the first number that no other consumer of "
        "the group on this host uses. Two processes with the same name handle events twice.",
    )
    read_timeout: float = setting("REDIS_READ_TIMEOUT", SECONDS, 5.0, "Longest time a read waits for new entries.")
    claim_idle: float = setting(
        "REDIS_CLAIM_IDLE", SECONDS, 30.0, "Idle time after which an entry of another consumer is claimed."
    )
    max_len: int = setting(
        "REDIS_STREAM_MAX_LEN",
        COUNT,
        100_000,
        "Number of entries kept as history; older ones are trimmed once every group has acknowledged them. Fewer are "
        "kept while Redis uses more than REDIS_STREAM_MAX_MEMORY.",
    )
    handler: str = setting(
        "CONSUMER_HANDLER",
        NAME,
        "log",
        "The handler of events: log, webhook, or the dotted name of a function, an object or a class.",
        flag="handler",
    )
    concurrency: int = setting(
        "CONSUMER_CONCURRENCY",
        COUNT,
        1,
        "Events handled at the same time; 1 keeps their order, more keeps the order of events with the same key.",
        flag="concurrency",
    )
    threads: int = setting(
        "CONSUMER_THREADS",
        BOUND,
        0,
        "Threads that call the handler, for plain functions that block; as many events are handled at the same time. "
        "0: the handler is called in the reactor's thread.",
        flag="threads",
    )
    handler_timeout: float | None = setting(
        "CONSUMER_HANDLER_TIMEOUT",
        OPTIONAL_SECONDS,
        None,
        "Seconds after which a call of the handler is cancelled and fails; default: never.",
        flag="handler-timeout",
    )
    retry_for: float = setting(
        "CONSUMER_RETRY_FOR",
        OPTIONAL_SECONDS,
        0.0,
        "Seconds for which an event that fails is retried, even if its deliveries are used up.",
        flag="retry-for",
    )
    reactor: str = setting(
        "REACTOR",
        REACTOR,
        "AUTO",
        "Reactor of the process: auto takes asyncio's if the handler asks for it, else Twisted's default.",
    )
    max_deliveries: int = setting(
        "CONSUMER_MAX_DELIVERIES",
        COUNT,
        5,
        "Failed deliveries after which an event is set aside.",
        flag="max-deliveries",
    )
    drain_timeout: float = setting(
        "CONSUMER_DRAIN_TIMEOUT",
        SECONDS,
        10.0,
        "Longest time a stop waits for the events in flight.",
        flag="drain-timeout",
    )


@attrs.frozen(kw_only=True)
class AdminSettings:
    """The port for operators."""

    port: int = setting(
        "ADMIN_PORT",
        OPTIONAL_PORT,
        0,
        "Port for health and metrics, without TLS; 0 means off: the producer then serves them on its own port.",
    )


@attrs.frozen(kw_only=True)
class LogSettings:
    """The settings of the log."""

    level: str = setting("LOG_LEVEL", LEVEL, "INFO", "Lowest level that is logged.")
    format: str = setting(
        "LOG_FORMAT", LOG_FORMAT, "AUTO", "Format of the log; auto is text on a terminal, and JSON lines elsewhere."
    )


#: The settings that each role reads.
ROLES: Mapping[str, tuple[type, ...]] = {
    "producer": (
        RedisSettings,
        StreamSettings,
        StreamListSettings,
        DurabilitySettings,
        ProducerSettings,
        TLSSettings,
        AdminSettings,
        TracingSettings,
        LogSettings,
    ),
    "consumer": (
        RedisSettings,
        StreamSettings,
        ConsumerSettings,
        WebhookSettings,
        AdminSettings,
        TracingSettings,
        LogSettings,
    ),
    "simulator": (SimulatorSettings, RedisSettings, GroupSettings, AdminSettings, LogSettings),
    "dashboard": (RedisSettings, StreamListSettings, DashboardSettings, LogSettings),
}


def table() -> str:
    """Return the settings as a Markdown table."""
    used: dict[str, list[str]] = {}
    known: dict[str, Setting] = {}
    for role, classes in ROLES.items():
        for _, row in rows(*classes):
            known[row.name] = row
            used.setdefault(row.name, []).append(role)
    lines = ["| name | flag | default | expects | used by | what for |", "|---|---|---|---|---|---|"]
    for name, row in known.items():
        names = f"`{name}`" + (f", `{name}_FILE`" if row.secret else "")
        roles = ", ".join(used[name])
        lines.append(f"| {names} | `--{row.flag}` | {row.show_default()} | {row.kind.expects} | {roles} | {row.help} |")
    return "\n".join(lines) + "\n"
