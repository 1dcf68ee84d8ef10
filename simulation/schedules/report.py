"""
The report: a page for people, and the results as JSON beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec

from eventsvc.charts import STYLE
from simulation.planted import BUGS, NOT_SHOWN
from simulation.schedules.coverage import Coverage
from simulation.schedules.kinds import KINDS
from simulation.schedules.summary import Search, Summary

#: The files of results, which one run of the command leaves for the page that the next one writes.
_RUNS: Final = "runs.json"
_BUGS: Final = "bugs.json"

#: The shades of the cells of the matrix, from so many on.
_SHADES: Final = (1, 10, 100, 1_000)
_STYLE: Final = """
table.matrix th { writing-mode: vertical-rl; transform: rotate(180deg); font-weight: 400; text-align: left; }
table.matrix th:first-child, table.matrix td:first-child { writing-mode: initial; transform: none; }
table.matrix td { padding: .1rem .3rem; } table.matrix tr:first-child th { font-weight: 600; }
td.none { color: var(--unknown); } td.shade-1 { background: color-mix(in srgb, var(--ok) 8%, transparent); }
td.shade-2 { background: color-mix(in srgb, var(--ok) 18%, transparent); }
td.shade-3 { background: color-mix(in srgb, var(--ok) 32%, transparent); }
td.shade-4 { background: color-mix(in srgb, var(--ok) 50%, transparent); }
table.rows td, table.rows th { text-align: left; }
"""


def write_report(directory: Path, summary: Summary | None = None, searches: Sequence[Search] | None = None) -> Path:
    """
    Write results and the page of all results in a directory, and return the page.

    @param summary: of runs; C{None}: those that are there stay.
    @param searches: for planted bugs; C{None}: those that are there stay.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if summary is not None:
        _write(directory / _RUNS, summary)
    if searches is not None:
        _write(directory / _BUGS, list(searches))
    runs, bugs = directory / _RUNS, directory / _BUGS
    page = directory / "index.html"
    page.write_text(
        make_page(
            msgspec.json.decode(runs.read_bytes(), type=Summary) if runs.exists() else None,
            msgspec.json.decode(bugs.read_bytes(), type=list[Search]) if bugs.exists() else [],
        ),
        encoding="utf-8",
    )
    return page


def _write(path: Path, value: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1))


def make_page(summary: Summary | None, searches: Sequence[Search]) -> str:
    """Return the report as one self-contained HTML page."""
    style = STYLE + files("chaos").joinpath("report.css").read_text(encoding="utf-8") + _STYLE
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>eventsvc: simulation</title>',
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head><body>',
        "<h1>eventsvc: simulation</h1>",
    ]
    if summary is not None:
        state = "held" if summary.held else "broke" if summary.broke else "no evidence"
        parts += [
            f'<p>{escape(summary.day)} <span class="{state.replace(" ", "-")}">{state}</span>. '
            f"{escape(summary.describe())}.</p>",
            _ledger(summary),
            _failures(summary),
            _matrix(summary.coverage),
            _recoveries(summary),
        ]
    parts += [_bugs(searches), "</body></html>", ""]
    return "\n".join(part for part in parts if part)


def _ledger(summary: Summary) -> str:
    text = ", ".join(f"{name} {count:,}" for name, count in summary.ledger.items())
    return f"<p>{escape(text)}</p>" if text else ""


def _failures(summary: Summary) -> str:
    rows = [
        [
            f"{each.seed}",
            f'<span class="{each.state.replace(" ", "-")}">{each.state}</span>',
            "<br>".join(map(escape, each.findings)),
            " ".join(f'<a href="{escape(name)}">{escape(name)}</a>' for name in each.files),
        ]
        for each in summary.failed
    ]
    return _section("Schedules that failed", "", ["seed", "verdict", "findings", "files"], rows)


def _matrix(coverage: Coverage) -> str:
    """Return the table of kinds of faults against what they met."""
    columns = coverage.columns
    heads = ["fault", "chosen", *(f"{role}: {phase}" for role, phase in columns)]
    rows = []
    for kind in KINDS:
        counts = [coverage.count(kind, role, phase) for role, phase in columns]
        cells = "".join(f'<td class="shade-{_shade(count)}">{count or ""}</td>' for count in counts)
        chosen = coverage.chosen.get(kind, 0)
        missing = "" if any(counts) else ' class="none"'
        rows.append(f"<tr><td{missing}>{escape(kind)}</td><td>{chosen}</td>{cells}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    table = f'<div class="wide"><table class="matrix"><tr>{head}</tr>{"".join(rows)}</table></div>'
    return f"<section><h2>Coverage</h2><p>How often each fault met each phase of its target.</p>{table}</section>"


def _shade(count: int) -> int:
    return sum(count >= least for least in _SHADES)


def _recoveries(summary: Summary) -> str:
    rows = [[f"{each.seed}", f"{each.seconds:.2f} s", escape(", ".join(each.kinds))] for each in summary.slowest]
    about = "From the end of the last fault until all was stored and handled."
    return _section("Slowest recoveries", about, ["seed", "took", "faults"], rows)


def _bugs(searches: Sequence[Search]) -> str:
    rows = [
        [
            escape(each.bug),
            f'<span class="{"held" if each.found else "broke"}">{"found" if each.found else "missed"}</span>',
            f"{each.schedules:,}",
            "" if each.seed is None else f"{each.seed}",
            escape(BUGS[each.bug].what if each.bug in BUGS else ""),
            escape(each.finding),
        ]
        for each in searches
    ]
    heads = ["bug", "", "schedules", "seed", "what is wrong", "what the judge said"]
    left_out = "; ".join(f"{name}: {why}" for name, why in NOT_SHOWN.items())
    about = f"Schedules until each was found. Not planted here: {left_out}."
    return _section("Planted bugs", about, heads, rows)


def _section(title: str, about: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    table = f'<div class="wide"><table class="rows"><tr>{head}</tr>{body}</table></div>'
    return f"<section><h2>{escape(title)}</h2><p>{escape(about)}</p>{table}</section>"
