"""
Tests for L{eventsvc.tap.token_file}: when a file of tokens is read again, and
what becomes of one that cannot be used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from eventsvc.settings.reading import InvalidSettings
from eventsvc.tap.health import BEAT, Vitals
from eventsvc.tap.token_file import LARGEST, add_tokens
from eventsvc.testing.clock import run_clock
from eventsvc.web.access import Access
from eventsvc.web.token_rows import format_row
from eventsvc.web.tokens import TooManyRequests, Unauthorized


def row(name: str, **more: object) -> str:
    """Return a row whose token is C{of-NAME}."""
    return format_row({"name": name, "sha256": sha256(f"of-{name}".encode()).hexdigest(), **more})


class World:
    """A file, the access that follows it, and a clock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "tokens.toml"
        self.clock = Clock()
        self.vitals = Vitals(self.clock)
        self.changes = 0

    def start(self, content: str) -> Access:
        self.path.write_text(content)
        access = add_tokens(str(self.path), ["Orders"], self.vitals)
        assert access is not None
        access.on_change.append(self._count)
        self.vitals.startService()
        return access

    def _count(self) -> None:
        self.changes += 1

    def beat(self, times: int = 1) -> None:
        run_clock(self.clock, times * BEAT)

    def figure(self, name: str) -> float:
        lines = self.vitals.metrics.text().decode().splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).split()[-1])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def names(access: Access) -> list[str]:
    return [token.name for token in access.tokens.by_digest.values()]


def alarms(logs: Any) -> list[str]:
    """Return the texts of the alarms."""
    return [
        event["log_format"].format(**event)
        for event in logs
        if event.get("details", {}).get("alarm") == "tokens_stale" and event["log_level"].name == "error"
    ]


def test_without_a_file_everybody_may_post(world: World) -> None:
    """The empty string is the same as none; and there are no metrics."""
    assert add_tokens("", ["Orders"], world.vitals) is None
    assert b"eventsvc_tokens" not in world.vitals.metrics.text()


def test_a_change_is_used_when_two_checks_find_it(world: World) -> None:
    """At the first one the file may still be half written."""
    access = world.start(row("a"))
    world.path.write_text(row("a") + row("b"))
    world.beat()
    assert names(access) == ["a"]
    world.beat()
    assert names(access) == ["a", "b"]
    world.beat(10)
    assert (world.changes, world.figure("eventsvc_tokens")) == (1, 2)


def test_half_a_file_is_never_used(world: World) -> None:
    """It is emptied, and written row by row; each of these is a valid list of tokens."""
    access = world.start(row("a") + row("b"))
    for content in ("", row("c"), row("c") + row("a"), row("c") + row("a") + row("b")):
        world.path.write_text(content)
        world.beat()
        assert names(access) == ["a", "b"]
    world.beat()
    assert names(access) == ["c", "a", "b"]


def test_a_file_that_is_as_before_is_no_change(world: World) -> None:
    """Not after it was touched, replaced by the same, or changed for a moment."""
    access = world.start(row("a", rate=1))
    access.refuse(access.identify([b"Bearer of-a"], "Orders"))
    os.utime(world.path)
    world.beat(3)
    (world.directory / "new").write_text(row("a", rate=1))
    (world.directory / "new").rename(world.path)
    world.beat(3)
    world.path.write_text("")
    world.beat()
    world.path.write_text(row("a", rate=1))
    world.beat(3)
    assert world.changes == 0


def test_a_reload_fills_no_bucket(world: World) -> None:
    """The debt of a token that stays, stays."""
    access = world.start(row("a", rate=0.001))
    access.refuse(access.identify([b"Bearer of-a"], "Orders"))
    world.path.write_text(row("b") + row("a", rate=0.001))
    world.beat(2)
    assert world.changes == 1
    assert isinstance(access.refuse(access.identify([b"Bearer of-a"], "Orders")), TooManyRequests)


def test_a_swapped_link_is_a_change(world: World) -> None:
    """Kubernetes mounts a Secret as links: tokens.toml -> ..data/tokens.toml, and ..data -> a directory."""
    for version, content in (("1", row("a")), ("2", row("b"))):
        (world.directory / version).mkdir()
        (world.directory / version / "tokens.toml").write_text(content)
    (world.directory / "..data").symlink_to("1")
    link = world.directory / "link.toml"
    link.symlink_to("..data/tokens.toml")
    world.path = link
    access = add_tokens(str(link), [], world.vitals)
    assert access is not None
    world.vitals.startService()
    (world.directory / "..new").symlink_to("2")
    (world.directory / "..new").rename(world.directory / "..data")
    world.beat(2)
    assert names(access) == ["b"]


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def replace_by_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


BREAKS = {
    "words": (lambda path: path.write_text("no TOML"), "expected TOML, got something else at line 1, column 4"),
    "row": (lambda path: path.write_text("[[token]]"), "row 1: name: expected"),
    "stream": (lambda path: path.write_text(row("a", streams=["b"])), "row 1 ('a'): streams: expected streams of this"),
    "bytes": (lambda path: path.write_bytes(b"\xff\x00"), "expected TOML in UTF-8"),
    "large": (lambda path: path.write_bytes(b"#" * (LARGEST + 1)), "expected at most 1048576 bytes"),
    "missing": (Path.unlink, "expected a readable file (No such file or directory)"),
    "directory": (replace_by_directory, "expected a readable file (Is a directory)"),
    "pipe": (replace_by_pipe, "expected a regular file"),
    "device": (replace_by_device, "expected a regular file"),
    "loop": (replace_by_loop, "expected a readable file (Too many levels of symbolic links)"),
}


@pytest.mark.parametrize(("damage", "words"), BREAKS.values(), ids=BREAKS)
def test_a_file_that_cannot_be_used_changes_nothing(damage: Callable[[Path], object], words: str, world: World) -> None:
    """It is told and counted once, whatever it has become; and when it is whole again it is used."""
    access = world.start(row("a"))
    damage(world.path)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    with capturedLogs() as logs:
        world.beat(1)
        assert alarms(logs) == []
        world.beat(9)
    (alarm,) = alarms(logs)
    assert alarm.startswith(f"the tokens in {world.path} cannot be used: {words}")
    assert alarm.endswith("; the 1 tokens from before stay valid")
    assert names(access) == ["a"]
    assert (world.figure("eventsvc_tokens_reload_failures_total"), world.figure("eventsvc_tokens_stale")) == (1, 1)
    if before:
        assert len(os.listdir("/proc/self/fd")) == len(before)
    whole = world.directory / "whole"
    whole.write_text(row("b"))
    if world.path.is_dir():
        world.path.rmdir()
    whole.rename(world.path)
    world.beat(2)
    assert names(access) == ["b"]
    assert (world.figure("eventsvc_tokens_reload_failures_total"), world.figure("eventsvc_tokens_stale")) == (1, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_changes_nothing(world: World) -> None:
    access = world.start(row("a"))
    world.path.chmod(0)
    world.beat(2)
    assert (names(access), world.figure("eventsvc_tokens_stale")) == (["a"], 1)


def test_each_broken_version_is_told(world: World) -> None:
    """An operator who mends a file in steps sees what is wrong next."""
    world.start(row("a"))
    with capturedLogs() as logs:
        for content in ("[[token]]", "[[token]]\nname = 'a'"):
            world.path.write_text(content)
            world.beat(3)
    assert len(alarms(logs)) == 2
    assert world.figure("eventsvc_tokens_reload_failures_total") == 2


def test_a_change_back_ends_the_alarm(world: World) -> None:
    """Though the tokens in use are those of the file again, without a change."""
    world.start(row("a"))
    world.path.write_text("[[token]]")
    world.beat(2)
    world.path.write_text(row("a"))
    world.beat(2)
    assert world.figure("eventsvc_tokens_stale") == 0


def test_no_tokens_refuse_everybody(world: World) -> None:
    """That is allowed, with a warning."""
    with capturedLogs() as logs:
        access = world.start("# nobody yet\n")
    (event,) = [event for event in logs if event["log_level"].name == "warn"]
    assert event["log_format"].format(**event).endswith("every POST is answered 401")
    with pytest.raises(Unauthorized):
        access.identify([b"Bearer of-a"], "Orders")


@pytest.mark.parametrize(("damage", "words"), BREAKS.values(), ids=BREAKS)
def test_a_file_that_cannot_be_used_at_the_start_is_an_error(
    damage: Callable[[Path], object], words: str, world: World
) -> None:
    """It names the variable and the file."""
    world.path.write_text("")
    damage(world.path)
    with pytest.raises(InvalidSettings) as caught:
        add_tokens(str(world.path), ["Orders"], world.vitals)
    assert str(caught.value).startswith(f"REST_SERVER_TOKENS={str(world.path)!r}: {words}")
    assert "\n" not in str(caught.value)


def test_a_path_that_is_none_is_an_error(world: World) -> None:
    """No file name contains NUL."""
    with pytest.raises(InvalidSettings, match=r"expected a readable file \(not a path\)"):
        add_tokens("a\0b", ["Orders"], world.vitals)


def test_rejections_are_published(world: World) -> None:
    access = world.start(row("a"))
    access.count(Unauthorized())
    assert world.figure('eventsvc_requests_rejected_total{reason="unauthorized"}') == 1
    assert world.figure('eventsvc_requests_rejected_total{reason="rate"}') == 0
