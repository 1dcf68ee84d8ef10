"""
The role C{dev} starts and stops without warnings.
"""

from __future__ import annotations

from chaos.suites import wait_until
from tests.support.processes import Services


def test_it_starts_and_stops_quietly(services: Services) -> None:
    """No part connects before the server accepts connections, and stopping logs no Redis error."""
    dev = services.start("eventsvc", "dev", "--rest-server-port=0", "--events-per-second=20")
    wait_until(lambda: dev.says('"message":"event"'))
    assert dev.stop() == 0
    said = [line for line in dev.lines() if line["message"] != "event"]
    assert [line for line in said if line["level"] != "info"] == []
    assert [line["message"] for line in said].count("connected to Redis") == 2  # producer and consumer
