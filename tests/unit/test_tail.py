"""
Tests for C{eventsvc tail} and C{eventsvc find} on a real server.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import time
from typing import Any

import pytest
import pytest_twisted

from chaos.suites import PATIENCE, wait_until
from tests.support.commands import EVENTSVC, do, on_terminal
from tests.support.dead_letters import GROUP, STREAM, set_aside
from tests.support.processes import Server

HOSTILE = "\x1b[31mred\x1b]0;title\x07\n\u202e"


def store(server: Server, number: int, description: str = "hello", **members: Any) -> str:
    """Append an event, and return the id of its entry."""
    event = {"id": number, "description": description, "timestamp": "2025-02-25T22:06:25.478310425Z", **members}
    with server.client() as client:
        return str(client.xadd(STREAM, {"EventStream": json.dumps(event)}).decode())


@pytest_twisted.ensureDeferred
async def test_the_last_events_are_shown_in_their_order(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    for number in range(12):
        store(server, number, f"event {number}", type="order.paid", key="k", data={"a": 1})
    with server.client() as client:
        client.xadd(STREAM, {"CreateStream": "stream created"})
    assert await do(server, "tail", "--no-follow") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == [str(number) for number in range(2, 12)]
    assert lines[-1] == '22:06:25.478 11                  order.paid key=k event 11 {"a": 1}'
    assert await do(server, "tail", "--no-follow", "-n", "1", "--json") == 0
    [found] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (found["event"]["id"], found["event"]["data"]) == (11, {"a": 1})
    assert re.fullmatch(r"\d+-\d+", found["entry"])


@pytest_twisted.ensureDeferred
async def test_an_empty_stream_has_no_last_event(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert await do(server, "tail", "--no-follow") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "no event fits among the newest 20,000 entries of NotificationStream\n"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--type", "a"], [1, 3]),
        (["--key", "x"], [2, 3]),
        (["--type", "a", "--key", "x"], [3]),
        (["--text", "needle"], [1, 3]),
        (["--text", "né"], [2]),
        (["--type", "b"], []),
    ],
)
@pytest_twisted.ensureDeferred
async def test_events_are_chosen_by_all_that_is_given(
    server: Server, capsys: pytest.CaptureFixture[str], options: list[str], shown: list[int]
) -> None:
    store(server, 1, "needle", type="a")
    store(server, 2, "né", key="x")
    store(server, 3, "-", type="a", key="x", data=["needle"])
    assert await do(server, "tail", "--no-follow", *options) == 0
    assert [int(line.split()[1]) for line in capsys.readouterr().out.splitlines()] == shown


@pytest_twisted.ensureDeferred
async def test_entries_that_are_no_events_are_shown_all_the_same(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in them, each is one line, and commands no terminal."""
    with server.client() as client:
        client.xadd(STREAM, {"EventStream": b"\xff" + HOSTILE.encode(), HOSTILE: "x"})
    store(server, 1, HOSTILE, type=HOSTILE, key=HOSTILE, data=HOSTILE)
    assert await do(server, "tail", "--no-follow") == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert out.replace("\n", "").isprintable()
    assert "no event: EventStream=" in out
    assert await do(server, "tail", "--no-follow", "--json") == 0
    wrong, right = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert wrong["event"] is None
    assert right["event"]["description"] == HOSTILE


def test_new_events_appear_on_a_terminal_in_80_columns(server: Server) -> None:
    """Ctrl-C ends it."""
    store(server, 1)
    with on_terminal([*EVENTSVC, "tail", "--redis-port", f"{server.port}"]) as terminal:
        terminal.wait_for("hello")
        begin = time.monotonic()
        store(server, 2, "new " + "x" * 100)
        terminal.wait_for("new ")
        took = time.monotonic() - begin
        *_, line = terminal.read().splitlines()
        assert "\x1b[36m2  " in line
        assert len(re.sub(r"\x1b\[[0-9;]*m", "", line)) == 80
        assert line.endswith("…")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(PATIENCE) == 130
    assert took < PATIENCE


def test_without_colours_there_is_no_escape(server: Server) -> None:
    store(server, 1)
    command = [*EVENTSVC, "tail", "--no-follow", "--redis-port", f"{server.port}"]
    with on_terminal(command, environment={"NO_COLOR": "1"}) as terminal:
        terminal.wait_for("hello")
        assert terminal.process.wait(PATIENCE) == 0
        assert "\x1b" not in terminal.read()


def test_it_goes_on_when_redis_is_back(own_server: Server) -> None:
    """It gives up only after five seconds."""
    store(own_server, 1)
    with own_server.client() as client:
        client.config_set("appendfsync", "always")
    with on_terminal([*EVENTSVC, "tail", "--redis-port", f"{own_server.port}"]) as terminal:
        terminal.wait_for("hello")
        own_server.end()
        terminal.wait_for("no connection to Redis")
        own_server.start()
        store(own_server, 2, "after it")
        terminal.wait_for("after it")
        own_server.end()
        assert terminal.process.wait(PATIENCE) == 1
        assert "cannot use Redis" in terminal.read()


def test_a_reader_that_has_enough_ends_it_without_a_word(server: Server) -> None:
    for number in range(10):
        store(server, number)
    command = f"{shlex.join(EVENTSVC)} tail --redis-port {server.port} | head -1"
    with on_terminal(["bash", "-c", f"set -o pipefail; {command}"]) as terminal:
        terminal.wait_for("hello")

        def has_ended() -> bool:
            store(server, 10)  # the command notices when it writes
            return terminal.process.poll() is not None

        wait_until(has_ended)
        assert terminal.process.wait() == 1
        assert len(terminal.read().splitlines()) == 1


@pytest_twisted.ensureDeferred
async def test_an_event_is_found_with_where_it_is(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Unread, pending or done, by its own id, that of its entry, or a text in it."""
    entries = [store(server, 1000 + number, f"event {number}") for number in range(3)]
    with server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0")
        client.xreadgroup(GROUP, "somebody", {STREAM: ">"}, count=2)
        client.xack(STREAM, GROUP, entries[0])
    for what, state in (
        ("1000", f"✓ acknowledged: group {GROUP}: delivered and acknowledged"),
        (
            entries[1],
            f"✓ delivered: group {GROUP}: to somebody, 1 time\n  … not acknowledged: group {GROUP}: with somebody",
        ),
        ("event 2", f"… not delivered yet: group {GROUP}: has read up to"),
    ):
        assert await do(server, "find", what) == 0
        assert f"  {state}" in capsys.readouterr().out
    assert await do(server, "find", "1001", "--json") == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["entry"], found["dead"], found["event"]["id"]) == (entries[1], None, 1001)
    assert [(step["mark"], step["name"]) for step in found["steps"]] == [
        *(("done", "accepted"), ("done", "stored"), ("done", "delivered"), ("waits", "not acknowledged")),
    ]


@pytest_twisted.ensureDeferred
async def test_a_dead_event_is_found_among_the_dead_letters(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    text = '{"id":4711,"description":"poison","timestamp":"2025-02-25T22:06:25.478310425Z"}'
    id = set_aside(server, {"EventStream": text}, error=HOSTILE)
    with server.client() as client:
        client.xtrim(STREAM, 0)
    assert await do(server, "find", "4711") == 0
    out = capsys.readouterr().out
    assert f"group {GROUP}: after 5 deliveries to consumer; failed: " in out
    assert f"eventsvc dead replay {id}" in out
    assert "\x1b" not in out
    assert await do(server, "find", "poison", "--json") == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["dead"], found["event"]["id"]) == (id, 4711)


@pytest_twisted.ensureDeferred
async def test_what_is_not_found_is_told_with_how_far_was_searched(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        store(server, number)
    assert await do(server, "find", "nothing") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"found nothing; searched 3 entries back to \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", said.err)
    assert await do(server, "find", "nothing", "--json") == 1
    assert json.loads(capsys.readouterr().out) == []
    assert await do(server, "find", "9-9") == 1


@pytest.mark.parametrize("text", ['say "hi"', "tab\there", "Tür", "back\\slash", "🚪", "100% (of.it) ["])
@pytest.mark.parametrize("is_ascii", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_text_is_found_however_the_json_has_it(server: Server, text: str, is_ascii: bool) -> None:
    event = {"id": 1, "description": f"a {text} b", "timestamp": "2025-02-25T22:06:25.478310425Z"}
    with server.client() as client:
        client.xadd(STREAM, {"EventStream": json.dumps(event, ensure_ascii=is_ascii)})
    assert await do(server, "find", text) == 0


@pytest_twisted.ensureDeferred
async def test_the_newest_come_first_and_as_many_as_asked(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Also over several stretches."""
    with server.client() as client:
        pipe = client.pipeline(transaction=False)
        for number in range(5_000):
            words = "needle" if number % 2_000 == 0 else "x"
            pipe.xadd(STREAM, {"EventStream": f'{{"id":{number},"description":"{words}","timestamp":"t"}}'})
        pipe.execute()
    assert await do(server, "find", "needle", "--limit", "2", "--json") == 0
    assert [each["event"]["id"] for each in json.loads(capsys.readouterr().out)] == [4000, 2000]
    assert await do(server, "find", "needle", "--limit", "9", "--json") == 0
    said = capsys.readouterr()
    assert [each["event"]["id"] for each in json.loads(said.out)] == [4000, 2000, 0]
    assert "searched 5,000 entries" in said.err


@pytest_twisted.ensureDeferred
async def test_what_is_older_is_not_searched(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with server.client() as client:
        client.xadd(STREAM, {"EventStream": "old needle"}, id=f"{round(time.time() * 1000) - 7_200_000}-0")
    store(server, 1)
    assert await do(server, "find", "needle", "--since", "1h") == 1
    assert "searched 1 entries" in capsys.readouterr().err
    assert await do(server, "find", "needle", "--since", "3h") == 0


@pytest_twisted.ensureDeferred
async def test_large_events_are_searched_a_few_at_a_time(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise Redis would be busy with one call, and its memory with one page."""
    with server.client() as client:
        for _ in range(20):
            client.xadd(STREAM, {"EventStream": "x" * 1_000_000})
        client.config_resetstat()
        assert await do(server, "find", "needle") == 1
        stats = client.info("commandstats")
    calls = sum(stats[name]["calls"] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in stats)
    assert calls >= 7
    assert "searched 20 entries" in capsys.readouterr().err
