"""
Bugs of the scripts that run in Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any


def accept_a_gap() -> None:
    """A batch is appended although Redis has lost the one before it."""
    _change("log", "_APPEND", [("if last ~= tonumber(ARGV[2]) then", "if last < tonumber(ARGV[2]) - 1 then")])


def forget_first_answers() -> None:
    """A batch that is sent again is answered without the events that it found there the first time."""
    _change("log", "_APPEND", [("if packed ~= '' then passed = cmsgpack.unpack(packed) end", "")])


def check_no_rights() -> None:
    """A script writes before it knows whether all of its commands are allowed."""
    _change("log", "_APPEND", [("local function refusal(...)", "local function refusal(...)\n  do return false end")])


def renew_forwards() -> None:
    """The check of an idle producer sets the sequence that it finds missing."""
    rule = "if last ~= ARGV[1] then"
    write = "redis.call('SET', KEYS[1], ARGV[1] .. ' APPENDED ' .. events .. ' ', 'EX', ARGV[2])"
    _change("log", "_RENEW", [(rule, f"{rule} {write}")])


def trim_what_is_pending() -> None:
    """Entries are trimmed once every group has read them."""
    rule = "if first and before(first, own) then own = first end"
    _change("group", "TRIM", [(rule, "")])
    _change("history", "TRIM", [(rule, "")])


def begin_at_the_end() -> None:
    """A group that has to be created again begins behind the last entry."""
    _change("group", "_CREATE_GROUP", [("KEYS[1], ARGV[1], '0', 'MKSTREAM'", "KEYS[1], ARGV[1], '$', 'MKSTREAM'")])


def leave_with_pending_entries() -> None:
    """A consumer that stops leaves its group without a look at its pending entries."""
    _change("group", "_LEAVE", [("'+', 1, ARGV[2]) > 0", "'+', 1, ARGV[2]) > 1e9")])


def acknowledge_before_letter() -> None:
    """An entry is acknowledged before it is among the dead letters."""
    letter = "redis.call('XADD', KEYS[2], '*', unpack(letter))"
    rules = [
        ("local refused = refusal('XADD', KEYS[2], 'NOMKSTREAM', '0-0', '', '') or", "local refused ="),
        (f"{letter}\nredis.call('XACK', KEYS[1], ARGV[1], id)", f"redis.call('XACK', KEYS[1], ARGV[1], id)\n{letter}"),
    ]
    _change("group", "_SET_ASIDE", rules)


def _change(module: str, name: str, rules: Sequence[tuple[str, str]]) -> None:
    """Replace parts of a script, by the module and the name that hold it."""
    from eventsvc.redis.session import Script

    place: Any = import_module(f"eventsvc.redis.{module}")
    text = getattr(place, name).text
    for rule, bug in rules:
        assert rule in text, f"the script {name} has changed"
        text = text.replace(rule, bug)
    setattr(place, name, Script(text))
