"""
Builds the HTML site: the guides, and API pages by pydoctor.

C{python -m tools.site build/docs} writes the site, and exits with 1 if the
markup of a docstring is wrong or a link is broken.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import attrs
from markdown_it import MarkdownIt

from tools.docs import pages, slugs

_LINK: Final = re.compile(r'\b(href|src)="([^"#:]+)(#[^"]*)?"')
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<nav>
{links}
<a href="api/index.html">API</a>
</nav>
<main>
{body}</main>
</body>
</html>
"""
_STYLE: Final = """
body { margin: 0; display: flex; font: 16px/1.55 system-ui, sans-serif; color: #1f2328; background: #fff; }
nav { flex: 0 0 13rem; padding: 2rem 1rem; border-right: 1px solid #d8dee4; font-size: 14px; }
nav a { display: block; padding: .2rem .5rem; color: #1f2328; }
nav a[aria-current] { font-weight: 600; background: #eef1f4; border-radius: 4px; }
main { flex: 1; min-width: 0; max-width: 62rem; padding: 1rem 2.5rem 4rem; }
a { color: #0a58ca; text-decoration: none; } a:hover { text-decoration: underline; }
h1, h2 { border-bottom: 1px solid #d8dee4; padding-bottom: .3rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: #f3f5f7; border-radius: 4px; }
code { padding: .1rem .3rem; } pre { padding: 1rem; overflow: auto; } pre code { padding: 0; }
table { display: block; overflow: auto; border-collapse: collapse; }
th, td { border: 1px solid #d8dee4; padding: .35rem .7rem; text-align: left; vertical-align: top; }
img { max-width: 100%; }
@media (max-width: 50rem) { body { display: block; } nav { border: 0; padding-bottom: 0; } main { padding: 0 1rem; } }
"""


@attrs.frozen
class Guide:
    """
    A Markdown page and its HTML file.

    @ivar name: name of the HTML file.
    @ivar title: the first heading.
    """

    path: Path
    name: str
    title: str


def find_guides(root: Path) -> Sequence[Guide]:
    """Return the README, the pages of C{docs/}, and those for contributors."""
    found = []
    for path in pages(root / "docs"):
        heading = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.M)
        place = "" if path.parent == root / "docs" else "project-"  # there is a SECURITY.md in both
        name = "index.html" if path.stem == "README" else f"{place}{path.stem.lower()}.html"
        found.append(Guide(path, name, heading[1] if heading else path.stem))
    return found


def render(guide: Guide, guides: Sequence[Guide], output: Path) -> str:
    """Return a guide as HTML; files that it links to are copied to C{output}."""
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = markdown.parse(guide.path.read_text(encoding="utf-8"))
    headings = [at for at, token in enumerate(tokens) if token.type == "heading_open"]
    for at, slug in zip(headings, slugs([tokens[at + 1].content for at in headings]), strict=True):
        tokens[at].attrSet("id", slug)
    names = {each.path.resolve(): each.name for each in guides}

    def lead(link: re.Match[str]) -> str:
        attribute, target, anchor = link[1], unquote(link[2]), link[3] or ""
        file = (guide.path.parent / target).resolve()
        if file in names:
            return f'{attribute}="{names[file]}{anchor}"'
        if not file.is_file():
            return link[0]  # broken_links reports it
        (output / "files").mkdir(exist_ok=True)
        shutil.copy(file, output / "files" / file.name)
        return f'{attribute}="files/{file.name}{anchor}"'

    links = "\n".join(
        f'<a href="{each.name}"{" aria-current=page" if each is guide else ""}>{escape(each.title)}</a>'
        for each in guides
    )
    body = _LINK.sub(lead, markdown.renderer.render(tokens, markdown.options, {}))
    return _PAGE.format(title=escape(guide.title), style=_STYLE, links=links, body=body)


class _Page(HTMLParser):
    """The links of a page, and the anchors that others may link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in {"href", "src"} and value:
                self.links.add(value)
            elif value and (name == "id" or (name == "name" and tag == "a")):
                self.anchors.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """Yield a message for each broken link between pages of a site."""
    found = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in found.items():
        for link in sorted(page.links):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = unquote(link).partition("#")
            file = path.parent / target.partition("?")[0] if target else path
            if not file.exists() or (anchor and file in found and anchor not in found[file].anchors):
                yield f"{path.relative_to(site)}: {link} leads nowhere"


def make_api(root: Path, output: Path) -> int:
    """Write the API pages with pydoctor, and return its exit status."""
    command = [sys.executable, "-m", "pydoctor", "--quiet", "--html-output", str(output), str(root / "eventsvc")]
    return subprocess.run(command, cwd=root, check=False).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and check the site, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.site", description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument(
        "output", metavar="DIRECTORY", type=Path, help="output directory; its contents are removed first"
    )
    output: Path = parser.parse_args(arguments).output.absolute()
    root = Path(__file__).parents[1]
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    status = make_api(root, output / "api")
    guides = find_guides(root)
    for guide in guides:
        (output / guide.name).write_text(render(guide, guides, output), encoding="utf-8")
    problems = list(broken_links(output))
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"The site is in {output / 'index.html'}")
    return 1 if status or problems else 0


if __name__ == "__main__":
    sys.exit(main())
