"""
Tests for L{eventsvc.cli.tokens}: the command C{eventsvc token new}.
"""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path

import attrs
import pytest

from eventsvc.cli.main import main, make_parser
from eventsvc.cli.tokens import PREFIX, NewToken
from eventsvc.web.token_rows import parse_tokens
from eventsvc.web.tokens import Token

EVENTSVC = str(Path(sys.executable).parent / "eventsvc")
NOW = 1_800_000_000 * 10**9  # in January 2027


@attrs.frozen
class Made:
    """What a command wrote, and its exit code."""

    code: int
    out: bytes
    err: str

    @property
    def secret(self) -> str:
        """Return the token: the last line."""
        return self.err.splitlines()[-1]

    @property
    def token(self) -> Token:
        """Return the token of the row."""
        (token,) = parse_tokens(self.out, ["Orders", "Returns"]).by_digest.values()
        return token


def run(*arguments: str) -> Made:
    out, err = BytesIO(), StringIO()
    given = vars(make_parser().parse_args(["token", "new", *arguments]))
    code = NewToken(out, err, lambda count: b"\xfb" * count, lambda: NOW).show(given)
    return Made(code, out.getvalue(), err.getvalue())


def test_the_row_lets_the_token_in() -> None:
    """The row goes to standard output and the token to standard error, each nowhere else."""
    made = run("--name", "shop")
    assert made.code == 0
    assert made.secret == PREFIX + "-_v7" * 10 + "-_s"
    assert made.token.digest == sha256(made.secret.encode()).digest()
    assert (made.token.name, made.token.streams, made.token.meter, made.token.expires) == ("shop", None, None, None)
    assert made.secret.encode() not in made.out
    assert made.token.digest.hex() not in made.err


@pytest.mark.parametrize("name", ['sh"op', "sh\\op", "'''", '"""', "] # =", "магазин \N{SHOPPING TROLLEY}", "a b"])
def test_any_name_reads_back(name: str) -> None:
    assert run("--name", name).token.name == name


def test_all_members_are_written() -> None:
    made = run("--name=a", "--streams=Orders,Returns", "--rate=2.5", "--burst=7", "--expires=2030-01-31T12:00:00+02:00")
    assert (made.token.streams, made.token.expires) == (frozenset(["Orders", "Returns"]), 1_896_084_000 * 10**9)
    assert made.token.meter is not None
    assert (made.token.meter.interval, made.token.meter.burst) == (400_000_000, 7)
    assert b"\nrate = 100\n" in run("--name=a", "--rate=100").out


def test_a_date_is_its_beginning_in_utc() -> None:
    assert run("--name=a", "--expires=2030-01-31").token.expires == 1_896_048_000 * 10**9


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--name=", "--name: expected 1 to 100 printable characters"),
        ("--name=\t", "--name: expected 1 to 100 printable characters"),
        ("--name=\udcff", "--name: expected 1 to 100 printable characters"),
        ("--name=a --burst=3", "--burst: expected a whole number of events from 1 to 1000000000, beside a rate"),
        ("--name=a --rate=1 --burst=1000000001", "--burst: expected a whole number of events"),
        ("--name=a --expires=soon", "--expires: expected an RFC 3339 date and time with its zone"),
        ("--name=a --expires=2030-02-30", "--expires: expected an RFC 3339 date and time with its zone"),
        ("--name=a --expires=2030-01-01T00:00:00", "--expires: expected an RFC 3339 date and time with its zone"),
        ("--name=a --expires=2027-01-15", "--expires: expected a time in the future, got '2027-01-15'"),
    ],
)
def test_a_wrong_member_makes_no_token(line: str, words: str) -> None:
    made = run(*line.split(" "))
    assert (made.code, made.out) == (2, b"")
    assert made.err.startswith(f"eventsvc: {words}")
    assert PREFIX not in made.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "--name"),
        ("--nam a", "--name"),
        ("--name a --rate 0", "argument --rate: '0': expected events per second from 0.001 to 1000000"),
        ("--name a --rate nan", "argument --rate: 'nan': expected events per second"),
        ("--name a --rate 1 --burst 0", "argument --burst: '0': expected a whole number from 1"),
        ("--name a --streams a,,b", "argument --streams: '': expected a name without white space or braces"),
        ("--name a b", "unrecognized arguments: b"),
    ],
)
def test_a_wrong_command_line_ends_with_2(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["token", "new", *line.split()])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_a_row_that_cannot_be_written_makes_no_token() -> None:
    """The disk of `>> tokens.toml` is full, or the pipe is closed."""
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([EVENTSVC, "token", "new", "--name=a"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert ended.stderr == "eventsvc: the row cannot be written: No space left on device; no token was made\n"


def test_the_command_makes_different_tokens() -> None:
    """Its output may be appended to a file, whatever the locale is: TOML is UTF-8."""
    command = [EVENTSVC, "token", "new", "--name", "é"]
    made = [
        subprocess.run(command, capture_output=True, check=True, env={"PYTHONIOENCODING": "ascii"}) for _ in range(2)
    ]
    secrets = {each.stderr.decode().splitlines()[-1] for each in made}
    assert len(secrets) == 2
    assert all(re.fullmatch(r"evt_[\w-]{43}", secret, re.ASCII) for secret in secrets)
    assert len(parse_tokens(made[0].stdout.replace("é".encode(), b"b") + made[1].stdout, [])) == 2
