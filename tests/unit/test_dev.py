"""
The role C{dev} starts and stops without warnings, and shows what it can carry.
"""

from __future__ import annotations

import re
import subprocess

from chaos.suites import wait_until
from tests.support.processes import Services


def test_it_starts_and_stops_quietly(services: Services) -> None:
    """No part connects before the server accepts connections, and stopping logs no Redis error."""
    dev = services.start("eventsvc", "dev", "--rest-server-port=0", "--events-per-second=20", "--dashboard-port=0")
    wait_until(lambda: dev.says('"message":"event"'))
    assert dev.stop() == 0
    said = [line for line in dev.lines() if line["message"] != "event"]
    assert [line for line in said if line["level"] != "info"] == []
    assert [line["message"] for line in said].count("connected to Redis") == 3  # producer, consumer, dashboard


def test_what_the_banner_says_to_type_works(services: Services) -> None:
    """Each command stores an event that the log shows, and the CloudEvent once however often it is posted."""
    dev = services.start("eventsvc", "dev", "--rest-server-port=0", "--events-per-second=0.001", "--dashboard-port=0")
    wait_until(lambda: dev.says("connected to Redis"))
    plain, cloudevent = re.findall(r"^ +(curl (?:.*\\\n)*.*)$", dev.err(), re.MULTILINE)
    plain_id, first, second = [_find_id(command) for command in (plain, cloudevent, cloudevent)]
    assert first == second != plain_id
    wait_until(lambda: dev.says(f'"id":{plain_id}') and dev.says(f'"id":{first}'))
    found = {line["id"]: line for line in dev.lines() if line["message"] == "event"}
    assert found[plain_id]["description"] == "hello world"
    assert found[first]["cloudevent"]["data"] == {"hello": "world"}
    assert dev.stop() == 0


def _find_id(command: str) -> int:
    """Run a command, and return the id of the event that it has posted."""
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True).stdout
    found = re.search(r"^Event-Id: ([0-9]+)", answer, re.MULTILINE)
    assert found, answer
    return int(found[1])


def test_the_simulator_of_dev_posts_cloudevents_too(services: Services) -> None:
    dev = services.start("eventsvc", "dev", "--rest-server-port=0", "--events-per-second=100", "--dashboard-port=0")
    wait_until(lambda: dev.says('"cloudevent":{"specversion":"1.0"') and dev.says('"data":{"number":'))
    assert dev.stop() == 0
