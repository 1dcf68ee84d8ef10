"""
Tests for the commands on what other programs left in Redis, and on ids that no entry has.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

import pytest
import pytest_twisted

from chaos.process import stable_port
from chaos.suites import PATIENCE
from eventsvc.cli.main import parse
from eventsvc.event import is_entry_id
from tests.support.commands import EVENTSVC, do
from tests.support.dead_letters import DEAD, GROUP, STREAM
from tests.support.processes import Server

#: What a terminal obeys: C0 but line breaks, DEL, and C1.
_COMMANDS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
HOSTILE = "\x1b[31m\x9b2J\x7f"


def store(server: Server, description: str) -> str:
    """Append an event, and return the id of its entry."""
    event = {"id": 7, "description": description, "timestamp": "2025-02-25T22:06:25Z"}
    with server.client() as client:
        return str(client.xadd(STREAM, {"EventStream": json.dumps(event, ensure_ascii=False)}).decode())


def set_aside_by_another(server: Server, **fields: str) -> str:
    """Add a dead letter of another program, and return its id."""
    with server.client() as client:
        return str(client.xadd(DEAD, {"reason": "foreign", "id": "1-0", "field:a": "needle", **fields}).decode())


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("0-0", True),
        ("1764000000000-0", True),
        ("18446744073709551615-18446744073709551615", True),
        ("18446744073709551616-0", False),
        ("0-18446744073709551616", False),
        ("1764000000000", False),
        ("-1-0", False),
        ("\u0661-0", False),
        ("1-0\n", False),
    ],
)
def test_the_id_of_an_entry_has_two_numbers_of_64_bits(text: str, is_id: bool) -> None:
    assert is_entry_id(text) == is_id


@pytest_twisted.ensureDeferred
async def test_an_id_that_no_entry_can_have_is_refused_at_once(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        await do(server, "dead", "show", "99999999999999999999-0")
    assert end.value.code == 2
    assert "'99999999999999999999-0' is not an id" in capsys.readouterr().err
    assert await do(server, "find", "99999999999999999999-0") == 1
    assert capsys.readouterr().err == "found nothing\n"


@pytest_twisted.ensureDeferred
async def test_a_text_with_the_form_of_an_id_is_found(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    store(server, "order 2026-17 is paid")
    assert await do(server, "find", "2026-17") == 0
    assert "order 2026-17 is paid" in capsys.readouterr().out


@pytest.mark.parametrize("deliveries", ["", "many", "-1", "9" * 5_000, "\u0661"])
@pytest_twisted.ensureDeferred
async def test_a_letter_of_another_program_hides_no_other(
    server: Server, capsys: pytest.CaptureFixture[str], deliveries: str
) -> None:
    foreign = set_aside_by_another(server, deliveries=deliveries)
    ours = set_aside_by_another(server, deliveries="5")
    assert await do(server, "dead", "list", "-q") == 0
    assert capsys.readouterr().out == f"{foreign}\n{ours}\n"
    assert await do(server, "dead", "show", foreign) == 0
    assert "foreign" in capsys.readouterr().out
    assert await do(server, "find", "needle", "--limit", "9") == 0
    assert capsys.readouterr().err.startswith("found 2 events")


@pytest_twisted.ensureDeferred
async def test_an_event_is_found_whatever_the_groups_are_called(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    store(server, "hello")
    with server.client() as client:
        client.xgroup_create(STREAM, b"\xff\x1b[2J", "0")
        client.xgroup_create(STREAM, GROUP, "0")
    assert await do(server, "find", "hello") == 0
    out = capsys.readouterr().out
    assert "? not known: group \\xff\\x1b[2J: it was removed, or its name is not UTF-8" in out
    assert f"not delivered yet: group {GROUP}" in out


@pytest.mark.parametrize("line", ["status", "groups", "find hello", "dead list", "dead show {}", "tail --no-follow"])
@pytest_twisted.ensureDeferred
async def test_nothing_in_json_commands_a_terminal(
    server: Server, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    store(server, f"hello {HOSTILE}")
    with server.client() as client:
        client.xgroup_create(STREAM, HOSTILE, "0")
    letter = set_aside_by_another(server, error=HOSTILE, deliveries="1")
    await do(server, *line.format(letter).split(), "--json")
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[0] if line.startswith("tail") else out)
    assert not _COMMANDS.search(out)


@pytest_twisted.ensureDeferred
async def test_nothing_in_a_message_commands_a_terminal(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    store(server, "hello")
    assert await do(server, "groups", HOSTILE) == 1
    assert capsys.readouterr().err == f"eventsvc: {STREAM} has no group \\x1b[31m\\x9b2J\\x7f\n"


@pytest.mark.parametrize(
    ("line", "code"), [("status", 1), ("groups", 0), ("tail --no-follow", 1), ("find x", 1), ("dead list", 1)]
)
@pytest_twisted.ensureDeferred
async def test_a_key_that_is_no_stream_is_named(
    server: Server, capsys: pytest.CaptureFixture[str], line: str, code: int
) -> None:
    key = DEAD if line == "dead list" else STREAM
    with server.client() as client:
        client.set(key, "a")
    assert await do(server, *line.split()) == code
    said = "".join(capsys.readouterr())
    assert STREAM in said
    assert "is no stream" in said


@pytest.mark.parametrize("line", ["send \udcff", "send x --key \udcff", "send x --data \udcff", "tail --text \udcff"])
def test_what_is_not_utf8_is_named(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(line.split(), anybody=True)
    assert end.value.code == 2
    option = line.split()[-2] if "--" in line else "TEXT"
    assert f"argument {option}: '\\udcff': expected UTF-8" in capsys.readouterr().err


def start_sending(*line: str, port: int) -> subprocess.Popen[bytes]:
    """Send what is written to a process later."""
    command = ["env", "--default-signal=INT", *EVENTSVC, "send", "--event-producer-port", f"{port}", *line]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits_for_more(server: Server, producer: int, number: int) -> None:
    """What is stored is told before."""
    process = start_sending(port=producer)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b'{"description": "x"}\n' * 1_001)
        process.stdin.flush()
        ids = [process.stdout.readline() for _ in range(1_000)]
        process.send_signal(number)
        assert process.wait(PATIENCE) == 130
        assert len(set(ids)) == 1_000
        assert process.stdout.read() == process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'\n\n{"description": 1}\n', "line 3: Expected `str`, got `int` - at `$.description`"),
        (b"x" * 2_000_000, "line 1: expected at most 1,048,576 bytes"),
        (b'{"description": "x"}\n' + b" " * 2_000_000, "line 2: expected at most 1,048,576 bytes"),
    ],
    ids=["number", "large", "blank"],
)
def test_a_line_that_cannot_be_sent_is_named(text: bytes, words: str) -> None:
    process = start_sending(port=stable_port())
    out, err = process.communicate(text, timeout=PATIENCE)
    assert (process.returncode, out) == (1, b"")
    assert err.decode() == f"eventsvc: {words}; 0 events were posted before\n"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("status >&-", 1, "eventsvc: cannot write the result: Bad file descriptor\n"),
        ("completion bash >&-", 1, "eventsvc: cannot write the result: Bad file descriptor\n"),
        ("completion bash >/dev/full", 1, "eventsvc: cannot write the result: No space left on device\n"),
        ("token new --name a >&-", 1, "eventsvc: the row cannot be written: Bad file descriptor; no token was made\n"),
        ("groups nobody 2>&-", 1, ""),
        ("send <&-", 1, "eventsvc: expected TEXT, or events on standard input, which is closed\n"),
        (
            "send 0>/dev/null",
            1,
            "eventsvc: cannot read standard input: Bad file descriptor; 0 events were posted before\n",
        ),
    ],
)
def test_files_that_are_closed_or_full_are_told(server: Server, line: str, code: int, words: str) -> None:
    environment = {**os.environ, "REDIS_PORT": f"{server.port}"}
    command = ["sh", "-c", f'"$@" {line}', "sh", *EVENTSVC]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", words)


def test_a_reader_that_has_enough_of_a_script_ends_it_without_a_word() -> None:
    process = subprocess.Popen([*EVENTSVC, "completion", "zsh"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(PATIENCE) == 1
    assert process.stderr is not None
    with process.stderr as errors:
        assert errors.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_tail_is_told_nothing(server: Server, number: int) -> None:
    store(server, "hello")
    command = ["env", "--default-signal=INT", *EVENTSVC, "tail", "--redis-port", f"{server.port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert b"hello" in process.stdout.readline()
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_replay_is_told_how_far_it_came(own_server: Server, number: int) -> None:
    """Also while Redis does not answer; one that it was asked to move then may be moved too."""
    count = 5_000
    with own_server.client() as client, client.pipeline(transaction=False) as pipe:
        for place in range(1, count + 1):
            pipe.xadd(DEAD, {"reason": "failed", "id": f"{place}-0", "field:EventStream": "x"}, id=f"{place}-0")
        pipe.execute()
    replay = ["dead", "replay", "--all", "--yes", "--json", "--redis-port", f"{own_server.port}"]
    command = ["env", "--default-signal=INT", *EVENTSVC, *replay]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    begin = b""
    while len(begin) < 1_000:
        begin += process.stdout.read(1_000)
    own_server.send(signal.SIGSTOP)
    process.send_signal(number)
    rest, errors = process.communicate(timeout=PATIENCE)
    own_server.send(signal.SIGCONT)
    replayed = json.loads(begin + rest)["replayed"]
    assert process.returncode == 130
    assert errors.decode().endswith(f"\nreplayed {len(replayed)} of {count} dead letters\n")
    with own_server.client() as client:
        assert 0 < len(replayed) <= client.xlen(STREAM) <= len(replayed) + 1 < count
        assert client.xlen(STREAM) + client.xlen(DEAD) == count


@pytest.mark.parametrize("line", ["status", "doctor"])
@pytest_twisted.ensureDeferred
async def test_processes_that_cannot_be_asked_for_are_not_left_out_silently(
    server: Server, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    store(server, "hello")
    with server.client() as client:
        client.set(f"{{{STREAM}}}:processes", "a")
    await do(server, line)
    assert "not everything is known: Redis refuses heartbeats (WRONGTYPE)" in " ".join(capsys.readouterr().out.split())
