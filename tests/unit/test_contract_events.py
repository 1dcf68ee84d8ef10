"""
The contract of events that carry more than a description, row by row, with a
real producer: on the fast path, and with chunked bodies, which twisted.web reads.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from hashlib import sha256
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final

import attrs

from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD
from tests.support.processes import Server, Services

TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STRUCTURED: Final = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
BATCHED: Final = {"Content-Type": "application/cloudevents-batch+json"}
BINARY: Final = {"ce-specversion": "1.0", "ce-id": "%22b%201%22", "CE-Source": "/caf%C3%A9", "ce-type": "t"}
JSON: Final = {"Content-Type": "application/json"}


def cloudevent(**members: object) -> dict[str, object]:
    """Return a CloudEvent with these members besides, or without those that are C{...}."""
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"} | members
    return {name: value for name, value in event.items() if value is not ...}


@attrs.frozen
class Row:
    """
    A request, and what follows from it.

    @ivar stored: the members of the first NM, apart from id and timestamp, in
        their order; C{None} if nothing is stored.
    @ivar said: a part of the description of an error.
    """

    body: bytes
    headers: Mapping[str, str] = {}
    stored: bytes | None = None
    status: int = 200
    said: str = ""
    path: str = "/event"


def text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


ODD: Final = b'{ "a" : 1.50e+00,\t"b":["\\u00e9", null, 12345678901234567890123] }'

ROWS: Final[Sequence[Row]] = (
    Row(b'{"description":"d"}', stored=b'"description":"d"'),
    Row(
        b'{"data": ' + ODD + b', "key":"k", "type":"t", "description":"d", "other": 1}',
        stored=b'"description":"d"|"type":"t","key":"k","data":' + ODD,
    ),
    Row(b'{"description":"d","type":null,"key":null,"data":null}', stored=b'"description":"d"'),
    Row(b'{"description":"d","data":false}', stored=b'"description":"d"|"data":false'),
    Row(b'{"description":"d","key":5}', status=400, said="`$.key`"),
    Row(b'{"description":"d","key":""}', status=400, said="`$.key`"),
    Row(text({"description": "d", "key": "k" * 256}), status=400, said="`$.key`"),
    Row(text({"description": "d", "type": "t" * 256}), status=400, said="`$.type`"),
    Row(b'{"description":"d","type":[]}', status=400, said="`$.type`"),
    Row(b'{"type":"t"}', status=400, said="`$.description`"),
    Row(
        b'{"description":"d"}',
        {"traceparent": TRACE, "tracestate": "a=1"},
        b'"description":"d"|"traceparent":"%b","tracestate":"a=1"' % TRACE.encode(),
    ),
    Row(b'{"description":"d"}', {"traceparent": "00-0-0-0", "tracestate": "a=1"}, b'"description":"d"'),
    Row(text(cloudevent()), STRUCTURED, b'"description":"t"|"type":"t","cloudevent":' + text(cloudevent())),
    Row(
        text(more := cloudevent(id="2", subject="s", partitionkey="k", sequence=7, data={"a": 1})),
        STRUCTURED | {"traceparent": TRACE},
        b'"description":"s"|"type":"t","key":"k","traceparent":"%b","cloudevent":' % TRACE.encode() + text(more),
    ),
    *(
        Row(text(cloudevent(**wrong)), STRUCTURED, status=400, said=said)
        for wrong, said in (
            ({"specversion": "0.3"}, "`$.specversion`"),
            ({"specversion": ...}, "`$.specversion`"),
            ({"id": ""}, "`$.id`"),
            ({"source": ...}, "`$.source`"),
            ({"source": 5}, "`$.source`"),
            ({"type": None}, "`$.type`"),
            ({"time": "noon"}, "`$.time`"),
            ({"Upper": "x"}, "`$.Upper`"),
            ({"ext": {}}, "`$.ext`"),
            ({"data": 1, "data_base64": "YQ=="}, "`$.data_base64`"),
        )
    ),
    Row(b"[]", STRUCTURED, status=400, said="Expected `object`"),
    Row(
        ODD,
        BINARY | JSON,
        '"description":"t"|"type":"t","cloudevent":{"specversion":"1.0","id":"\\"b 1\\"","source":"/café","type":"t",'
        '"datacontenttype":"application/json","data":'.encode()
        + ODD
        + b"}",
    ),
    Row(
        "für".encode(),
        BINARY | {"ce-id": "3", "Content-Type": "text/plain"},
        '"description":"t"|"type":"t","cloudevent":{"specversion":"1.0","id":"3","source":"/café","type":"t",'
        '"datacontenttype":"text/plain","data":"für"}'.encode(),
    ),
    Row(
        b"\xff\0",
        BINARY | {"ce-id": "4", "Content-Type": "application/octet-stream"},
        '"description":"t"|"type":"t","cloudevent":{"specversion":"1.0","id":"4","source":"/café","type":"t",'
        '"datacontenttype":"application/octet-stream","data_base64":"/wA="}'.encode(),
    ),
    Row(b"{", BINARY | JSON | {"ce-id": "5"}, status=400, said="JSON"),
    Row(b"1", {"ce-specversion": "1.0", "ce-id": "5", "ce-type": "t"} | JSON, status=400, said="`ce-source`"),
    Row(b"1", BINARY | JSON | {"ce-id": "%FF"}, status=400, said="`ce-id`"),
    Row(text([cloudevent(id="6")]), BATCHED, status=400, said="/events"),
    Row(text(cloudevent(id="6")), STRUCTURED, status=400, said="/event", path="/events"),
    Row(text([cloudevent(id="6"), cloudevent(id="")]), BATCHED, status=400, said="`$[1].id`", path="/events"),
    Row(
        text([cloudevent(id="6"), cloudevent(id="7")]),
        BATCHED,
        b'"description":"t"|"type":"t","cloudevent":' + text(cloudevent(id="6")),
        path="/events",
    ),
    Row(b'{"description":"d"}', stored=b'"description":"d"', path="/streams/Orders/event"),
    Row(b'{"description":"d"}\n', stored=b'"description":"d"', path="/streams/Orders/events"),
    Row(b'{"description":"d"}', stored=b'"description":"d"', path="/streams/NotificationStream/event"),
    Row(b'{"description":"d"}', status=404, said="Endpoint Not Found", path="/streams/Other/event"),
    Row(b'{"description":"d"}', {"Content-Encoding": "br"}, status=415, said="gzip"),
)


@attrs.frozen
class Client:
    """A client with a connection for each request."""

    port: int
    is_chunked: bool
    token: str = "good"

    def post(self, row: Row) -> tuple[HTTPResponse, bytes]:
        headers = {"Host": "h", **row.headers, "Authorization": f"Bearer {self.token}"}
        body = row.body
        if self.is_chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            headers["Content-Length"] = f"{len(body)}"
        head = f"POST {row.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.encode() + b"\r\n" + body)
            response = HTTPResponse(connection, method="POST")
            response.begin()
            return response, response.read()


def events(server: Server, stream: str) -> list[bytes]:
    """Return the NMs of a stream."""
    with server.client() as client:
        return [fields[EVENT_FIELD] for _, fields in client.xrange(stream) if EVENT_FIELD in fields]


def write_tokens(path: Path) -> str:
    """Write the tokens C{good} for all streams and C{orders} for one."""
    rows = {"good": "", "orders": 'streams = ["Orders"]\n', "slow": "rate = 0.001\n"}
    path.write_text(
        "".join(
            f'[[token]]\nname = "the {name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\n{rest}\n'
            for name, rest in rows.items()
        )
    )
    return f"{path}"


def members(stored: bytes) -> bytes:
    """Return an NM without its id and timestamp, which differ."""
    found = json.loads(stored)
    head = b'{"id":%d,' % found["id"]
    stamp = b',"timestamp":"%b"' % found["timestamp"].encode()
    assert stored.startswith(head)
    assert stamp in stored
    before, _, after = stored[len(head) : -1].partition(stamp)
    return before + (b"|" + after[1:] if after else b"")


def test_every_row_holds_on_both_paths(services: Services, server: Server, tmp_path: Path) -> None:
    """The answer, and the notification byte for byte."""
    tokens = write_tokens(tmp_path / "tokens.toml")
    environment = {"REDIS_PORT": f"{server.port}", "REDIS_STREAMS": "Orders", "REST_SERVER_TOKENS": tokens}
    producer = services.start("eventsvc", "producer", "--rest-server-port=0", environment=environment)
    wait_until(lambda: producer.says("connected to Redis"))
    for is_chunked in (False, True):
        client = Client(producer.port(), is_chunked)
        for row in ROWS:
            _check(client, row, server)
        for name, status in (("wrong", 401), ("orders", 403), ("slow", 200 if not is_chunked else 429), ("slow", 429)):
            response, body = attrs.evolve(client, token=name).post(Row(b'{"description":"d"}'))
            assert response.status == status, name
            if status == 401:
                assert response.headers["WWW-Authenticate"] == "Bearer"
            if status == 429:
                assert int(response.headers["Retry-After"]) >= 1
                assert json.loads(body)["stored"] == "no"
        with server.client() as redis:
            redis.delete(*redis.keys("*:keys:*"))  # so that the same CloudEvents are new


def _check(client: Client, row: Row, server: Server) -> None:
    stream = "Orders" if "Orders" in row.path else "NotificationStream"
    before = len(events(server, stream))
    response, body = client.post(row)
    found = events(server, stream)[before:]
    shown: Any = (row.body, row.headers, body)
    assert response.status == row.status, shown
    if row.stored is None:
        assert found == [], shown
        assert row.said in json.loads(body)["description"], shown
        return
    assert members(found[0]) == row.stored, shown
    ids = [response.headers["Event-Id"]] if row.path.endswith("/event") else json.loads(body)["ids"]
    assert ids == [f"{json.loads(each)['id']}" for each in found]
    if b"cloudevent" in row.stored:
        again, repeated = client.post(row)
        assert again.status == 200
        assert (again.headers["Event-Id"], repeated) == (response.headers["Event-Id"], body)
        assert events(server, stream)[before:] == found
