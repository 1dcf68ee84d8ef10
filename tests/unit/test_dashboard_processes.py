"""
The dashboard as a process: with Redis away, and stopped while browsers follow it.
"""

from __future__ import annotations

import socket
from contextlib import closing

from chaos.suites import wait_until
from tests.support.processes import Server, Services, get


def test_it_says_that_redis_is_away_and_goes_on_when_it_is_back(own_server: Server, services: Services) -> None:
    """Its pages are there all the time."""
    own_server.end()
    dashboard = services.start("eventsvc", "dashboard", f"--redis-port={own_server.port}", "--dashboard-port=0")
    port = dashboard.port()
    status, html = get(port, "/")
    assert status == 200
    assert "RedisIsAway" in html
    assert "Redis cannot be reached" in html
    assert get(port, "/events")[0] == 503
    assert get(port, "/health/ready")[0] == 503
    own_server.start()
    wait_until(lambda: "healthy" in get(port, "/")[1])
    assert get(port, "/events")[0] == 200
    own_server.end()
    wait_until(lambda: "RedisIsAway" in get(port, "/")[1])
    assert dashboard.stop() == 0


def test_it_stops_at_once_although_browsers_follow(server: Server, services: Services) -> None:
    dashboard = services.start("eventsvc", "dashboard", f"--redis-port={server.port}", "--dashboard-port=0")
    port = dashboard.port()
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10.0)) as browser:
        browser.sendall(b"GET /live/overview HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"data: " not in received:
            received += browser.recv(65_536)
        assert dashboard.stop() == 0
        while data := browser.recv(65_536):
            received += data
    assert received.endswith(b"0\r\n\r\n")
    assert [line for line in dashboard.lines() if line["level"] != "info"] == []
