"""
The chaos suite itself: a few scenarios for real, and the parts that a wrong
verdict could come from.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import msgspec
import pytest

pytest.importorskip("toxiproxy", reason="the chaos suite needs toxiproxy-python")
pytest.importorskip("chaos", reason="the chaos suite is beside the package, in the repository")

from chaos.__main__ import SKIPPED, main
from chaos.deployment import Deployment, Plan
from chaos.evidence import Counted, Evidence, HandledAgain, Line, Said, SetAside, Sign, Suffered, doubts, read_log
from chaos.impolite import _sort
from chaos.planted import BUGS
from chaos.process import EndedByItself, NotInTime, Process, stable_port, wait_until, watchdog
from chaos.report import junit, ledger, page, record, write
from chaos.scenario import Must, Run, Scenario, run
from chaos.scenarios import BY_NAME, SCENARIOS
from chaos.toxics import NotChanged, NoToxiproxy, Toxic, Toxics, find_toxiproxy
from eventsvc.client import Ok, Refused, Unknown
from eventsvc.event import Notification
from eventsvc.history import History, Op, Outcome, check

FAULT = (10.0, 20.0)


# For real: on the real Toxiproxy, or skipped with the words that say how to get it.


@pytest.fixture(scope="session")
def toxiproxy() -> str:
    try:
        return find_toxiproxy()
    except NoToxiproxy as remedy:
        pytest.skip(str(remedy))


def short(name: str, pulses: int) -> Scenario:
    return attrs.evolve(
        BY_NAME[name],
        pulses=pulses,
        before=1.0,
        after=1.0,
        signs=[Said("connected to Redis")],
        must=Must(least_ok=100, least_each=20, all_ok=True),
    )


@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize(("name", "pulses"), [("reply-cut", 3), ("consumer-killed", 1)])
def test_a_scenario_holds(toxiproxy: str, tmp_path: Path, name: str, pulses: int) -> None:
    done = run(short(name, pulses), 1, tmp_path / "run")
    assert done.verdict.held, done.verdict.describe()
    assert done.verdict.ledger["ok"] >= 100
    assert done.memory["producer-1"] > 0


@pytest.mark.xdist_group("chaos")
def test_a_planted_bug_is_caught(toxiproxy: str, tmp_path: Path) -> None:
    done = run(short("reply-cut", 4), 1, tmp_path / "run", planted="resend-with-new-number")
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
    """A server that says yes to all and does nothing."""

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
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


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
    assert find_toxiproxy() == str(binary)


def test_the_server_is_built_once_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(directory: Path) -> None:
        built.append(directory)
        directory.mkdir(parents=True)
        (directory / "server").touch()

    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_toxiproxy(build) == find_toxiproxy(build) == str(built[0] / "server")
    assert len(built) == 1


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


# The evidence


def history(outcomes: dict[float, Outcome], **more: Any) -> History:
    """Attempts a tenth of a second long, begun at these times; those that are ok are stored and handled."""
    ops = [
        Op("client", number, f"{number}", at, at + 0.1, outcome, number if outcome == "ok" else None)
        for number, (at, outcome) in enumerate(outcomes.items())
    ]
    stored = [Notification(op.id, op.description, "") for op in ops if op.id is not None]
    return History(**{"ops": ops, "stream": stored, "handled": [each.id for each in stored], "fault": FAULT, **more})


def felt(outcomes: dict[float, Outcome], sign: Sign, lines: tuple[Line, ...] = (), **more: Any) -> bool:
    return not doubts(Evidence(history=history(outcomes, **more), lines=lines, fault=FAULT), [sign])


GOOD: dict[float, Outcome] = {5.0: "ok", 15.0: "ok", 25.0: "ok"}


def test_a_fault_that_was_not_felt_is_a_doubt() -> None:
    evidence = Evidence(history=history(GOOD), lines=(), fault=FAULT)
    assert doubts(evidence, [Suffered(least=1)]) == [
        "the fault was not felt: expected that 1 attempts failed or took 0.3 s"
    ]


def test_an_attempt_that_failed_in_the_fault_shows_that_it_was_felt() -> None:
    assert felt({**GOOD, 16.0: "unknown"}, Suffered(least=1))
    assert not felt({**GOOD, 6.0: "unknown"}, Suffered(least=1))


def test_words_count_only_since_the_fault_began_and_by_whom_they_must_be_said() -> None:
    sign = Said("connected", "producer")
    for at, by, told in ((15.0, "producer-1", True), (5.0, "producer-1", False), (15.0, "consumer-1", False)):
        assert felt(GOOD, sign, (Line(at, by, "info", "connected to Redis"),)) is told


def test_events_handled_again_or_set_aside_are_signs() -> None:
    assert not felt(GOOD, HandledAgain())
    assert felt(GOOD, HandledAgain(), handled=[0, 1, 1, 2])
    assert not felt(GOOD, SetAside())
    assert felt(GOOD, SetAside(), handled=[0, 1], dead=[2])


def test_a_figure_of_the_services_is_a_sign() -> None:
    for figures, told in (({}, False), ({"eventsvc_claimed": 1.0}, False), ({"eventsvc_claimed": 2.0}, True)):
        evidence = Evidence(history=history(GOOD), lines=(), fault=FAULT, figures=figures)
        assert (not doubts(evidence, [Counted("eventsvc_claimed", 2)])) is told


def test_a_log_is_read_to_its_torn_end(tmp_path: Path) -> None:
    deployment = Deployment(Plan(), tmp_path)
    deployment.processes["consumer-1"] = Process("consumer-1", [], tmp_path)
    good = {"time": "2026-11-24T08:00:00.5Z", "level": "info", "from": "x", "message": "event", "id": 7}
    (tmp_path / "consumer-1.out").write_bytes(msgspec.json.encode(good) + b'\n{"time": "2026-')
    [line] = read_log(deployment, "consumer-1")
    assert (line.id, line.process) == (7, "consumer-1")


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"HTTP/1.1 200 OK\r\nEvent-Id: 7\r\n\r\n", Ok),
        (b"HTTP/1.1 200 OK\r\nEvent-Id: 7\r\n", Unknown),
        (b"", Unknown),
        (b'HTTP/1.1 503 Unavailable\r\n\r\n{"stored":"unknown"}', Unknown),
        (b'HTTP/1.1 503 Unavailable\r\n\r\n{"stored":"no"}', Refused),
        (b"HTTP/1.1 409 Conflict\r\n\r\n", Unknown),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Refused),
    ],
)
def test_an_answer_that_is_not_whole_says_nothing(answer: bytes, result: type) -> None:
    assert isinstance(_sort(answer), result)


# The table of scenarios


def test_every_scenario_has_a_name_of_its_own_and_says_what_it_breaks() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    assert all(scenario.what.endswith(".") for scenario in SCENARIOS)


def test_every_planted_bug_has_a_scenario_that_must_catch_it() -> None:
    assert {bug.scenario for bug in BUGS.values()} <= BY_NAME.keys()
    assert all(bug.what for bug in BUGS.values())


# The report


def a_run(outcomes: dict[float, Outcome], tmp_path: Path, **more: Any) -> Run:
    evidence = Evidence(
        history=history(outcomes, **more),
        lines=(Line(15.0, "producer-1", "warn", "<script>"), Line(25.1, "consumer-1", "info", "event", 2)),
        fault=FAULT,
    )
    return Run(
        scenario=BY_NAME["reply-cut"],
        seed=7,
        directory=tmp_path,
        began=(1.7e9, 0.0),
        seconds=30.0,
        verdict=check(evidence.history),
        evidence=evidence,
        journal=[(10.0, "link: limit_data begins")],
        memory={"producer-1": 2**26},
    )


class Page(HTMLParser):
    """What is on a page, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta",):
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attributes if name in ("src", "href") and value[:1] != "#"]  # type: ignore[index]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_is_well_formed_needs_nothing_else_and_says_how_to_repeat_each_run(tmp_path: Path) -> None:
    shown = Page(page([a_run({**GOOD, 16.0: "unknown"}, tmp_path)]))
    assert shown.open == []
    assert shown.fetched == []
    for words in ("python -m chaos run reply-cut --seed 7", "link: limit_data begins", "<script>", "held", "64 MiB"):
        assert words in shown.words


def test_a_run_that_was_given_up_is_shown_too(tmp_path: Path) -> None:
    verdict = check(History(ops=(), stream=(), doubts=["redis did not start"]))
    done = attrs.evolve(a_run(GOOD, tmp_path), evidence=None, verdict=verdict)
    assert "redis did not start" in Page(page([done])).words
    assert record(done)["state"] == "no evidence"


def test_ci_is_told_of_every_run_that_did_not_hold(tmp_path: Path) -> None:
    lost = attrs.evolve(history(GOOD), stream=())
    runs = [a_run(GOOD, tmp_path), attrs.evolve(a_run(GOOD, tmp_path), verdict=check(lost))]
    suite = ElementTree.fromstring(junit(runs))
    assert suite.attrib["tests"] == "2"
    assert suite.attrib["failures"] == "1"
    [failure] = suite.iter("failure")
    assert "answered 200, but not stored" in (failure.text or "")


def test_the_ledger_says_which_sum_does_not_come_out() -> None:
    figures = dict(check(attrs.evolve(history(GOOD), pending={9: 0.0})).ledger)
    assert ledger(figures) == [
        "sent 3 = ok 3 + refused 0 + unknown 0",
        "stored 3 = ok 3 + stored though unknown 0",
        "stored 3 \u2260 handled 3 + set aside 0 + pending 1",
    ]


def test_the_report_is_written_in_three_forms(tmp_path: Path) -> None:
    write([a_run(GOOD, tmp_path)], tmp_path / "report")
    [row] = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes())
    assert row["scenario"] == "reply-cut"
    assert row["fault"] == [10.0, 20.0]
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"index.html", "report.json", "junit.xml"}
