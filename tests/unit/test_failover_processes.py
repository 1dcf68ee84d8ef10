"""
Tests for real services through failovers whose new primary lacks the last events.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Final

import pytest

from chaos.suites import wait_until
from tests.support.dead_letters import set_aside
from tests.support.processes import Server, Service, Services, get, post
from tests.support.producer_harness import read_stream
from tests.support.sentinels import Deployment, running_deployment
from tests.support.traffic import Traffic, handled

#: Options of servers that replicate as a user of its own.
REPLICATING: Final = [
    *("--user", "replicator", "on", ">secret", "+psync", "+replconf", "+ping"),
    *("--masteruser", "replicator", "--masterauth", "secret", "--appendonly", "yes"),
]


def hold_behind(primary: Server) -> None:
    """Have a primary send no more to its replicas."""
    with primary.client() as client:
        client.acl_setuser("replicator", enabled=False)
        client.execute_command("CLIENT KILL USER replicator")


def await_promotion(deployment: Deployment, old: Server) -> Server:
    """Wait until another server is a primary, and return it."""

    def find() -> Server | None:
        roles = deployment.roles()
        return next((each for each in deployment.servers if each != old and roles.get(each.port) == "master"), None)

    found = wait_until(find)
    assert found is not None
    return found


def begin(traffic: Traffic, ended: set[str], posting: ExitStack) -> list[Future[None]]:
    """Post with two clients until the name of the traffic is among those that are ended."""
    return posting.enter_context(traffic.running(2, lambda _: traffic.name in ended))


def await_more(traffics: Sequence[Traffic]) -> None:
    """Wait until each has got more answers."""
    enough = [len(traffic.ok) + 50 for traffic in traffics]
    wait_until(lambda: all(len(traffic.ok) >= number for traffic, number in zip(traffics, enough)))


def alarms(service: Service) -> list[str]:
    return [line["alarm"] for line in service.lines() if "alarm" in line]


def dead_letters(sentinels: str) -> Sequence[str]:
    """Return the ids that C{eventsvc dead list} writes."""
    program = [sys.executable, "-c", "from eventsvc.cli.main import main; main()"]
    command = [*program, "dead", "list", "--quiet", f"--redis-sentinels={sentinels}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30.0).stdout.split()


def check_stream(server: Server, traffics: Sequence[Traffic]) -> list[int]:
    """Check that a stream has what the clients were told, once and in their order, and return the ids."""
    stored = read_stream(server)
    ids = {event.description: event.id for event in stored}
    assert [words for words, times in Counter(event.description for event in stored).items() if times > 1] == []
    orders: dict[str, list[int]] = defaultdict(list)
    for event in stored:
        client, _, number = event.description.rpartition("-")
        orders[client].append(int(number))
    assert [client for client, numbers in orders.items() if numbers != sorted(numbers)] == []
    for traffic in traffics:
        assert {words: ids.get(words) for words in traffic.ok} == traffic.ok
        assert not traffic.refused & ids.keys()
    assert ids.keys() <= {words for traffic in traffics for words in traffic.ok.keys() | traffic.unknown}
    return [event.id for event in stored]


def test_what_was_answered_survives_failovers(services: Services) -> None:
    """
    A planned one, then one of a primary that is killed, while one producer stops.

    Each event answered 200 is in the stream of the new primary once, in order, and is handled;
    the producers, also the one that stops, give back what it lacks, and say so.

    The first primary is not promoted again: it lacks what only the producer that stops had retained.
    """
    with running_deployment(server_options=REPLICATING) as deployment, ExitStack() as posting:
        sentinels = ",".join(f"127.0.0.1:{each.port}" for each in deployment.sentinels)
        first = deployment.primary()
        with first.client() as client:
            client.config_set("replica-priority", 0)
        letters = [set_aside(first, {"another": "field"})]
        flag = f"--redis-sentinels={sentinels}"
        patient = ("--rest-server-port=0", "--redis-write-timeout=30", flag)
        producers = [services.start("eventsvc", "producer", *patient) for _ in range(2)]
        consumer = services.start("eventsvc", "consumer", flag)
        traffics = [Traffic(producer.port(), f"{number}-") for number, producer in enumerate(producers)]
        ended: set[str] = set()
        clients = [begin(traffic, ended, posting) for traffic in traffics]
        posting.callback(lambda: ended.update(traffic.name for traffic in traffics))
        await_more(traffics)

        hold_behind(first)
        await_more(traffics)
        deployment.fail_over()
        second = await_promotion(deployment, first)
        wait_until(lambda: all("restored" in alarms(producer) for producer in producers))
        await_more(traffics)
        wait_until(deployment.is_settled)

        hold_behind(second)
        await_more(traffics)
        ended.add(traffics[1].name)
        assert [client.result() for client in clients[1]] == [None, None]
        second.end(signal.SIGKILL)
        producers[1].process.send_signal(signal.SIGTERM)
        wait_until(lambda: _says_redis_is_away(traffics[0].port))
        await_promotion(deployment, second)
        assert dead_letters(sentinels) == letters
        wait_until(lambda: get(traffics[0].port, "/health/ready")[0] == 200)
        assert producers[1].process.wait(30.0) == 0
        wait_until(lambda: alarms(producers[0]).count("restored") >= 2)
        await_more(traffics[:1])
        ended.add(traffics[0].name)
        posting.close()

        wait_until(deployment.is_settled)
        ids = check_stream(deployment.primary(), traffics)
        wait_until(lambda: set(ids) <= set(handled(consumer)))
        assert [set(alarms(producer)) for producer in producers] == [{"restored"}] * 2
        assert alarms(producers[1]).count("restored") >= 2
        assert [service.stop() for service in (producers[0], consumer)] == [0, 0]


def _says_redis_is_away(port: int) -> bool:
    status, words = get(port, "/health/ready")
    return status == 503 and "Redis" in json.loads(words)["description"]


def _stores(port: int) -> bool:
    return post(port, '{"description": "event"}').status == 200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_stop_without_redis_ends_in_time(services: Services, own_server: Server, number: signal.Signals) -> None:
    """It waits for Redis as long as an event does, because Redis may have lost what only this process has."""
    common = ("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={own_server.port}")
    patient, hasty = [services.start(*common, f"--redis-write-timeout={seconds}") for seconds in (25, 1)]
    for producer in (patient, hasty):
        wait_until(partial(_stores, producer.port()))
    own_server.send(number)
    patient.process.terminate()
    assert hasty.stop() == 0
    assert patient.process.poll() is None
    assert hasty.says("stopping without an answer whether Redis has all")
