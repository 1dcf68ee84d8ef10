"""
Tests for L{eventsvc.cli.main}: its texts in this process, its exit codes and
terminal in a separate process.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
import pytest_twisted
from twisted.internet import reactor

from chaos.process import stable_port
from chaos.suites import PATIENCE, wait_until
from eventsvc.cli.letter_text import make_table
from eventsvc.cli.main import parse, run
from eventsvc.redis.dead import DeadLetter
from eventsvc.settings import RedisSettings
from eventsvc.settings.reading import read
from tests.support.dead_letters import dead_ids, set_aside, set_events_aside, stream_fields
from tests.support.processes import Server

EVENTSVC = [sys.executable, "-c", "from eventsvc.cli.main import main; main()"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "TOPIC"),
        ("dead", "COMMAND"),
        ("dead bury", "invalid choice: 'bury'"),
        ("dead show", "ID"),
        ("dead show 12", "'12' is not an id: expected one such as 1764000000000-0"),
        ("dead replay --yes", "expected either ids or --all"),
        ("dead replay 1-1 --all --yes", "expected either ids or --all"),
        ("dead purge --all", "cannot ask for confirmation, because standard input is not a terminal: pass --yes"),
        ("dead replay 1-1", "cannot ask for confirmation, because standard input is not a terminal: pass --yes"),
        ("dead list --limit 0", "'0': expected a whole number from 1"),
        ("dead list --limit -1", "--limit"),
        ("dead list --json -q", "not allowed with argument --json"),
        ("dead list --redis-port none", "--redis-port='none': expected a port number from 1 to 65535"),
        ("dead list --redis-p 1", "unrecognized arguments: --redis-p"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_words(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It guesses nothing and does nothing."""
    with pytest.raises(SystemExit) as end:
        parse(line.split(), anybody=False)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


#: An event that is nested deeper than anything that is read twice.
DEEP = b'{"id":1,"description":"d","timestamp":"t","more":%s%s}' % (b"[" * 500, b"]" * 500)


def test_settings_come_from_flags_and_environment_as_those_of_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag beats the environment."""
    monkeypatch.setenv("REDIS_PORT", "1")
    monkeypatch.setenv("REDIS_STREAM", "Other")
    redis = read(RedisSettings, os.environ, parse(["dead", "list", "--redis-port", "2"], anybody=False))
    assert (redis.port, redis.stream) == (2, "Other")


@pytest_twisted.ensureDeferred
async def test_settings_that_cannot_be_followed_end_it_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """They fail only when the connection is made."""
    line = ["dead", "list", "--redis-tls", "on", "--redis-tls-ca", "/dev/null"]
    assert await run(reactor, parse(line, anybody=False)) == 2
    assert capsys.readouterr().err == (
        "eventsvc: REDIS_TLS_CA='/dev/null': expected a file of PEM certificates, but it contains none\n"
    )


async def do(server: Server, *line: str) -> int:
    """Run a command on a server, and return its exit code."""
    return await run(reactor, parse(["dead", *line, "--redis-port", f"{server.port}"], anybody=False))


@pytest_twisted.ensureDeferred
async def test_letters_are_listed_as_a_table(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Each letter is one line; standard output has only the table."""
    ids = set_events_aside(server, 2)
    assert await do(server, "list") == 0
    said = capsys.readouterr()
    head, *lines = said.out.splitlines()
    assert head.split() == ["ID", "ENTRY", "SET", "ASIDE", "REASON", "DELIVERIES", "ERROR"]
    assert [line.split()[0] for line in lines] == ids
    assert "failed  5           ValueError: no" in lines[0]
    assert said.err == "2 dead letters of NotificationStream\n"


@pytest_twisted.ensureDeferred
async def test_letters_are_listed_for_programs(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON or as ids; an empty list is still valid JSON."""
    assert await do(server, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert await do(server, "list", "-q") == 0
    assert capsys.readouterr().out == ""
    ids = set_events_aside(server, 2)
    assert await do(server, "list", "--json") == 0
    assert [letter["id"] for letter in json.loads(capsys.readouterr().out)] == ids
    assert await do(server, "list", "-q") == 0
    assert capsys.readouterr().out.split() == ids


@pytest_twisted.ensureDeferred
async def test_a_list_may_be_limited(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows the oldest, counts the rest, and reads no page beyond the limit."""
    ids = set_events_aside(server, 3)
    for limit, words in (("2", "2 dead letters of NotificationStream, and 1 more\n"), ("3", "3 dead letters")):
        assert await do(server, "list", "-q", "--limit", limit) == 0
        said = capsys.readouterr()
        assert said.out.split() == ids[: int(limit)]
        assert said.err.startswith(words)


def test_a_reader_that_has_enough_ends_the_list_without_a_word(server: Server) -> None:
    """C{head} closes the pipe like this."""
    with server.client() as client:
        for _ in range(2_000):
            client.xadd("{NotificationStream}:dead", {"reason": "failed", "id": "1-1", "error": "e" * 200})
    ours, theirs = os.pipe()
    process = subprocess.Popen(
        [*EVENTSVC, "dead", "list", "--redis-port", f"{server.port}"], stdout=theirs, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    assert os.read(ours, 2) == b"ID"
    os.close(ours)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    assert process.returncode == 1


@pytest_twisted.ensureDeferred
async def test_a_letter_is_shown_with_all_it_holds(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Reason, error, deliveries, where it was, and its fields."""
    id = set_aside(
        server, {"EventStream": '{"id":1}', b"\xff": b"\xfe"}, error="ValueError: \x1b[31mred\n", deliveries=3
    )
    assert await do(server, "show", id) == 0
    shown = capsys.readouterr().out
    for words in ("failed", r"ValueError: \x1b[31mred\n", "demo_consumer_group", '{"id":1}', r"\xfe"):
        assert words in shown
    assert await do(server, "show", id, "--json") == 0
    letter = json.loads(capsys.readouterr().out)
    assert letter["deliveries"] == 3
    assert letter["error"] == "ValueError: \x1b[31mred\n"
    assert letter["fields"] == {"EventStream": '{"id":1}', r"\xff": r"\xfe"}
    assert await do(server, "show", "1-1") == 1
    assert capsys.readouterr().err == "eventsvc: 1-1: there is no such dead letter\n"


@pytest_twisted.ensureDeferred
async def test_what_the_event_of_a_letter_carries_is_shown(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Its data over several lines, and for programs as JSON; nothing in them reaches the terminal as a command."""
    text = (
        '{"id":7,"description":"d\\u001b","timestamp":"then","type":"order.paid","key":"17","traceparent":"00-1",'
        '"data":{"b":1.0,"a":["\x9b\u2028"]},"cloudevent":{"specversion":"1.0"},"later":1}'
    )
    id = set_aside(server, {"EventStream": text})
    assert await do(server, "show", id) == 0
    lines = capsys.readouterr().out.split("\n")
    shown = [line.split(maxsplit=1) for line in lines if line[:1].strip()]
    names = {" ".join(words[:1]): words[-1] for words in shown}
    assert (names["type"], names["key"], names["traceparent"], names["accepted"]) == (
        "order.paid",
        "17",
        "00-1",
        "then",
    )
    assert names["description"] == r"d\x1b"
    [start] = [number for number, line in enumerate(lines) if line.startswith("data ")]
    assert [line.strip() for line in lines[start : start + 6]] == [
        *("data         {", '"b": 1.0,', '"a": [', r'"\x9b\u2028"', "]", "}"),
    ]
    assert {line.index(each) for line, each in zip(lines[start : start + 6 : 5], "{}")} == {13}
    assert '"specversion": "1.0"' in "\n".join(lines)
    assert await do(server, "show", id, "--json") == 0
    letter = json.loads(capsys.readouterr().out)
    assert letter["event"] == json.loads(text)
    assert letter["fields"] == {"EventStream": text}


@pytest.mark.parametrize(
    "text",
    [b"x", b'{"id":1}', b"\xff", b'{"id":1,"description":"d","timestamp":"t","more":"\xff"}', DEEP, b""],
    ids=["text", "parts", "bytes", "member", "deep", "empty"],
)
@pytest_twisted.ensureDeferred
async def test_a_letter_that_is_no_event_is_shown_all_the_same(
    server: Server, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    id = set_aside(server, {"EventStream": text}, reason="malformed")
    for command in (("show", id), ("show", id, "--json"), ("list", "--json")):
        assert await do(server, *command) == 0
        assert "malformed" in (out := capsys.readouterr().out)
        assert '"event": null' in out or "--json" not in command


@pytest_twisted.ensureDeferred
async def test_a_replay_shows_its_plan_and_what_it_did(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A second replay finds nothing, and fails."""
    ids = set_events_aside(server, 3)
    assert await do(server, "replay", *ids[:2], "--yes") == 0
    said = capsys.readouterr()
    assert [line.split(" -> ")[0] for line in said.out.splitlines()] == ids[:2]
    assert "2 dead letters will go back to the end of NotificationStream" in said.err
    assert "replayed 2 of 2 dead letters" in said.err
    assert dead_ids(server) == ids[2:]
    assert await do(server, "replay", *ids, "--yes") == 1
    assert f"{ids[0]}: there is no such dead letter" in capsys.readouterr().err
    assert dead_ids(server) == ids[2:]
    assert await do(server, "replay", "--all", "--yes", "-q") == 0
    assert capsys.readouterr().out.split() == ids[2:]
    assert len(stream_fields(server)) == 6


@pytest_twisted.ensureDeferred
async def test_a_purge_deletes_what_was_named(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the given ids; a repeated id counts once."""
    ids = set_events_aside(server, 3)
    assert await do(server, "purge", ids[0], ids[0], "--yes", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"purged": ids[:1]}
    assert "1 dead letter of NotificationStream will be deleted for good." in said.err
    assert dead_ids(server) == ids[1:]
    assert await do(server, "purge", "--all", "--yes") == 0
    assert await do(server, "purge", "--all", "--yes") == 0
    assert "purged 0 dead letters" in capsys.readouterr().err
    assert len(stream_fields(server)) == 3


@pytest_twisted.ensureDeferred
async def test_what_redis_refuses_is_told(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The text of Redis is shown at once."""
    with server.client() as client:
        client.set("{NotificationStream}:dead", "no stream")
    assert await do(server, "list") == 1
    assert "eventsvc: Redis refused the command: WRONGTYPE" in capsys.readouterr().err


def test_a_line_is_cut_off_at_the_edge_of_a_terminal() -> None:
    """Without a terminal, lines are not cut."""
    letter = DeadLetter("1-1", "failed", "x" * 100, 5, "group", "consumer", "0-1", [])
    assert [len(line) for line in make_table([letter], 60)[0].splitlines()][1] == 60
    assert "ENTRY" not in make_table([letter], 99)[0]  # so that there is room for the error
    assert "ENTRY" in make_table([letter], 100)[0]
    assert make_table([letter], None)[0].endswith("x" * 100)


def test_without_redis_it_ends_soon_with_1_and_says_why(server: Server) -> None:
    """Nothing listens, or the password is wrong."""
    lines = [["--redis-port", f"{stable_port()}"], ["--redis-port", f"{server.port}", "--redis-password", "wrong"]]
    begin = time.monotonic()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "somebody", "on", ">secret")
        try:
            lines[1] += ["--redis-username", "somebody"]
            started = [
                subprocess.Popen(
                    [*EVENTSVC, "dead", "list", *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                for line in lines
            ]
            said = [process.communicate(timeout=PATIENCE) for process in started]
        finally:
            client.execute_command("ACL", "DELUSER", "somebody")
    assert [process.returncode for process in started] == [1, 1]
    assert [out for out, _ in said] == ["", ""]
    for (_, err), line, why in zip(said, lines, ("Connection refused", "WRONGPASS")):
        first, second = err.splitlines()
        assert first.startswith("eventsvc: no connection to Redis: ")
        assert why in first
        assert second == f"eventsvc: cannot use Redis at 127.0.0.1:{line[1]}: no connection within 5 s"
    assert time.monotonic() - begin < PATIENCE


@pytest.mark.parametrize(("typed", "code", "left"), [("y\n", 0, 0), ("\n", 1, 1), (None, 1, 1)])
def test_a_person_is_asked_first(server: Server, typed: str | None, code: int, left: int) -> None:
    """Only "yes" confirms; Ctrl-C at the prompt means no."""
    set_events_aside(server, 1)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*EVENTSVC, "dead", "purge", "--all", "--redis-port", f"{server.port}"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    said = bytearray()

    def asked() -> bool:
        said.extend(process.stderr.read() or b"")  # type: ignore[union-attr]
        return said.endswith(b"Continue? [y/N] ")

    try:
        wait_until(asked)
        assert b"1 dead letter of NotificationStream will be deleted for good." in said
        if typed is None:
            process.send_signal(signal.SIGINT)
        else:
            os.write(ours, typed.encode())
        assert process.wait(PATIENCE) == code
    finally:
        process.kill()
        process.communicate()
        os.close(ours)
        os.close(theirs)
    assert len(dead_ids(server)) == left
