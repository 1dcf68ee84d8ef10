"""
Everything in one process starts and stops without a word of alarm.
"""

from __future__ import annotations

from chaos.suites import wait_until
from tests.support.processes import Services


def test_it_starts_and_stops_quietly(services: Services) -> None:
    """No part tries a server that does not take connections yet, and the end is no news of Redis."""
    dev = services.start("eventsvc", "dev", "--rest-server-port=0", "--events-per-second=20")
    wait_until(lambda: dev.says('"message":"event"'))
    assert dev.stop() == 0
    said = [line for line in dev.lines() if line["message"] != "event"]
    assert [line for line in said if line["level"] != "info"] == []
    assert [line["message"] for line in said].count("connected to Redis") == 2  # producer and consumer
