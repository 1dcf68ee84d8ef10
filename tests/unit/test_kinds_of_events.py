"""
Tests of a real producer and a real stream: CloudEvents, several streams, tokens and compressed bodies.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import attrs
import pytest

from chaos.suites import wait_until
from eventsvc.event import EVENT_FIELD
from tests.support.processes import Server, Services, get

CLOUDEVENT = {"specversion": "1.0", "id": "17", "source": "/shop", "type": "example.paid"}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCHED = {"Content-Type": "application/cloudevents-batch+json"}
PLAIN = {"description": "hello"}


@attrs.frozen
class Gateway:
    """A producer, and the server that it writes to."""

    port: int
    server: Server

    def post(self, body: Any, path: str = "/event", headers: Mapping[str, str] = {}) -> tuple[int, str]:
        """Post JSON or bytes; return the status, and the id or the body of the answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body), dict(headers))
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, response.headers["Event-Id"] or text

    def stored(self, stream: str = "NotificationStream") -> list[Any]:
        with self.server.client() as client:
            return [json.loads(each[EVENT_FIELD]) for _, each in client.xrange(stream) if EVENT_FIELD in each]


def start(services: Services, server: Server, **settings: str) -> Gateway:
    environment = {"REDIS_PORT": f"{server.port}", "REDIS_STREAMS": "Orders", **settings}
    producer = services.start("eventsvc", "producer", "--rest-server-port=0", environment=environment)
    wait_until(lambda: producer.says("connected to Redis"))
    return Gateway(producer.port(), server)


def test_a_cloudevent_is_stored_once_whichever_way_it_is_posted(services: Services, server: Server) -> None:
    """Its source and id are its key, whatever the rest of it says."""
    gateway = start(services, server)
    binary = {"ce-specversion": "1.0", "ce-id": "17", "ce-source": "/shop", "ce-type": "example.other"}
    status, id = gateway.post(CLOUDEVENT, headers=STRUCTURED)
    assert status == 200
    assert gateway.post({**CLOUDEVENT, "subject": "other"}, headers=STRUCTURED) == (200, id)
    assert gateway.post(b"text", headers={**binary, "Content-Type": "text/plain"}) == (200, id)
    status, body = gateway.post([{**CLOUDEVENT, "id": "18"}, CLOUDEVENT], "/events", BATCHED)
    assert status == 200
    assert json.loads(body)["ids"][1] == id
    assert [each["cloudevent"]["id"] for each in gateway.stored()] == ["17", "18"]


def test_an_idempotency_key_is_used_instead_of_source_and_id(services: Services, server: Server) -> None:
    gateway = start(services, server)
    assert gateway.post(CLOUDEVENT, headers={**STRUCTURED, "Idempotency-Key": "a"})[0] == 200
    assert gateway.post(CLOUDEVENT, headers={**STRUCTURED, "Idempotency-Key": "b"})[0] == 200
    assert len(gateway.stored()) == 2


def test_when_no_more_keys_are_remembered_only_cloudevents_are_refused(services: Services, server: Server) -> None:
    """Each costs a key."""
    gateway = start(services, server, IDEMPOTENCY_MAX_KEYS="1")
    assert gateway.post(CLOUDEVENT, headers=STRUCTURED)[0] == 200
    status, body = gateway.post({**CLOUDEVENT, "id": "18"}, headers=STRUCTURED)
    assert (status, json.loads(body)["stored"]) == (503, "no")
    assert gateway.post(CLOUDEVENT, headers=STRUCTURED)[0] == 200
    assert gateway.post(PLAIN)[0] == 200
    assert len(gateway.stored()) == 2


def test_a_key_belongs_to_its_stream(services: Services, server: Server) -> None:
    gateway = start(services, server)
    assert gateway.post(CLOUDEVENT, headers=STRUCTURED)[0] == 200
    assert gateway.post(CLOUDEVENT, "/streams/Orders/event", STRUCTURED)[0] == 200
    assert len(gateway.stored()) == len(gateway.stored("Orders")) == 1


def test_a_stream_that_is_full_refuses_alone(services: Services, server: Server) -> None:
    gateway = start(services, server, REDIS_STREAM_HARD_MAX="3")
    answers = [gateway.post(PLAIN, "/streams/Orders/event")[0] for _ in range(4)]
    assert answers == [200, 200, 503, 503]  # the marker is an entry too
    assert gateway.post(PLAIN)[0] == 200
    assert gateway.post(PLAIN, "/streams/NotificationStream/event")[0] == 200
    assert len(gateway.stored("Orders")) == len(gateway.stored()) == 2


def is_refused(gateway: Gateway, stream: str) -> bool:
    """Post an event; return whether it is refused.  It may be unknown, if it was just sent."""
    status, body = gateway.post(PLAIN, f"/streams/{stream}/event")
    assert status == 503
    return bool(json.loads(body)["stored"] == "no")


@pytest.mark.parametrize("broken", ["NotificationStream", "Orders"])
def test_a_stream_that_cannot_be_used_refuses_alone(broken: str, services: Services, server: Server) -> None:
    """Whichever it is, from the start on and after a reconnection; once it can be used, it is."""
    other = {"NotificationStream": "Orders", "Orders": "NotificationStream"}[broken]
    with server.client() as client:
        client.set(broken, "no stream")
        gateway = start(services, server, REDIS_WRITE_TIMEOUT="2.1")
        for _ in range(2):
            assert gateway.post(PLAIN, f"/streams/{other}/event")[0] == 200
            wait_until(lambda: is_refused(gateway, broken))
            assert get(gateway.port, "/health/ready")[0] == 200
            client.client_kill_filter(_type="normal", skipme=True)
            wait_until(lambda: get(gateway.port, "/health/ready")[0] == 200)
        client.delete(broken)
        wait_until(lambda: gateway.post(PLAIN, f"/streams/{broken}/event")[0] == 200)
        assert len(gateway.stored(other)) == 2


@pytest.mark.parametrize("headers", [{}, STRUCTURED])
def test_a_request_that_its_token_does_not_let_in_stores_nothing(
    headers: Mapping[str, str], services: Services, server: Server, tmp_path: Path
) -> None:
    """It is 401, 403 or 429, for EMs and CloudEvents."""
    digest = sha256(b"secret").hexdigest()
    row = f'[[token]]\nname = "shop"\nsha256 = "{digest}"\nstreams = ["Orders"]\nrate = 0.001\nburst = 1\n'
    (tmp_path / "tokens.toml").write_text(row)
    gateway = start(services, server, REST_SERVER_TOKENS=str(tmp_path / "tokens.toml"))
    body = CLOUDEVENT if headers else PLAIN
    token = {**headers, "Authorization": "Bearer secret"}
    assert gateway.post(body, "/streams/Orders/event", headers)[0] == 401
    assert gateway.post(body, headers=token)[0] == 403
    assert (gateway.stored(), gateway.stored("Orders")) == ([], [])
    assert gateway.post(body, "/streams/Orders/event", token)[0] == 200
    status, text = gateway.post(body, "/streams/Orders/event", token)
    assert (status, json.loads(text)["stored"]) == (429, "unknown" if headers else "no")
    assert len(gateway.stored("Orders")) == 1


def test_a_compressed_body_is_limited_when_it_is_decoded(services: Services, server: Server) -> None:
    gateway = start(services, server)
    coding = {"Content-Encoding": "gzip"}
    assert gateway.post(gzip.compress(json.dumps(PLAIN).encode()), headers=coding)[0] == 200
    assert gateway.post(gzip.compress(b'{"description": "' + b"a" * 10**8), headers=coding)[0] == 413
    assert gateway.post(b"a", headers={"Content-Encoding": "br"})[0] == 415
    assert [each["description"] for each in gateway.stored()] == ["hello"]
