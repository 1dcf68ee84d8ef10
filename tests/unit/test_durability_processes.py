"""
Tests for C{REDIS_DURABILITY} on real producers.
"""

from __future__ import annotations

import json
import signal
from http.client import HTTPException
from pathlib import Path
from threading import Thread

import pytest

from chaos.suites import wait_until
from tests.support.processes import Answer, Server, Service, Services, get, post
from tests.support.producer_harness import read_stream
from tests.support.replicas import running_replica

PATIENT = "--redis-write-timeout=30"
BODY = '{"description": "event"}'


def start(services: Services, server: Server, *flags: str) -> Service:
    arguments = ("--rest-server-port=0", f"--redis-port={server.port}", "--redis-write-timeout=1", *flags)
    return services.start("eventsvc", "producer", *arguments)


def stored(answer: Answer) -> object:
    return json.loads(answer.body)["stored"]


def test_a_producer_waits_for_replicas(services: Services, own_server: Server, tmp_path: Path) -> None:
    """Without one, events are refused; with one that is held behind, they are stored and unknown."""
    producer = start(services, own_server, "--redis-durability=replicas")
    port = producer.port()
    wait_until(lambda: producer.says("REDIS_DURABILITY=replicas needs 1 replicas (REDIS_MIN_REPLICAS): 0 follow Redis"))
    refused = post(port, BODY)
    assert (refused.status, stored(refused)) == (503, "no")
    status, why = get(port, "/health/ready")
    assert status == 503
    assert "REDIS_DURABILITY=replicas needs 1 replicas (REDIS_MIN_REPLICAS): 0 follow Redis" in why
    with running_replica(own_server, tmp_path / "replica") as replica:
        wait_until(lambda: post(port, BODY).status == 200)
        replica.send(signal.SIGSTOP)
        unknown = post(port, BODY)
        assert (unknown.status, stored(unknown)) == (503, "unknown")
        replica.send(signal.SIGCONT)
        wait_until(lambda: post(port, BODY).status == 200)
        figures = get(port, "/metrics")[1]
        assert 'eventsvc_durability_seconds_bucket{le="+Inf"}' in figures
    assert producer.stop() == 0


def test_a_producer_that_is_killed_while_it_waits(services: Services, own_server: Server, tmp_path: Path) -> None:
    """The event may be in the stream, and its client got no answer."""
    answers: list[Answer] = []

    def ask() -> None:
        with pytest.raises((OSError, HTTPException)):
            answers.append(post(port, BODY))

    with running_replica(own_server, tmp_path / "replica") as replica:
        producer = start(services, own_server, "--redis-durability=replicas", "--redis-min-replicas=1", PATIENT)
        port = producer.port()
        wait_until(lambda: producer.says("connected to Redis"))
        replica.send(signal.SIGSTOP)
        client = Thread(target=ask)
        client.start()
        wait_until(lambda: read_stream(own_server))
        producer.stop(signal.SIGKILL)
        client.join()
    assert answers == []


def test_a_producer_waits_for_the_disk(services: Services, own_server: Server) -> None:
    with own_server.client() as client:
        client.config_set("appendfsync", "always")
        client.config_set("appendonly", "no")
        producer = start(services, own_server, "--redis-durability=disk")
        port = producer.port()
        wait_until(lambda: producer.says("REDIS_DURABILITY=disk needs an append-only file"))
        refused = post(port, BODY)
        assert (refused.status, stored(refused)) == (503, "no")
        client.config_set("appendonly", "yes")
        wait_until(lambda: post(port, BODY).status == 200)  # once the file was written for the first time
    assert producer.stop() == 0


def test_a_producer_in_memory_has_no_figure_of_it(services: Services, own_server: Server) -> None:
    producer = start(services, own_server, PATIENT)
    port = producer.port()
    assert post(port, BODY).status == 200
    assert "eventsvc_durability_seconds" not in get(port, "/metrics")[1]
    assert producer.stop() == 0
