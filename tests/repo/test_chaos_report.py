"""
Tests for the evidence, tables and report of the chaos suite.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
import msgspec
import pytest

pytest.importorskip("toxiproxy", reason="the chaos suite needs toxiproxy-python")
pytest.importorskip("chaos", reason="the chaos suite is beside the package, in the repository")

from chaos.__main__ import plan_runs
from chaos.account import TAKEN_UP
from chaos.deployment import Deployment
from chaos.evidence import Evidence, Kept, read_log, tell
from chaos.faults import holding_up
from chaos.impolite import _sort
from chaos.lines import Line, parse_log
from chaos.plan import Plan
from chaos.planted import BUGS
from chaos.process import Process
from chaos.report import junit, ledger, page, read_style, record, write
from chaos.scenario import Expectations, Run
from chaos.scenarios import BY_NAME, SCENARIOS
from chaos.signs import Alarmed, Counted, HandledAgain, Said, SetAside, Sign, Suffered, doubts
from eventsvc.event import Notification
from eventsvc.outcome import Outcome
from eventsvc.testing.history import Handling, History, Op, check

FAULT = (10.0, 20.0)


def test_every_colour_of_a_report_has_a_value() -> None:
    """Those of the charts too, which the Robot log shows without the rest of the report."""
    style = read_style()
    assert set(re.findall(r"var\((--\w+)\)", style)) <= set(re.findall(r"(--\w+):", style))
    assert {"svg .fault", "svg .ok", "svg .refused", "svg .unknown"} <= set(re.findall(r"svg \.\w+", style))


# The evidence


def history(outcomes: dict[float, Outcome], **more: Any) -> History:
    """Return attempts of a tenth of a second, begun at these times; the ok ones are stored and handled."""
    ops = [
        Op("client", number, f"{number}", at, at + 0.1, outcome, number if outcome is Outcome.OK else None)
        for number, (at, outcome) in enumerate(outcomes.items())
    ]
    stored = [Notification(op.id, op.description, "") for op in ops if op.id is not None]
    return History(
        **{
            "ops": ops,
            "stream": stored,
            "handled": [Handling(each.id, "consumer-1", 30.0) for each in stored],
            "fault": FAULT,
            **more,
        }
    )


def felt(outcomes: dict[float, Outcome], sign: Sign, lines: tuple[Line, ...] = (), **more: Any) -> bool:
    return not doubts(Evidence(history=history(outcomes, **more), lines=lines, fault=FAULT), [sign])


GOOD: dict[float, Outcome] = {5.0: Outcome.OK, 15.0: Outcome.OK, 25.0: Outcome.OK}


def test_a_fault_that_was_not_felt_is_a_doubt() -> None:
    evidence = Evidence(history=history(GOOD), lines=(), fault=FAULT)
    assert doubts(evidence, [Suffered(least=1)]) == [
        "the fault was not felt: expected that 1 attempts failed or took 0.3 s"
    ]


def test_an_attempt_that_failed_in_the_fault_shows_that_it_was_felt() -> None:
    assert felt({**GOOD, 16.0: Outcome.UNKNOWN}, Suffered(least=1))
    assert not felt({**GOOD, 6.0: Outcome.UNKNOWN}, Suffered(least=1))


def test_words_and_alarms_count_only_since_the_fault_began_and_by_whom_they_must_be_said() -> None:
    for at, by, told in ((15.0, "producer-1", True), (5.0, "producer-1", False), (15.0, "consumer-1", False)):
        lines = (Line(at, by, "critical", "connected to Redis", alarm="lost"),)
        assert felt(GOOD, Said("connected", "producer"), lines) is told
        assert felt(GOOD, Alarmed("lost", "producer"), lines) is told
        assert not felt(GOOD, Alarmed("dead_letter", "producer"), lines)


def test_an_alarm_is_known_by_its_member_whatever_its_words() -> None:
    log = b'{"time": "2026-11-24T08:00:00Z", "level": "critical", "message": "%s"%s}'
    lines = [
        *parse_log(log % (b"whatever", b', "alarm": "lost"'), "producer-1", 0.0),
        *parse_log(log % (b"LOST: the group was gone", b""), "producer-1", 0.0),
    ]
    assert [line.alarm for line in lines] == ["lost", ""]
    history = tell(Kept({}, (), {}, b"0-0"), (), lines, FAULT, True, 0.0)
    assert history.alarms == 1


def test_events_handled_again_or_set_aside_are_signs() -> None:
    assert not felt(GOOD, HandledAgain())
    assert felt(GOOD, HandledAgain(), handled=[Handling(id) for id in (0, 1, 1, 2)])
    assert not felt(GOOD, SetAside())
    assert felt(GOOD, SetAside(), handled=[Handling(0), Handling(1)], dead=[2])


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


def test_a_clock_that_was_stepped_changes_no_order() -> None:
    """The clock goes back an hour after the first line, and forward again after the third."""
    lines = [
        b'{"time": "2026-11-24T%sZ", "level": "info", "message": "x"}' % time
        for time in (b"08:00:00.5", b"07:00:02.0", b"07:00:03.0", b"08:00:04.0")
    ]
    read = [line.at for line in parse_log(b"\n".join(lines), "consumer-1", 0.0)]
    assert [at - read[0] for at in read] == [0.0, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nEvent-Id: 7\r\n\r\n", Outcome.OK),
        (b"HTTP/1.1 200 OK\r\nEvent-Id: 7\r\n", Outcome.UNKNOWN),
        (b"", Outcome.UNKNOWN),
        (b'HTTP/1.1 503 Unavailable\r\n\r\n{"stored":"unknown"}', Outcome.UNKNOWN),
        (b'HTTP/1.1 503 Unavailable\r\n\r\n{"stored":"no"}', Outcome.REFUSED),
        (b"HTTP/1.1 409 Conflict\r\n\r\n", Outcome.UNKNOWN),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Outcome.REFUSED),
    ],
)
def test_an_answer_that_is_not_whole_says_nothing(answer: bytes, outcome: Outcome) -> None:
    assert _sort(answer).outcome is outcome


def test_a_fault_says_what_it_excuses(tmp_path: Path) -> None:
    """Other consumers may claim the events of a consumer that is blocked in any way."""
    for beginning, names in (
        ("consumer-1", ["consumer-1"]),
        ("redis", ["consumer-2", "consumer-1"]),
        ("producer-", []),
    ):
        deployment = Deployment(Plan(handlers=["log", "log"]), tmp_path)
        with holding_up(deployment, beginning):
            assert not deployment.causes
        assert [(cause.kind, cause.consumer) for cause in deployment.causes] == [("takeover", name) for name in names]
        assert all(cause.begin < cause.end - TAKEN_UP for cause in deployment.causes)


# The table of scenarios


def test_every_scenario_has_a_name_of_its_own_and_says_what_it_breaks() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    assert all(scenario.what.endswith(".") for scenario in SCENARIOS)


def test_the_longest_run_of_each_seed_begins_first() -> None:
    jobs = plan_runs(["reply-cut", "everything"], seed=7, repeat=2)
    assert [(job.scenario, job.seed) for job in jobs] == [
        ("everything", 7),
        ("reply-cut", 7),
        ("everything", 8),
        ("reply-cut", 8),
    ]


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
    """The contents of a page, and the resources that it would fetch."""

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
    shown = Page(page([a_run({**GOOD, 16.0: Outcome.UNKNOWN}, tmp_path)]))
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


def test_a_planted_bug_is_caught_only_by_the_broken_promise_it_must_show(tmp_path: Path) -> None:
    bugged = attrs.evolve(a_run(GOOD, tmp_path), planted="read-only-new")
    left = attrs.evolve(history(GOOD), pending={1: 20.0}, drained=False)
    caught = attrs.evolve(bugged, verdict=check(left, Expectations(least_ok=1, least_each=1)))
    missed = attrs.evolve(
        bugged, verdict=check(attrs.evolve(left, pending={1: 10.0}), Expectations(least_ok=1, least_each=1))
    )
    assert (caught.passed, missed.passed, missed.verdict.state) == (True, False, "no evidence")
    assert "1 of 2 planted bugs were caught" in Page(page([caught, missed])).words
    assert ElementTree.fromstring(junit([caught, missed])).attrib["failures"] == "1"


def test_the_ledger_says_which_sum_does_not_come_out() -> None:
    figures = dict(check(attrs.evolve(history(GOOD), pending={9: 0.0})).ledger)
    assert ledger(figures) == [
        "sent 3 = ok 3 + refused 0 + unknown 0",
        "stored 3 = confirmed 3 + stored though unknown 0",
        "stored 3 \u2260 handled 3 + set aside 0 + pending 1",
    ]


def test_the_report_is_written_in_all_its_forms(tmp_path: Path) -> None:
    run = a_run(GOOD, tmp_path)
    write([run], tmp_path / "report")
    [row] = msgspec.json.decode((tmp_path / "report" / "report.json").read_bytes())
    assert row["scenario"] == "reply-cut"
    assert row["fault"] == [10.0, 20.0]
    drawn = f"{run.directory.name}.svg"
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"index.html", "report.json", "junit.xml", drawn}
    picture = ElementTree.parse(tmp_path / "report" / drawn).getroot()
    charts = [each for each in picture if each.tag.endswith("svg")]
    assert len(charts) == 3
    last = charts[-1].attrib
    assert int(last["y"]) + int(last["height"]) <= int(picture.attrib["viewBox"].split()[3])
