"""
The command C{eventsvc send}: posts events to a producer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from eventsvc.cli.call import Call, NotDone
from eventsvc.cli.letter_text import to_json
from eventsvc.cli.options import add_settings, add_topic, json_option
from eventsvc.client import Client, PostedBatch, make_client
from eventsvc.event import MAX_BYTES, MAX_EVENTS, Event, InvalidEvent
from eventsvc.event_message import decode_event, encode_event
from eventsvc.net.pem import read_trust_root
from eventsvc.outcome import Outcome
from eventsvc.settings.reading import rows
from eventsvc.settings.simulator import SimulatorSettings

#: What C{stored} says in JSON: as the producer's own answers do.
_STORED: Final = {Outcome.OK: "yes", Outcome.REFUSED: "no", Outcome.UNKNOWN: "unknown"}


def add_send_topic(topics: Any) -> None:
    """Add the topic C{send} to the command line."""
    send = add_topic(topics, "send", "post events to a producer", json_option())
    send.set_defaults(run=run_send, check=check_send, settings=[SimulatorSettings])
    send.add_argument(
        "description", nargs="?", metavar="TEXT", help="description of the event; default: one event per line of "
        'standard input, as JSON: {"description": "..."}; lines are stored together or not at all, 1,000 at a time',
    )  # fmt: skip
    send.add_argument("--type", metavar="TYPE", help="the kind of event")
    send.add_argument("--key", metavar="KEY", help="events with the same key are handled in their order")
    send.add_argument("--data", metavar="JSON", help="the payload")
    send.add_argument("--idempotency-key", metavar="KEY", help="posted again with this key, it is stored once")
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
            about["data"] = msgspec.Raw(about["data"].encode())
        given["posted"] = decode_event(msgspec.json.encode({"description": given["description"], **about}))
    except (InvalidEvent, UnicodeEncodeError) as error:
        parser.error(str(error))


async def run_send(call: Call) -> int:
    """Post one event, or those on standard input; return 1 unless all are stored."""
    settings = call.read(SimulatorSettings)
    trust_root = read_trust_root("EVENT_PRODUCER_TLS_CA", settings.tls_ca) if settings.tls else None
    url = f"{'https' if settings.tls else 'http'}://{settings.host}:{settings.port}"
    if settings.stream:
        url += f"/streams/{quote(settings.stream, safe='')}"
    client = make_client(call.reactor, url, 1, trust_root=trust_root, token=settings.token)
    if "posted" in call.given:
        posted = await client.post(call.given["posted"], call.given["idempotency_key"])
        ids = () if posted.id is None else (posted.id,)
        return _report(call, PostedBatch(posted.outcome, ids, posted.why), 1)
    return await _post_lines(call, client, sys.stdin.buffer.readline)


async def _post_lines(call: Call, client: Client, readline: Callable[[], bytes]) -> int:
    number, rest = 0, b""
    while True:
        batch, size = list[Event](), 0
        while len(batch) < MAX_EVENTS and (line := rest or readline()):
            rest = b""
            if not line.strip():
                continue
            try:
                event = decode_event(line.strip(), number + len(batch) + 1)
            except InvalidEvent as error:
                raise NotDone(f"{error}; {number} events were posted before") from None
            size += len(encode_event(event)) + 1
            if batch and size >= MAX_BYTES:
                rest = line
                break
            batch.append(event)
        if not batch:
            return 0
        number += len(batch)
        if code := _report(call, await client.post_batch(batch), len(batch)):
            return code


def _report(call: Call, posted: PostedBatch, count: int) -> int:
    """Write the ids, and return the exit code."""
    ids: Sequence[str] = [str(id) for id in posted.ids]
    if call.json:
        call.write(f"{to_json({'stored': _STORED[posted.outcome], 'ids': ids, 'why': posted.why})}\n")
    else:
        call.write("".join(f"{id}\n" for id in ids))
    if posted.outcome is Outcome.OK:
        return 0
    what = "the event" if count == 1 else f"{count} events"
    verdict = "was not stored" if posted.outcome is Outcome.REFUSED else "may be stored, or not"
    raise NotDone(f"{what} {verdict if count == 1 else verdict.replace('was', 'were')}: {posted.why}")
