"""
Tests for what is made of a run: its file, its summary, and C{eventsvc report}.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventsvc.cli.main import make_parser
from eventsvc.cli.report import show_report
from eventsvc.simulator.latency import Latencies
from eventsvc.simulator.report_page import MOST_RUNS, make_page
from eventsvc.simulator.saved_run import Followed, Interval, InvalidRun, Run, Verdict, decode_run, encode_run
from eventsvc.simulator.summary import describe_followed, has_held, judge, summarize
from eventsvc.simulator.thresholds import parse_thresholds


def encode(*seconds: float) -> str:
    latencies = Latencies()
    for each in seconds:
        latencies.record(each)
    return latencies.encode()


def make_run(**more: Any) -> Run:
    """Return a run of two seconds with 1,000 requests of 1 to 1,000 ms."""
    latency = encode(*[number / 1e3 for number in range(1, 1_001)])
    return Run(
        **{
            "version": "0",
            "target": "http://127.0.0.1:8080",
            "settings": {"rate": 500.0, "arrival": "poisson", "batch": 1, "seed": 42, "duration": None},
            "began": "2026-11-27T22:00:00.000000000Z",
            "seconds": 2.0,
            "sent": 1_000,
            "requests": 1_000,
            "ok": 990,
            "refused": 6,
            "unknown": 4,
            "dropped": 10,
            "percentiles": {},
            "latency": latency,
            "service": encode(0.001, 0.002),
            "step": 1.0,
            "intervals": [Interval(ok=500, latency=latency), Interval(ok=490, refused=6, unknown=4, dropped=10)],
            **more,
        }
    )


FOLLOWED = Followed(accepted=990, stored=990, handled=980, set_aside=10, lost=0, unseen=0, handled_after=encode(1.0))


@pytest.mark.parametrize(
    ("condition", "shown", "held"),
    [
        ("p50<=501ms", "500 ms", True),
        ("p99<990ms", "990 ms", False),
        ("p99.9<2s", "999 ms", True),
        ("p99.99<2s", "no data", False),
        ("max<1s", "1,000 ms", False),
        ("mean<600ms", "501 ms", True),
        ("errors<2%", "1.98%", True),
        ("refused<=0.5%", "0.594%", False),
        ("unknown<1%", "0.396%", True),
        ("dropped<1%", "0.99%", True),
        ("rate>=495/s", "495.0/s", True),
    ],
)
def test_a_threshold_is_judged_by_its_figure(condition: str, shown: str, held: bool) -> None:
    """Percentiles are those of the latency from the intended time; what was not posted is an error too."""
    (verdict,) = judge(make_run(), parse_thresholds(condition))
    assert (verdict.threshold, verdict.shown, verdict.held) == (condition, shown, held)


@pytest.mark.parametrize("condition", ["p50<1s", "max<1s", "mean<1s", "errors<100%", "rate>=0/s", "dropped<1%"])
def test_a_run_without_events_meets_nothing(condition: str) -> None:
    run = make_run(sent=0, ok=0, refused=0, unknown=0, dropped=0, latency=encode(), seconds=0.0)
    (verdict,) = judge(run, parse_thresholds(condition))
    assert (verdict.shown, verdict.held) == ("no data", False)


@pytest.mark.parametrize(
    ("more", "words", "held"),
    [
        ({}, "stored 990, handled 980, set aside 10, lost 0", True),
        ({"handled": 970}, "stored 990, handled 970, set aside 10, not handled 10, lost 0", False),
        ({"stored": 980, "handled": 970, "lost": 10}, "stored 980, handled 970, set aside 10, lost 10", False),
        (
            {"stored": 980, "handled": 970, "unseen": 10},
            "stored 980, handled 970, set aside 10, not seen 10, lost 0",
            False,
        ),
    ],
)
def test_what_became_of_events_is_said_and_judged(more: dict[str, int], words: str, held: bool) -> None:
    followed = msgspec.structs.replace(FOLLOWED, **more)
    assert describe_followed(followed) == words
    assert has_held(make_run(followed=followed)) is held


def test_a_threshold_that_is_not_met_breaks_the_run() -> None:
    assert has_held(make_run())
    assert not has_held(
        make_run(thresholds=[Verdict(threshold="a", shown="", value=1.0, held=False)], followed=FOLLOWED)
    )


def test_the_summary_fits_a_terminal() -> None:
    """Of 80 columns; reasons and targets that are longer are the only lines that are."""
    run = make_run(followed=FOLLOWED, problems={"503 Redis\x1b[31m " + "x" * 500: 6, "no answer within 10 s": 4})
    run = msgspec.structs.replace(run, thresholds=judge(run, parse_thresholds("p99<1s,errors<1%")))
    text = summarize(run, "run.json")
    assert "\x1b" not in text
    assert "Thresholds  met  p99<1s  (990 ms)\n            NOT MET  errors<1%  (1.98%)\n" in text
    assert "Group       stored 990, handled 980, set aside 10, lost 0\n" in text
    assert "offered 505.0/s, stored 495.0/s" in text
    rows = [line for line in text.splitlines() if " x " not in line]
    assert max(map(len, rows)) <= 80
    assert re.search(r"^Latency +500 +900 +950 +990 +999 +1,000", text, re.M)
    assert re.search(r"^  service +1\.00 +- +- +- +- +2\.00", text, re.M)


def test_a_run_comes_back_from_its_file() -> None:
    run = make_run(followed=FOLLOWED, thresholds=judge(make_run(), parse_thresholds("p99<1s")), problems={"a": 1})
    assert decode_run(encode_run(run)) == run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "this is not the file of a run"),
        (b"[]", "this is not the file of a run"),
        (b"{}", "missing required field"),
        (b"\xff", "this is not the file of a run"),
        (b"[" * 100_000, "this is not the file of a run"),
        (encode_run(make_run(format="load 2")), "expected the format 'eventsvc load 1', got 'load 2'"),
        (encode_run(make_run(step=0.0)), "expected a step of at least 0.001 s"),
        (encode_run(make_run(seconds=-1.0)), "no negative duration"),
        (encode_run(make_run(step=5e-324)), "expected a step of at least 0.001 s"),
        (encode_run(make_run(sent=77)).replace(b"77", b"%d" % 10**400), "- at `$.sent`"),
        (
            encode_run(make_run(intervals=[Interval(ok=77)])).replace(b"77", b"%d" % 10**400),
            "- at `$.intervals[0].ok`",
        ),
        (encode_run(make_run(intervals=[Interval()] * 1_001)), "length <= 1000 - at `$.intervals`"),
    ],
    ids=range(12),
)
def test_a_file_that_is_no_run_is_told(text: bytes, words: str) -> None:
    with pytest.raises(InvalidRun, match=re.escape(words)):
        decode_run(text)


class Page(HTMLParser):
    """What a page has: its tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"


def test_the_page_compares_runs_and_needs_nothing_else() -> None:
    """Each figure of the later run says how it differs."""
    slower = make_run(ok=495, latency=encode(*[number / 500 for number in range(1, 1_001)]), followed=FOLLOWED)
    text = make_page([("before", make_run()), ("after", slower)])
    page = Page(text)
    assert {"990 ms", "1,980 ms (+100%)", "495.0", "247.5 (-50%)"} <= set(page.text.splitlines())
    assert [tag for tag, _ in page.tags].count("svg") == 2
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "form")
        assert not {"src", "href", "style"} & attributes.keys()
    assert "url(" not in text
    assert "@import" not in text


def test_hostile_texts_stay_texts() -> None:
    """Reasons come from the network, the rest from a file that somebody gave."""
    evil = "</style></title><script>alert(1)</script>&\"'"
    verdict = Verdict(threshold=evil, shown=evil, value=None, held=False)
    run = make_run(
        target=evil, version=evil, problems={evil: 1}, settings={evil: evil}, began=evil, thresholds=[verdict]
    )
    page = Page(make_page([(evil, run), ("b", run)]))
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.text.count("alert(1)") >= 10


@pytest.mark.parametrize(
    "more",
    [
        {"intervals": []},
        {"intervals": [], "seconds": 0.0, "sent": 0, "ok": 0},
        {"step": 1e300},
        {"step": 1e-300, "seconds": 1e300},
        {"sent": -5, "ok": -5, "dropped": 5},
        {"intervals": [Interval(ok=-1)] * 3},
        {"intervals": [Interval(ok=10**18, latency=encode(1e-6))] * 600, "seconds": 600.0},
    ],
)
def test_odd_runs_have_a_page_too(more: dict[str, Any]) -> None:
    """A page of bounded size, in a bounded time."""
    run = make_run(**more)
    assert len(make_page([("a", run), ("b", make_run())])) < 200_000
    summarize(run)


def report(*arguments: str) -> int:
    return show_report(vars(make_parser().parse_args(["report", *arguments])))


def save(directory: Path, name: str, run: Run) -> str:
    path = directory / name
    path.write_bytes(encode_run(run))
    return str(path)


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the first run, or where it is told to."""
    first, second = save(tmp_path, "a.json", make_run()), save(tmp_path, "b.json", make_run())
    assert report(first, second) == 0
    assert capsys.readouterr().out == f"{tmp_path}/a.html\n"
    text = (tmp_path / "a.html").read_text()
    assert "<title>eventsvc: load, a and b</title>" in text
    assert report(first, second, "-o", "-") == 0
    assert capsys.readouterr().out == text
    assert report(first, "-o", str(tmp_path / "c.html")) == 0
    assert (tmp_path / "c.html").exists()


def test_runs_of_one_name_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(save(tmp_path / name, "run.json", make_run()))
    assert report(*paths, "-o", "-") == 0
    assert "/a/run.json and " in capsys.readouterr().out


def test_what_the_command_cannot_do_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And names the file."""
    good = save(tmp_path, "a.json", make_run())
    bad = save(tmp_path, "b.json", make_run(latency="x"))
    page = save(tmp_path, "c.html", make_run())
    (tmp_path / "empty.json").write_bytes(b"")
    for arguments, code, words in (
        ([good, str(tmp_path / "none.json")], 1, "none.json"),
        ([str(tmp_path)], 1, "Is a directory"),
        ([str(tmp_path / "empty.json")], 1, "empty.json: this is not the file of a run"),
        ([good, bad], 1, "b.json: not an HDR histogram"),
        ([good, "-o", str(tmp_path / "no" / "x.html")], 1, "cannot write"),
        ([good, "-o", "/dev/full"], 1, "cannot write /dev/full: No space left on device"),
        ([good] * (MOST_RUNS + 1), 2, "at most 4 runs fit on one page, got 5"),
        ([good, "-o", good], 2, f"{good} is a run: name another file for the page with -o"),
        ([page], 2, f"{page} is a run: name another file for the page with -o"),
    ):
        assert report(*arguments) == code
        said = capsys.readouterr()
        assert said.out == ""
        assert words in said.err
        assert said.err.startswith("eventsvc: ")
    assert decode_run((tmp_path / "a.json").read_bytes()) == decode_run((tmp_path / "c.html").read_bytes())
