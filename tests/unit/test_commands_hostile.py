"""
Tests for the commands on what other programs left in Redis, and on ids that no entry has.
"""

from __future__ import annotations

import json
import re

import pytest
import pytest_twisted

from eventsvc.event import is_entry_id
from tests.support.commands import do
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
