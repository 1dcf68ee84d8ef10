"""
The report of runs: a page for people, JSON for programs, JUnit for CI.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from statistics import median
from time import gmtime, strftime
from typing import Any, Final
from xml.sax.saxutils import quoteattr

import msgspec

from chaos.charts import draw_charts
from chaos.planted import BUGS
from chaos.scenario import Run
from eventsvc.charts import STYLE, stack

#: Lines of logs and of the journal that are shown of a run.
_EXTRACT: Final = 14
_JOURNAL: Final = 60


def write(runs: Sequence[Run], directory: Path) -> None:
    """Write C{index.html}, C{report.json}, C{junit.xml}, and a C{.svg} of each run, into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "index.html").write_text(page(runs), encoding="utf-8")
    (directory / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(list(map(record, runs)))))
    (directory / "junit.xml").write_text(junit(runs), encoding="utf-8")
    for run in runs:
        if run.evidence is not None:
            (directory / f"{run.directory.name}.svg").write_text(picture(run), encoding="utf-8")


def record(run: Run) -> Mapping[str, Any]:
    """Return a run for JSON; times are seconds from its beginning."""
    begin = run.began[1]
    evidence = run.evidence
    return {
        "scenario": run.scenario.name,
        "seed": run.seed,
        "planted": run.planted,
        "passed": run.passed,
        "state": run.state,
        "not_run": run.not_run,
        "takeovers": evidence.history.takeovers if evidence else (),
        "broken": run.verdict.broken,
        "missing": run.verdict.missing,
        "ledger": dict(run.verdict.ledger),
        "silence": run.verdict.silence,
        "recovery": run.verdict.recovery,
        "alarms": evidence.history.alarms if evidence else None,
        "fault": [moment - begin for moment in evidence.fault] if evidence else None,
        "began": strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(run.began[0])),
        "seconds": run.seconds,
        "figures": dict(evidence.figures) if evidence else None,
        "peak_memory": dict(run.memory),
        "journal": [[at - begin, words] for at, words in run.journal],
        "command": run.command,
    }


def summary(runs: Sequence[Run]) -> str:
    """Return how many runs passed, and how quickly a new primary was used, as text."""
    done = [run for run in runs if not run.not_run]
    what = "planted bugs were caught" if any(run.planted for run in runs) else "runs held"
    parts = [f"{sum(run.passed for run in done)} of {len(done)} {what}"]
    if len(done) < len(runs):
        parts.append(f"{len(runs) - len(done)} were not run")
    takeovers = [seconds for run in done if run.evidence for seconds in run.evidence.history.takeovers]
    if takeovers:
        parts.append(
            f"the first 200 came {median(takeovers):.2f} s (median; at most {max(takeovers):.2f} s) "
            f"after each of {len(takeovers)} promotions"
        )
    return "; ".join(parts)


def junit(runs: Iterable[Run]) -> str:
    """Return the runs as JUnit test cases."""
    runs = list(runs)
    failures = sum(not run.passed for run in runs)
    cases = []
    for run in runs:
        inner = f"<skipped message={quoteattr(run.not_run)}/>" if run.not_run else ""
        if not run.passed:
            text = escape(f"{run.verdict.describe()}\n{run.command}")
            inner = f"<failure message={quoteattr(run.verdict.state)}>{text}</failure>"
        cases.append(
            f'<testcase classname="chaos" name={quoteattr(run.title)} time="{run.seconds:.1f}">{inner}</testcase>'
        )
    total = sum(run.seconds for run in runs)
    skipped = sum(bool(run.not_run) for run in runs)
    counts = f'tests="{len(runs)}" failures="{failures}" skipped="{skipped}"'
    head = f'<testsuite name="chaos" {counts} time="{total:.1f}">'
    return "\n".join(['<?xml version="1.0" encoding="utf-8"?>', head, *cases, "</testsuite>", ""])


def page(runs: Sequence[Run]) -> str:
    """Return the report as one self-contained HTML page."""
    day = strftime("%Y-%m-%d %H:%M UTC", gmtime(runs[0].began[0])) if runs else ""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>eventsvc: chaos</title>',
            f'<meta name="viewport" content="width=device-width"><style>{read_style()}</style></head><body>',
            f"<h1>eventsvc: chaos</h1><p>{day}. {summary(runs)}.</p>",
            _table(runs),
            *map(_section, runs),
            "</body></html>",
            "",
        ]
    )


_COLUMNS: Final = ("sent", "ok", "refused", "unknown", "stored", "handled", "handled again", "set aside", "pending")


def _table(runs: Iterable[Run]) -> str:
    heads = ["scenario", "verdict", *_COLUMNS, "longest silence", "recovery", "most memory", "took"]
    rows = []
    for run in runs:
        verdict = run.verdict
        services = [size for name, size in run.memory.items() if name.startswith(("producer", "consumer"))]
        cells = [
            *(f"{verdict.ledger[name]:,}" if name in verdict.ledger else "" for name in _COLUMNS),
            f"{verdict.silence:.1f} s",
            "" if verdict.recovery is None else f"{verdict.recovery:.2f} s",
            f"{max(services, default=0) / 2**20:.0f} MiB",
            f"{run.seconds:.0f} s",
        ]
        rows.append(
            f'<tr><td><a href="#{run.directory.name}">{escape(run.title)}</a></td>'
            f'<td class="{run.state.replace(" ", "-")}">{run.state}</td>'
            f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def picture(run: Run) -> str:
    """Return the charts of a run as one SVG."""
    return stack(_charts(run), read_style())


def _charts(run: Run) -> Sequence[str]:
    if run.evidence is None:
        return []
    return draw_charts(run.evidence, run.began[1], [at for at, _ in run.journal])


def read_style() -> str:
    """Return the stylesheet of reports, charts included."""
    return STYLE + files("chaos").joinpath("report.css").read_text(encoding="utf-8")


def _section(run: Run) -> str:
    verdict = run.verdict
    findings = [f"<li>{escape(words)}</li>" for words in _findings(run)]
    parts = [
        f'<section id="{run.directory.name}"><h2>{escape(run.title)}: '
        f'<span class="{run.state.replace(" ", "-")}">{run.state}</span></h2>',
        f"<p>{escape(run.scenario.what)}</p>",
        f"<p>The services have a planted bug. {escape(BUGS[run.planted].what)}</p>" if run.planted else "",
        f"<ul>{''.join(findings)}</ul>" if findings else "",
        "\n".join(_charts(run)),
        f"<pre>{escape(chr(10).join(ledger(verdict.ledger)))}</pre>" if verdict.ledger else "",
        f"<p>Again: <code>{escape(run.command)}</code></p>",
        _details("What was done", _journal(run)),
        _details("From the logs", _extract(run)),
        _details("Most memory", [f"{name} {size / 2**20:.1f} MiB" for name, size in run.memory.items()]),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _findings(run: Run) -> Sequence[str]:
    return [run.not_run] if run.not_run else [*run.verdict.broken, *run.verdict.missing]


def ledger(figures: Mapping[str, int]) -> list[str]:
    """Return the three equations that must hold, with their values."""
    return [
        _equation(figures, "sent", "ok", "refused", "unknown"),
        _equation(figures, "stored", "confirmed", "stored though unknown"),
        _equation(figures, "stored", "handled", "set aside", "pending"),
    ]


def _equation(figures: Mapping[str, int], whole: str, *parts: str) -> str:
    sign = "=" if figures[whole] == sum(figures[part] for part in parts) else "\u2260"
    return f"{whole} {figures[whole]} {sign} {' + '.join(f'{part} {figures[part]}' for part in parts)}"


def _journal(run: Run) -> list[str]:
    lines = [f"{at - run.began[1]:7.2f} s  {words}" for at, words in run.journal]
    return _shorten(lines, _JOURNAL)


def _extract(run: Run) -> list[str]:
    """Return the warnings and errors that the services logged."""
    if run.evidence is None:
        return []
    lines = [
        f"{line.at - run.began[1]:7.2f} s  {line.process} {line.level}: {line.message[:300]}"
        for line in run.evidence.lines
        if line.level in ("warn", "error", "critical")
    ]
    return _shorten(lines, _EXTRACT)


def _shorten(lines: Sequence[str], most: int) -> list[str]:
    if len(lines) <= most:
        return list(lines)
    return [*lines[: most // 2], f"... {len(lines) - most // 2 * 2} more ...", *lines[-(most // 2) :]]


def _details(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return f"<details><summary>{title}</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
