"""
Tests for C{eventsvc status}, C{groups}, C{doctor}, C{send} and C{completion}.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
import pytest_twisted

from chaos.process import stable_port
from chaos.suites import PATIENCE, wait_until
from eventsvc.cli.main import make_parser, parse
from tests.support.commands import EVENTSVC, do, on_terminal
from tests.support.dead_letters import GROUP, STREAM, set_events_aside
from tests.support.processes import Server, Services

TOPICS = ["completion", "dead", "doctor", "find", "groups", "send", "status", "tail", "token"]


def run_command(*line: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EVENTSVC, *line], input=text, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("send", "expected TEXT, or events on standard input, which is a terminal"),
        ("send --type a", "need TEXT"),
        ("", "doctor"),
        ("send x --data {", "--data: expected JSON, such as '{\"cents\": 4200}' or '\"text\"', got '{'"),
        ("send x --data 1 --type", "--type"),
        ("send x --event-producer-port none", "--event-producer-port='none': expected a port number"),
        ("find", "ID|TEXT"),
        ("find \udcff", "'\\udcff': expected UTF-8"),
        ("find x --since yesterday", "'yesterday': expected how long ago, such as 90s"),
        ("find x --since 1w", "'1w': expected how long ago"),
        ("find x --limit 0", "'0': expected a whole number from 1"),
        ("tail -n -1", "-n"),
        ("tail --redis-port none", "--redis-port='none': expected a port number from 1 to 65535"),
        ("doctor --role king", "invalid choice: 'king'"),
        ("completion cmd", "invalid choice: 'cmd'"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_words(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(line.split(), anybody=True)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "age"),
    [("0", 0), ("90s", 90), ("1.5m", 90), ("1h", 3_600), ("2d", 172_800), ("1970-01-01T00:00:00Z", None)],
)
def test_since_is_how_long_ago_or_a_date(text: str, age: float | None) -> None:
    since = parse(["find", "x", "--since", text], anybody=False)["since"]
    assert since == 0 if age is None else abs(time.time() - age - since / 1000) < 60


def fill(server: Server) -> None:
    """Add an event that is pending, and one that is unread."""
    with server.client() as client:
        client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
        for number in range(2):
            client.xadd(STREAM, {"EventStream": f'{{"id":{number},"description":"","timestamp":""}}'})
        client.xreadgroup(GROUP, "some\x1bbody", {STREAM: ">"}, count=1)


@pytest_twisted.ensureDeferred
async def test_the_status_is_one_screen(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with 1 only if the system is unwell; a warning is not enough."""
    fill(server)
    assert await do(server, "status") == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:2] == ["status  well", "stream  NotificationStream: 2 entries, 0 dead letters"]
    assert re.search(rf"^{GROUP} +some +[\d.]+ m?s +1 +[\d.]+ m?s +1$", out, re.MULTILINE)
    assert "! Redis keeps no append-only file" in out
    with server.client() as client:
        client.xadd("Old", {"EventStream": "x"}, id=f"{round(time.time() * 1000) - 610_000}-0")
        client.xgroup_create("Old", GROUP, "0")
        client.xgroup_createconsumer("Old", GROUP, "lazy")
    assert await do(server, "status", "--redis-stream", "Old") == 1
    out = capsys.readouterr().out
    assert out.startswith("status  unwell\n")
    assert (
        f"✗ ConsumersAreBehind: group {GROUP}: the oldest unread event waits for 10 min\n  → `eventsvc groups`" in out
    )
    assert await do(server, "status", "--redis-stream", "Old", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["well"], found["stream"]["length"], found["stream"]["groups"][0]["name"]) == (False, 1, GROUP)
    assert [finding["is_bad"] for finding in found["findings"]] == [True, False]


@pytest_twisted.ensureDeferred
async def test_a_stream_that_is_not_there_is_unwell(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert await do(server, "status") == 1
    assert f"there is no stream {STREAM}" in capsys.readouterr().out


@pytest_twisted.ensureDeferred
async def test_dead_letters_are_a_warning(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    set_events_aside(server, 3)
    assert await do(server, "status") == 0
    assert "! DeadLetters: 3 dead letters\n  → eventsvc dead list\n" in capsys.readouterr().out


@pytest_twisted.ensureDeferred
async def test_groups_and_their_consumers_are_listed(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    fill(server)
    with server.client() as client:
        client.xgroup_create(STREAM, "other", "$")
        client.xgroup_create(STREAM, "\x1b]0;title\x07\u202e\n", "$")
    assert await do(server, "groups") == 0
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert r"CONSUMER OF \x1b]0;title\x07\u202e\n " in out
    assert re.search(r"^some\\x1bbody +1 +[\d.]+ m?s$", out, re.MULTILINE)
    assert "CONSUMER OF other" in out
    assert await do(server, "groups", "other", "--json") == 0
    assert [group["name"] for group in json.loads(capsys.readouterr().out)] == ["other"]
    assert await do(server, "groups", "nobody") == 1
    assert capsys.readouterr().err == f"eventsvc: {STREAM} has no group nobody\n"


@pytest_twisted.ensureDeferred
async def test_the_doctor_says_what_is_wrong_and_what_to_do(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    fill(server)
    port = f"{stable_port()}"
    assert await do(server, "doctor", "--event-producer-port", port) == 0
    out = capsys.readouterr().out
    assert f"✓ redis       connected to 127.0.0.1:{server.port}" in out
    assert "✓ rights      enough for: producer, consumer, operator, dashboard" in out
    assert f"! producer    none at http://127.0.0.1:{port}" in out
    with server.client() as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert await do(server, "doctor", "--json") == 1
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "0")
    wrong = [check for check in json.loads(capsys.readouterr().out) if check["state"] == "wrong"]
    assert [check["remedy"][:41] for check in wrong] == ["CONFIG SET maxmemory-policy noeviction, a"]


def test_without_redis_each_command_ends_soon_with_1_and_says_why() -> None:
    """The doctor checks the rest all the same."""
    port = f"{stable_port()}"
    started = [
        subprocess.Popen(
            [*EVENTSVC, *line, "--redis-port", port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for line in (["status"], ["groups"], ["tail"], ["find", "x"], ["doctor"])
    ]
    said = [process.communicate(timeout=PATIENCE) for process in started]
    assert [process.returncode for process in started] == [1] * 5
    for out, err in said[:4]:
        assert out == ""
        assert f"cannot use Redis at 127.0.0.1:{port}: no connection within 5 s" in err
    assert "✗ redis       cannot use Redis" in said[4][0]
    assert "producer" in said[4][0]


def test_the_screens_fit_a_terminal_and_its_colours_can_be_switched_off(server: Server) -> None:
    fill(server)
    for columns, colourless in ((80, ""), (40, ""), (80, "1")):
        for line in (["status"], ["groups"], ["doctor"]):
            command = [*EVENTSVC, *line, "--redis-port", f"{server.port}"]
            with on_terminal(command, columns, {"NO_COLOR": colourless}) as terminal:
                terminal.process.wait(PATIENCE)
                text = terminal.read()
            assert ("\x1b[" in text) is (not colourless)
            lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
            assert [each for each in lines if len(each) > columns] == []
            assert len(lines) <= 24 or columns < 80


def test_what_to_do_is_never_cut_off() -> None:
    """A sentence of the doctor goes on in the next line."""
    with on_terminal([*EVENTSVC, "doctor", "--redis-port", f"{stable_port()}"], 50, {"NO_COLOR": "1"}) as terminal:
        terminal.process.wait(PATIENCE)
        text = terminal.read()
    assert max(map(len, text.splitlines()[1:])) <= 50
    assert "…" not in text
    assert "REDIS_SENTINELS if Sentinels watch it" in " ".join(text.split())


def test_an_output_that_cannot_be_written_is_told(server: Server) -> None:
    """A disk may be full, and a terminal may know ASCII alone."""
    fill(server)
    command = [*EVENTSVC, "status", "--redis-port", f"{server.port}"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (1, "eventsvc: cannot write the result: No space left on device\n")
    ascii_alone = {**os.environ, "PYTHONIOENCODING": "ascii"}
    plain = subprocess.run(command, capture_output=True, text=True, env=ascii_alone, timeout=PATIENCE)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "  \\u2192 CONFIG SET appendonly yes" in plain.stdout


def stored(server: Server) -> list[dict[str, Any]]:
    with server.client() as client:
        fields = [fields for _, fields in client.xrange(STREAM)]
    return [json.loads(each[b"EventStream"]) for each in fields if b"EventStream" in each]


def test_an_event_is_sent_and_its_id_told(server: Server, producer: int) -> None:
    where = ("--event-producer-port", f"{producer}")
    done = run_command("send", "hello", "--type", "a", "--key", "k", "--data", '{"x": 1.0}', *where)
    assert (done.returncode, done.stderr) == (0, "")
    [event] = stored(server)
    assert done.stdout == f"{event['id']}\n"
    assert (event["description"], event["type"], event["key"], event["data"]) == ("hello", "a", "k", {"x": 1.0})
    twice = [run_command("send", "again", "--idempotency-key", "17", "--json", *where) for _ in range(2)]
    answers = [json.loads(each.stdout) for each in twice]
    assert answers[0] == answers[1] == {"stored": "yes", "ids": [str(stored(server)[1]["id"])], "why": ""}


def test_events_of_standard_input_are_sent_in_batches(server: Server, producer: int) -> None:
    """Blank lines are passed over; the first wrong one ends it, and says which it is."""
    where = ("--event-producer-port", f"{producer}")
    lines = "".join(f'{{"description": "{number}"}}\n\n' for number in range(1_500))
    done = run_command("send", *where, text=lines)
    assert done.returncode == 0
    assert [str(event["id"]) for event in stored(server)] == done.stdout.split()
    assert [event["description"] for event in stored(server)] == [str(number) for number in range(1_500)]
    done = run_command("send", *where, text='{"description": "x"}\n{"description": 1}\n')
    assert done.returncode == 1
    assert "line 2: " in done.stderr
    assert len(stored(server)) == 1_500
    large = "".join(json.dumps({"description": "x" * 300_000}) + "\n" for _ in range(7))
    assert run_command("send", *where, text=large).returncode == 0
    assert run_command("send", *where, text="").returncode == 0


def test_an_event_that_is_not_stored_ends_it_with_1() -> None:
    port = f"{stable_port()}"
    done = run_command("send", "x", "--event-producer-port", port, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["stored"] == "no"
    assert done.stderr.startswith(f"eventsvc: the event was not stored: http://127.0.0.1:{port}: no connection: ")


@pytest_twisted.ensureDeferred
async def test_processes_are_in_the_status(
    server: Server, services: Services, producer: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that has ended in order is gone."""
    with server.client() as client:
        wait_until(lambda: client.hlen(f"{{{STREAM}}}:processes") == 1)
    assert await do(server, "status") == 0
    assert re.search(r"^producer .* ok$", capsys.readouterr().out, re.MULTILINE)
    services.started[0].stop(signal.SIGTERM)
    assert await do(server, "status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["processes"] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_all_topics(shell: str) -> None:
    done = run_command("completion", shell)
    assert done.returncode == 0
    assert [topic for topic in TOPICS if topic not in done.stdout] == []


def test_bash_completes_the_command() -> None:
    script = run_command("completion", "bash").stdout
    ask = 'COMP_WORDS=(eventsvc st); COMP_CWORD=1; $(complete -p eventsvc | grep -o "_[^ ]*"); echo "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.split() == ["status"], done.stderr


def test_the_help_names_all_topics() -> None:
    help = make_parser().format_help()
    assert [topic for topic in TOPICS if not re.search(rf"^    {topic}\b", help, re.MULTILINE)] == []


def test_only_what_draws_tables_loads_what_draws_them() -> None:
    """Other commands start sooner without."""
    code = "import sys, eventsvc.cli.main; print([name for name in ('rich', 'shtab', 'treq') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "[]\n"


def test_a_right_that_is_missing_is_said_once_with_what_to_do(server: Server) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "nobody", "on", ">secret", "~*", "+ping", "+role", "+info")
        try:
            user = ("--redis-username", "nobody", "--redis-password", "secret")
            done = run_command("status", "--redis-port", f"{server.port}", *user)
        finally:
            client.execute_command("ACL", "DELUSER", "nobody")
    assert done.returncode == 1
    assert re.fullmatch(r"eventsvc: .*NOPERM.*; docs/security.md has the rights of its users\n", done.stderr)


@pytest_twisted.ensureDeferred
async def test_a_user_without_any_right_is_told_so(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis is there, so nobody is to start it."""
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "nobody", "on", ">secret", "~*", "+ping")
        try:
            assert await do(server, "doctor", "--redis-username", "nobody") == 1
        finally:
            client.execute_command("ACL", "DELUSER", "nobody")
    captured = capsys.readouterr()
    assert "NOPERM" in captured.out
    assert "give the user the rights of docs/security.md" in captured.out
    assert "start Redis" not in captured.out
    assert captured.err.endswith("1 thing is wrong\n")
