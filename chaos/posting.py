"""
Posts the requests of a load, and classifies their answers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
from twisted.internet.defer import CancelledError, TimeoutError, ensureDeferred
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.web.http_headers import Headers

from chaos.mixture import Post
from eventsvc.client import Client
from eventsvc.outcome import Outcome

#: The variable with the path of the file that has the clients' token.
TOKEN_FILE: Final = "CHAOS_TOKEN_FILE"
#: The beginning of a client's message that it did not reach a producer.
_NO_CONNECTION: Final = "no connection"
#: Errors that mean no connection was made, so no request was sent.
_NOT_SENT: Final = (ConnectError, DNSLookupError)


@attrs.frozen
class Answered:
    """
    The result of a request.

    @ivar ids: of its events, in their order; none unless all are stored.
    @ivar why: why they are not known to be stored.
    @ivar is_sent: whether it may have reached a producer.
    @ivar is_promise: whether the producer says that the events are not stored,
        whatever became of earlier requests.
    """

    outcome: Outcome
    ids: Sequence[int] = ()
    why: str = ""
    is_sent: bool = True
    is_promise: bool = False


class _Problem(msgspec.Struct):
    title: str = ""
    description: str = ""
    stored: str = ""


class _Stored(msgspec.Struct):
    ids: list[str]


def not_sent(error: object) -> Answered:
    """Return the result of a request whose client did not reach a producer."""
    return Answered(Outcome.REFUSED, why=f"{_NO_CONNECTION}: {error}", is_sent=False)


def classify(status: int, event_id: bytes | None, body: bytes) -> Answered:
    """
    Return what an answer says.

    @param event_id: its header C{Event-Id}.
    """
    if status == 200:
        if event_id is not None and event_id.isdigit():
            return Answered(Outcome.OK, [int(event_id)])
        try:
            return Answered(Outcome.OK, [int(id) for id in msgspec.json.decode(body, type=_Stored).ids])
        except ValueError:
            return Answered(Outcome.UNKNOWN, why=f"200 without an id: {body[:100]!r}")
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(title=body[:100].decode("utf-8", "replace"))
    why = f"{status} {problem.title}: {problem.description}"
    # 409: another request with this key is still running, and may store the event
    if problem.stored == "no":
        return Answered(Outcome.REFUSED, why=why, is_promise=True)
    if 400 <= status < 500 and status != 409 and not problem.stored:
        return Answered(Outcome.REFUSED, why=why)
    return Answered(Outcome.UNKNOWN, why=why)


def read_token() -> str:
    """Return the clients' token of the moment; empty if they have none."""
    path = os.environ.get(TOKEN_FILE)
    return Path(path).read_text() if path else ""


def authorization() -> Mapping[str, str]:
    """Return the header with the clients' token."""
    token = read_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


async def post(client: Client, request: Post) -> Answered:
    """Post the events of a request; every error becomes one of the three outcomes."""
    if request.event is not None:
        posted = await attrs.evolve(client, token=read_token()).post(request.event)
        ids = [] if posted.id is None else [posted.id]
        return Answered(posted.outcome, ids, posted.why, is_sent=not posted.why.startswith(_NO_CONNECTION))
    try:
        return await ensureDeferred(_ask(client, request)).addTimeout(client.timeout, client.clock)
    except TimeoutError:
        return Answered(Outcome.UNKNOWN, why=f"no answer within {client.timeout:g} s")
    except CancelledError:
        raise
    except _NOT_SENT as error:
        return not_sent(error)
    except Exception as error:
        return Answered(Outcome.UNKNOWN, why=f"{type(error).__name__}: {error}")


async def _ask(client: Client, request: Post) -> Answered:
    headers = Headers()
    for name, value in [*request.headers, *authorization().items()]:
        headers.addRawHeader(name, value)
    response: Any = await client.http.post(f"{client.url}{request.path}", data=request.body, headers=headers)
    body = await response.content()
    ids = response.headers.getRawHeaders(b"Event-Id") or [None]
    return classify(response.code, ids[0], body)
