"""
What tests share: real servers and services, and quiet logging.
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted
from hypothesis import HealthCheck, settings
from twisted.logger import LogPublisher, globalLogBeginner

from chaos.suites import wait_until
from eventsvc.embedded import NoServer
from tests.support.consumer_world import ConsumerWorld as ConsumerWorld
from tests.support.consumer_world import running_world
from tests.support.http import MAKERS, Served, serving
from tests.support.processes import Server, Services, running_server
from tests.support.server_binaries import REMEDIES, find_binary

if TYPE_CHECKING:
    from tests.support.backends import Backend
    from tests.support.inboxes import Place
    from tests.support.postgres import Postgres
    from tests.support.webhook_receiver import Maker, Receiver


def pytest_configure() -> None:
    """
    Make Hypothesis give the same examples at any speed.

    And have an observer of logs: without one Twisted writes critical events
    to standard error.
    """
    settings.register_profile(
        "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("steady")
    globalLogBeginner.beginLoggingTo([LogPublisher()], redirectStandardIO=False, discardBuffer=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes of their own: most of what they run is out of sight of coverage."""
    for item in items:
        if {"own_server", "each_server", "services", "own_postgres"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("processes")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the seeds of the day, which change what was tested."""
    reports = [each for reports in terminalreporter.stats.values() for each in reports]
    properties = [each for report in reports for each in getattr(report, "user_properties", ())]
    for words in sorted({words for name, words in properties if name == "seeds"}):
        terminalreporter.write_line(words)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are imported and tests are collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """
    Exempt modules and collected tests from garbage collection: they live to the end.

    A full collection of all of them takes a quarter of a second, and some
    modules make one after each test.
    """
    gc.collect()
    gc.freeze()


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
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that may be broken, and keeps its data over a crash."""
    with running_server(*_durable(tmp_path)) as server:
        yield server


@pytest.fixture(params=REMEDIES)
def binary(request: pytest.FixtureRequest) -> str:
    """The program of each of the makes that eventsvc is tested on."""
    try:
        return find_binary(request.param)
    except NoServer as remedy:
        pytest.skip(str(remedy))


@pytest.fixture
def each_server(binary: str, tmp_path: Path) -> Iterator[Server]:
    """As L{own_server}: of each of the makes that eventsvc is tested on."""
    with running_server(*_durable(tmp_path), binary=binary) as server:
        yield server


def _durable(directory: Path) -> list[str]:
    """Options: what was written survives a kill, whenever the disk has it."""
    return ["--appendonly", "yes", "--appendfsync", "no", "--dir", str(directory)]


def _running_postgres(*options: str) -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
    from tests.support.postgres import find_programs, running_postgres

    try:
        find_programs()
    except NoServer as remedy:
        pytest.skip(str(remedy))
    with running_postgres(*options) as server:
        yield server


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests of this process.  Do not stop it."""
    yield from _running_postgres("fsync=off")


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that may be stopped and killed."""
    yield from _running_postgres()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database of each kind, for an inbox."""
    from tests.support.inboxes import postgres_place, sqlite_place

    if request.param == "sqlite":
        made = sqlite_place(str(tmp_path / "effects.db"))
    else:
        made = postgres_place(request.getfixturevalue("shared_postgres"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """Starts services; those that are left end with the test."""
    started = Services(tmp_path)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def producer(server: Server, services: Services) -> int:
    """The port of a producer."""
    service = services.start("eventsvc", "producer", "--rest-server-port=0", f"--redis-port={server.port}")
    port = service.port()
    wait_until(lambda: service.says("connected to Redis"))
    return port


@pytest.fixture(params=["memory", "server", "simulated-7.0", "simulated-9.1"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each of the backends where a stream may be."""
    from tests.support import backends, simulated_backend  # which take the reactor

    if request.param == "memory":
        yield backends.InMemory()
    elif request.param != "server":
        yield from simulated_backend.running(request.param.removeprefix("simulated-"))
    else:
        made = backends.OnServer(request.getfixturevalue("server"))
        yield made
        pytest_twisted.blockon(made.leave())


@pytest.fixture
def consuming() -> Iterator[ConsumerWorld]:
    """Consumers on a clock; those that are left end with the test."""
    with running_world() as made:
        yield made


@pytest.fixture(params=MAKERS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A producer's HTTP interface: with the routes alone, and with the fast path in front."""
    with serving(request.param) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of webhooks in this process."""
    from tests.support.webhook_receiver import receiving  # which takes the reactor

    with receiving() as receiver:
        yield receiver


@pytest.fixture
def make(receiver: Receiver) -> Iterator[Maker]:
    """Makes handlers that post to it."""
    from tests.support.webhook_receiver import Maker

    maker = Maker(receiver)
    yield maker
    maker.stop()
