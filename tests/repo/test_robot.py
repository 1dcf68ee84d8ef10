"""
Runs the quick Robot suites that need no cluster, on real processes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.helm import ROOT

SUITES = ROOT / "robot"


def run_robot(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the suites, with their temporary files in the same directory."""
    (directory / "tmp").mkdir()
    return subprocess.run(
        [sys.executable, "-m", "robot", "--outputdir", str(directory / "out"), *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(directory / "tmp")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def results(directory: Path) -> dict[str, str]:
    """Return the status of each test."""
    tests = ElementTree.parse(directory / "out" / "output.xml").iter("test")
    return {test.attrib["name"]: test.findall("status")[-1].attrib["status"] for test in tests}


@pytest.mark.parametrize(("suite", "least"), [("functional", 17), ("outage", 4)])
def test_a_suite_passes_on_this_machine_and_leaves_nothing(suite: str, least: int, tmp_path: Path) -> None:
    done = run_robot(tmp_path, str(SUITES / f"{suite}.robot"))
    assert done.returncode == 0, done.stdout
    found = results(tmp_path)
    assert set(found.values()) == {"PASS"}
    assert len(found) >= least
    assert not list((tmp_path / "tmp").iterdir())


def test_a_verdict_without_evidence_fails_a_test(tmp_path: Path) -> None:
    """Without a fault the run proves nothing; the log has the plot all the same."""
    suite = tmp_path / "suite.robot"
    suite.write_text(
        f"*** Settings ***\nResource    {SUITES}/eventsvc.resource\n"
        "*** Test Cases ***\nNothing Happens\n"
        "    Keep Posting Events\n    Every Promise Is Kept\n    [Teardown]    Post No More\n"
    )
    done = run_robot(tmp_path, str(suite))
    assert done.returncode == 1, done.stdout
    assert "the fault was not felt" in done.stdout
    assert "&lt;svg" in ElementTree.parse(tmp_path / "out" / "output.xml").findtext(".//msg[@html='true']", "")
    assert not list((tmp_path / "tmp").iterdir())


def test_every_suite_parses_and_knows_its_keywords(tmp_path: Path) -> None:
    done = run_robot(tmp_path, "--dryrun", str(SUITES))
    assert done.returncode == 0, done.stdout


def test_the_rights_are_those_of_one_namespace() -> None:
    kinds = [each["kind"] for each in yaml.safe_load_all((SUITES / "role.yaml").read_text())]
    assert kinds == ["Role", "RoleBinding"]
