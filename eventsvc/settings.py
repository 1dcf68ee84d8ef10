"""
Every setting once: its name, flag, default, unit, check and help.

Flags, environment, C{--help}, errors and the table in the docs are all made
from the classes below.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import attrs


class InvalidSettings(ValueError):
    """Settings that do not parse; one line for each."""


@attrs.frozen
class Kind:
    """How a value is written, and what to say when it is not."""

    expects: str
    parse: Callable[[str], Any]


@attrs.frozen
class Setting:
    """One row of the table."""

    name: str
    kind: Kind
    default: Any
    help: str
    flag: str
    secret: bool

    def show_default(self) -> str:
        match self.default:
            case None | "":
                return "-"
            case bool():
                return "on" if self.default else "off"
            case _:
                return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def _number(text: str) -> float:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise ValueError
    return float(text)


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return parse


def _bounded(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = _number(text)
        if not least <= number <= most:
            raise ValueError
        return number

    return parse


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.upper() not in words:
            raise ValueError
        return text.upper()

    return parse


def _switch(text: str) -> bool:
    return {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}[
        text.lower()
    ]


def _text(text: str) -> str:
    text.encode()
    return text


def _name(text: str) -> str:
    if not text or " " in text or not text.isprintable():
        raise ValueError
    return text


def _stream(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError
    return _name(text)


def _address(text: str) -> str:
    return str(ip_address("127.0.0.1" if text == "localhost" else text)) if text else ""


def _optional_count(text: str) -> int | None:
    return _integer(1, 10**15)(text)


_DAY = 86_400.0

TEXT = Kind("UTF-8 text", _text)
NAME = Kind("a name without white space", _name)
STREAM = Kind("a name without white space or braces", _stream)
ADDRESS = Kind("an IPv4 or IPv6 address, or localhost", _address)
PORT = Kind("a port number from 1 to 65535", _integer(1, 65535))
OPTIONAL_PORT = Kind("a port number from 1 to 65535, or 0 for none", _integer(0, 65535))
DATABASE = Kind("a database number from 0 to 99999", _integer(0, 99_999))
COUNT = Kind("a whole number from 1", _integer(1, 10**15))
BOUND = Kind("a whole number from 1, or 0 for no bound", _integer(0, 10**15))
OPTIONAL_COUNT = Kind("a whole number from 1", _optional_count)
SEED = Kind("a whole number from 0", _integer(0, 10**15))
SECONDS = Kind("seconds from 0.001 to 31536000, decimals allowed", _bounded(0.001, 365 * _DAY))
LONG_SECONDS = Kind("seconds from 60 to 31536000, decimals allowed", _bounded(60, 365 * _DAY))
OPTIONAL_SECONDS = Kind("seconds from 0 to 31536000, decimals allowed", _bounded(0, 365 * _DAY))
RATE = Kind("events per second from 0.001 to 1000000, decimals allowed", _bounded(0.001, 1e6))
SWITCH = Kind("on or off", _switch)
LEVEL = Kind(
    "one of DEBUG, INFO, WARN, ERROR, CRITICAL, in any case",
    _choice("DEBUG", "INFO", "WARN", "WARNING", "ERROR", "CRITICAL"),
)


def setting(name: str, kind: Kind, default: Any, help: str, *, flag: str | None = None, secret: bool = False) -> Any:
    """Declare a setting as a field of one of the classes below."""
    row = Setting(name, kind, default, help, flag or name.lower().replace("_", "-"), secret)
    return attrs.field(default=default, repr=not secret, metadata={"setting": row})


@attrs.frozen(kw_only=True)
class RedisSettings:
    """Where Redis is, and how to reach it."""

    host: str = setting("REDIS_HOST", NAME, "127.0.0.1", "Host name or address of Redis.")
    port: int = setting("REDIS_PORT", PORT, 6379, "Port of Redis.")
    username: str = setting("REDIS_USERNAME", TEXT, "", "ACL user name.", secret=True)
    password: str = setting("REDIS_PASSWORD", TEXT, "", "Password.", secret=True)
    database: int = setting("REDIS_DB", DATABASE, 0, "Database number.")
    tls: bool = setting("REDIS_TLS", SWITCH, False, "Speak TLS, and verify the certificate.")
    tls_ca: str = setting("REDIS_TLS_CA", TEXT, "", "PEM file of the authorities to trust instead of the system's.")
    stream: str = setting("REDIS_STREAM", STREAM, "NotificationStream", "Name of the stream.")
    retry_period: float = setting(
        "REDIS_RETRY_PERIOD", SECONDS, 2.0, "Longest pause between reconnection attempts; the first comes after 0.05."
    )


@attrs.frozen(kw_only=True)
class StreamSettings:
    """What producer and consumer have to agree on."""

    hard_max: int = setting(
        "REDIS_STREAM_HARD_MAX",
        COUNT,
        1_000_000,
        "Entries in the stream past which new events are refused. The consumer keeps at most three quarters of it "
        "as history.",
    )


@attrs.frozen(kw_only=True)
class ProducerSettings:
    """What the producer alone is told."""

    host: str = setting(
        "REST_SERVER_HOST",
        ADDRESS,
        "",
        "Address to listen on; not set, all of IPv4 (the role dev: 127.0.0.1). :: is all of IPv6, and of IPv4 too "
        "where the system allows it.",
    )
    port: int = setting("REST_SERVER_PORT", OPTIONAL_PORT, 8080, "Port to serve HTTP on; 0 takes a free one.")
    request_timeout: float = setting("REST_SERVER_WRITE_TIMEOUT", SECONDS, 10.0, "Longest life of one request.")
    connections_per_address: int = setting(
        "REST_SERVER_CONNECTIONS_PER_ADDRESS",
        BOUND,
        0,
        "Most connections of one client address; 0 is no bound. A load balancer is one address.",
        flag="connections-per-address",
    )
    write_timeout: float = setting("REDIS_WRITE_TIMEOUT", SECONDS, 5.0, "How long an event may wait for Redis.")
    batch_events: int = setting("BATCH_MAX_EVENTS", COUNT, 1_000, "Most events in one call to Redis.")
    batch_bytes: int = setting("BATCH_MAX_BYTES", COUNT, 1_048_576, "Most bytes of events in one call to Redis.")
    queue_events: int = setting("QUEUE_MAX_EVENTS", COUNT, 10_000, "Most events waiting for Redis.")
    queue_bytes: int = setting(
        "QUEUE_MAX_BYTES",
        COUNT,
        16_777_216,
        "Most bytes of events waiting for Redis, and of larger requests that are still arriving.",
    )
    idempotency_window: float = setting(
        "IDEMPOTENCY_WINDOW", LONG_SECONDS, _DAY, "How long an Idempotency-Key is remembered, at least."
    )
    idempotency_max_keys: int = setting(
        "IDEMPOTENCY_MAX_KEYS",
        COUNT,
        1_000_000,
        "Most Idempotency-Keys remembered; past it requests with a new one are refused, all others go on.",
    )


@attrs.frozen(kw_only=True)
class ConsumerSettings:
    """What the consumer alone is told."""

    group: str = setting("REDIS_CONSUMER_GROUP", NAME, "demo_consumer_group", "Consumer group.")
    name: str = setting(
        "REDIS_CONSUMER",
        NAME,
        "",
        "Name of this consumer in its group; not set, the name of the host and the first number that no other "
        "consumer of the group has on it. Two processes of one name handle events twice.",
    )
    read_timeout: float = setting("REDIS_READ_TIMEOUT", SECONDS, 5.0, "Longest blocking read.")
    claim_idle: float = setting(
        "REDIS_CLAIM_IDLE", SECONDS, 30.0, "An entry idle this long with another consumer is claimed."
    )
    max_len: int = setting(
        "REDIS_STREAM_MAX_LEN",
        COUNT,
        100_000,
        "Entries kept as history; older ones are trimmed once every group has acknowledged them. Fewer are kept "
        "when Redis has used three quarters of its maxmemory.",
    )
    handler: str = setting(
        "CONSUMER_HANDLER", NAME, "log", "What handles an event: log, or the dotted name of a callable.", flag="handler"
    )
    concurrency: int = setting(
        "CONSUMER_CONCURRENCY", COUNT, 1, "Events handled at once; 1 keeps their order.", flag="concurrency"
    )
    max_deliveries: int = setting(
        "CONSUMER_MAX_DELIVERIES",
        COUNT,
        5,
        "Failed deliveries after which an event is set aside.",
        flag="max-deliveries",
    )
    drain_timeout: float = setting(
        "CONSUMER_DRAIN_TIMEOUT", SECONDS, 10.0, "How long a stop waits for the events in flight.", flag="drain-timeout"
    )


@attrs.frozen(kw_only=True)
class AdminSettings:
    """The port for operators, of a role that serves no HTTP otherwise."""

    port: int = setting("ADMIN_PORT", OPTIONAL_PORT, 0, "Port of health and metrics; 0 is off.")


@attrs.frozen(kw_only=True)
class SimulatorSettings:
    """What the simulator alone is told."""

    host: str = setting("EVENT_PRODUCER_HOST", NAME, "127.0.0.1", "Host name or address of the producer.")
    port: int = setting("EVENT_PRODUCER_PORT", PORT, 8080, "Port of the producer.")
    rate: float = setting("EVENTS_PER_SECOND", RATE, 5.0, "Events posted per second.")
    duration: float | None = setting(
        "SIMULATOR_DURATION", OPTIONAL_SECONDS, None, "Stop after so many seconds; not set, never.", flag="duration"
    )
    count: int | None = setting(
        "SIMULATOR_COUNT", OPTIONAL_COUNT, None, "Stop after so many events; not set, never.", flag="count"
    )
    seed: int | None = setting(
        "SIMULATOR_SEED", SEED, None, "Seed of the arrival times; not set, a new one each time.", flag="seed"
    )


@attrs.frozen(kw_only=True)
class LogSettings:
    """What is logged."""

    level: str = setting("LOG_LEVEL", LEVEL, "INFO", "Least level that is logged.")


#: Which settings a role reads.
ROLES: Mapping[str, tuple[type, ...]] = {
    "producer": (RedisSettings, StreamSettings, ProducerSettings, LogSettings),
    "consumer": (RedisSettings, StreamSettings, ConsumerSettings, AdminSettings, LogSettings),
    "simulator": (SimulatorSettings, AdminSettings, LogSettings),
}


def rows(*classes: type) -> Iterator[tuple[str, Setting]]:
    """Each setting of the classes, with the field it fills."""
    for cls in classes:
        for field in attrs.fields(cls):
            yield field.name, field.metadata["setting"]


T = TypeVar("T")


def read(
    cls: type[T],
    environment: Mapping[str, str] = os.environ,
    flags: Mapping[str, str | None] | None = None,
) -> T:
    """
    Read the settings of a class: a flag beats the environment.

    @param flags: by flag, without its dashes; C{None} is not given.
    @raise InvalidSettings: naming each variable or flag, its value and what
        was expected.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field, row in rows(cls):
        try:
            found = _find(row, environment, flags or {})
            if found is not None:
                values[field] = _parse(row, *found)
        except InvalidSettings as problem:
            problems.append(str(problem))
    if problems:
        raise InvalidSettings("\n".join(problems))
    return cls(**values)


def _find(row: Setting, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> tuple[str, str] | None:
    """Where a setting is given, and its text."""
    flag = flags.get(row.flag)
    if flag is not None:
        return f"--{row.flag}", flag
    text = environment.get(row.name)
    path = environment.get(f"{row.name}_FILE") if row.secret else None
    if path:
        if text:
            raise InvalidSettings(f"{row.name} and {row.name}_FILE are both set: expected one of them")
        try:
            return f"{row.name}_FILE", Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise InvalidSettings(f"{row.name}_FILE={path!r}: expected a readable UTF-8 file ({problem})") from None
    return None if text is None else (row.name, text)


def _parse(row: Setting, where: str, text: str) -> Any:
    try:
        return row.kind.parse(text)
    except (ValueError, KeyError):
        shown = "(hidden)" if row.secret else repr(text)
        raise InvalidSettings(f"{where}={shown}: expected {row.kind.expects}") from None


def table() -> str:
    """The settings as a Markdown table."""
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
