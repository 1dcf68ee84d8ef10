"""
The command C{eventsvc report}: runs of the simulator as one HTML page.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from eventsvc.text_lines import printable

#: The largest file that is read, in bytes: six hundred intervals have a tenth of it.
LARGEST: Final = 64 * 2**20
_NO_LIBRARY: Final = "the report needs the library hdrhistogram: install eventsvc with its extra [load]"


def add_report_topic(topics: Any) -> None:
    """Add the topic C{report} to the command line."""
    report = topics.add_parser(
        "report",
        allow_abbrev=False,
        help="draw runs of the simulator as an HTML page",
        description="Draw runs that `twistd -n eventsvc simulator --save FILE` has saved. Each but the first is "
        "compared with the first.",
    )
    report.add_argument("runs", nargs="+", metavar="RUN.json", type=Path, help="files of runs; at most four")
    report.add_argument("-o", "--output", metavar="FILE", help="the page, or - for standard output; default: RUN.html")


def show_report(given: Mapping[str, Any]) -> int:
    """Write the page, and return the exit code."""
    try:
        from eventsvc.simulator.report_page import MOST_RUNS, make_page
        from eventsvc.simulator.saved_run import InvalidRun
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("hdrh"):
            raise
        return _fail(_NO_LIBRARY, 2)
    paths = given["runs"]
    if len(paths) > MOST_RUNS:
        return _fail(f"at most {MOST_RUNS} runs fit on one page, got {len(paths)}", 2)
    try:
        page = make_page(list(zip(_names(paths), map(_read, paths))))
    except InvalidRun as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"cannot read {error.filename}: {error.strerror}", 1)
    if given["output"] == "-":
        sys.stdout.write(page)
        return 0
    output = Path(given["output"] or paths[0].with_suffix(".html"))
    if output.resolve() in [path.resolve() for path in paths]:
        return _fail(f"{output} is a run: name another file for the page with -o", 2)
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        return _fail(f"cannot write {output}: {error.strerror}", 1)
    print(output)
    return 0


def _names(paths: list[Path]) -> list[str]:
    """Return a name for each file: its stem, or its path if two have the same stem."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _read(path: Path) -> Any:
    """
    Read a file.

    @raise InvalidRun: it is not that of a run; the text names it.
    @raise OSError: it cannot be read.
    """
    from eventsvc.simulator.report_page import check_histograms
    from eventsvc.simulator.saved_run import InvalidRun, decode_run

    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise InvalidRun(f"{path}: expected at most {LARGEST} bytes")
    try:
        run = decode_run(text)
        check_histograms(run)
    except ValueError as error:
        raise InvalidRun(f"{path}: {error}") from None
    return run


def _fail(problem: str, code: int) -> int:
    sys.stderr.write(f"eventsvc: {printable(problem)}\n")
    return code
