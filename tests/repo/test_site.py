"""
Tests for the HTML site: its links resolve, and broken ones are found.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.site import Guide, broken_links, find_guides, render

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("link", ["nowhere.html", "other.html#nowhere", "#nowhere", "files/nowhere.png"])
def test_a_link_that_leads_nowhere_is_found(link: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(f'<h1 id="here">Title</h1> <a href="{link}">there</a>')
    (tmp_path / "other.html").write_text('<a href="page.html#here">back</a> <a href="https://a.example/">away</a>')
    assert list(broken_links(tmp_path)) == [f"page.html: {link} leads nowhere"]


def test_pages_link_to_pages_and_take_files_along(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "picture.svg").write_text("<svg/>")
    first, second = tmp_path / "README.md", tmp_path / "docs" / "second.md"
    first.write_text("# One & all\n\n[on](docs/second.md#a-part) ![it](picture.svg) [lost](lost.txt)\n")
    second.write_text("# Two\n\n[back](../README.md)\n\n## A part\n")
    guides = find_guides(tmp_path)
    assert guides == [Guide(first, "index.html", "One & all"), Guide(second, "second.html", "Two")]
    for guide in guides:
        (tmp_path / guide.name).write_text(render(guide, guides, tmp_path))
    assert sorted(broken_links(tmp_path)) == [
        "index.html: api/index.html leads nowhere",
        "index.html: lost.txt leads nowhere",
        "second.html: api/index.html leads nowhere",
    ]
    assert 'src="files/picture.svg"' in (tmp_path / "index.html").read_text()


def test_each_page_has_a_file_of_its_own() -> None:
    """Names of files may differ in more than case."""
    names = [guide.name.lower() for guide in find_guides(ROOT)]
    assert {"security.html", "project-security.html"} <= set(names)
    assert len(names) == len(set(names))
