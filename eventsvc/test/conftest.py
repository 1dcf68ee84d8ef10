"""
What tests share: real servers and services, and quiet logging.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import LogPublisher, globalLogBeginner

from eventsvc.test.processes import Server, Services, running_server


def pytest_configure() -> None:
    """Without an observer Twisted writes critical events to standard error."""
    globalLogBeginner.beginLoggingTo([LogPublisher()], redirectStandardIO=False, discardBuffer=True)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One server for all tests of this process."""
    with running_server() as server:
        yield server


@pytest.fixture
def server(shared_server: Server) -> Server:
    """A server that holds nothing.  Do not stop it: others use it."""
    with shared_server.client() as client:
        client.flushall()
        client.script_flush()
    return shared_server


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Starts services; those that are left end with the test."""
    started = Services(tmp_path)
    try:
        yield started
    finally:
        started.end()
