"""
The command C{eventsvc send}: posts events to a producer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from eventsvc.cli.call import Call, NotDone
from eventsvc.cli.input_lines import InputLines
from eventsvc.cli.letter_text import to_json
from eventsvc.client import Client, PostedBatch, make_client
from eventsvc.event import MAX_BYTES, MAX_EVENTS, Event, InvalidEvent
from eventsvc.event_message import decode_event, encode_event
from eventsvc.net.pem import read_trust_root
from eventsvc.outcome import Outcome
from eventsvc.settings.simulator import SimulatorSettings

#: What C{stored} says in JSON: as the producer's own answers do.
_STORED: Final = {Outcome.OK: "yes", Outcome.REFUSED: "no", Outcome.UNKNOWN: "unknown"}


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
        return _report(call, url, PostedBatch(posted.outcome, ids, posted.why), 1)
    if sys.stdin is None:
        raise NotDone("expected TEXT, or events on standard input, which is closed")
    return await _post_lines(call, url, client, InputLines(sys.stdin.fileno(), call.reactor))


async def _post_lines(call: Call, url: str, client: Client, lines: InputLines) -> int:
    number, rest = 0, b""
    while True:
        batch, size = list[Event](), 0
        while len(batch) < MAX_EVENTS:
            try:
                if not (line := rest or await lines.read()):
                    break
                rest = b""
                if not line.strip():
                    continue
                event = decode_event(line.strip(), lines.number)
            except (InvalidEvent, NotDone) as error:
                raise NotDone(f"{error}; {number} events were posted before") from None
            size += len(encode_event(event)) + 1
            if batch and size >= MAX_BYTES:
                rest = line
                break
            batch.append(event)
        if not batch:
            return 0
        number += len(batch)
        if code := _report(call, url, await client.post_batch(batch), len(batch)):
            return code


def _report(call: Call, url: str, posted: PostedBatch, count: int) -> int:
    """Write the ids, and return the exit code."""
    ids: Sequence[str] = [str(id) for id in posted.ids]
    if call.json:
        call.write(f"{to_json({'stored': _STORED[posted.outcome], 'ids': ids, 'why': posted.why})}\n")
    else:
        call.write("".join(f"{id}\n" for id in ids))
    call.out.flush()
    if posted.outcome is Outcome.OK:
        return 0
    what = "the event" if count == 1 else f"{count} events"
    verdict = "was not stored" if posted.outcome is Outcome.REFUSED else "may be stored, or not"
    raise NotDone(f"{what} {verdict if count == 1 else verdict.replace('was', 'were')}: {url}: {posted.why}")
