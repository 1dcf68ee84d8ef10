"""
Tests for the chaos suite: a few real scenarios, and the parts that could cause a
wrong verdict.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path

import attrs
import pytest

pytest.importorskip("toxiproxy", reason="the chaos suite needs toxiproxy-python")
pytest.importorskip("chaos", reason="the chaos suite is beside the package, in the repository")

from chaos.__main__ import SKIPPED, main
from chaos.planted import BUGS
from chaos.process import EndedByItself, Process, claim_range, stable_port, watchdog
from chaos.programs import NotFound
from chaos.scenario import Expectations, Scenario, run
from chaos.scenarios import BY_NAME
from chaos.signs import Said
from chaos.suites import NotInTime, wait_until
from chaos.toxics import TOXIPROXY, VERSION, NotChanged, Toxic, Toxics
from chaos.workload import Load
from tests.support.threads import serving_in_thread

# For real: on the real Toxiproxy, or skipped with the words that say how to get it.


@pytest.fixture(scope="session")
def toxiproxy() -> str:
    try:
        return TOXIPROXY.find()
    except NotFound as remedy:
        pytest.skip(str(remedy))


def short(name: str, pulses: int) -> Scenario:
    return attrs.evolve(
        BY_NAME[name],
        pulses=pulses,
        before=1.0,
        after=3.0,
        signs=[Said("connected to Redis")],
        expect=Expectations(least_ok=100, least_each=20, all_ok=True),
    )


@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize(("name", "pulses"), [("reply-cut", 3), ("consumer-killed", 1)])
def test_a_scenario_holds(toxiproxy: str, tmp_path: Path, name: str, pulses: int) -> None:
    done = run(short(name, pulses), 1, tmp_path / "run")
    assert done.verdict.held, done.verdict.describe()
    assert done.verdict.ledger["ok"] >= 100
    assert done.memory["producer-1"] > 0


def test_each_bug_can_still_be_planted() -> None:
    """They change names and lines of the code, which may be gone."""
    plant = "from chaos.planted import BUGS\nfor bug in BUGS.values():\n    bug.plant()"
    subprocess.run([sys.executable, "-c", plant], check=True, timeout=60)


@pytest.mark.xdist_group("chaos")
def test_a_planted_bug_is_caught(toxiproxy: str, tmp_path: Path) -> None:
    plain = attrs.evolve(short("reply-cut", 6), load=Load(mixed=0.0))  # the key of a CloudEvent hides this bug
    done = run(plain, 1, tmp_path / "run", planted="resend-with-new-number")
    assert done.verdict.state == "broke"
    assert BUGS["resend-with-new-number"].finding in done.verdict.describe()


@pytest.mark.xdist_group("chaos")
def test_a_toxic_is_known_to_begin_and_to_end(toxiproxy: str, tmp_path: Path) -> None:
    said: list[str] = []
    toxics = Toxics(stable_port(), said.append)
    process = Process("toxiproxy", [toxiproxy, "-port", str(toxics.port)], tmp_path)
    process.start()
    try:
        wait_until(toxics.is_up, "toxiproxy answers")
        toxics.add_proxy("link", stable_port(), stable_port())
        toxic = Toxic("latency", {"latency": 5, "jitter": 1}, "upstream", toxicity=0.5)
        toxics.add("link", toxic)
        with pytest.raises(NotChanged, match="not healed"):
            toxics.check_healed()
        toxics.remove("link", toxic)
        toxics.check_healed()
        with pytest.raises(NotChanged, match="409"):
            toxics.add_proxy("link", stable_port(), stable_port())
        assert said == [
            "link: latency upstream (latency 5, jitter 1) on 50% of connections begins",
            "link: latency upstream (latency 5, jitter 1) on 50% of connections ends",
        ]
    finally:
        process.kill()


# Toxics


class Liar(BaseHTTPRequestHandler):
    """A server that answers 200 to everything and stores nothing."""

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        body = b'{"name": "link", "enabled": false, "toxics": []}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def liar() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    with serving_in_thread(server):
        yield server.server_port


def test_a_change_that_the_server_only_claims_is_not_believed(liar: int) -> None:
    with pytest.raises(NotChanged, match="enabled"):
        Toxics(liar).switch("link", True)


def test_a_server_that_is_away_is_an_error() -> None:
    with pytest.raises(NotChanged, match="post"):
        Toxics(stable_port()).switch("link", True)


def test_the_server_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "toxiproxy-server"
    binary.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert TOXIPROXY.find() == str(binary)


def test_the_server_is_built_once_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "go"
    go.write_text('#!/bin/sh\necho "$*" >> "$XDG_CACHE_HOME/built"\n: > "$GOBIN/server"\n')
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = TOXIPROXY.find()
    assert TOXIPROXY.find() == found
    assert Path(found).exists()
    built = (tmp_path / "built").read_text()
    assert built == f"install github.com/Shopify/toxiproxy/v2/cmd/server@{VERSION}\n"


def test_a_server_that_cannot_be_built_is_told_of_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho no such module >&2; exit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NotFound, match=r"(?s)no such module.*on the PATH"):
        TOXIPROXY.find()


def test_without_a_server_the_suite_says_how_to_get_one_and_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["run", "reply-cut"]) == SKIPPED
    words = capsys.readouterr().err
    assert "skipped, nothing was judged" in words
    assert "on the PATH" in words


# Processes


def process(tmp_path: Path, code: str) -> Process:
    started = Process("child", [sys.executable, "-c", code], tmp_path)
    started.start()
    return started


def test_a_process_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    child = process(tmp_path, "import sys; sys.exit('no more')")
    with pytest.raises(EndedByItself, match="child ended by itself with 1: no more"):
        wait_until(lambda: child.check(), "it ends")


def test_the_most_memory_a_process_had_is_kept(tmp_path: Path) -> None:
    child = process(tmp_path, "print('big', len(b'x' * 50_000_000), flush=True); import time; time.sleep(60)")
    wait_until(lambda: child.says("big", 1), "it is big")
    child.kill()
    assert child.peak > 50_000_000


def test_what_takes_too_long_is_given_up() -> None:
    with pytest.raises(NotInTime, match=r"0\.05 s"), watchdog(0.05):
        threading.Event().wait(10)


def test_two_processes_whose_ids_are_alike_have_ranges_of_their_own() -> None:
    """Ids of processes that are eighty apart begin their search at the same range."""
    alike = [claim_range(owner) for owner in (7, 87, 167)]
    assert len(set(alike)) == 3
    assert claim_range(7) == alike[0]


def test_a_port_is_given_once_and_none_to_two_workers() -> None:
    mine = {stable_port() for _ in range(50)}
    with ProcessPoolExecutor(1, get_context("spawn")) as worker:
        theirs = {worker.submit(stable_port).result() for _ in range(50)}
    assert len(mine) == len(theirs) == 50
    assert not mine & theirs
