"""
Tests for L{eventsvc.tap.options} and the options of the roles.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.copyright import version
from twisted.scripts._twistd_unix import ServerOptions

import eventsvc
from eventsvc.settings import ROLES, LogSettings, ProducerSettings, RedisSettings
from eventsvc.settings.reading import rows
from eventsvc.settings.simulator import SimulatorSettings
from eventsvc.tap import Options
from eventsvc.tap.options import RoleOptions

Fails = Callable[..., str]


def parse(*arguments: str) -> RoleOptions:
    """Return the options of a role, as C{twistd} parses them."""
    top = ServerOptions()
    top.parseOptions(["-n", *arguments])
    options: Any = top.subOptions
    role: RoleOptions = options.subOptions if isinstance(options, Options) else options
    return role


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Parse an invalid command line, and return its standard error."""

    def parse_wrong(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            parse(*arguments)
        said = capsys.readouterr()
        assert ended.value.code == 2
        assert said.out == ""
        return said.err

    return parse_wrong


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings from the environment."""
    for classes in ROLES.values():
        for _, row in rows(*classes):
            monkeypatch.delenv(row.name, raising=False)
            monkeypatch.delenv(f"{row.name}_FILE", raising=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "No role is named; the roles are producer, consumer, simulator, dashboard, dev"),
        (("prodcer",), "Unknown command: prodcer; the roles are producer, consumer, simulator, dashboard, dev"),
        (("producer", "--colour"), "option --colour not recognized; see --help"),
        (("producer", "now"), "unexpected argument 'now'; see --help"),
        (("producer", "--redis-port"), "option --redis-port requires argument; see --help"),
        (("producer", "--redis-port", "x"), "--redis-port='x': expected a port number from 1 to 65535"),
        (("producer", "--redis-port="), "--redis-port='': expected a port number from 1 to 65535"),
        (
            ("dev", "--rest-server-host=::1"),
            "REST_SERVER_HOST='::1': dev posts to itself over IPv4: expected an IPv4 address or ::",
        ),
        (("dev", "--event-producer-port=1"), "option --event-producer-port not recognized; see --help"),
        (
            ("consumer", "--handler=nowhere.handle"),
            f"--handler: no module named 'nowhere', neither in {os.getcwd()} nor on Python's path: "
            "expected log, webhook, or the dotted name of a function, an object or a class",
        ),
        (
            ("consumer", "--handler=string.handle"),
            "--handler: 'string.handle' cannot be imported: module 'string' has no attribute 'handle': "
            "expected log, webhook, or the dotted name of a function, an object or a class",
        ),
        (
            ("consumer", "--handler=string.digits"),
            "--handler: 'string.digits' is not callable: "
            "expected log, webhook, or the dotted name of a function, an object or a class",
        ),
    ],
)
def test_bad_usage_is_told_in_one_line(fails: Fails, arguments: tuple[str, ...], words: str) -> None:
    """An invalid command line exits with 2 and one line that names the error."""
    assert fails("eventsvc", *arguments) == f"eventsvc: {words}\n"


@pytest.mark.parametrize("role", ["consumer", "dev"])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("generator", "' is a generator: nothing would run it"),
        ("async_generator", "' is an async generator: nothing would run it"),
        ("no_argument", "' cannot be called with 1 arguments: too many positional arguments"),
        ("Class", "' is a class without handle or handle_batch"),
        ("flushes", "' has a flush, which nothing calls: give it handle_batch instead"),
        ("handles_nothing", ".handle' is a generator: nothing would run it"),
        ("HandlesNoEvent", ".handle' cannot be called with 2 arguments: too many positional arguments"),
        ("StartsNothing", ".start' is a generator: nothing would run it"),
        ("TakesTwo", "' cannot be made with 0 arguments: missing a required argument: 'first'"),
        ("WrongSettings", "' has settings that are no attrs class"),
    ],
)
def test_a_handler_that_can_never_work_is_told_at_the_start(fails: Fails, role: str, name: str, fault: str) -> None:
    """Otherwise it would acknowledge events that nothing handled."""
    said = fails("eventsvc", role, f"--handler=tests.support.wrong_handlers.{name}")
    assert said.startswith(f"eventsvc: --handler: 'tests.support.wrong_handlers.{name}{fault}")
    assert said.endswith(": expected log, webhook, or the dotted name of a function, an object or a class\n")


def test_a_handler_is_found_in_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As C{python -m} does; the directory is added to the path once."""
    (tmp_path / "beside_me.py").write_text("def handle(notification): ...\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    for _ in range(2):
        parse("eventsvc", "consumer", "--handler=beside_me.handle")
    assert sys.path.count(str(tmp_path)) == 1


def test_what_a_handler_misses_is_told(fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If a module imports one that is missing, the error names that one."""
    (tmp_path / "module_that_misses.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    said = fails("eventsvc", "consumer", "--handler=module_that_misses.handle")
    assert "'module_that_misses.handle' cannot be imported: No module named 'nowhere_to_be_found'" in said


def test_a_module_that_exits_when_it_is_imported_is_told(
    fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise its exit status could look like success."""
    (tmp_path / "module_that_exits.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = fails("eventsvc", "consumer", "--handler=module_that_exits.handle")
    assert said.startswith("eventsvc: --handler: 'module_that_exits.handle' cannot be imported: 0: expected log")


def test_each_wrong_setting_is_told(fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    """All invalid settings are reported at once, a line for each, whatever their source."""
    monkeypatch.setenv("REDIS_HOST", "two words")
    assert fails("eventsvc", "producer", "--rest-server-port=-1", "--log-level=loud") == (
        "eventsvc: REDIS_HOST='two words': expected a name without white space\n"
        "eventsvc: --rest-server-port='-1': expected a port number from 0 to 65535\n"
        "eventsvc: --log-level='loud': expected one of DEBUG, INFO, WARN, ERROR, CRITICAL, in any case\n"
    )


def test_a_wrong_secret_is_not_shown(fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error about a secret does not contain it."""
    monkeypatch.setenv("REDIS_PASSWORD", "open sesame")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(tmp_path / "missing"))
    words = fails("eventsvc", "producer")
    assert "REDIS_PASSWORD and REDIS_PASSWORD_FILE are both set" in words
    assert "sesame" not in words


def test_a_flag_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is flag, environment, default."""
    monkeypatch.setenv("REDIS_HOST", "from-environment")
    monkeypatch.setenv("REDIS_PORT", "1001")
    settings = parse("eventsvc", "producer", "--redis-port", "1002").read(RedisSettings)
    assert (settings.host, settings.port, settings.stream) == ("from-environment", 1002, "NotificationStream")


def test_dev_is_not_told_where_its_own_producer_is() -> None:
    """C{dev} has the flags of all roles, except those that it sets itself."""
    options = parse("eventsvc", "dev", "--count", "3", "--rest-server-port", "0", "--log-level", "debug")
    assert options.read(SimulatorSettings).count == 3
    assert options.read(ProducerSettings).port == 0
    assert options.read(LogSettings).level == "DEBUG"


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(*arguments, "--help")
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("role", ROLES)
def test_help_tells_each_setting(capsys: pytest.CaptureFixture[str], role: str) -> None:
    """C{--help} has the usage, and flag, meaning, variable and default of each setting."""
    text = help_of(capsys, "eventsvc", role)
    assert text.startswith(f"Usage: twistd [options] eventsvc {role} [options]\n")
    words = " ".join(text.split())
    for _, row in rows(*ROLES[role]):
        default = row.show_default()
        variable = f"[{row.name}]" if default == "-" else f"[{row.name}, default {default}]"
        value = "" if row.name == "SIMULATOR_FOLLOW" else "="
        assert f"--{row.flag}{value} {row.help} {variable}" in words


def test_a_threshold_may_be_given_several_times() -> None:
    """Each is one more; the environment counts only without the flag."""
    options = parse("simulator", "--threshold", "p99<5ms", "--threshold=errors<1%,max<1s", "--follow")
    settings = options.read(SimulatorSettings)
    assert [each.text for each in settings.thresholds] == ["p99<5ms", "errors<1%", "max<1s"]
    assert settings.follow
    assert not parse("simulator").read(SimulatorSettings).follow


def test_a_wrong_threshold_is_told(fails: Fails) -> None:
    """A condition without a unit could mean anything."""
    said = fails("simulator", "--threshold", "p99<50ms", "--threshold", "p99<50")
    assert said.startswith("eventsvc: --threshold='p99<50ms,p99<50': expected conditions such as p99<50ms")


def test_help_tells_the_roles(capsys: pytest.CaptureFixture[str]) -> None:
    """C{--help} without a role has the usage and the purpose of each role."""
    text = help_of(capsys, "eventsvc")
    assert text.startswith("Usage: twistd [options] eventsvc ROLE [options]\n")
    for role in ("producer", "consumer", "simulator", "dev"):
        assert f"\n    {role} " in text


@pytest.mark.parametrize("words", [["eventsvc"], ["eventsvc", "producer"], ["consumer"]])
def test_the_version_is_ours(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """C{--version} also prints that of Twisted."""
    with pytest.raises(SystemExit) as ended:
        parse(*words, "--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"eventsvc {eventsvc.__version__}, Twisted {version}\n"


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_a_word_of_twistd(capsys: pytest.CaptureFixture[str], role: str) -> None:
    """C{twistd consumer} is C{twistd eventsvc consumer}; likewise the others."""
    assert help_of(capsys, role).startswith(f"Usage: twistd [options] {role} [options]\n")
    assert parse(role, "--log-level=debug").read(LogSettings).level == "DEBUG"


@pytest.mark.parametrize("role", [["eventsvc", "producer"], ["consumer"]])
def test_the_background_is_refused(capsys: pytest.CaptureFixture[str], role: list[str]) -> None:
    """The log would be lost silently there, unless a log observer is given."""
    with pytest.raises(SystemExit) as ended:
        ServerOptions().parseOptions(role)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("eventsvc: without -n twistd goes into the background, where the log")
    ServerOptions().parseOptions(["--logger=twisted.logger.STDLibLogObserver", *role])


@pytest.mark.parametrize("role", [["eventsvc", "producer"], ["producer"], ["consumer"]])
def test_no_pid_file_in_the_foreground(role: list[str]) -> None:
    """With C{-n} there is no pid file, unless a name is given."""
    for flags, pid_file in ([], ""), (["--pidfile", "own.pid"], "own.pid"):
        top = ServerOptions()
        top.parseOptions(["-n", *flags, *role])
        assert Path(top["pidfile"]).name == pid_file
