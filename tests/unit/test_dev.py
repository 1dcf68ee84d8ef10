"""
The role C{dev} starts and stops without warnings, and shows what it can carry.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from chaos.process import stable_port
from chaos.suites import PATIENCE, TWISTD, wait_until
from eventsvc.tap.parts.dev import Dev
from tests.support.commands import Terminal, on_terminal
from tests.support.processes import Services, post

#: Options: whichever ports are free.
FREE = ("--rest-server-port=0", "--dashboard-port=0")
DEV = [*TWISTD, "-n", "eventsvc", "dev"]


def test_it_starts_and_stops_quietly(services: Services) -> None:
    """No part connects before the server accepts connections, and stopping logs no Redis error."""
    dev = services.start("eventsvc", "dev", *FREE, "--events-per-second=20")
    wait_until(lambda: dev.says('"message":"event"'))
    assert dev.stop() == 0
    said = [line for line in dev.lines() if line["message"] != "event"]
    assert [line for line in said if line["level"] != "info"] == []
    [end] = [line for line in said if "accepted" in line]
    assert end["message"] == f"{end['accepted']} in, {end['accepted']} out, 0 lost"
    connected = [line for line in said if line["message"] == "connected to Redis"]
    assert len(connected) == 4  # producer, consumer, dashboard and the account


def test_events_of_another_stream_are_not_missed(services: Services) -> None:
    """The demo handles one stream, and accounts for it."""
    flags = ("--redis-streams=Orders", "--events-per-second=20")
    dev = services.start("eventsvc", "dev", *FREE, *flags)
    wait_until(lambda: dev.says('"message":"event"'))
    assert post(dev.port(), '{"description": "order"}', "/streams/Orders/event").status == 200
    assert dev.stop() == 0
    [end] = [line["message"] for line in dev.lines() if "accepted" in line]
    assert end.endswith(" out, 0 lost")


def test_what_the_banner_says_to_type_works(services: Services) -> None:
    """Each command stores an event that the log shows, and the CloudEvent once however often it is posted."""
    dev = services.start("eventsvc", "dev", *FREE, "--events-per-second=0.001")
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
    dev = services.start("eventsvc", "dev", *FREE, "--events-per-second=100")
    wait_until(lambda: dev.says('"cloudevent":{"specversion":"1.0"') and dev.says('"data":{"number":'))
    assert dev.stop() == 0


def end(terminal: Terminal) -> str:
    """Press Ctrl-C, and return everything that is on the terminal then."""
    terminal.process.send_signal(signal.SIGINT)
    wait_until(lambda: terminal.read() and terminal.process.poll() is not None)
    assert terminal.process.returncode == 0
    return terminal.read()


def without_codes(text: str) -> str:
    """Return a text without the commands to a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_on_a_terminal_there_are_figures_and_events_and_an_account_at_the_end() -> None:
    """It fits 80 columns, and other widths; there is no JSON."""
    with on_terminal([*DEV, *FREE, "--events-per-second=50"], columns=80) as terminal:
        text = terminal.wait_for("First event handled")
        assert all(len(line) <= 80 for line in without_codes(text.partition("Ctrl-C")[0]).splitlines())
        for words in (
            "Producer   http://127.0.0.1:",
            "Dashboard  http://127.0.0.1:",
            "curl -i --data",
            "ce-specversion",
        ):
            assert words in text
        terminal.wait_for("redis connected")
        terminal.resize(40)
        before = len(terminal.read())
        wait_until(lambda: terminal.read()[before:].count("\x1b[2K") > 40)
        text = end(terminal)
    last = without_codes(text).strip().splitlines()[-1]
    count = re.match(r"([0-9,]+) in, ", last)
    assert count
    assert last == f"{count[1]} in, {count[1]} out, 0 lost"
    assert '"level"' not in text
    assert "\x1b[36m" in text


def test_there_are_no_colours_if_they_are_not_wanted() -> None:
    with on_terminal([*DEV, *FREE], environment={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("First event handled")
        assert re.findall(r"\x1b\[[0-9;]*m", end(terminal).replace("\x1b[0m", "")) == []


def test_a_log_can_be_had_on_a_terminal_too() -> None:
    with on_terminal([*DEV, *FREE], environment={"LOG_FORMAT": "json"}) as terminal:
        terminal.wait_for('"message":"event"')
        assert " 0 lost" in end(terminal)


def test_a_broken_link_heals_and_nothing_is_lost() -> None:
    with on_terminal([*DEV, *FREE, "--chaos"]) as terminal:
        terminal.wait_for("fault: ")
        text = without_codes(end(terminal))
    assert re.search(r"^\d+ in, \d+ out, (?:\d+ (?:refused|not confirmed), )*0 lost", text, re.MULTILINE), text


def test_without_the_simulator_there_are_only_events_of_yours(services: Services) -> None:
    dev = services.start("eventsvc", "dev", *FREE, "--no-simulator")
    port = dev.port()
    wait_until(lambda: dev.lines() and dev.says("connected to Redis"))
    assert post(port, '{"description": "mine"}').status == 200
    assert dev.stop() == 0
    assert [line["description"] for line in dev.lines() if line["message"] == "event"] == ["mine"]
    assert "1 in, 1 out, 0 lost" in dev.out()


def test_data_can_be_kept(services: Services, tmp_path: Path) -> None:
    """The directory is made; what is stored is there at the next start, and is not handled again."""
    for number in range(2):
        dev = services.start("eventsvc", "dev", *FREE, "--no-simulator", "--data-dir", str(tmp_path / "a" / "b"))
        port = dev.port()
        answer = post(port, '{"description": "kept"}', headers={"Idempotency-Key": '"17"'})
        assert dev.stop() == 0
        assert answer.status == 200
        assert [line["message"] for line in dev.lines()].count("event") == 1 - number
    services.start("eventsvc", "dev", "--data-dir", "/dev/null/x").process.wait(PATIENCE)
    assert "DEV_DATA_DIR='/dev/null/x': expected a directory (Not a directory)" in services.started[-1].err()


def test_a_port_that_was_chosen_is_not_replaced(services: Services) -> None:
    with socket.create_server(("127.0.0.1", stable_port())) as taken:
        port = taken.getsockname()[1]
        chosen = services.start("eventsvc", "dev", f"--rest-server-port={port}", "--dashboard-port=0")
        assert chosen.process.wait(PATIENCE) == 1
        assert f"cannot listen on 127.0.0.1:{port}" in chosen.err()


def test_a_taken_port_is_said_on_a_line_of_its_own(tmp_path: Path) -> None:
    """And nothing else is: there is no Redis yet that would be connected. The cursor is shown again."""
    with socket.create_server(("127.0.0.1", stable_port())) as taken:
        flags = [f"--rest-server-port={taken.getsockname()[1]}", "--dashboard-port=0", f"--pidfile={tmp_path}/pid"]
        command = [*TWISTD, "-n", flags.pop(), "eventsvc", "dev", *flags]
        with on_terminal(command, environment={"NO_COLOR": "1"}) as terminal:
            assert terminal.process.wait(PATIENCE) == 1
            said = terminal.read()
    assert "connected" not in said
    assert re.search(r"\x1b\[2Keventsvc: cannot listen on 127.0.0.1:", said), said
    assert said.rstrip().endswith("\x1b[?25h")


def test_a_usual_port_that_is_taken_is_replaced_aloud(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that was chosen, by a flag or the environment, stays."""
    dev: Any = partial(Dev, reactor=None, process=None, event_log=None, redis=None)  # type: ignore[arg-type]
    shown = Mock()
    with socket.create_server(("127.0.0.1", stable_port())) as taken:
        port = taken.getsockname()[1]
        found = dev(options={}, shown=shown)._find_port("a-port", "A_PORT", port)
        assert port < found < port + 100
        shown.say.assert_called_once_with(f"Port {port} is taken, so {found} is used instead")
        assert dev(options={"a-port": "1"}, shown=shown)._find_port("a-port", "A_PORT", port) == port
        monkeypatch.setenv("A_PORT", "1")
        assert dev(options={}, shown=shown)._find_port("a-port", "A_PORT", port) == port
