"""
Runs the benchmarks, and prints or writes their results as tables.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from os import cpu_count
from pathlib import Path

from benchmarks.durability import durability
from benchmarks.figures import Section, table
from benchmarks.posting import batches, connections, long_streams, overload, single_posts
from benchmarks.reading import consumers
from benchmarks.recovery import recovery

BENCHMARKS = {
    "single": single_posts,
    "batches": batches,
    "connections": connections,
    "overload": overload,
    "streams": long_streams,
    "consumers": consumers,
    "recovery": recovery,
    "durability": durability,
}
NEEDED = {"wrk": "wrk", "webdis": "webdis", "redis-benchmark": "redis-tools"}


def machine() -> str:
    """Return the machine and the versions that were measured."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), "unknown")
    packages = ", ".join(f"{name} {version(name)}" for name in ("twisted", "klein", "txredisapi", "fastapi", "uvicorn"))
    return f"{model}, {cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}; {packages}"


def render(sections: Sequence[Section]) -> str:
    """Return the sections as the generated part of a document."""
    parts = [f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}."]
    for section in sections:
        parts += [f"### {section.title}", table(section.head, section.rows)]
        if section.bars:
            parts.append(table(["ratio", "median", "wanted", "met"], [bar.row() for bar in section.bars]))
    return "\n\n".join(parts) + "\n"


def write(path: Path, text: str) -> None:
    """Write the text between the markers of a document."""
    begin, end = "<!-- measured -->", "<!-- end of measured -->"
    before, _, rest = path.read_text().partition(begin)
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each benchmark (default 9)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round (default 2)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the tables into this document")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"unknown benchmark: {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing:
        parser.error(f"programs missing on the PATH; on Debian: apt-get install {' '.join(missing)}")
    sections = []
    for name in arguments.names or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        sections.append(BENCHMARKS[name](arguments.rounds, arguments.seconds))
        print(render(sections[-1:]), flush=True)
    if arguments.write:
        write(arguments.write, render(sections))
    return 0


sys.exit(main())
