"""
The command line of each topic but C{dead} and C{token}, without what runs it.
"""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from eventsvc.cli.options import add_settings, add_topic, count, json_option, moment, redis_options, utf8, words
from eventsvc.event import InvalidEvent
from eventsvc.event_message import decode_event
from eventsvc.redis.rights import COMMANDS
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import rows
from eventsvc.settings.simulator import SimulatorSettings


def add_status_topics(topics: Any) -> None:
    """Add the topics C{status} and C{groups} to the command line."""
    status = add_topic(
        topics, "status", "show on one screen how the system is; exit with 1 if unwell", json_option(), redis_options()
    )
    status.set_defaults(run="eventsvc.cli.status.run_status")
    groups = add_topic(topics, "groups", "show groups and their consumers", json_option(), redis_options())
    groups.set_defaults(run="eventsvc.cli.status.run_groups")
    groups.add_argument("group", nargs="?", metavar="GROUP", help="only this group")


def add_tail_topic(topics: Any) -> None:
    """Add the topic C{tail} to the command line."""
    tail = add_topic(topics, "tail", "show events as they are stored", json_option(), redis_options())
    tail.set_defaults(run="eventsvc.cli.tail.run_tail")
    tail.add_argument("-n", type=count, default=10, dest="last", metavar="N", help="begin with the last N; default: 10")
    tail.add_argument("--no-follow", action="store_true", help="end after these")
    add_filters(tail)


def add_filters(parser: Any) -> None:
    """Add the options that choose events."""
    parser.add_argument("--type", type=utf8, metavar="TYPE", help="only events of this type")
    parser.add_argument("--key", type=utf8, metavar="KEY", help="only events with this key")
    parser.add_argument("--text", type=utf8, metavar="TEXT", help="only events that contain this text")


def add_find_topic(topics: Any) -> None:
    """Add the topic C{find} to the command line."""
    find = add_topic(topics, "find", "find events, and say where they are", json_option(), redis_options())
    find.set_defaults(run="eventsvc.cli.find.run_find")
    find.add_argument(
        "text",
        type=words,
        metavar="ID|TEXT",
        help="id of an event or of an entry, or a text that it contains, in upper and lower case",
    )
    find.add_argument(
        "--since",
        type=moment,
        default=0,
        metavar="WHEN",
        help="search back to then: 15m, 1h, 2d or a date; default: all",
    )
    find.add_argument("--limit", type=count, default=1, metavar="N", help="end after N events; default: 1")


def add_send_topic(topics: Any) -> None:
    """Add the topic C{send} to the command line."""
    send = add_topic(topics, "send", "post events to a producer", json_option())
    send.set_defaults(run="eventsvc.cli.send.run_send", check=check_send, settings=[SimulatorSettings])
    send.add_argument(
        "description", nargs="?", type=utf8, metavar="TEXT",
        help="description of the event; default: one event per line of standard input, as JSON: "
        '{"description": "..."}; lines are stored together or not at all, 1,000 at a time',
    )  # fmt: skip
    send.add_argument("--type", type=utf8, metavar="TYPE", help="the kind of event")
    send.add_argument("--key", type=utf8, metavar="KEY", help="events with the same key are handled in their order")
    send.add_argument("--data", type=utf8, metavar="JSON", help="the payload")
    send.add_argument(
        "--idempotency-key", type=utf8, metavar="KEY", help="posted again with this key, it is stored once"
    )
    add_settings(send, "producer", (row for _, row in rows(SimulatorSettings) if row.name.startswith("EVENT_PRODUCER")))


def check_send(parser: argparse.ArgumentParser, given: dict[str, Any], anybody: bool) -> None:
    """Exit with 2 if the event is invalid; else it replaces the options that describe it."""
    about = {name: given[name] for name in ("type", "key", "data") if given[name] is not None}
    if given["description"] is None:
        if about or given["idempotency_key"] is not None:
            parser.error("--type, --key, --data and --idempotency-key need TEXT")
        if anybody:
            parser.error("expected TEXT, or events on standard input, which is a terminal")
        return
    try:
        if "data" in about:
            about["data"] = _check_json(parser, about["data"])
        given["posted"] = decode_event(msgspec.json.encode({"description": given["description"], **about}))
    except InvalidEvent as error:
        parser.error(str(error))


def _check_json(parser: argparse.ArgumentParser, text: str) -> msgspec.Raw:
    """Return the text of a JSON value; exit with 2 if it is none."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        parser.error(f"--data: expected JSON, such as '{{\"cents\": 4200}}' or '\"text\"', got {text[:100]!r}")
    return msgspec.Raw(text.encode())


def add_doctor_topic(topics: Any) -> None:
    """Add the topic C{doctor} to the command line."""
    doctor = add_topic(
        topics, "doctor", "check an installation, and say what to do; exit with 1 if something is wrong",
        json_option(), redis_options(),
    )  # fmt: skip
    doctor.set_defaults(run="eventsvc.cli.doctor.run_doctor", settings=[RedisSettings, SimulatorSettings])
    doctor.add_argument("--role", choices=list(COMMANDS), help="what the user of Redis has to be able to do")
    names = ("EVENT_PRODUCER_HOST", "EVENT_PRODUCER_PORT", "EVENT_PRODUCER_TLS", "EVENT_PRODUCER_TLS_CA")
    add_settings(doctor, "producer", (row for _, row in rows(SimulatorSettings) if row.name in names))
