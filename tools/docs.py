"""
Generates parts of the docs from the code, and checks the docs.

C{python -m tools.docs --write docs} generates the parts.
C{python -m tools.docs --check docs} reports stale parts, broken links, and
names of tests that do not exist.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from werkzeug.exceptions import MethodNotAllowed, NotFound

from eventsvc import settings
from eventsvc.event import MAX_BYTES, MAX_EVENTS, InvalidEvent, TooManyEvents
from eventsvc.interfaces import KeyConflict, KeyRunning, Refused, TooLarge, Unknown
from eventsvc.web.answers import Answer, InvalidKey, answer_for, unexpected
from eventsvc.web.encoding import UnsupportedCoding
from eventsvc.web.limits import (
    BODY_TOO_LARGE,
    HEAD_TOO_LARGE,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    PERHAPS_REPEATED,
    TOO_MANY_CONNECTIONS,
    TOO_SLOW,
    bad_request,
)
from eventsvc.web.tokens import Forbidden, TooManyRequests, Unauthorized
from tools.alerts_table import alerts_table
from tools.chaos_tables import faults_table, signs_table
from tools.chart_values import values_table


def _answer(error: Exception) -> Answer:
    answer = answer_for(error, "GET")
    assert answer is not None
    return answer


#: The causes of errors, and the answer to each.
ERRORS: Final[Sequence[tuple[str, Answer]]] = (
    (
        "the body is not UTF-8 or not JSON, has bytes after the JSON value, or is not an object; "
        "a member or attribute is missing or has a wrong value; a batch is empty; a compressed body is corrupt; "
        "or a CloudEvent is posted to the wrong route; the description says what and where",
        _answer(InvalidEvent()),
    ),
    (
        "the `Idempotency-Key` is neither a quoted string nor a token, is empty or too long, or there are several",
        _answer(InvalidKey()),
    ),
    (
        "the bytes are not an HTTP/1.1 request, or two servers could read it differently: "
        "`Host` is missing, repeated or malformed; `Content-Length` is repeated, not a number, or comes with "
        "`Transfer-Encoding`; the transfer coding is not `chunked`; a header is folded; a trailer is malformed",
        bad_request(""),
    ),
    (
        "with `REST_SERVER_TOKENS`: the request has no valid token, or has several",
        _answer(Unauthorized()),
    ),
    (
        "the token may not write to this stream; or a web page of another host made the request, and "
        "`REST_SERVER_ALLOWED_ORIGINS` does not have its origin",
        _answer(Forbidden()),
    ),
    ("another path, or a stream of another name", _answer(NotFound())),
    ("another method on a known path; the title is that method, here `GET`", _answer(MethodNotAllowed(["POST"]))),
    ("the request did not arrive within `REST_SERVER_WRITE_TIMEOUT`", TOO_SLOW),
    ("another request with the same `Idempotency-Key` is still running", _answer(KeyRunning())),
    (f"the body is larger than {MAX_BYTES:,} bytes, as it came or when it is decoded", BODY_TOO_LARGE),
    (f"there are more than {MAX_EVENTS:,} events in a batch", _answer(TooManyEvents())),
    (
        "the request alone exceeds `QUEUE_MAX_EVENTS` or `QUEUE_MAX_BYTES`",
        _answer(TooLarge()),
    ),
    (
        "the body has a `Content-Encoding` that is not decoded, or several; the header says which are",
        _answer(UnsupportedCoding("", b"gzip")),
    ),
    ("the `Idempotency-Key` was used with another body, or on another path", _answer(KeyConflict())),
    ("the token is past its rate", _answer(TooManyRequests("", 1, "no"))),
    ("the same, for a request with an `Idempotency-Key`", _answer(TooManyRequests("", 1, "unknown"))),
    (f"more than {MAX_HEADERS} headers, or more than {MAX_HEAD_BYTES:,} bytes of them", HEAD_TOO_LARGE),
    ("an error in the service itself; the cause is only in the log", unexpected()),
    (
        "the stream is at its hard limit; or `IDEMPOTENCY_MAX_KEYS` keys are remembered; or, without an "
        "`Idempotency-Key`: the queue was full for `REDIS_WRITE_TIMEOUT`, a large request found no room, "
        "or Redis was unreachable or refused for `REDIS_WRITE_TIMEOUT` and certainly stored none of the events",
        _answer(Refused()),
    ),
    (
        "Redis did not confirm the events within `REDIS_WRITE_TIMEOUT`; "
        "or Redis did not look up the `Idempotency-Key`, so an earlier request with it may have been stored; "
        "or the whole request took longer than `REST_SERVER_WRITE_TIMEOUT`",
        _answer(Unknown()),
    ),
    ("the server has reached its limit of connections and closes this one", TOO_MANY_CONNECTIONS),
    ("the same, for a request with an `Idempotency-Key`", PERHAPS_REPEATED[TOO_MANY_CONNECTIONS]),
)


def errors_table() -> str:
    """Return the errors as a Markdown table."""
    lines = ["| status | title | `stored` | header | when |", "|---|---|---|---|---|"]
    for when, answer in ERRORS:
        body = json.loads(answer.body)
        stored = f"`{body['stored']}`" if "stored" in body else ""
        names = [name.decode() for name, _ in answer.headers if name != b"Content-Type"]
        headers = ", ".join(f"`{name}`" for name in names)
        lines.append(f"| {answer.status} | `{body['title']}` | {stored} | {headers} | {when} |")
    return "\n".join(lines) + "\n"


#: The generated parts, by the name in their markers.
PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "settings": settings.table,
    "errors": errors_table,
    "faults": faults_table,
    "signs": signs_table,
    "alerts": alerts_table,
    "values": values_table,
}

_PART: Final = re.compile(r"(<!-- begin (\w+): .*? -->\n).*?(<!-- end \2 -->)", re.S)
_CODE: Final = re.compile(r"^(```|~~~).*?^\1[`~]*$", re.S | re.M)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.*?) *#*$", re.M)
_TEST: Final = re.compile(r"`((?:\w+::)*test_\w+(?:\.py)?(?:::\w+)*)`")


def remake(text: str) -> str:
    """Return a page with its generated parts up to date."""
    return _PART.sub(lambda part: part[1] + "\n" + PARTS[part[2]]() + "\n" + part[3], text)


def stale_parts(page: Path) -> Iterator[str]:
    """Yield a diff if the generated parts of a page are stale."""
    text = page.read_text(encoding="utf-8")
    diff = difflib.unified_diff(text.splitlines(), remake(text).splitlines(), str(page), "as the code makes it", "", "")
    words = "\n".join(diff)
    if words:
        yield f"{page} is stale; run python -m tools.docs --write {page.parent}:\n{words}"


def slugs(headings: Sequence[str]) -> Sequence[str]:
    """Return the anchors of headings, as GitHub makes them."""
    found: list[str] = []
    for heading in headings:
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.append(next(each for each in (slug, *(f"{slug}-{n}" for n in range(1, 1000))) if each not in found))
    return found


def anchors(page: Path) -> Sequence[str]:
    """Return the anchors of a page's headings."""
    return slugs(_HEADING.findall(_CODE.sub("", page.read_text(encoding="utf-8"))))


def broken_links(page: Path) -> Iterator[str]:
    """Yield a message for each relative link without a target."""
    for target in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists():
            yield f"{page}: there is no file {target}"
        elif anchor and (file.suffix != ".md" or anchor not in anchors(file)):
            yield f"{page}: there is no heading {target}"


def missing_tests(page: Path, tests: Path) -> Iterator[str]:
    """Yield a message for each test that a page names and that does not exist."""
    for name in _TEST.findall(page.read_text(encoding="utf-8")):
        file, *path = name.split("::")
        if not file.endswith(".py"):
            yield f"{page}: {name}: expected test_file.py::name"
        elif not any(_is_defined(found.read_text(encoding="utf-8"), path) for found in tests.rglob(file)):
            yield f"{page}: there is no test {name}"


def _is_defined(source: str, path: Sequence[str]) -> bool:
    """Return whether a module, or a class in it, defines a name."""
    body: Sequence[ast.stmt] = ast.parse(source).body
    for name in path:
        found = [each for each in body if name in _names(each)]
        if not found:
            return False
        body = getattr(found[-1], "body", ())
    return True


def _names(statement: ast.stmt) -> Sequence[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return (statement.name,)
        case ast.Assign():
            return [target.id for target in statement.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return (name,)
    return ()


def pages(docs: Path) -> Sequence[Path]:
    """Return the README, the pages of the docs, and the pages for contributors."""
    beside = [docs.parent / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    return [beside[0], *sorted(docs.glob("*.md")), *(page for page in beside[1:] if page.exists())]


def misnamed_fragments(root: Path) -> Iterator[str]:
    """Yield a message for each news fragment with an unknown type in its name."""
    tables = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    types = [each["directory"] for each in tables["tool"]["towncrier"]["type"]]
    for fragment in sorted((root / "news").iterdir()):
        if not re.fullmatch(rf"\+[\w-]+\.({'|'.join(types)})\.md", fragment.name):
            yield f"{fragment}: expected +NAME.TYPE.md, with a TYPE of {', '.join(types)}"


def problems(docs: Path) -> Iterator[str]:
    """Yield a message for each problem of the docs."""
    yield from misnamed_fragments(docs.parent)
    texts = "".join([page.read_text(encoding="utf-8") for page in pages(docs)])
    for name in PARTS:
        if f"<!-- begin {name}: " not in texts:
            yield f"{docs}: no page has the part {name}"
    for page in pages(docs):
        yield from stale_parts(page)
        yield from broken_links(page)
        yield from missing_tests(page, docs.parent / "tests")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=(__doc__ or "").strip().split("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", metavar="DOCS", type=Path, help="generate the parts that come from the code")
    what.add_argument("--check", metavar="DOCS", type=Path, help="report problems; exit with 1 if there are any")
    options = parser.parse_args(arguments)
    if options.write is not None:
        for page in pages(options.write):
            page.write_text(remake(page.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    found = list(problems(options.check))
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
