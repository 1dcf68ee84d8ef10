"""
Tests for C{/backlog} of real producers, on each server.
"""

from __future__ import annotations

import json
import signal
from typing import Any, Final

from chaos.process import stable_port
from chaos.suites import wait_until
from tests.support.processes import Server, Service, Services, get, post
from tests.unit.test_health import figure
from tests.unit.test_measuring import GROUP, STREAM, add, create, handle, handled_since_a_rewrite, read

OLDEST: Final = {name: f"eventsvc_oldest_{name}_seconds" for name in ("unread", "pending")}


def start(services: Services, server: Server, *flags: str) -> Service:
    common = ("--rest-server-port=0", f"--redis-port={server.port}", f"--redis-consumer-group={GROUP}")
    return services.start("eventsvc", "producer", *common, *flags)


def backlog(port: int, stream: str = "") -> dict[str, Any]:
    """Return the answer; an error has its status."""
    answer: dict[str, Any] = json.loads(get(port, "/backlog" + (f"?stream={stream}" if stream else ""))[1])
    return answer


def waits(port: int, unread: bool, pending: bool) -> bool:
    """Return whether the producer says what is unread and pending, in both ways."""
    found = backlog(port)
    figures = [figure(port, OLDEST[name]) for name in ("unread", "pending")]
    if "waiting" not in found or -1.0 in figures:
        return False
    told = [found[f"oldest_{name}_seconds"] > 0 for name in ("unread", "pending")]
    return told == [each > 0 for each in figures] == [unread, pending] and found["waiting"] == int(unread or pending)


def test_a_producer_tells_what_waits_while_no_consumer_runs(services: Services, own_server: Server) -> None:
    """From the first event to the last acknowledgement, and through a restart of Redis with nothing unread."""
    port = start(services, own_server).port()
    with own_server.client() as client:
        wait_until(lambda: backlog(port).get("waiting") == 0)  # the marker alone
        assert post(port, '{"description": "a"}').status == 200
        wait_until(lambda: waits(port, unread=True, pending=False))
        assert backlog(port)["unread"] == 1
        client.xgroup_create(STREAM, GROUP, "0")
        read(client)
        wait_until(lambda: waits(port, unread=False, pending=True))
        client.xack(STREAM, GROUP, *[row["message_id"] for row in client.xpending_range(STREAM, GROUP, "-", "+", 10)])
        wait_until(lambda: waits(port, unread=False, pending=False))
        add(client, 9)
        wait_until(lambda: waits(port, unread=True, pending=False))
        client.xtrim(STREAM, 0)
        wait_until(lambda: waits(port, unread=False, pending=False))
        client.delete(STREAM)
        wait_until(lambda: backlog(port).get("description") == f"there is no stream {STREAM}")
        assert figure(port, OLDEST["unread"]) == -1.0
        handled_since_a_rewrite(client)
    own_server.end()
    wait_until(lambda: "Redis cannot be reached" in backlog(port).get("description", ""))
    own_server.start()
    wait_until(lambda: waits(port, unread=False, pending=False))


def test_a_frozen_redis_is_not_taken_for_an_idle_one(services: Services, own_server: Server) -> None:
    """The answer is 503 within seconds, and the figures go."""
    port = start(services, own_server).port()
    wait_until(lambda: backlog(port).get("waiting") == 0)
    own_server.send(signal.SIGSTOP)
    wait_until(lambda: get(port, "/backlog")[0] == 503)
    wait_until(lambda: figure(port, OLDEST["unread"]) == -1.0)
    own_server.send(signal.SIGCONT)
    wait_until(lambda: backlog(port).get("waiting") == 0)


def test_a_user_who_may_not_read_is_told_what_to_allow(services: Services, each_server: Server) -> None:
    """Once in the log and in each answer; it heals without a restart, and events are taken all the while."""
    with each_server.client() as client:
        create(client)
        handle(client)
        client.execute_command("ACL", "SETUSER", "default", "-xrange")
        producer = start(services, each_server)
        port = producer.port()
        wait_until(lambda: "may not run XRANGE" in backlog(port).get("description", ""))
        assert figure(port, OLDEST["unread"]) == -1.0
        assert figure(port, OLDEST["pending"]) == 0.0
        assert post(port, '{"description": "a"}').status == 200
        client.config_resetstat()
        wait_until(lambda: client.info("commandstats").get("cmdstat_xpending", {}).get("calls", 0) >= 2)
        said = [line for line in producer.lines() if "it needs the rights +xinfo|groups" in line["message"]]
        assert len(said) == 1
        client.execute_command("ACL", "SETUSER", "default", "+xrange")
        wait_until(lambda: waits(port, unread=True, pending=False))


def test_it_is_where_health_and_metrics_are(services: Services, server: Server) -> None:
    """With an admin port it is not on the port of clients, and streams that nobody knows are not found."""
    admin = stable_port()
    producer = start(services, server, f"--admin-port={admin}", "--redis-streams=Orders")
    wait_until(lambda: producer.says("connected to Redis"))
    wait_until(lambda: get(admin, "/backlog")[0] == 200)
    clients = next(port for port in producer.ports(2) if port != admin)
    assert get(clients, "/backlog")[0] == 404
    wait_until(lambda: backlog(admin, "Orders").get("stream") == "Orders")
    for path in ("/backlog?stream=Others", "/backlog/", "/streams/Orders/backlog"):
        assert get(admin, path)[0] == 404, path


def test_a_consumer_does_not_tell(services: Services, server: Server) -> None:
    """What scales consumers must not ask those it scales."""
    port = stable_port()
    services.start("eventsvc", "consumer", f"--admin-port={port}", f"--redis-port={server.port}")
    wait_until(lambda: get(port, "/health/ready")[0] == 200)
    assert get(port, "/backlog")[0] == 404
